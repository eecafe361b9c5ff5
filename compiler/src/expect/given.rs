//! Owns what `given ADDRESS in SET` makes of a policy and what it and `given date` make of a state: every test that was
//! taken from the set sees the new member. Never a packet.

use std::sync::Arc;

use policy_lang::policy::{AddrSet, Chain, Guard, Policy, SetId, Step, Tail, Values};

use crate::eval::State;
use crate::packet::addr;

/// Whether the step changes the policy: what is given to a dynamic set is state.
pub(crate) fn changes(policy: &Policy, step: &Step) -> bool {
    match step {
        Step::GivenMember { set, .. } => policy.sets.get(set.index()).is_none_or(|set| set.dynamic.is_none()),
        _ => false,
    }
}

/// The wall clock from now on.
pub(crate) fn date(state: &mut State, date: i64) {
    state.date = date;
    state.date_at = state.clock;
}

/// Puts addresses into a dynamic set, as `ban` does, whatever its `max`.
pub(crate) fn member(policy: &Policy, state: &mut State, id: SetId, addrs: &AddrSet) {
    let ttl = policy.sets.get(id.index()).and_then(|set| set.dynamic).and_then(|dynamic| dynamic.ttl);
    let v4 = |number: u32| addr(std::net::Ipv4Addr::from(number).into());
    let v6 = |number: u128| addr(std::net::Ipv6Addr::from(number).into());
    let ranges = addrs.v4.iter().map(|&(first, last)| (v4(first), v4(last)));
    for range in ranges.chain(addrs.v6.iter().map(|&(first, last)| (v6(first), v6(last)))) {
        state.add_member(id.0, range, ttl, u32::MAX);
    }
}

/// The policy with these members added.
pub(crate) fn extended(policy: &Policy, members: &[(SetId, &AddrSet)]) -> Policy {
    let mut extended = policy.clone();
    for &(id, addrs) in members {
        if let Some(set) = extended.sets.get_mut(id.index()) {
            set.addrs = Arc::new(set.addrs.union(addrs));
        }
        for guard in extended.sides.iter_mut().filter_map(|side| side.guard.as_mut()) {
            in_guard(guard, id, addrs);
        }
        for tree in &mut extended.trees {
            in_chain(&mut tree.chain, id, addrs);
        }
        in_chain(&mut extended.root, id, addrs);
    }
    extended
}

fn in_chain(chain: &mut Chain, id: SetId, addrs: &AddrSet) {
    for exit in chain.stages.iter_mut().flat_map(|stage| stage.kind.exits_mut()) {
        in_chain(&mut exit.chain, id, addrs);
    }
    match &mut chain.tail {
        Tail::End(..) | Tail::Tree(..) => {}
        Tail::Match(choice) => {
            for arm in &mut choice.arms {
                in_guard(&mut arm.guard, id, addrs);
                in_chain(&mut arm.chain, id, addrs);
            }
            in_chain(&mut choice.otherwise, id, addrs);
        }
        Tail::Every(every) => every.ways.iter_mut().for_each(|way| in_chain(way, id, addrs)),
    }
}

fn in_guard(guard: &mut Guard, id: SetId, addrs: &AddrSet) {
    match guard {
        Guard::And(parts) | Guard::Or(parts) => parts.iter_mut().for_each(|part| in_guard(part, id, addrs)),
        Guard::Not(inner) => in_guard(inner, id, addrs),
        Guard::Test(test) => {
            if let Values::Addrs(values) = &mut test.values
                && test.sets.contains(&id)
            {
                *values = Arc::new(values.union(addrs));
            }
        }
        Guard::From(..) | Guard::To(..) => {}
    }
}
