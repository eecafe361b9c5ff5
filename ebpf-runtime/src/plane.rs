//! Owns one loaded program with its maps: writing an image half, switching halves, setting up what a new generation
//! counts and sends to. Never pins or attaches it, and never decides when to switch.

use std::collections::{BTreeSet, HashMap};
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use lb_abi::SCHEMA;
use lb_abi::bundle::{self, Image};
use lb_abi::hash::Key;
use lb_abi::maps;

use crate::assign::Numbers;
use crate::error::Error;
use crate::generation::ip;
use crate::program::{self, Flags, Programs};
use crate::state::{Maps, Sizes, Which};
use crate::sys::mapped::Mapped;
use crate::sys::{bpf, process};

/// A program, its maps, and views of those we write.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) program: OwnedFd,
    /// Goes on with what user space has decided on, where there is anything to decide.
    pub(crate) resume: Option<OwnedFd>,
    pub(crate) maps: Maps,
    control: Mapped<maps::Control>,
    image: Mapped<u32>,
    backends: Mapped<maps::Backend>,
    certificates: Mapped<maps::Certificate>,
}

impl Plane {
    /// Loads a program over new maps, sharing the state of `adopted` where it fits.
    pub(crate) fn load(
        flags: Flags,
        sizes: &Sizes,
        key: Key,
        adopted: Option<&Maps>,
    ) -> Result<Plane, Error> {
        let maps = Maps::create(sizes, adopted)?;
        let programs = program::load(&maps, flags)?;
        let plane = Plane::over(programs, maps)?;
        let control = maps::Control { schema: SCHEMA, hash_key: key, ..maps::Control::default() };
        plane.control.set(0, control);
        Ok(plane)
    }

    /// Programs and maps that are there already.
    pub(crate) fn over(programs: Programs, maps: Maps) -> Result<Plane, Error> {
        let control = view(&maps, Which::Control, 1)?;
        let image = view(&maps, Which::Image, 2 * maps.image_words()? as usize)?;
        let backends = view(&maps, Which::Backends, maps.entries(Which::Backends)? as usize)?;
        let certificates = view(&maps, Which::Certificates, maps.entries(Which::Certificates)? as usize)?;
        let Programs { packets: program, resume } = programs;
        Ok(Plane { program, resume, maps, control, image, backends, certificates })
    }

    pub(crate) fn control(&self) -> maps::Control {
        self.control.get(0).unwrap_or_default()
    }

    /// Changes words of `CONTROL` that no packet is using: those of tests, or of a program that runs nowhere yet.
    pub(crate) fn set_control(&self, change: impl FnOnce(&mut maps::Control)) {
        let mut control = self.control();
        change(&mut control);
        self.control.set(0, control);
    }

    /// Writes the half that is not current. Waits first until no packet reads it any more.
    pub(crate) fn write_other_half(&self, words: &[u32]) -> Result<(), Error> {
        process::wait_for_packets().map_err(|e| Error::kernel("wait for packets (membarrier)", e))?;
        self.write_half(1 - (self.control().current & 1), words);
        Ok(())
    }

    pub(crate) fn write_half(&self, half: u32, words: &[u32]) {
        let start = half as usize * (self.image.len() / 2);
        self.image.fill(start, words);
        self.image.fence();
    }

    /// Makes the other half current: one store, which also names the generation.
    pub(crate) fn switch(&self, generation: u32) {
        const _: () =
            assert!(offset_of!(maps::Control, current) == 0 && offset_of!(maps::Control, generation) == 4);
        let other = 1 - (self.control().current & 1);
        let [a, b, c, d] = other.to_ne_bytes();
        let [e, f, g, h] = generation.to_ne_bytes();
        if let Some(word) = self.control.word(0, offset_of!(maps::Control, current)) {
            word.store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), Ordering::SeqCst);
        }
    }

    /// Clears what stands under numbers that nobody had in the previous generation, and writes its new backends; packets
    /// of that one see none of it. `next_hops` are by ordinal.
    pub(crate) fn clear_fresh(
        &self,
        image: &Image,
        numbers: &Numbers,
        next_hops: &[Option<maps::NextHop>],
    ) -> Result<(), Error> {
        self.clear_counts(Which::Counters, &numbers.counters.fresh)?;
        self.clear_counts(Which::CertificateCounts, &numbers.certificates.fresh)?;
        self.clear_counts(Which::BackendCounts, &numbers.backends.fresh)?;
        clear::<maps::LimitState>(&self.maps, Which::Limits, &numbers.limits.fresh)?;
        clear::<u64>(&self.maps, Which::Turns, &numbers.turns.fresh)?;
        clear::<maps::TrackerState>(&self.maps, Which::Trackers, &numbers.trackers.fresh)?;
        clear::<maps::PoolState>(&self.maps, Which::Pools, &numbers.pools.fresh)?;
        let fresh: BTreeSet<u32> = numbers.backends.fresh.iter().copied().collect();
        let others = other_addresses(image, &numbers.backends.numbers);
        for (ordinal, (backend, &number)) in image.backends.iter().zip(&numbers.backends.numbers).enumerate()
        {
            if fresh.contains(&number) {
                let entry = maps::Backend {
                    addr: backend.addr,
                    port: backend.port,
                    state: backend.state,
                    identity: backend.identity as u32,
                    next_hop: next_hops.get(ordinal).copied().flatten().unwrap_or_default(),
                    other: others.get(ordinal).copied().unwrap_or_default(),
                    ..maps::Backend::default()
                };
                self.backends.set(number as usize, entry);
            }
        }
        for (certificate, &number) in image.certificates.iter().zip(&numbers.certificates.numbers) {
            if numbers.certificates.fresh.contains(&number) {
                self.certificates.set(number as usize, entry(certificate));
            }
        }
        self.backends.fence();
        Ok(())
    }

    /// Counts that are kept under these numbers, where the map has them.
    fn clear_counts(&self, which: Which, numbers: &[u32]) -> Result<(), Error> {
        let cleared =
            vec![maps::Counter::default(); process::cpus().map_err(|e| Error::kernel("count CPUs", e))?];
        let entries = self.maps.entries(which)?;
        for &number in numbers.iter().filter(|number| **number < entries) {
            bpf::update_per_cpu(self.maps.fd(which), number, &cleared)
                .map_err(|e| Error::kernel(format!("clear {which:?} {number}"), e))?;
        }
        Ok(())
    }

    /// Gives backends that the previous generation had too their new state and next hop, and certificates their new state.
    /// Where no next hop is known now, what was known before stays; so does a key that was generated.
    pub(crate) fn refresh(&self, image: &Image, numbers: &Numbers, next_hops: &[Option<maps::NextHop>]) {
        let others = other_addresses(image, &numbers.backends.numbers);
        for (ordinal, (backend, &number)) in image.backends.iter().zip(&numbers.backends.numbers).enumerate()
        {
            // The identity holds address and port, so only these can differ.
            self.set_backend_state(number, backend.state);
            if let Some(other) = self.backends.half_word(number as usize, offset_of!(maps::Backend, other)) {
                other.store(others.get(ordinal).copied().unwrap_or_default(), Ordering::SeqCst);
            }
            if let Some(next_hop) = next_hops.get(ordinal).copied().flatten() {
                self.set_next_hop(number, next_hop);
            }
        }
        for (certificate, &number) in image.certificates.iter().zip(&numbers.certificates.numbers) {
            if certificate.key.is_some() {
                self.set_certificate(number, entry(certificate));
            }
        }
        self.backends.fence();
    }

    pub(crate) fn certificate(&self, number: u32) -> Option<maps::Certificate> {
        self.certificates.get(number as usize)
    }

    /// A certificate is several words and a packet may read between them, so it is absent meanwhile.
    pub(crate) fn set_certificate(&self, number: u32, certificate: maps::Certificate) {
        let Some(now) = self.certificate(number) else { return };
        let state = certificate.state;
        if (maps::Certificate { state, ..now }) != certificate {
            self.set_certificate_state(number, maps::CERTIFICATE_ABSENT);
            let absent = maps::Certificate { state: maps::CERTIFICATE_ABSENT, ..certificate };
            self.certificates.set(number as usize, absent);
        }
        self.set_certificate_state(number, state);
    }

    pub(crate) fn set_certificate_state(&self, number: u32, state: u32) {
        if let Some(place) =
            self.certificates.half_word(number as usize, offset_of!(maps::Certificate, state))
        {
            place.store(state, Ordering::SeqCst);
        }
    }

    /// Tells the data path the time of day: what is to be added to its own clock.
    pub(crate) fn set_wall(&self, wall: i64) {
        if let Some(word) = self.control.word(0, offset_of!(maps::Control, wall)) {
            word.store(wall.cast_unsigned(), Ordering::Relaxed);
        }
    }

    pub(crate) fn backend(&self, number: u32) -> Option<maps::Backend> {
        self.backends.get(number as usize)
    }

    /// Adds to the live flows of a backend, besides the data path.
    pub(crate) fn add_connections(&self, number: u32, more: i64) {
        let place = offset_of!(maps::Backend, connections);
        if let Some(word) = self.backends.word(number as usize, place).filter(|_| more != 0) {
            word.fetch_add(more.cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// Active, draining or absent (a backend's flows count as gone from then on). One store, since the data path adds
    /// to the same entry's flows.
    pub(crate) fn set_backend_state(&self, number: u32, state: u16) {
        if let Some(place) = self.backends.quarter_word(number as usize, offset_of!(maps::Backend, state)) {
            place.store(state, Ordering::SeqCst);
        }
    }

    /// Id of the program in the kernel.
    pub(crate) fn program_id(&self) -> Result<u32, Error> {
        program::id(&self.program)
    }

    /// A next hop is several words and a packet may read between them, so the device goes first to 0 (ask the routing
    /// table) and comes last.
    pub(crate) fn set_next_hop(&self, number: u32, next_hop: maps::NextHop) {
        let place = offset_of!(maps::Backend, next_hop);
        let Some(ifindex) = self.backends.half_word(number as usize, place) else { return };
        if self.backend(number).is_some_and(|entry| entry.next_hop == next_hop) {
            return;
        }
        let [a, b, c, d, e, f] = next_hop.dmac;
        let [g, h, i, j, k, l] = next_hop.smac;
        ifindex.store(0, Ordering::SeqCst);
        for (index, bytes) in [[a, b, c, d], [e, f, g, h], [i, j, k, l]].into_iter().enumerate() {
            if let Some(word) = self.backends.half_word(number as usize, place + 4 + 4 * index) {
                word.store(u32::from_ne_bytes(bytes), Ordering::SeqCst);
            }
        }
        ifindex.store(next_hop.ifindex, Ordering::SeqCst);
    }

    pub(crate) fn verified_instructions(&self) -> Result<u32, Error> {
        program::verified_instructions(&self.program)
    }

    pub(crate) fn memory(&self) -> u64 {
        self.maps.memory() + process::locked_memory(self.program.as_fd())
    }
}

/// What the data path is to know of a certificate; of one whose key is to be generated, that it is not there yet.
fn entry(certificate: &lb_abi::bundle::Certificate) -> maps::Certificate {
    let state = match certificate {
        _ if certificate.key.is_none() => maps::CERTIFICATE_ABSENT,
        _ if certificate.revoked => maps::CERTIFICATE_REVOKED,
        _ => maps::CERTIFICATE_ACTIVE,
    };
    let (not_before, not_after) = validity(certificate.valid);
    maps::Certificate { hash: certificate.hash, not_before, not_after, state, ..maps::Certificate::default() }
}

/// First and last ns of a time in whole seconds, ends included.
pub(crate) fn validity(valid: Option<(i64, i64)>) -> (i64, i64) {
    const SECOND: i64 = 1_000_000_000;
    let Some((first, last)) = valid else { return (i64::MIN, i64::MAX) };
    (first.saturating_mul(SECOND), last.saturating_mul(SECOND).saturating_add(SECOND - 1))
}

/// For each backend 1 + the number of its address of the other family, 0 without one, by ordinal.
fn other_addresses(image: &Image, numbers: &[u32]) -> Vec<u32> {
    let of: HashMap<(u32, &str, bool), u32> = image
        .backends
        .iter()
        .zip(numbers)
        .map(|(backend, &number)| {
            ((backend.pool, backend.name.as_str(), ip(backend.addr).is_ipv4()), 1 + number)
        })
        .collect();
    let other = |backend: &bundle::Backend| {
        let key = (backend.pool, backend.name.as_str(), ip(backend.addr).is_ipv6());
        of.get(&key).copied().unwrap_or_default()
    };
    image.backends.iter().map(other).collect()
}

fn view<T: bpf::Plain>(maps: &Maps, which: Which, len: usize) -> Result<Mapped<T>, Error> {
    Mapped::new(maps.fd(which), len).map_err(|e| Error::kernel(format!("map {which:?} into memory"), e))
}

fn clear<T: bpf::Plain>(maps: &Maps, which: Which, numbers: &[u32]) -> Result<(), Error> {
    if numbers.is_empty() {
        return Ok(());
    }
    let values = view::<T>(maps, which, maps.entries(which)? as usize)?;
    for &number in numbers {
        values.set(number as usize, T::default());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_valid_to_its_end_and_no_time_wraps() {
        assert_eq!(validity(None), (i64::MIN, i64::MAX));
        assert_eq!(validity(Some((2, 2))), (2_000_000_000, 2_999_999_999));
        assert_eq!(validity(Some((-1, 253_402_300_799))), (-1_000_000_000, i64::MAX));
        assert_eq!(validity(Some((i64::MIN, i64::MIN))), (i64::MIN, i64::MIN + 999_999_999));
    }
}
