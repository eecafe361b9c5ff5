//! Owns moving state into larger maps when tables must grow. Never touches maps that both generations share, and
//! never counters: those of the old map are added up by `Generation::inherit`.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use lb_abi::maps::{Flow, FlowKey, LimitKey, ReplayKey, Session, SessionKey};

use crate::error::Error;
use crate::state::{Maps, Which};
use crate::sys::bpf::{self, Plain, Walk};
use crate::sys::mapped::Mapped;
use crate::sys::object;

/// Entries read at a time.
const BATCH: usize = 4096;

const FLOW_TABLES: [Which; 3] = [Which::FlowsNew, Which::FlowsAnswered, Which::FlowsProven];

/// Whether `to` has a map of its own in place of that of `from`.
pub(crate) fn replaced(from: &Maps, to: &Maps, which: Which) -> Result<bool, Error> {
    let id = |maps: &Maps| {
        let info = object::map_info(maps.fd(which));
        info.map(|info| info.id).map_err(|e| Error::kernel(format!("ask for map {which:?}"), e))
    };
    Ok(id(from)? != id(to)?)
}

/// Copies everything that a packet may find again, while `to` is in nobody's use yet.
pub(crate) fn before_switch(from: &Maps, to: &Maps) -> Result<(), Error> {
    for which in [Which::Limits, Which::Turns, Which::Trackers, Which::Pools, Which::Backends] {
        if replaced(from, to, which)? {
            array(from, to, which)?;
        }
    }
    if replaced(from, to, Which::LimitKeys)? {
        entries::<LimitKey, u64>(from.fd(Which::LimitKeys), to.fd(Which::LimitKeys), |_, _| true)
            .map_err(|e| Error::kernel("carry the keys of limits over", e))?;
    }
    for which in FLOW_TABLES {
        if replaced(from, to, which)? {
            entries::<FlowKey, Flow>(from.fd(which), to.fd(which), |_, _| true)
                .map_err(|e| Error::kernel(format!("carry {which:?} over"), e))?;
        }
    }
    sessions_and_replays(from, to)
}

/// What is used in `to` already is newer.
fn sessions_and_replays(from: &Maps, to: &Maps) -> Result<(), Error> {
    if replaced(from, to, Which::Sessions)? {
        let newer = |old: &Session, now: &Session| old.last.wrapping_sub(now.last).cast_signed() > 0;
        entries::<SessionKey, Session>(from.fd(Which::Sessions), to.fd(Which::Sessions), newer)
            .map_err(|e| Error::kernel("carry sessions over", e))?;
    }
    if replaced(from, to, Which::Replays)? {
        entries::<ReplayKey, u64>(from.fd(Which::Replays), to.fd(Which::Replays), |old, now| old > now)
            .map_err(|e| Error::kernel("carry signatures over", e))?;
    }
    Ok(())
}

/// Copies once more what packets wrote into `from` between the first copy and the switch. An entry that has been used
/// since under the new program is left alone.
pub(crate) fn after_switch(from: &Maps, to: &Maps) -> Result<(), Error> {
    for which in FLOW_TABLES {
        if replaced(from, to, which)? {
            let newer = |old: &Flow, now: &Flow| old.last.wrapping_sub(now.last).cast_signed() > 0;
            entries::<FlowKey, Flow>(from.fd(which), to.fd(which), newer)
                .map_err(|e| Error::kernel(format!("carry {which:?} over again"), e))?;
        }
    }
    sessions_and_replays(from, to)
}

fn array(from: &Maps, to: &Maps, which: Which) -> Result<(), Error> {
    let failed = |e| Error::kernel(format!("carry {which:?} over"), e);
    let info = object::map_info(from.fd(which)).map_err(failed)?;
    let words = info.max_entries as usize * info.value_size as usize / 8;
    let old = Mapped::<u64>::new(from.fd(which), words).map_err(failed)?;
    let new = Mapped::<u64>::new(to.fd(which), words).map_err(failed)?;
    for index in 0..words {
        if let Some(word) = old.get(index) {
            new.set(index, word);
        }
    }
    Ok(())
}

/// Copies entries that `to` lacks, and those it has where `overwrite(old, present)`.
fn entries<K: Plain, V: Plain>(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    overwrite: impl Fn(&V, &V) -> bool,
) -> std::io::Result<()> {
    let mut walk = Walk::<K, V>::new(from, BATCH);
    while let Some((keys, values)) = walk.next_batch()? {
        for (key, value) in keys.iter().zip(values) {
            match bpf::update(to, key, value, bpf::NOEXIST) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                    if bpf::lookup::<K, V>(to, key)?.is_some_and(|present| overwrite(value, &present)) {
                        bpf::update(to, key, value, bpf::ANY)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Deletes the keys of limits that are gone, so that none of them is taken for one of a later limit.
pub(crate) fn forget_limits(maps: &Maps, gone: &BTreeSet<u32>) -> Result<(), Error> {
    if gone.is_empty() {
        return Ok(());
    }
    let failed = |e| Error::kernel("forget the keys of limits", e);
    let map = maps.fd(Which::LimitKeys);
    let mut walk = Walk::<LimitKey, u64>::new(map, BATCH);
    while let Some((keys, _)) = walk.next_batch().map_err(failed)? {
        for key in keys.iter().filter(|key| gone.contains(&key.limit)) {
            bpf::take::<LimitKey, u64>(map, key).map_err(failed)?;
        }
    }
    Ok(())
}

/// Deletes the sessions of certificates and trackers that are gone, so that none of them is taken for one of a later.
pub(crate) fn forget_sessions(
    maps: &Maps,
    trackers: &BTreeSet<u32>,
    certificates: &BTreeSet<u32>,
) -> Result<(), Error> {
    if trackers.is_empty() && certificates.is_empty() {
        return Ok(());
    }
    let failed = |e| Error::kernel("forget sessions", e);
    let map = maps.fd(Which::Sessions);
    let mut walk = Walk::<SessionKey, Session>::new(map, BATCH);
    while let Some((keys, _)) = walk.next_batch().map_err(failed)? {
        for key in keys {
            if trackers.contains(&key.tracker) || certificates.contains(&key.cert) {
                bpf::take::<SessionKey, Session>(map, key).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Copies counters into a larger map, exactly only while nothing runs: for trials.
pub(crate) fn counters(from: &Maps, to: &Maps) -> Result<(), Error> {
    if !replaced(from, to, Which::Counters)? {
        return Ok(());
    }
    let failed = |e| Error::kernel("carry counters over", e);
    let mut values = vec![lb_abi::maps::Counter::default(); crate::sys::process::cpus().map_err(failed)?];
    for number in 0..from.entries(Which::Counters)? {
        bpf::lookup_per_cpu(from.fd(Which::Counters), number, &mut values).map_err(failed)?;
        bpf::update_per_cpu(to.fd(Which::Counters), number, &values).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lb_abi::bundle::{Authority, Certificate, Image, Limit, Pool, Tracker};
    use lb_abi::image::OP_VERIFY;

    use super::*;
    use crate::generation::Generation;
    use crate::plane::Plane;
    use crate::program::Flags;
    use crate::state::Sizes;

    fn image(most: u32) -> Image {
        let name = || "x".to_owned();
        Image {
            trackers: vec![Tracker { identity: 1, name: name(), max: most }],
            limits: vec![
                Limit { identity: 1, name: name(), max: most },
                Limit { identity: 2, name: name(), max: most },
            ],
            ..Image::default()
        }
    }

    /// A policy that remembers so many signatures, and sessions of so many certificates.
    fn certified(replays: u64, certificates: u64) -> Image {
        let name = || "x".to_owned();
        let authority = Authority { identity: 1, name: name(), replay: Some(1_000_000_000), checks: replays };
        let certificate = |identity| Certificate {
            identity,
            authority: 0,
            id: 0,
            hash: [0; 32],
            key: None,
            valid: None,
            revoked: false,
            name: name(),
        };
        Image {
            ops: 1 << OP_VERIFY,
            authorities: vec![authority],
            certificates: (0..certificates).map(certificate).collect(),
            pools: (0..8).map(|identity| Pool { identity, name: name() }).collect(),
            ..image(100)
        }
    }

    fn plane(image: &Image, adopted: Option<&Maps>) -> Plane {
        let numbers = Generation::default().number(image);
        let sizes = Sizes::needed(image, &numbers).unwrap();
        Plane::load(Flags { fields: 0, ops: 0, features: 0 }, &sizes, [0; 2], adopted).unwrap()
    }

    fn flow(number: u16, last: u32) -> (FlowKey, Flow) {
        let key = FlowKey { sport: number, ..FlowKey::default() };
        (key, Flow { last, ..Flow::default() })
    }

    fn last(maps: &Maps, which: Which, number: u16) -> Option<u32> {
        bpf::lookup::<FlowKey, Flow>(maps.fd(which), &flow(number, 0).0).unwrap().map(|flow| flow.last)
    }

    #[test]
    fn flows_and_keys_move_into_larger_tables_and_what_is_newer_stays() {
        let old = plane(&image(100), None);
        for which in FLOW_TABLES {
            for number in 0..500 {
                let (key, flow) = flow(number, 10);
                bpf::update(old.maps.fd(which), &key, &flow, bpf::ANY).unwrap();
            }
        }
        let key = LimitKey { addr: [9; 16], limit: 1 };
        bpf::update(old.maps.fd(Which::LimitKeys), &key, &77u64, bpf::ANY).unwrap();
        let new = plane(&image(100_000), Some(&old.maps));
        before_switch(&old.maps, &new.maps).unwrap();
        // Until the switch packets go on in the old tables, after it in the new ones.
        let (key_old, seen_old) = flow(1, 20);
        let (key_new, seen_new) = flow(2, 30);
        let (key_late, late) = flow(501, 20);
        for which in FLOW_TABLES {
            assert!(replaced(&old.maps, &new.maps, which).unwrap(), "{which:?}");
            bpf::update(old.maps.fd(which), &key_old, &seen_old, bpf::ANY).unwrap();
            bpf::update(old.maps.fd(which), &key_late, &late, bpf::ANY).unwrap();
            bpf::update(new.maps.fd(which), &key_new, &seen_new, bpf::ANY).unwrap();
        }
        after_switch(&old.maps, &new.maps).unwrap();
        for which in FLOW_TABLES {
            let found = [0, 1, 2, 499, 501].map(|number| last(&new.maps, which, number));
            assert_eq!(found, [Some(10), Some(20), Some(30), Some(10), Some(20)], "{which:?}");
        }
        assert_eq!(bpf::lookup::<LimitKey, u64>(new.maps.fd(Which::LimitKeys), &key).unwrap(), Some(77));
    }

    #[test]
    fn sessions_and_signatures_move_into_larger_tables_and_what_is_newer_stays() {
        let old = plane(&certified(1_000, 10), None);
        let sessions = |maps: &Maps, number: u32, last: u32| {
            let key = SessionKey { cert: number, ..SessionKey::default() };
            bpf::update(maps.fd(Which::Sessions), &key, &Session { last, ..Session::default() }, bpf::ANY)
                .unwrap();
        };
        let signatures = |maps: &Maps, number: u64, until: u64| {
            let key = ReplayKey { authority: number, ..ReplayKey::default() };
            bpf::update(maps.fd(Which::Replays), &key, &until, bpf::ANY).unwrap();
        };
        for number in 0..500 {
            sessions(&old.maps, number, 10);
            signatures(&old.maps, number.into(), 10);
        }
        let new = plane(&certified(100_000, 500), Some(&old.maps));
        before_switch(&old.maps, &new.maps).unwrap();
        for which in [Which::Sessions, Which::Replays] {
            assert!(replaced(&old.maps, &new.maps, which).unwrap(), "{which:?}");
        }
        for (maps, number, at) in [(&old.maps, 1, 20), (&old.maps, 501, 20), (&new.maps, 2, 30)] {
            sessions(maps, number, at);
            signatures(maps, number.into(), at.into());
        }
        after_switch(&old.maps, &new.maps).unwrap();
        let found = [0, 1, 2, 499, 501].map(|number| {
            let key = SessionKey { cert: number, ..SessionKey::default() };
            let session = bpf::lookup::<_, Session>(new.maps.fd(Which::Sessions), &key).unwrap();
            let key = ReplayKey { authority: number.into(), ..ReplayKey::default() };
            (
                session.unwrap().last,
                bpf::lookup::<_, u64>(new.maps.fd(Which::Replays), &key).unwrap().unwrap(),
            )
        });
        assert_eq!(found, [(10, 10), (20, 20), (30, 30), (10, 10), (20, 20)]);
    }

    #[test]
    fn tables_that_are_large_enough_are_shared() {
        let old = plane(&image(100_000), None);
        let new = plane(&image(100), Some(&old.maps));
        assert!(!replaced(&old.maps, &new.maps, Which::FlowsProven).unwrap());
        assert!(replaced(&old.maps, &new.maps, Which::Control).unwrap());
    }

    #[test]
    fn keys_of_a_limit_that_is_gone_go_with_it() {
        let plane = plane(&image(1000), None);
        let map = plane.maps.fd(Which::LimitKeys);
        for number in 0..100u8 {
            for limit in [0, 1] {
                bpf::update(map, &LimitKey { addr: [number; 16], limit }, &1u64, bpf::ANY).unwrap();
            }
        }
        forget_limits(&plane.maps, &BTreeSet::from([1])).unwrap();
        let there = |limit| {
            let have = |number: &u8| {
                bpf::lookup::<LimitKey, u64>(map, &LimitKey { addr: [*number; 16], limit }).unwrap().is_some()
            };
            (0..100u8).filter(have).count()
        };
        assert_eq!((there(0), there(1)), (100, 0));
    }
}
