//! Owns the rules that need more than one chain: circles of trees, what a path proves, what can never match, and
//! the way home for replies. Runs on a typed tree without errors, and never changes it.

mod asked;
mod guards;
mod home;
mod known;
mod paths;
mod protocols;
mod spoofed;
mod stages;
mod trees;

use crate::policy::{Chain, Guard, Policy, Stage, Tail, Test, TreeId};
use crate::report::Report;

pub(crate) fn check(policy: &Policy, report: &mut Report) {
    let Some(order) = trees::order(policy, report) else { return };
    paths::check(policy, &order, report);
    asked::check(policy, &order, report);
    home::check(policy, &order, report);
    spoofed::check(policy, &order, report);
}

/// Visits every comparison of a guard.
fn each_test<'p>(guard: &'p Guard, visit: &mut impl FnMut(&'p Test)) {
    match guard {
        Guard::And(parts) | Guard::Or(parts) => parts.iter().for_each(|part| each_test(part, visit)),
        Guard::Not(inner) => each_test(inner, visit),
        Guard::Test(test) => visit(test),
        Guard::From(..) | Guard::To(..) => {}
    }
}

/// Visits every comparison that decides on a packet's way, and every stage, of all that is reached.
fn each_part<'p>(
    policy: &'p Policy,
    order: &[TreeId],
    test: &mut impl FnMut(&'p Test),
    stage: &mut impl FnMut(&'p Stage),
) {
    let trees = order.iter().filter_map(|id| policy.trees.get(id.index())).map(|tree| &tree.chain);
    for chain in std::iter::once(&policy.root).chain(trees) {
        each_chain(chain, &mut |chain| {
            chain.stages.iter().for_each(&mut *stage);
            if let Tail::Match(choice) = &chain.tail {
                choice.arms.iter().for_each(|arm| each_test(&arm.guard, test));
            }
        });
    }
    let sides = policy.sides.iter().filter_map(|side| side.guard.as_ref());
    sides.for_each(|guard| each_test(guard, test));
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
