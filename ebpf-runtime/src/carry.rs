//! Owns moving state into larger maps when tables must grow. Never touches maps that both generations share, and
//! never counters: those of the old map are added up by `Generation::inherit`.

use std::os::fd::BorrowedFd;

use lb_abi::maps::{Flow, FlowKey, LimitKey};

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
    Ok(())
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
