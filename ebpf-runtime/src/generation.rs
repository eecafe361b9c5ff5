//! Owns what one generation of an instance numbers, names and counts, in a form that outlives the process.
//! Never a kernel object: those are found by pins, these by identity.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use lb_abi::bundle::{self, Identity, Image};
use lb_abi::image::{MAX_CERTIFICATES, MAX_TRACKERS};
use lb_abi::maps::Addr;
use serde::{Deserialize, Serialize};

use crate::assign::{Assigned, Held, Numbers, assign, assign_round};
use crate::error::Error;
use crate::state::{Maps, Which};
use crate::status::TallyKind;
use crate::sys::{bpf, process};

/// Packets and bytes of the frames as they arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Count) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// A thing with a dense number and, where users see it, a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Numbered {
    pub(crate) identity: Identity,
    pub(crate) number: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Most entries it may hold; 0 where there is no such thing.
    #[serde(default)]
    pub(crate) max: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Counter {
    pub(crate) identity: Identity,
    pub(crate) number: u32,
    /// Indices into `Generation::tallies`.
    pub(crate) tallies: Vec<u32>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) identity: Identity,
    pub(crate) kind: TallyKind,
    pub(crate) label: String,
    pub(crate) tree: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    /// What counters that exist no more had added to it.
    pub(crate) base: Count,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Backend {
    pub(crate) identity: Identity,
    pub(crate) number: u32,
    /// Index into `Generation::pools`.
    pub(crate) pool: u32,
    pub(crate) name: String,
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    pub(crate) state: u16,
    /// What it was sent, as maps that exist no more had counted it.
    #[serde(default)]
    pub(crate) base: Count,
}

/// Whose signatures a `verify` accepts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Authority {
    pub(crate) identity: Identity,
    pub(crate) name: String,
    /// As in `bundle::Authority`.
    pub(crate) replay: Option<u64>,
    pub(crate) checks: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Certificate {
    pub(crate) identity: Identity,
    pub(crate) number: u32,
    /// Index into `Generation::authorities`.
    pub(crate) authority: u32,
    pub(crate) id: u8,
    /// 32 bytes; without a key it only stands in for that of the key to be generated.
    pub(crate) hash: [u8; 32],
    /// The uncompressed point's 65 bytes.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) valid: Option<(i64, i64)>,
    pub(crate) revoked: bool,
    pub(crate) name: String,
}

/// Everything by ordinal of the image.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Generation {
    pub(crate) counters: Vec<Counter>,
    pub(crate) tallies: Vec<Tally>,
    pub(crate) limits: Vec<Numbered>,
    pub(crate) turns: Vec<Numbered>,
    pub(crate) trackers: Vec<Numbered>,
    pub(crate) pools: Vec<Numbered>,
    pub(crate) backends: Vec<Backend>,
    pub(crate) authorities: Vec<Authority>,
    pub(crate) certificates: Vec<Certificate>,
}

/// An address of the maps (IPv4 mapped into IPv6) in its own family.
pub(crate) fn ip(addr: Addr) -> IpAddr {
    Ipv6Addr::from(addr).to_canonical()
}

fn held(numbered: &[Numbered]) -> Vec<Held> {
    numbered.iter().map(|entry| Held { identity: Some(entry.identity), number: entry.number }).collect()
}

fn numbered<'i, T: 'i>(
    items: &'i [T],
    assigned: &Assigned,
    describe: impl Fn(&'i T) -> (Identity, &'i str, u32),
) -> Vec<Numbered> {
    let entry = |(item, &number): (&'i T, &u32)| {
        let (identity, name, max) = describe(item);
        Numbered { identity, number, name: name.to_owned(), max }
    };
    items.iter().zip(&assigned.numbers).map(entry).collect()
}

fn kind(kind: bundle::TallyKind) -> TallyKind {
    match kind {
        bundle::TallyKind::Arm => TallyKind::Arm,
        bundle::TallyKind::Exit => TallyKind::Exit,
        bundle::TallyKind::Named => TallyKind::Named,
        bundle::TallyKind::Way => TallyKind::Way,
    }
}

impl Generation {
    /// Numbers for `image` after this generation.
    pub(crate) fn number(&self, image: &Image) -> Numbers {
        Numbers {
            counters: assign(
                &self.held_counters(image),
                image.counters.iter().map(|counter| counter.identity),
            ),
            limits: assign(&held(&self.limits), image.limits.iter().map(|limit| limit.identity)),
            turns: assign(&held(&self.turns), image.turns.iter().map(|turn| turn.identity)),
            trackers: assign_round(
                &held(&self.trackers),
                image.trackers.iter().map(|tracker| tracker.identity),
                MAX_TRACKERS,
            ),
            pools: assign(&held(&self.pools), image.pools.iter().map(|pool| pool.identity)),
            backends: assign(
                &self
                    .backends
                    .iter()
                    .map(|entry| Held { identity: Some(entry.identity), number: entry.number })
                    .collect::<Vec<_>>(),
                image.backends.iter().map(|backend| backend.identity),
            ),
            certificates: assign_round(
                &self
                    .certificates
                    .iter()
                    .map(|entry| Held { identity: Some(entry.identity), number: entry.number })
                    .collect::<Vec<_>>(),
                image.certificates.iter().map(|certificate| certificate.identity),
                MAX_CERTIFICATES,
            ),
        }
    }

    /// A counter goes on only where it adds to the same tallies as before; otherwise what it has counted stays with
    /// the old ones and it begins anew.
    fn held_counters(&self, image: &Image) -> Vec<Held> {
        let wanted: BTreeMap<Identity, Vec<Identity>> =
            image.counters.iter().map(|counter| (counter.identity, tallies_of(image, counter))).collect();
        let same = |counter: &Counter| {
            wanted.get(&counter.identity).is_some_and(|tallies| *tallies == self.tallies_of(counter))
        };
        let hold = |counter: &Counter| Held {
            identity: same(counter).then_some(counter.identity),
            number: counter.number,
        };
        self.counters.iter().map(hold).collect()
    }

    fn tallies_of(&self, counter: &Counter) -> Vec<Identity> {
        let mut identities: Vec<Identity> = counter
            .tallies
            .iter()
            .filter_map(|index| self.tallies.get(*index as usize))
            .map(|tally| tally.identity)
            .collect();
        identities.sort_unstable();
        identities
    }

    /// The generation of `image` under `numbers`, its tallies starting at 0.
    pub(crate) fn of(image: &Image, numbers: &Numbers) -> Generation {
        let counter = |(counter, &number): (&bundle::Counter, &u32)| Counter {
            identity: counter.identity,
            number,
            tallies: counter.tallies.clone(),
        };
        let tally = |tally: &bundle::Tally| Tally {
            identity: tally.identity,
            kind: kind(tally.kind),
            label: tally.label.clone(),
            tree: tally.tree.clone(),
            file: tally.file.clone(),
            line: tally.line,
            base: Count::default(),
        };
        let backend = |(backend, &number): (&bundle::Backend, &u32)| Backend {
            identity: backend.identity,
            number,
            pool: backend.pool,
            name: backend.name.clone(),
            addr: ip(backend.addr),
            port: backend.port,
            state: backend.state,
            base: Count::default(),
        };
        let authority = |authority: &bundle::Authority| Authority {
            identity: authority.identity,
            name: authority.name.clone(),
            replay: authority.replay,
            checks: authority.checks,
        };
        let certificate = |(certificate, &number): (&bundle::Certificate, &u32)| Certificate {
            identity: certificate.identity,
            number,
            authority: certificate.authority,
            id: certificate.id,
            hash: certificate.hash,
            key: certificate.key.map(|key| key.to_vec()),
            valid: certificate.valid,
            revoked: certificate.revoked,
            name: certificate.name.clone(),
        };
        Generation {
            counters: image.counters.iter().zip(&numbers.counters.numbers).map(counter).collect(),
            tallies: image.tallies.iter().map(tally).collect(),
            limits: numbered(&image.limits, &numbers.limits, |limit| {
                (limit.identity, &limit.name, limit.max)
            }),
            turns: numbered(&image.turns, &numbers.turns, |turn| (turn.identity, "", 0)),
            trackers: numbered(&image.trackers, &numbers.trackers, |t| (t.identity, &t.name, t.max)),
            pools: numbered(&image.pools, &numbers.pools, |pool| (pool.identity, &pool.name, 0)),
            backends: image.backends.iter().zip(&numbers.backends.numbers).map(backend).collect(),
            authorities: image.authorities.iter().map(authority).collect(),
            certificates: image
                .certificates
                .iter()
                .zip(&numbers.certificates.numbers)
                .map(certificate)
                .collect(),
        }
    }

    /// Takes over what the tallies had counted in `previous`: their bases, and what stands in those of its counters
    /// that no longer exist here. `maps` are the previous generation's, read once no packet adds to them; with
    /// `all_counters` this generation counts in other maps, so that every counter of the previous one is gone; likewise
    /// `other_backend_counts`.
    pub(crate) fn inherit(
        &mut self,
        previous: &Generation,
        maps: &Maps,
        all_counters: bool,
        other_backend_counts: bool,
    ) -> Result<(), Error> {
        let mut bases: BTreeMap<Identity, Count> = BTreeMap::new();
        for tally in &previous.tallies {
            bases.entry(tally.identity).or_default().add(tally.base);
        }
        let kept: BTreeMap<Identity, u32> =
            self.counters.iter().map(|counter| (counter.identity, counter.number)).collect();
        for counter in &previous.counters {
            if !all_counters && kept.get(&counter.identity) == Some(&counter.number) {
                continue;
            }
            let counted = count(maps, counter.number)?;
            for tally in counter.tallies.iter().filter_map(|index| previous.tallies.get(*index as usize)) {
                bases.entry(tally.identity).or_default().add(counted);
            }
        }
        for tally in &mut self.tallies {
            tally.base = bases.remove(&tally.identity).unwrap_or_default();
        }
        for backend in &mut self.backends {
            let before = previous.backends.iter().find(|before| before.number == backend.number);
            let Some(before) = before else { continue };
            backend.base = before.base;
            if other_backend_counts {
                backend.base.add(count_in(maps, Which::BackendCounts, before.number)?);
            }
        }
        Ok(())
    }

    /// What each tally has counted so far.
    pub(crate) fn tally_counts(&self, maps: &Maps) -> Result<Vec<Count>, Error> {
        let mut counts: Vec<Count> = self.tallies.iter().map(|tally| tally.base).collect();
        for counter in &self.counters {
            let counted = count(maps, counter.number)?;
            for tally in &counter.tallies {
                if let Some(place) = counts.get_mut(*tally as usize) {
                    place.add(counted);
                }
            }
        }
        Ok(counts)
    }

    /// Numbers of limits of this generation that `next` does not have.
    pub(crate) fn limits_gone(&self, next: &Generation) -> BTreeSet<u32> {
        gone(&self.limits, &next.limits, |limit| limit.number)
    }

    /// Likewise of trackers.
    pub(crate) fn trackers_gone(&self, next: &Generation) -> BTreeSet<u32> {
        gone(&self.trackers, &next.trackers, |tracker| tracker.number)
    }

    /// Likewise of certificates.
    pub(crate) fn certificates_gone(&self, next: &Generation) -> BTreeSet<u32> {
        gone(&self.certificates, &next.certificates, |certificate| certificate.number)
    }

    /// Backends of this generation that `next` does not have.
    pub(crate) fn backends_gone<'g>(&'g self, next: &'g Generation) -> impl Iterator<Item = &'g Backend> {
        self.backends.iter().filter(|old| !next.backends.iter().any(|new| new.number == old.number))
    }
}

fn gone<T>(before: &[T], after: &[T], number: impl Fn(&T) -> u32) -> BTreeSet<u32> {
    let numbers = |items: &[T]| -> BTreeSet<u32> { items.iter().map(&number).collect() };
    &numbers(before) - &numbers(after)
}

/// Sum over all CPUs of counter `number`.
pub(crate) fn count(maps: &Maps, number: u32) -> Result<Count, Error> {
    count_in(maps, Which::Counters, number)
}

/// As `count`, of another map of counters; 0 where the map does not go so far.
pub(crate) fn count_in(maps: &Maps, which: Which, number: u32) -> Result<Count, Error> {
    if which != Which::Counters && number >= maps.entries(which)? {
        return Ok(Count::default());
    }
    let cpus = process::cpus().map_err(|e| Error::kernel("count CPUs", e))?;
    let mut values = vec![lb_abi::maps::Counter::default(); cpus];
    bpf::lookup_per_cpu(maps.fd(which), number, &mut values)
        .map_err(|e| Error::kernel(format!("read {which:?} {number}"), e))?;
    let mut sum = Count::default();
    for value in values {
        sum.add(Count { packets: value.packets, bytes: value.bytes });
    }
    Ok(sum)
}

/// Packets by reason, over all CPUs.
pub(crate) fn reasons(maps: &Maps) -> Result<[u64; lb_abi::reason::REASON_COUNT], Error> {
    let cpus = process::cpus().map_err(|e| Error::kernel("count CPUs", e))?;
    let mut values = vec![0u64; cpus];
    let mut sums = [0; lb_abi::reason::REASON_COUNT];
    for (number, sum) in sums.iter_mut().enumerate() {
        bpf::lookup_per_cpu(maps.fd(Which::Reasons), number as u32, &mut values)
            .map_err(|e| Error::kernel(format!("read reason {number}"), e))?;
        *sum = values.iter().sum();
    }
    Ok(sums)
}

fn tallies_of(image: &Image, counter: &bundle::Counter) -> Vec<Identity> {
    let mut identities: Vec<Identity> = counter
        .tallies
        .iter()
        .filter_map(|index| image.tallies.get(*index as usize))
        .map(|tally| tally.identity)
        .collect();
    identities.sort_unstable();
    identities
}
