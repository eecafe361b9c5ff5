//! Owns the rules that need more than one chain: circles of trees, what a path proves, what can never match, and
//! the way home for replies. Runs on a typed tree without errors, and never changes it.

mod cover;
mod guards;
mod home;
mod known;
mod paths;
mod protocols;
mod shadow;
mod spoofed;
mod stages;
mod trees;

use crate::policy::{Chain, Policy, Tail};
use crate::report::Report;

pub(crate) fn check(policy: &Policy, report: &mut Report) {
    let Some(order) = trees::order(policy, report) else { return };
    paths::check(policy, &order, report);
    shadow::check(policy, report);
    home::check(policy, &order, report);
    spoofed::check(policy, &order, report);
}

/// Visits a chain and every chain within it, but not the trees that it leads to.
fn each_chain<'p>(chain: &'p Chain, visit: &mut impl FnMut(&'p Chain)) {
    visit(chain);
    for stage in &chain.stages {
        for (_, exit) in stage.kind.exits() {
            each_chain(&exit.chain, visit);
        }
    }
    match &chain.tail {
        Tail::Match(choice) => {
            for arm in &choice.arms {
                each_chain(&arm.chain, visit);
            }
            each_chain(&choice.otherwise, visit);
        }
        Tail::Every(every) => every.ways.iter().for_each(|way| each_chain(way, visit)),
        Tail::End(..) | Tail::Tree(..) => {}
    }
}

#[cfg(test)]
mod tests;
