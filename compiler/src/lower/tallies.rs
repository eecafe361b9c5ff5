//! Owns the names and identities of what is counted. Never which edge counts what: that is the graph's.

use lb_abi::bundle::{Identity, Tally, TallyKind};
use policy_lang::policy::Policy;
use policy_lang::source::{FileId, Sources};

use super::identity::identity;
use crate::graph::{Graph, TallyPlace};

/// Line numbers of places, without reading a text from its start for each.
struct Lines {
    /// For each file the offsets behind its newlines.
    starts: Vec<Vec<u32>>,
}

impl Lines {
    fn new(sources: &Sources) -> Lines {
        let starts = |text: &str| {
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1).collect()
        };
        Lines { starts: sources.files.iter().map(|file| starts(&file.text)).collect() }
    }

    /// 1-based; 1 in a file that is not among the sources.
    fn line(&self, file: FileId, offset: u32) -> u32 {
        let starts = self.starts.get(file.0 as usize);
        starts.map_or(1, |starts| starts.partition_point(|&start| start <= offset) as u32 + 1)
    }
}

/// The tallies of a graph, in its order, and the text that identities of their trees start with.
pub fn tallies(policy: &Policy, sources: &Sources, graph: &Graph<'_>) -> (Vec<Tally>, Vec<Identity>) {
    let lines = Lines::new(sources);
    let tallies: Vec<Tally> = graph
        .tallies
        .iter()
        .map(|place| Tally {
            identity: tally_identity(policy, place),
            kind: place.kind,
            label: place.label.clone(),
            tree: tree_name(policy, place),
            file: sources
                .files
                .get(place.span.file.0 as usize)
                .map_or_else(String::new, |file| file.name.clone()),
            line: lines.line(place.span.file, place.span.start),
        })
        .collect();
    let identities = tallies.iter().map(|tally| tally.identity).collect();
    (tallies, identities)
}

fn tree_name(policy: &Policy, place: &TallyPlace) -> String {
    place.tree.map_or(&policy.name, |tree| &policy.trees[tree.index()].name).clone()
}

/// Tree, kind, text, and the number among equal ones.
fn tally_identity(policy: &Policy, place: &TallyPlace) -> Identity {
    let kind = match place.kind {
        TallyKind::Arm => "arm",
        TallyKind::Exit => "exit",
        TallyKind::Named => "named",
        TallyKind::Way => "way",
    };
    if place.kind == TallyKind::Named {
        return identity(&["tally", kind, &place.label]);
    }
    identity(&["tally", kind, &tree_name(policy, place), &place.label, &place.ordinal.to_string()])
}
