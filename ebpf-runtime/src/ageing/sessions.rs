//! Owns deleting sessions that have idled out, backends of sessions that are no more, and signatures that need not be
//! remembered. Never touches what is still in use.

use std::io;

use lb_abi::maps::{ReplayKey, Session, SessionKey};

use super::{BATCH, GATHERED, now};
use crate::error::Error;
use crate::plane::Plane;
use crate::slow::KernelReplays;
use crate::state::Which;
use crate::sys::bpf::{self, Walk};
use crate::sys::process;

pub(super) fn expire(plane: &Plane) -> Result<(), Error> {
    sessions(plane).map_err(|e| Error::kernel("age sessions", e))?;
    replays(plane).map_err(|e| Error::kernel("forget old signatures", e))
}

/// As a flow: a packet may have come since `now` was read.
fn alive(session: &Session, now: u32) -> bool {
    let age = now.wrapping_sub(session.last).cast_signed();
    age < 0 || age.cast_unsigned() <= session.timeout
}

/// Whether an entry is a live session, or the backend of one.
fn stands(plane: &Plane, key: &SessionKey, entry: &Session, now: u32) -> io::Result<bool> {
    if key.pool == 0 {
        return Ok(alive(entry, now));
    }
    let session = SessionKey { pool: 0, ..*key };
    let session = bpf::lookup::<SessionKey, Session>(plane.maps.fd(Which::Sessions), &session)?;
    Ok(session.is_some_and(|session| session.born == entry.born && alive(&session, now)))
}

fn sessions(plane: &Plane) -> io::Result<()> {
    let map = plane.maps.fd(Which::Sessions);
    let mut dead: Vec<SessionKey> = Vec::new();
    let mut walk = Walk::<SessionKey, Session>::new(map, BATCH);
    while let Some((keys, entries)) = walk.next_batch()? {
        let now = now()?;
        for (key, entry) in keys.iter().zip(entries) {
            if dead.len() < GATHERED && !stands(plane, key, entry, now)? {
                dead.push(*key);
            }
        }
    }
    if dead.is_empty() {
        return Ok(());
    }
    // As with flows: a packet that found it alive may be about to say so. Backends first, while their session tells.
    process::wait_for_packets()?;
    let now = now()?;
    dead.sort_by_key(|key| std::cmp::Reverse(key.pool));
    for key in dead {
        let Some(entry) = bpf::lookup::<SessionKey, Session>(map, &key)? else { continue };
        if stands(plane, &key, &entry, now)? {
            continue;
        }
        if let Some(taken) = bpf::take::<SessionKey, Session>(map, &key)?
            && stands(plane, &key, &taken, now)?
        {
            match bpf::update(map, &key, &taken, bpf::NOEXIST) {
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn replays(plane: &Plane) -> io::Result<()> {
    let replays = KernelReplays::new(plane.maps.fd(Which::Replays));
    let mut walk = Walk::<ReplayKey, u64>::new(plane.maps.fd(Which::Replays), BATCH);
    while let Some((keys, ends)) = walk.next_batch()? {
        let now = process::coarse_clock()?;
        for (key, _) in keys.iter().zip(ends).filter(|(_, end)| **end < now) {
            replays.forget_old(key, now)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::plane;
    use super::*;

    fn put(plane: &Plane, cert: u32, pool: u32, born: u64, age: u32) -> SessionKey {
        let key = SessionKey { tracker: 0, cert, pool };
        let last = now().unwrap().wrapping_sub(age);
        let session = Session { born, last, timeout: 1_000, ..Session::default() };
        bpf::update(plane.maps.fd(Which::Sessions), &key, &session, bpf::ANY).unwrap();
        key
    }

    #[test]
    fn sessions_go_with_their_backends_once_they_are_idle() {
        // No verify, so that there is room for few; they are what the map holds.
        let plane = plane();
        let there = |key: &SessionKey| {
            bpf::lookup::<SessionKey, Session>(plane.maps.fd(Which::Sessions), key).unwrap().is_some()
        };
        let idle = [put(&plane, 1, 0, 5, 2_000)];
        expire(&plane).unwrap();
        assert!(!there(&idle[0]));
        let orphan = put(&plane, 1, 3, 5, 0);
        expire(&plane).unwrap();
        assert!(!there(&orphan), "its session is gone");
        let live = put(&plane, 1, 0, 6, 999);
        expire(&plane).unwrap();
        assert!(there(&live));
    }
}
