//! Owns the way home: whether a reply of a backend can get to a `translate back`. Never whether its flow is known
//! there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::each_chain;
use crate::policy::{
    AddrSet, Chain, Field, Guard, Policy, Pool, PoolId, SideId, Stage, StageKind, Tail, Test, TreeId, Values,
    Via,
};
use crate::report::Report;
use crate::source::Span;
use crate::typing::backends_of;
use crate::value::addr::{except_of, intersection_of, is_empty};

/// Backends of a pool that are looked at.
const BACKENDS: usize = 64;

/// What is known of a reply: where it comes from, and where it goes if the pool has sources.
struct Reply<'p> {
    src: IpAddr,
    /// 0: any.
    port: u16,
    pool: &'p Pool,
}

/// True, false, or it depends on more than is known.
type Verdict = Option<bool>;

/// Replies of pools without NAT go to the client without us.
pub(super) fn check(policy: &Policy, order: &[TreeId], report: &mut Report) {
    let used = used(policy, order);
    never_back(policy, order, &used, report);
    for (pool, place) in used {
        let pool = policy.pools.get(pool.index()).filter(|pool| pool.via == Via::Nat);
        let Some(pool) = pool else { continue };
        let lost = pool.backends.iter().take(BACKENDS).find(|backend| {
            let v4 = backend.v4.map(|(address, port)| (IpAddr::V4(address), port));
            let v6 = backend.v6.map(|(address, port)| (IpAddr::V6(address), port));
            v4.into_iter().chain(v6).any(|(src, port)| {
                let reply = Reply { src, port, pool };
                !chain(policy, &policy.root, &reply, &mut BTreeSet::new())
            })
        });
        if let Some(backend) = lost {
            report
                .error("E0406", place, format!("replies of `{}` cannot get to `translate back`", pool.name))
                .also(backend.span, format!("a packet from `{}` never gets there", backend.name))
                .because("a reply has to be translated back before it can reach the client")
                .help(format!("let `src in {} -> translate back -> forward` be the first arm", pool.name));
        }
    }
}

/// Rule 8: what a backend without NAT answers goes to the client, and never gets to a `translate back`.
fn never_back(policy: &Policy, order: &[TreeId], used: &[(PoolId, Span)], report: &mut Report) {
    let backends = |nat: bool| {
        let pools = used.iter().filter_map(|(pool, _)| policy.pools.get(pool.index()));
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

/// The pools that are translated to, each with the first place.
fn used(policy: &Policy, order: &[TreeId]) -> Vec<(PoolId, Span)> {
    let mut found: Vec<(PoolId, Span)> = Vec::new();
    let trees = order.iter().filter_map(|id| policy.trees.get(id.index())).map(|tree| &tree.chain);
    for chain in std::iter::once(&policy.root).chain(trees) {
        each_chain(chain, &mut |chain| {
            for stage in &chain.stages {
                if let StageKind::Translate { pool, .. } = stage.kind
                    && !found.iter().any(|(known, _)| *known == pool)
                {
                    found.push((pool, stage.span));
                }
            }
        });
    }
    found
}

/// Whether the reply may get to a `translate back` from the head of this chain.
fn chain(policy: &Policy, at: &Chain, reply: &Reply<'_>, seen: &mut BTreeSet<TreeId>) -> bool {
    for stage in &at.stages {
        if matches!(stage.kind, StageKind::TranslateBack { .. }) {
            return true;
        }
        if stage.kind.exits().into_iter().any(|(_, exit)| chain(policy, &exit.chain, reply, seen)) {
            return true;
        }
    }
    match &at.tail {
        Tail::End(..) => false,
        Tail::Tree(id, _) => {
            let tree = policy.trees.get(id.index()).filter(|_| seen.insert(*id));
            tree.is_some_and(|tree| chain(policy, &tree.chain, reply, seen))
        }
        Tail::Match(choice) => {
            for arm in &choice.arms {
                let verdict = holds(policy, &arm.guard, reply);
                if verdict != Some(false) && chain(policy, &arm.chain, reply, seen) {
                    return true;
                }
                if verdict == Some(true) {
                    return false;
                }
            }
            chain(policy, &choice.otherwise, reply, seen)
        }
        Tail::Every(every) => every.ways.iter().any(|way| chain(policy, way, reply, seen)),
    }
}

fn holds(policy: &Policy, guard: &Guard, reply: &Reply<'_>) -> Verdict {
    match guard {
        Guard::And(parts) => all(parts.iter().map(|part| holds(policy, part, reply))),
        Guard::Or(parts) => not(all(parts.iter().map(|part| not(holds(policy, part, reply))))),
        Guard::Not(inner) => not(holds(policy, inner, reply)),
        Guard::From(id, _) => side(policy, *id, reply),
        Guard::To(id, _) => {
            let vip = policy.vips.get(id.index())?;
            let addresses = vip.v4.map(IpAddr::V4).into_iter().chain(vip.v6.map(IpAddr::V6));
            let goes_there = goes_to(reply, |address| addresses.clone().any(|vip| vip == address));
            if goes_there == Some(true) && !vip.ports.is_empty() { None } else { goes_there }
        }
        Guard::Test(test) => compare(policy, test, reply),
    }
}

fn side(policy: &Policy, id: SideId, reply: &Reply<'_>) -> Verdict {
    match policy.sides.get(id.index())?.guard.as_ref() {
        Some(guard) => holds(policy, guard, reply),
        None => {
            let others = policy.sides.iter().filter_map(|side| side.guard.as_ref());
            all(others.map(|guard| not(holds(policy, guard, reply))))
        }
    }
}

fn compare(policy: &Policy, test: &Test, reply: &Reply<'_>) -> Verdict {
    if test.sets.iter().any(|id| policy.sets.get(id.index()).is_some_and(|set| set.is_opaque())) {
        return None;
    }
    let verdict = match (test.field, &test.values) {
        (Field::Src, Values::Addrs(addrs)) => Some(contains(addrs, reply.src)),
        (Field::Dst, Values::Addrs(addrs)) => goes_to(reply, |address| contains(addrs, address)),
        (Field::Proto, Values::Ranges(ranges)) => {
            let (tcp, udp) = (within(ranges, 6), within(ranges, 17));
            (tcp == udp).then_some(tcp)
        }
        // Whether it is TCP or UDP is open, so that only a wrong port decides.
        (Field::TcpSport | Field::UdpSport, Values::Ranges(ranges)) => {
            let wrong = reply.port != 0 && within(ranges, reply.port.into()) == test.negated;
            return if wrong { Some(false) } else { None };
        }
        (Field::Sport, Values::Ranges(ranges)) if reply.port != 0 => Some(within(ranges, reply.port.into())),
        // A reply is TCP or UDP, and a field that is absent never matches.
        (Field::IcmpType | Field::IcmpCode | Field::Icmp6Type | Field::Icmp6Code, _) => return Some(false),
        _ => None,
    };
    if test.negated { not(verdict) } else { verdict }
}

/// Whether the reply's destination is such an address; open where the client's address stays.
fn goes_to(reply: &Reply<'_>, is: impl Fn(IpAddr) -> bool) -> Verdict {
    let pool = reply.pool;
    let sources: Vec<IpAddr> = match reply.src {
        IpAddr::V4(_) => pool.sources_v4.iter().copied().map(IpAddr::V4).collect(),
        IpAddr::V6(_) => pool.sources_v6.iter().copied().map(IpAddr::V6).collect(),
    };
    if sources.is_empty() {
        return None;
    }
    let count = sources.iter().filter(|&&address| is(address)).count();
    (count == 0 || count == sources.len()).then_some(count > 0)
}

fn all(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    let mut sure = true;
    for verdict in verdicts {
        match verdict {
            Some(false) => return Some(false),
            Some(true) => {}
            None => sure = false,
        }
    }
    sure.then_some(true)
}

fn not(verdict: Verdict) -> Verdict {
    verdict.map(|verdict| !verdict)
}

fn within(ranges: &[(u32, u32)], value: u32) -> bool {
    ranges.iter().any(|&(first, last)| first <= value && value <= last)
}

fn contains(addrs: &AddrSet, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => search(&addrs.v4, u32::from(address)),
        IpAddr::V6(address) => search(&addrs.v6, u128::from(address)),
    }
}

fn search<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let at = ranges.partition_point(|&(first, _)| first <= value);
    at.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|&(_, last)| value <= last)
}
