//! Owns the way from the typed tree to the image: graph, formulas, classes, diagrams, words.
//! Never text, the kernel, or what a packet does at run time.

use lb_abi::bundle::{Dense, Image, Relocation};
use lb_abi::image::{
    ALL_FIELDS, BEFORE_DROP, BEFORE_MATCH, BEFORE_PASS, ENTRY_LEAF, Field, H_DST6, H_ENTRY, H_FIELD,
    H_FRAGMENTS, H_LEN, H_MAGIC, H_NEIGHBOURS, H_OTHER, H_SCHEMA, H_SRC6, H_UNPARSED, HEADER_WORDS, MAGIC,
};
use lb_abi::mode::{FEATURE_DST4, FEATURE_DST6, FEATURE_SRC4, FEATURE_SRC6};
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Before, Policy};
use policy_lang::source::{Sources, Span};

use crate::graph::{self, GraphError, NodeKind, Trees};
use formula::{Classes, Sets};
use region::{Region, Regions};
use words::{Full, Words};

mod addresses;
mod authorities;
pub(crate) mod axis;
pub(crate) mod bounds;
pub(crate) mod classes;
mod descriptors;
pub(crate) mod diagram;
mod fields;
pub(crate) mod formula;
mod identity;
pub(crate) mod nested;
mod nodes;
mod not_yet;
pub(crate) mod numbering;
mod pools;
pub(crate) mod refusals;
pub(crate) mod region;
mod rows;
pub(crate) mod slots;
mod tallies;
#[cfg(test)]
mod tests;
mod words;

pub use rows::MAX_DECISION_WORDS;
pub use words::MAX_WORDS;

/// Compiles a policy that `policy_lang::check` found free of errors. The same policy gives the same image, to the bit.
///
/// # Errors
/// All that the packet path cannot carry out yet; else the first thing that does not fit: too many classes, decision
/// tables, steps or words, at the place that asks for them.
pub fn compile(policy: &Policy, sources: &Sources) -> Result<Image, Vec<Diagnostic>> {
    let trees = graph::trees_inside_out(policy)
        .map_err(|GraphError::Cycle(tree)| vec![*refusals::cycle(policy, tree)])?;
    let to_come = not_yet::check(policy, &trees);
    if !to_come.is_empty() {
        return Err(to_come);
    }
    let beyond = bounds::beyond(policy);
    if !beyond.is_empty() {
        return Err(beyond);
    }
    lower(policy, sources, Trees::Joined)
        // Joined, a tree's decisions are multiplied by those that lead to it. What fits apart is not refused for that.
        .or_else(|refused| match refused.code {
            refusals::DECISIONS if !policy.trees.is_empty() => lower(policy, sources, Trees::Apart),
            _ => Err(refused),
        })
        .map_err(|diagnostic| vec![*diagnostic])
}

fn lower(policy: &Policy, sources: &Sources, trees: Trees) -> Result<Image, Box<Diagnostic>> {
    let graph =
        graph::build(policy, trees).map_err(|GraphError::Cycle(tree)| refusals::cycle(policy, tree))?;
    refusals::too_many_steps(&graph)?;
    let mut sets = Sets::new(policy);
    let mut read = Vec::new();
    for node in graph.graph.node_indices() {
        if let NodeKind::Region(region) = graph.graph[node].kind {
            read.push((node, Region::read(region, &graph.nesting, &mut sets)));
        }
    }
    let classes =
        sets.classes().map_err(|(field, error)| refusals::classes(field, sets.place(field, error.set)))?;
    let mut regions = Regions::new(&classes, &sets);
    let mut roots = std::collections::HashMap::new();
    for (node, region) in read {
        let root =
            regions.diagram(&region).map_err(|outgrown| refusals::outgrown(outgrown.first, outgrown.last))?;
        roots.insert(node, root);
    }

    let (tallies, names) = tallies::tallies(policy, sources, &graph);
    let mut image = Image { name: policy.name.clone(), tallies, ..Image::default() };
    let mut words = Words::default();
    words.reserve(HEADER_WORDS).map_err(|Full| refusals::words(policy.span))?;
    nodes::lower(policy, &graph, &regions.diagrams, &roots, &names, &mut words, &mut image)?;
    header(policy, &mut words.words);
    tables(&classes, &mut words, &mut image).map_err(|Full| refusals::words(largest_set(policy)))?;
    words.words[H_LEN] = words.len() as u32;
    image.words = words.words;
    image.relocations.sort();
    Ok(image)
}

fn header(policy: &Policy, words: &mut [u32]) {
    let before = |before| match before {
        Before::Drop => BEFORE_DROP,
        Before::Pass => BEFORE_PASS,
        Before::Match => BEFORE_MATCH,
    };
    words[H_MAGIC] = MAGIC;
    words[H_SCHEMA] = lb_abi::SCHEMA;
    words[H_ENTRY] = HEADER_WORDS as u32;
    words[H_NEIGHBOURS] = before(policy.before.neighbours);
    words[H_UNPARSED] = before(policy.before.unparsed);
    words[H_OTHER] = before(policy.before.other);
    words[H_FRAGMENTS] = before(policy.before.fragments);
}

/// Writes the tables of the fields that some region looks at.
fn tables(classes: &Classes, words: &mut Words, image: &mut Image) -> Result<(), Full> {
    for field in ALL_FIELDS {
        if image.fields & field.bit() == 0 {
            continue;
        }
        let at = field as usize;
        if let Field::Src | Field::Dst = field {
            let (six, feature4, feature6) = match field {
                Field::Src => (H_SRC6, FEATURE_SRC4, FEATURE_SRC6),
                _ => (H_DST6, FEATURE_DST4, FEATURE_DST6),
            };
            let root4 = addresses::table(&classes.v4[at], words)?;
            let root6 = addresses::table(&classes.v6[at], words)?;
            (words.words[H_FIELD + at], words.words[six]) = (root4, root6);
            for (root, feature) in [(root4, feature4), (root6, feature6)] {
                if root & ENTRY_LEAF == 0 {
                    image.features |= feature;
                }
            }
        } else {
            let table = fields::table(field, &classes.small[at], words)?;
            words.words[H_FIELD + at] = table;
            if field == Field::Flow {
                image.relocations.push(Relocation { word: table, kind: Dense::FlowTable });
            }
            if field == Field::Cert {
                image.relocations.push(Relocation { word: table, kind: Dense::CertificateTable });
            }
        }
    }
    Ok(())
}

/// Where most addresses are listed: what to look at when the image is full.
fn largest_set(policy: &Policy) -> Span {
    let largest = policy.sets.iter().max_by_key(|set| set.addrs.v4.len() + set.addrs.v6.len());
    largest.map_or(policy.span, |set| set.span)
}
