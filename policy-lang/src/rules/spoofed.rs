//! Owns the warning about sides told by a source address, where an arm trusts such a side with more than
//! `translate back`. Never the sides themselves.

use super::each_chain;
use crate::policy::{Arm, Chain, Field, Guard, Policy, SideId, StageKind, Tail, TreeId};
use crate::report::Report;

pub(super) fn check(policy: &Policy, order: &[TreeId], report: &mut Report) {
    let mut trusting: Vec<Option<&Arm>> = vec![None; policy.sides.len()];
    let trees = order.iter().filter_map(|id| policy.trees.get(id.index())).map(|tree| &tree.chain);
    for chain in std::iter::once(&policy.root).chain(trees) {
        each_chain(chain, &mut |chain| {
            let Tail::Match(choice) = &chain.tail else { return };
            for arm in choice.arms.iter().filter(|arm| !only_translates_back(policy, &arm.chain)) {
                each_side(&arm.guard, &mut |id| {
                    if let Some(first) = trusting.get_mut(id.index()) {
                        first.get_or_insert(arm);
                    }
                });
            }
        });
    }
    for (side, arm) in policy.sides.iter().zip(trusting) {
        let (Some(guard), Some(arm)) = (&side.guard, arm) else { continue };
        if rests_on_source(guard) {
            report
                .warning("W0401", side.span, format!("side `{}` rests on a source address", side.name))
                .also(arm.span, "and is trusted here")
                .because("a packet may come with any source address: one that is forged counts as this side")
                .help(
                    "let only `translate back` decide what is let through from it, or tell the side by its interface: \
                     `iface == lan and src in …`",
                );
        }
    }
}

/// A forged packet gains nothing there: it has no flow, and takes `invalid`.
fn only_translates_back(policy: &Policy, chain: &Chain) -> bool {
    let first = chain.stages.iter().find(|stage| !matches!(stage.kind, StageKind::Count { .. }));
    match (first, &chain.tail) {
        (Some(stage), _) => matches!(stage.kind, StageKind::TranslateBack { .. }),
        // Trees have no circles: `trees::order` has said so.
        (None, Tail::Tree(id, _)) => {
            policy.trees.get(id.index()).is_some_and(|tree| only_translates_back(policy, &tree.chain))
        }
        (None, _) => false,
    }
}

fn each_side(guard: &Guard, visit: &mut impl FnMut(SideId)) {
    match guard {
        Guard::And(parts) | Guard::Or(parts) => parts.iter().for_each(|part| each_side(part, visit)),
        // Not to be from a side is no reason to trust.
        Guard::Not(_) | Guard::To(..) | Guard::Test(_) => {}
        Guard::From(id, _) => visit(*id),
    }
}

/// A packet cannot choose the interface it comes in by: what asks for that too, forges nothing.
fn rests_on_source(guard: &Guard) -> bool {
    let is_interface = |part: &Guard| matches!(part, Guard::Test(test) if test.field == Field::Iface);
    match guard {
        Guard::And(parts) => parts.iter().any(rests_on_source) && !parts.iter().any(is_interface),
        Guard::Or(parts) => parts.iter().any(rests_on_source),
        Guard::Not(inner) => rests_on_source(inner),
        Guard::Test(test) => test.field == Field::Src,
        Guard::From(..) | Guard::To(..) => false,
    }
}
