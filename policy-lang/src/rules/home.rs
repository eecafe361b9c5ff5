//! Owns `translate back` where no reply ever comes. Never the way that replies take, which takes classes of packets.

use std::collections::BTreeSet;

use super::each_chain;
use crate::policy::{
    AddrSet, Field, Guard, Policy, PoolId, Stage, StageKind, Tail, Test, TreeId, Values, Via,
};
use crate::report::Report;
use crate::typing::backends_of;
use crate::value::addr::{except_of, intersection_of, is_empty};

/// Rule 8: what a backend without NAT answers goes to the client, and never gets to a `translate back`.
pub(super) fn check(policy: &Policy, order: &[TreeId], report: &mut Report) {
    let used = used(policy, order);
    let backends = |nat: bool| {
        let pools = used.iter().filter_map(|pool| policy.pools.get(pool.index()));
        let pools = pools.filter(|pool| (pool.via == Via::Nat) == nat);
        pools.map(backends_of).fold(AddrSet::default(), |all, more| all.union(&more))
    };
    let (translated, direct) = (backends(true), backends(false));
    if is_empty(&direct) {
        return;
    }
    let of_direct = |addrs: &AddrSet| {
        !is_empty(addrs)
            && is_empty(&except_of(addrs, &direct))
            && is_empty(&intersection_of(addrs, &translated))
    };
    let is_back = |stage: &&Stage| matches!(stage.kind, StageKind::TranslateBack { .. });
    let trees = order.iter().filter_map(|id| policy.trees.get(id.index())).map(|tree| &tree.chain);
    for chain in std::iter::once(&policy.root).chain(trees) {
        each_chain(chain, &mut |chain| {
            let here = chain.stages.iter().find(is_back).filter(|_| is_empty(&translated));
            let arms = match &chain.tail {
                Tail::Match(choice) if !is_empty(&translated) => choice.arms.as_slice(),
                _ => &[],
            };
            let behind = arms.iter().filter(|arm| source(policy, &arm.guard).is_some_and(of_direct));
            let behind = behind.filter_map(|arm| arm.chain.stages.iter().find(is_back));
            for stage in here.into_iter().chain(behind) {
                report
                    .error("E0434", stage.span, "no reply ever gets to this `translate back`")
                    .because("backends that are reached without NAT answer the client themselves")
                    .help("leave these packets to `pass` or `drop`, or reach the pool by `via nat`");
            }
        });
    }
}

/// The sources that a guard asks for, sets left out that others fill.
fn source<'p>(policy: &'p Policy, guard: &'p Guard) -> Option<&'p AddrSet> {
    match guard {
        Guard::And(parts) => parts.iter().find_map(|part| source(policy, part)),
        Guard::From(id, _) => source(policy, policy.sides.get(id.index())?.guard.as_ref()?),
        Guard::Test(Test {
            field: Field::Src, negated: false, values: Values::Addrs(addrs), sets, ..
        }) => sets.is_empty().then_some(addrs.as_ref()),
        Guard::Or(_) | Guard::Not(_) | Guard::To(..) | Guard::Test(_) => None,
    }
}

/// The pools that are translated to.
fn used(policy: &Policy, order: &[TreeId]) -> BTreeSet<PoolId> {
    let mut found = BTreeSet::new();
    let trees = order.iter().filter_map(|id| policy.trees.get(id.index())).map(|tree| &tree.chain);
    for chain in std::iter::once(&policy.root).chain(trees) {
        each_chain(chain, &mut |chain| {
            found.extend(chain.stages.iter().filter_map(|stage| match stage.kind {
                StageKind::Translate { pool, .. } => Some(pool),
                _ => None,
            }));
        });
    }
    found
}
