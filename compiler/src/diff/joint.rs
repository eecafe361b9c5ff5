//! Owns the numbers and names that two policies share for what guards name: trackers, interfaces, certificates and sets
//! filled at run time, and what each number is called. Never items that stages alone name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use policy_lang::policy::{AuthorityId, Certificate, InterfaceId, Policy, Signed};

use super::items::{Item, Items, Kind};
use super::uses::uses;
use crate::lower::numbering::Numbering;

/// Numbers of both policies.
pub struct Joint<'p> {
    policies: [&'p Policy; 2],
    /// Names by number.
    pub trackers: Vec<&'p str>,
    /// Of the old and the new policy.
    pub numberings: [Numbering; 2],
    /// Old and new items that are one.
    same: Vec<(Item, Item)>,
    /// By number, less 1: the interface of the old and of the new policy that a device belongs to.
    interfaces: Vec<[Option<usize>; 2]>,
    /// Certificates are told apart by their hashes: two of them have one id.
    pub by_hash: bool,
}

impl<'p> Joint<'p> {
    pub fn new(old: &'p Policy, new: &'p Policy) -> Joint<'p> {
        let items = Items::new(old, new);
        let mut joint = Joint {
            policies: [old, new],
            trackers: old.trackers.iter().map(|tracker| &*tracker.name).collect(),
            numberings: [Numbering::of(old), Numbering::of(new)],
            same: Vec::new(),
            interfaces: Vec::new(),
            by_hash: false,
        };
        let all = |count: usize| (0..count as u32).collect();
        let trackers = [old, new].map(|policy| all(policy.trackers.len()));
        let authorities = [old, new].map(|policy| all(policy.authorities.len()));
        joint.same.extend(one_by_one(Kind::Tracker, trackers, &items));
        joint.same.extend(one_by_one(Kind::Authority, authorities, &items));
        let sets = one_by_one(Kind::DynamicSet, [old, new].map(dynamic_sets), &items);
        let renamed = sets.iter().map(|&(old, new)| (items.name(new).to_owned(), items.name(old).to_owned()));
        joint.numberings[1].renamed = renamed.collect();
        joint.same.extend(sets);
        joint.numberings[1].trackers = (0..)
            .zip(&new.trackers)
            .map(|(at, tracker)| {
                joint.old_of(Kind::Tracker, at).unwrap_or_else(|| {
                    joint.trackers.push(&tracker.name);
                    joint.trackers.len() as u32 - 1
                })
            })
            .collect();
        joint.number_interfaces();
        joint.number_certificates();
        let names = joint.numberings.iter().any(|numbering| numbering.names);
        joint.numberings.iter_mut().for_each(|numbering| numbering.names = names);
        joint
    }

    /// Items that are known to be one beforehand.
    pub fn pairs(&self) -> impl Iterator<Item = (Item, Item)> + '_ {
        self.same.iter().copied()
    }

    fn old_of(&self, kind: Kind, new: u32) -> Option<u32> {
        let mut pairs = self.same.iter().filter(|(old, _)| old.kind == kind);
        pairs.find(|(_, item)| item.index == new).map(|(old, _)| old.index)
    }

    /// A device is a value of its own where the policies put it into other company.
    fn number_interfaces(&mut self) {
        let of = |policy: &Policy, device: &str| {
            policy.interfaces.iter().position(|interface| interface.devices.iter().any(|one| one == device))
        };
        let [old, new] = self.policies;
        let interfaces = old.interfaces.iter().chain(&new.interfaces);
        let devices: BTreeSet<&str> =
            interfaces.flat_map(|one| one.devices.iter().map(String::as_str)).collect();
        let mut homes: Vec<[Option<usize>; 2]> =
            devices.into_iter().map(|device| [of(old, device), of(new, device)]).collect();
        homes.sort_unstable();
        homes.dedup();
        for (which, policy) in self.policies.into_iter().enumerate() {
            let numbers = |interface| {
                let homes = (1..).zip(&homes).filter(move |(_, home)| home[which] == Some(interface));
                homes.map(|(number, _)| number).collect()
            };
            self.numberings[which].interfaces = (0..policy.interfaces.len()).map(numbers).collect();
            self.numberings[which].all_interfaces = homes.len() as u32;
        }
        self.interfaces = homes;
    }

    /// A certificate of the same authority with the same hash is the same.
    fn number_certificates(&mut self) {
        let [old, new] = self.policies;
        let mut all: Vec<(u32, [u8; 32])> = Vec::new();
        for (which, policy) in [old, new].into_iter().enumerate() {
            let mut numbers = Vec::new();
            for (at, authority) in (0..).zip(&policy.authorities) {
                // Those that only the new policy has stand behind all of the old one's.
                let known = self.old_of(Kind::Authority, at);
                let home = if which == 0 { at } else { known.unwrap_or(old.authorities.len() as u32 + at) };
                let mut taken = BTreeSet::new();
                for certificate in &authority.certificates {
                    let key = (home, certificate.hash);
                    let same = (0..all.len()).find(|&place| all[place] == key && !taken.contains(&place));
                    let place = same.filter(|_| which == 1).unwrap_or_else(|| {
                        all.push(key);
                        all.len() - 1
                    });
                    taken.insert(place);
                    numbers.push(place as u32);
                }
            }
            self.numberings[which].certificates = numbers;
        }
        self.numberings.iter_mut().for_each(|numbering| numbering.all_certificates = all.len() as u32);
        let all: Vec<&Certificate> = [old, new]
            .iter()
            .flat_map(|policy| &policy.authorities)
            .flat_map(|one| &one.certificates)
            .collect();
        let hashes: BTreeMap<u8, [u8; 32]> = all.iter().map(|one| (one.id, one.hash)).collect();
        self.by_hash = all.iter().any(|one| hashes.get(&one.id) != Some(&one.hash));
    }

    /// The interface of a policy that a number stands for.
    pub fn interface(&self, new: bool, number: u32) -> Option<InterfaceId> {
        let home = self.interfaces.get(number.checked_sub(1)? as usize)?;
        home[usize::from(new)].map(|interface| InterfaceId(interface as u32))
    }

    /// The certificate of a policy that a number stands for.
    pub fn certificate(&self, new: bool, number: u32) -> Option<Signed> {
        let numbering = &self.numberings[usize::from(new)];
        let mut left = numbering.certificates.iter().position(|&shared| shared == number)?;
        for (authority, item) in (0..).map(AuthorityId).zip(&self.policies[usize::from(new)].authorities) {
            if left < item.certificates.len() {
                return Some(Signed { authority, certificate: left as u32, forged: false });
            }
            left -= item.certificates.len();
        }
        None
    }

    /// What an interface is called, in the new policy if it has it; empty for none.
    pub fn interface_name(&self, number: u32) -> &'p str {
        let name = |new: bool| {
            let id = self.interface(new, number)?;
            self.policies[usize::from(new)].interfaces.get(id.index()).map(|one| &*one.name)
        };
        name(true).or_else(|| name(false)).unwrap_or_default()
    }

    /// Its id, as guards have it, or its hash.
    pub fn certificate_name(&self, number: u32) -> String {
        let name = |new: bool| {
            let signed = self.certificate(new, number)?;
            let authority = self.policies[usize::from(new)].authorities.get(signed.authority.index())?;
            let certificate = authority.certificates.get(signed.certificate as usize)?;
            Some(match self.by_hash {
                true => format!("\"{}\"", certificate.hash_text()),
                false => certificate.id.to_string(),
            })
        };
        name(true).or_else(|| name(false)).unwrap_or_default()
    }

    /// What a tracker is called; empty for none.
    pub fn tracker_name(&self, number: u32) -> &'p str {
        number.checked_sub(1).and_then(|at| self.trackers.get(at as usize)).copied().unwrap_or_default()
    }
}

/// By name, and what is left over by its settings and its uses; of items of these numbers.
fn one_by_one(kind: Kind, [olds, news]: [Vec<u32>; 2], items: &Items<'_>) -> Vec<(Item, Item)> {
    let mut left: BTreeSet<Item> = olds.into_iter().map(|index| Item { kind, new: false, index }).collect();
    let mut same = Vec::new();
    let mut unnamed = Vec::new();
    for new in news.into_iter().map(|index| Item { kind, new: true, index }) {
        match left.iter().copied().find(|&old| items.name(old) == items.name(new)) {
            Some(old) => {
                left.remove(&old);
                same.push((old, new));
            }
            None => unnamed.push(new),
        }
    }
    let [of_old, of_new] =
        [left.iter().copied().collect(), unnamed.clone()].map(|renamed| uses(&renamed, items));
    let mut pairs = Vec::new();
    for &new in &unnamed {
        let settings = items.settings(new);
        for &old in left.iter().filter(|&&old| items.settings(old) == settings) {
            pairs.push((of_old.shared(old, &of_new, new), old, new));
        }
    }
    // Those that are used alike first; of equals the first that is declared.
    pairs.sort_by_key(|&(shared, old, new)| (Reverse(shared), new, old));
    let mut taken = BTreeSet::new();
    for (_, old, new) in pairs {
        if left.contains(&old) && taken.insert(new) {
            left.remove(&old);
            same.push((old, new));
        }
    }
    same
}

/// Numbers of the sets that are filled at run time.
fn dynamic_sets(policy: &Policy) -> Vec<u32> {
    let sets = (0..).zip(&policy.sets);
    sets.filter(|(_, set)| set.dynamic.is_some()).map(|(index, _)| index).collect()
}
