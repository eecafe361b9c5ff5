//! Owns what `given ADDRESS in SET` makes of a policy: every test that was taken from the set sees the new member.
//! Never a packet or the other kinds of `given`.

use std::sync::Arc;

use policy_lang::policy::{AddrSet, Chain, Guard, Policy, SetId, Tail, Values};

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
