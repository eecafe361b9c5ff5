//! Owns what starts anew when the new policy is put in place of the old one although nothing changes for packets:
//! state and counters go by names. Never what changes in meaning.

use std::collections::HashSet;

use lb_abi::bundle::TallyKind;

use super::Side;
use super::items::{Items, Kind};
use super::report::Lost;
use super::same::Same;
use crate::graph::{self, Graph, Trees};

/// In order of what they are.
pub fn lost(old: Side<'_>, new: Side<'_>, same: &Same, items: &Items<'_>) -> Vec<Lost> {
    let mut lost = Vec::new();
    for (before, after) in same.pairs() {
        let (name, now) = (items.name(before), items.name(after));
        if name == now {
            continue;
        }
        let loses = match before.kind {
            Kind::Limit => "every bucket starts full",
            Kind::Tracker => "`flow in` does not hold for flows of before, and the proven ones count from 0",
            Kind::Pool => "its flows have no backend any more, and their connections break",
            Kind::DynamicSet => "its members are forgotten",
            Kind::Authority => "sessions are verified anew, and signatures count as not seen",
            Kind::Mapper => "the names of flows are forgotten",
            Kind::Synguard | Kind::Every => "its count starts at 0",
            Kind::Counter | Kind::Log | Kind::TranslateBack => continue,
        };
        lost.push(Lost {
            word: before.kind.word(),
            before: name.to_owned(),
            after: now.to_owned(),
            loses: loses.to_owned(),
        });
    }
    lost.extend(counters(old, new));
    lost
}

/// Counters of the old policy that nothing in the new one goes on with.
fn counters(old: Side<'_>, new: Side<'_>) -> Option<Lost> {
    let built = |side: Side<'_>| graph::build(side.0, Trees::Joined).ok().map(|graph| tallies(side, &graph));
    let (before, after) = (built(old)?, built(new)?);
    let gone = before.iter().filter(|&tally| !after.contains(tally)).count();
    let words = match gone {
        0 => return None,
        1 => "1 counter of an arm, exit or way".to_owned(),
        many => format!("{many} counters of arms, exits and ways"),
    };
    Some(Lost {
        word: "counters",
        before: words,
        after: String::new(),
        loses: "tree, text or place among equal ones is another: they stop, and their likes start at 0"
            .to_owned(),
    })
}

type Tally = (TallyKind, String, String, u32);

/// What identities are made of.
fn tallies(side: Side<'_>, graph: &Graph<'_>) -> HashSet<Tally> {
    let tree = |tree: Option<policy_lang::policy::TreeId>| {
        let tree = tree.and_then(|tree| side.0.trees.get(tree.index()));
        tree.map_or(&side.0.name, |tree| &tree.name).clone()
    };
    let tallies = graph.tallies.iter().filter(|tally| tally.kind != TallyKind::Named);
    tallies.map(|tally| (tally.kind, tree(tally.tree), tally.label.clone(), tally.ordinal)).collect()
}
