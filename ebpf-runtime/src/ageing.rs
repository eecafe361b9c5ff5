//! Owns deleting flows that are over from the three flow tables, in batches, and counting those that are not. Never
//! touches a flow that either of its directions still keeps alive, and never hurries: to the data path an expired entry
//! is as good as none.

mod load;
mod sessions;

use std::io;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use lb_abi::maps::{DIR_ORIGINAL, Flow, FlowKey, TICK_SHIFT, TrackerState};

use crate::error::Error;
use crate::plane::Plane;
use crate::state::Which;
use crate::sys::bpf::{self, Walk};
use crate::sys::mapped::Mapped;
use crate::sys::process;

pub(crate) use load::recount;

/// Entries read at a time, and how many that look dead are gathered before they are looked at again.
const BATCH: usize = 4096;
const GATHERED: usize = 1 << 16;

/// What one pass over all tables found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Aged {
    pub(crate) seen: u64,
    /// Entries deleted: two for most flows.
    pub(crate) deleted: u64,
}

pub(crate) const FLOW_TABLES: [Which; 3] = [Which::FlowsNew, Which::FlowsAnswered, Which::FlowsProven];

/// Deletes every expired flow, session and remembered signature. With `loads` (`FEATURE_LOAD`) trackers and backends
/// learn how many flows they have. `stop` is asked between batches.
pub(crate) fn pass(plane: &Plane, loads: bool, stop: &dyn Fn() -> bool) -> Result<Aged, Error> {
    let mut aged = Aged::default();
    let before = load::Kept::read(plane)?;
    let mut counted = load::Counted::default();
    for which in FLOW_TABLES {
        table(plane, which, stop, &mut aged, &mut counted)
            .map_err(|e| Error::kernel(format!("age {which:?}"), e))?;
    }
    // What was not walked to its end says nothing.
    if loads && !stop() {
        load::correct(plane, &before, &counted)?;
    }
    sessions::expire(plane)?;
    Ok(aged)
}

fn table(
    plane: &Plane,
    which: Which,
    stop: &dyn Fn() -> bool,
    aged: &mut Aged,
    counted: &mut load::Counted,
) -> io::Result<()> {
    let map = plane.maps.fd(which);
    let mut dead: Vec<FlowKey> = Vec::new();
    let mut walk = Walk::<FlowKey, Flow>::new(map, BATCH);
    while let Some((keys, flows)) = walk.next_batch()? {
        let now = now()?;
        aged.seen += keys.len() as u64;
        for (key, flow) in keys.iter().zip(flows) {
            if !lives(plane, which, key, flow, now)? {
                dead.push(*key);
            } else {
                counted.add(plane, flow);
            }
        }
        if dead.len() >= GATHERED {
            aged.deleted += bury(plane, which, &mut dead)?;
        }
        if stop() {
            break;
        }
    }
    aged.deleted += bury(plane, which, &mut dead)?;
    Ok(())
}

/// Tick of the data path's clock.
fn now() -> io::Result<u32> {
    Ok((process::coarse_clock()? >> TICK_SHIFT) as u32)
}

/// As the data path judges it. A packet may have come since `now` was read: then `last` is ahead of it.
fn alive(flow: &Flow, now: u32) -> bool {
    let age = now.wrapping_sub(flow.last).cast_signed();
    age < 0 || age.cast_unsigned() <= flow.timeout
}

/// Where the other direction of a flow stands: under the reverse of what this one is rewritten to.
fn pair_key(key: &FlowKey, flow: &Flow) -> FlowKey {
    FlowKey {
        src: flow.dst,
        dst: flow.src,
        sport: flow.dport,
        dport: flow.sport,
        proto: key.proto,
        pad: [0; 3],
    }
}

/// The other direction. Nothing if it was evicted, and what now stands under its key is another flow's.
fn pair(plane: &Plane, which: Which, key: &FlowKey, flow: &Flow) -> io::Result<Option<(FlowKey, Flow)>> {
    let other = pair_key(key, flow);
    let found = bpf::lookup::<FlowKey, Flow>(plane.maps.fd(which), &other)?;
    Ok(found.filter(|pair| pair_key(&other, pair) == *key).map(|pair| (other, pair)))
}

fn pair_alive(plane: &Plane, which: Which, key: &FlowKey, flow: &Flow, now: u32) -> io::Result<bool> {
    Ok(pair(plane, which, key, flow)?.is_some_and(|(_, pair)| alive(&pair, now)))
}

/// A packet that found an entry alive a moment ago may be about to say so. Once all such packets are through, what is
/// still dead is deleted, both directions of it.
fn bury(plane: &Plane, which: Which, dead: &mut Vec<FlowKey>) -> io::Result<u64> {
    if dead.is_empty() {
        return Ok(0);
    }
    process::wait_for_packets()?;
    let now = now()?;
    let trackers = trackers(plane)?;
    let map = plane.maps.fd(which);
    let mut deleted = 0;
    for key in dead.drain(..) {
        let Some(flow) = bpf::lookup::<FlowKey, Flow>(map, &key)? else { continue };
        let pair = pair(plane, which, &key, &flow)?;
        if alive(&flow, now) || pair.is_some_and(|(_, pair)| alive(&pair, now)) {
            continue;
        }
        let taken = [
            take(plane, which, &key, now)?,
            match pair {
                Some((other, _)) if other != key => take(plane, which, &other, now)?,
                _ => None,
            },
        ];
        let gone = taken.iter().flatten();
        deleted += gone.clone().count() as u64;
        if which == Which::FlowsProven
            && let Some(flow) = gone.clone().find(|flow| flow.dir == DIR_ORIGINAL)
        {
            // As in the data path, which may be deleting the same flow: who takes the original direction counts it.
            one_proven_less(&trackers, flow.tracker);
        }
    }
    Ok(deleted)
}

/// Deletes an entry and gives what it was. One that a new flow has just taken over goes back to where it was.
fn take(plane: &Plane, which: Which, key: &FlowKey, now: u32) -> io::Result<Option<Flow>> {
    let map = plane.maps.fd(which);
    match bpf::take::<FlowKey, Flow>(map, key)? {
        Some(flow) if alive(&flow, now) => {
            match bpf::update(map, key, &flow, bpf::NOEXIST) {
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
                _ => {}
            }
            Ok(None)
        }
        taken => Ok(taken),
    }
}

/// Whether a flow is live by itself or by its other direction.
pub(crate) fn lives(plane: &Plane, which: Which, key: &FlowKey, flow: &Flow, now: u32) -> io::Result<bool> {
    Ok(alive(flow, now) || pair_alive(plane, which, key, flow, now)?)
}

/// A flow of table `which` that was deleted before its time is no longer counted; its reply direction never was.
pub(crate) fn one_less(plane: &Plane, which: Which, flow: &Flow) -> Result<(), Error> {
    if which == Which::FlowsProven && flow.dir == DIR_ORIGINAL {
        let trackers = trackers(plane).map_err(|e| Error::kernel("look at the trackers", e))?;
        one_proven_less(&trackers, flow.tracker);
    }
    load::one_less(plane, flow)
}

fn trackers(plane: &Plane) -> io::Result<Mapped<TrackerState>> {
    let entries = crate::sys::object::map_info(plane.maps.fd(Which::Trackers))?.max_entries;
    Mapped::new(plane.maps.fd(Which::Trackers), entries as usize)
}

/// The count of proven flows never goes below 0.
fn one_proven_less(trackers: &Mapped<TrackerState>, tracker: u16) {
    if let Some(proven) = trackers.word(tracker.into(), offset_of!(TrackerState, proven)) {
        let _ = proven.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |proven| proven.checked_sub(1));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_flow_lives_to_its_last_tick_and_over_the_wrap_of_the_clock() {
        let flow = |last, timeout| Flow { last, timeout, ..Flow::default() };
        assert!(alive(&flow(100, 10), 110));
        assert!(!alive(&flow(100, 10), 111));
        assert!(alive(&flow(101, 10), 100), "a packet came after the clock was read");
        assert!(alive(&flow(u32::MAX - 1, 10), 8));
        assert!(!alive(&flow(u32::MAX - 1, 10), 9));
    }

    #[test]
    fn the_pair_of_a_pair_is_the_flow() {
        let key = FlowKey { src: [1; 16], dst: [2; 16], sport: 10, dport: 80, proto: 6, pad: [0; 3] };
        // Rewritten from 1:10 → 2:80 to 3:20 → 4:8080.
        let flow = Flow { src: [3; 16], dst: [4; 16], sport: 20, dport: 8080, ..Flow::default() };
        let reply = pair_key(&key, &flow);
        assert_eq!((reply.src, reply.dst, reply.sport, reply.dport), ([4; 16], [3; 16], 8080, 20));
        let back = Flow { src: [2; 16], dst: [1; 16], sport: 80, dport: 10, ..Flow::default() };
        assert_eq!(pair_key(&reply, &back), key);
    }

    pub(super) const PROVEN_FOR: u32 = 1_000;

    /// A plane that nothing runs on, whose one tracker counts two proven flows.
    pub(crate) fn plane() -> Plane {
        let tracker = lb_abi::bundle::Tracker { identity: 1, name: "t".to_owned(), max: 1000 };
        let image = lb_abi::bundle::Image { trackers: vec![tracker], ..Default::default() };
        let numbers = crate::generation::Generation::default().number(&image);
        let sizes = crate::state::Sizes::needed(&image, &numbers).unwrap();
        let flags = crate::program::Flags { fields: 0, ops: 0, features: 0 };
        let plane = Plane::load(flags, &sizes, [0; 2], None).unwrap();
        let counted = TrackerState { proven: 2, flows: 0 };
        bpf::update(plane.maps.fd(Which::Trackers), &0u32, &counted, bpf::ANY).unwrap();
        plane
    }

    /// Both directions of flow `number`, used so many ticks ago.
    pub(crate) fn insert(
        plane: &Plane,
        which: Which,
        number: u16,
        original: u32,
        reply: u32,
    ) -> [FlowKey; 2] {
        let now = now().unwrap();
        let key = FlowKey { src: [1; 16], dst: [2; 16], sport: number, dport: 80, proto: 6, pad: [0; 3] };
        let flow = Flow {
            src: [3; 16],
            dst: [4; 16],
            sport: number,
            dport: 8080,
            last: now.wrapping_sub(original),
            timeout: PROVEN_FOR,
            ..Flow::default()
        };
        let back_key = pair_key(&key, &flow);
        let back = Flow {
            src: key.dst,
            dst: key.src,
            sport: key.dport,
            dport: key.sport,
            dir: lb_abi::maps::DIR_REPLY,
            last: now.wrapping_sub(reply),
            ..flow
        };
        bpf::update(plane.maps.fd(which), &key, &flow, bpf::NOEXIST).unwrap();
        bpf::update(plane.maps.fd(which), &back_key, &back, bpf::NOEXIST).unwrap();
        [key, back_key]
    }

    fn there(plane: &Plane, which: Which, keys: [FlowKey; 2]) -> usize {
        let have =
            |key: &&FlowKey| bpf::lookup::<FlowKey, Flow>(plane.maps.fd(which), key).unwrap().is_some();
        keys.iter().filter(have).count()
    }

    #[test]
    fn expired_pairs_go_and_are_no_longer_counted() {
        let plane = plane();
        let dead = insert(&plane, Which::FlowsProven, 1, 2 * PROVEN_FOR, 3 * PROVEN_FOR);
        let half_idle = insert(&plane, Which::FlowsProven, 2, 5 * PROVEN_FOR, 1);
        let forgotten = insert(&plane, Which::FlowsAnswered, 3, 2 * PROVEN_FOR, 2 * PROVEN_FOR);
        let fresh = insert(&plane, Which::FlowsNew, 4, 1, 1);
        let aged = pass(&plane, false, &|| false).unwrap();
        assert_eq!(aged, Aged { seen: 8, deleted: 4 });
        assert_eq!(there(&plane, Which::FlowsProven, dead), 0);
        assert_eq!(there(&plane, Which::FlowsProven, half_idle), 2, "one direction keeps both alive");
        assert_eq!(there(&plane, Which::FlowsAnswered, forgotten), 0);
        assert_eq!(there(&plane, Which::FlowsNew, fresh), 2);
        let state = bpf::lookup::<u32, TrackerState>(plane.maps.fd(Which::Trackers), &0).unwrap().unwrap();
        assert_eq!(state.proven, 1);
    }

    /// An entry that lost its pair, to whose key another flow has come, ages alone.
    #[test]
    fn a_half_whose_pair_is_another_flows_goes_and_leaves_that_one() {
        let plane = plane();
        let [key, back] = insert(&plane, Which::FlowsNew, 1, 2 * PROVEN_FOR, 1);
        let map = plane.maps.fd(Which::FlowsNew);
        let mut taken = bpf::lookup::<FlowKey, Flow>(map, &back).unwrap().unwrap();
        taken.dport = 99;
        bpf::update(map, &back, &taken, bpf::ANY).unwrap();
        assert_eq!(pass(&plane, false, &|| false).unwrap(), Aged { seen: 2, deleted: 1 });
        assert!(bpf::lookup::<FlowKey, Flow>(map, &key).unwrap().is_none());
        assert_eq!(bpf::lookup::<FlowKey, Flow>(map, &back).unwrap().unwrap().dport, 99);
    }

    #[test]
    fn every_batch_of_a_full_table_is_seen() {
        let plane = plane();
        for number in 0..900 {
            insert(&plane, Which::FlowsProven, number, 2 * PROVEN_FOR, 2 * PROVEN_FOR);
        }
        assert_eq!(pass(&plane, false, &|| false).unwrap(), Aged { seen: 1800, deleted: 1800 });
        let state = bpf::lookup::<u32, TrackerState>(plane.maps.fd(Which::Trackers), &0).unwrap().unwrap();
        assert_eq!(state.proven, 0, "never below 0");
    }
}
