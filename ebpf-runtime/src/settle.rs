//! Owns what follows the moment at which a generation became current, and finding out after a kill whether it did.
//! Never makes a generation current that no packet has met.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use lb_abi::maps::{BACKEND_ABSENT, CERTIFICATE_ABSENT};

use crate::carry;
use crate::error::Error;
use crate::paths::Paths;
use crate::pinned;
use crate::record::{self, Record};
use crate::state::Which;
use crate::sys::{object, process};

/// Finishes the change to `next`, whose program is in some link or whose half is current: every link gets its program,
/// links to other devices go, what vanished is added up, and the record says so. May be done twice.
pub(crate) fn settle(paths: &Paths, old: Option<&Record>, mut next: Record) -> Result<Record, Error> {
    let missing =
        || Error::Pins(format!("{} does not hold all of its maps", paths.load(next.load).display()));
    let plane = pinned::plane(paths, next.load)?.ok_or_else(missing)?;
    let program = plane.program_id()?;
    let wanted: BTreeSet<u32> = next.devices.iter().map(|device| device.ifindex).collect();
    for link in pinned::links(paths)? {
        if link.ifindex == 0 || !wanted.contains(&link.ifindex) {
            link.remove()?;
        } else if link.program != program {
            object::link_update(link.fd.as_fd(), plane.program.as_fd()).map_err(|e| {
                Error::kernel(format!("replace the program on interface {}", link.ifindex), e)
            })?;
        }
    }
    process::wait_for_packets().map_err(|e| Error::kernel("wait for packets (membarrier)", e))?;
    if let Some(old) = old.filter(|_| !next.fresh)
        && let Some(before) = pinned::plane(paths, old.load)?
    {
        if old.load != next.load {
            carry::after_switch(&before.maps, &plane.maps)?;
        }
        let other_counters = carry::replaced(&before.maps, &plane.maps, Which::Counters)?;
        let other_backends = carry::replaced(&before.maps, &plane.maps, Which::BackendCounts)?;
        next.content.inherit(&old.content, &before.maps, other_counters, other_backends)?;
        carry::forget_limits(&plane.maps, &old.content.limits_gone(&next.content))?;
        for gone in old.content.backends_gone(&next.content) {
            plane.set_backend_state(gone.number, BACKEND_ABSENT);
        }
        let certificates = old.content.certificates_gone(&next.content);
        for &gone in &certificates {
            plane.set_certificate_state(gone, CERTIFICATE_ABSENT);
        }
        carry::forget_sessions(&plane.maps, &old.content.trackers_gone(&next.content), &certificates)?;
    }
    record::write(&paths.record(), &next)?;
    record::remove(&paths.pending())?;
    pinned::remove_loads(paths, Some(next.load))?;
    Ok(next)
}

/// The record of the generation in place, after clearing away or finishing what a killed process had begun.
pub(crate) fn recover(paths: &Paths) -> Result<Option<Record>, Error> {
    let record = record::read(&paths.record())?;
    let record = record.filter(|record| paths.load(record.load).exists());
    // The first apply pins its links with a pending record beside them; without either, the record was lost, and no
    // device may stand without a program for that.
    let lost = record.is_none() && !paths.pending().exists();
    if lost && pinned::links(paths)?.iter().any(|link| link.ifindex != 0) {
        return Err(Error::Record { path: paths.record(), cause: "it is missing".to_owned() });
    }
    // What cannot be read was not written to its end, so that nothing after it was done either.
    let pending = record::read(&paths.pending()).unwrap_or_default();
    let first = pending.as_ref().filter(|_| record.is_none()).map(|pending| pending.load);
    if let Some(pending) = pending
        && let Some(old) = record.as_ref().filter(|old| old.generation < pending.generation)
        && became_current(paths, old, &pending)?
    {
        record::remove(&record::aside(&paths.record()))?;
        return settle(paths, Some(old), pending).map(Some);
    }
    let keep: BTreeSet<u32> =
        record.iter().flat_map(|record| &record.devices).map(|device| device.ifindex).collect();
    let begun = first.and_then(|load| pinned::program_id(paths, load));
    for link in pinned::links(paths)? {
        let unknown = match begun {
            Some(program) => link.program == program,
            None => record.is_some() && !keep.contains(&link.ifindex),
        };
        if link.ifindex == 0 || unknown {
            link.remove()?;
        }
    }
    record::remove(&paths.pending())?;
    for path in [paths.pending(), paths.record()] {
        record::remove(&record::aside(&path))?;
    }
    pinned::remove_loads(paths, record.as_ref().map(|record| record.load))?;
    if record.is_none() {
        record::remove(&paths.record())?;
    }
    Ok(record)
}

/// Whether a packet may have met the pending generation on a device that had the old one.
fn became_current(paths: &Paths, old: &Record, pending: &Record) -> Result<bool, Error> {
    if old.load == pending.load {
        let plane = pinned::plane(paths, old.load)?;
        return Ok(plane.is_some_and(|plane| plane.control().generation == pending.generation));
    }
    let Some(program) = pinned::program_id(paths, pending.load) else { return Ok(false) };
    let had: BTreeSet<u32> = old.devices.iter().map(|device| device.ifindex).collect();
    Ok(pinned::links(paths)?.iter().any(|link| link.program == program && had.contains(&link.ifindex)))
}
