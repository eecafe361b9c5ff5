//! Owns the backends of two pools held against each other: whether packets are shared out alike, and which slots move.
//! Never the pools' other settings.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use policy_lang::policy::{Pick, Pool};

use crate::lower::slots::{Candidate, MAX_TURNS, SOURCE_SLOTS, is_prime, maglev, round, turn_count};

/// A backend's address and port; port 0 keeps the packet's.
pub type Address = (IpAddr, u16);

/// How a slot table changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    /// IPv6, else IPv4.
    pub v6: bool,
    /// Slots of the old and the new table.
    pub slots: (usize, usize),
    /// Slots that lead to another backend than before; `None` where the tables have other sizes.
    pub moved: Option<usize>,
    /// Every backend of either table.
    pub backends: Vec<Share>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    pub address: Address,
    /// In the new pool, or else in the old one.
    pub name: String,
    /// Slots in the old and in the new table.
    pub before: usize,
    pub after: usize,
    /// Slots taken from others, and given to others; only between tables of one size.
    pub gained: usize,
    pub lost: usize,
}

struct Target<'p> {
    name: &'p str,
    address: Address,
    weight: u32,
    takes: bool,
}

fn targets(pool: &Pool, v6: bool) -> Vec<Target<'_>> {
    let targets = pool.backends.iter().filter_map(|backend| {
        let address = match v6 {
            false => backend.v4.map(|(addr, port)| (addr.into(), port)),
            true => backend.v6.map(|(addr, port)| (addr.into(), port)),
        };
        Some(Target {
            name: &backend.name,
            address: address?,
            weight: backend.weight,
            takes: !backend.drain && backend.weight > 0,
        })
    });
    targets.collect()
}

/// The slots as indices of `targets`; `None` where no such table can be made.
fn slots(pick: Pick, targets: &[Target<'_>]) -> Option<Vec<u32>> {
    let candidates: Vec<Candidate<'_>> = (0..)
        .zip(targets)
        .filter(|(_, target)| target.takes)
        .map(|(backend, target)| Candidate { name: target.name, weight: target.weight, backend })
        .collect();
    if turn_count(&candidates) > MAX_TURNS {
        return None;
    }
    match pick {
        Pick::RoundRobin | Pick::Random | Pick::LeastConnections => Some(round(&candidates)),
        Pick::Source | Pick::Certificate => Some(maglev(&candidates, SOURCE_SLOTS)),
        Pick::Maglev { slots, .. } => is_prime(slots).then(|| maglev(&candidates, slots)),
    }
}

/// Whether new flows of a family are shared out alike, and known ones find their backends alike.
pub fn are_alike(old: &Pool, new: &Pool, v6: bool) -> bool {
    let (olds, news) = (targets(old, v6), targets(new, v6));
    let members =
        |targets: &[Target<'_>]| targets.iter().map(|target| target.address).collect::<BTreeSet<_>>();
    if members(&olds) != members(&news) {
        return false;
    }
    // What `maglev` looks at; with less of it the table is the same as well.
    let seen = |target: &Target<'_>| (target.address, target.weight, target.takes);
    let names =
        |targets: &[Target<'_>]| targets.iter().map(|target| target.name.to_owned()).collect::<Vec<_>>();
    let by_name = !matches!(new.pick, Pick::RoundRobin | Pick::Random | Pick::LeastConnections);
    if olds.iter().map(seen).eq(news.iter().map(seen)) && (!by_name || names(&olds) == names(&news)) {
        return true;
    }
    let (Some(before), Some(after)) = (slots(old.pick, &olds), slots(new.pick, &news)) else { return false };
    let addresses = |slots: &[u32], targets: &[Target<'_>]| {
        let address = |&slot: &u32| targets.get(slot as usize).map(|target| target.address);
        slots.iter().map(address).collect::<Vec<_>>()
    };
    let (mut before, mut after) = (addresses(&before, &olds), addresses(&after, &news));
    if matches!(new.pick, Pick::Random | Pick::LeastConnections) {
        // No order among them.
        before.sort();
        after.sort();
    }
    before == after
}

/// How the table of a family changes; `None` where it does not, or where either can't be made.
pub fn moved(old: &Pool, new: &Pool, v6: bool) -> Option<Moved> {
    if are_alike(old, new, v6) && old.pick == new.pick {
        return None;
    }
    let (olds, news) = (targets(old, v6), targets(new, v6));
    let (before, after) = (slots(old.pick, &olds)?, slots(new.pick, &news)?);
    let mut shares: BTreeMap<Address, Share> = BTreeMap::new();
    for target in olds.iter().chain(&news) {
        let name = target.name.to_owned();
        let fresh = Share { address: target.address, name, before: 0, after: 0, gained: 0, lost: 0 };
        let share = shares.entry(target.address).or_insert(fresh);
        target.name.clone_into(&mut share.name);
    }
    let address = |targets: &[Target<'_>], slot: u32| targets.get(slot as usize).map(|one| one.address);
    let mut count = |at: Option<Address>, add: fn(&mut Share)| {
        if let Some(share) = at.and_then(|at| shares.get_mut(&at)) {
            add(share);
        }
    };
    before.iter().for_each(|&slot| count(address(&olds, slot), |share| share.before += 1));
    after.iter().for_each(|&slot| count(address(&news, slot), |share| share.after += 1));
    let mut moved = 0;
    if before.len() == after.len() {
        for (&was, &is) in before.iter().zip(&after) {
            let (was, is) = (address(&olds, was), address(&news, is));
            if was != is {
                moved += 1;
                count(was, |share| share.lost += 1);
                count(is, |share| share.gained += 1);
            }
        }
    }
    Some(Moved {
        v6,
        slots: (before.len(), after.len()),
        moved: (before.len() == after.len()).then_some(moved),
        backends: shares.into_values().collect(),
    })
}
