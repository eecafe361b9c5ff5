//! Owns the counts of live flows that trackers and backends keep: the data path adds and takes off what it sees, and here
//! they are set right by the flows that are there. Never deletes a flow.

use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use lb_abi::maps::{DIR_ORIGINAL, FLOW_CLOSING, FLOW_IS_SESSION, Flow, FlowKey, TICK_SHIFT, TrackerState};

use super::{BATCH, FLOW_TABLES, lives, trackers};
use crate::error::Error;
use crate::plane::Plane;
use crate::sys::bpf::Walk;
use crate::sys::mapped::Mapped;

/// Live flows as they were found, a pair counted once.
#[derive(Default)]
pub(super) struct Counted {
    /// Of a tracker's sessions.
    flows: HashMap<usize, i64>,
    /// Of a backend's address, those that close left out.
    connections: HashMap<usize, i64>,
}

impl Counted {
    pub(super) fn add(&mut self, plane: &Plane, flow: &Flow) {
        if flow.dir != DIR_ORIGINAL {
            return;
        }
        if flow.flags & FLOW_IS_SESSION != 0 {
            *self.flows.entry(flow.tracker.into()).or_default() += 1;
        }
        if let Some(number) = flow.backend.checked_sub(1)
            && flow.state != FLOW_CLOSING
            && plane.backend(number).is_some_and(|backend| backend.identity == flow.identity)
        {
            *self.connections.entry(number as usize).or_default() += 1;
        }
    }
}

/// What the data path kept at one moment.
pub(super) struct Kept {
    flows: Vec<i64>,
    connections: Vec<i64>,
}

impl Kept {
    pub(super) fn read(plane: &Plane) -> Result<Kept, Error> {
        let trackers = of_trackers(plane)?;
        let flows = (0..trackers.len()).filter_map(|number| trackers.get(number));
        let backends = (0..).map_while(|number| plane.backend(number));
        Ok(Kept {
            flows: flows.map(|state| state.flows.cast_signed()).collect(),
            connections: backends.map(|backend| backend.connections).collect(),
        })
    }
}

fn of_trackers(plane: &Plane) -> Result<Mapped<TrackerState>, Error> {
    trackers(plane).map_err(|e| Error::kernel("look at the trackers", e))
}

/// Adds what is missing, or takes off what is too much, between what was kept while the flows were counted and what was
/// counted. What packets add meanwhile stays. What they had added before a flow was counted is in both: half of what
/// came during the walk, on average, hence the mean of before and after.
pub(super) fn correct(plane: &Plane, before: &Kept, counted: &Counted) -> Result<(), Error> {
    let after = Kept::read(plane)?;
    let trackers = of_trackers(plane)?;
    let missing = |counted: Option<&i64>, before: i64, after: i64| {
        counted.copied().unwrap_or_default() - before - (after - before) / 2
    };
    for (number, (&before, &after)) in before.flows.iter().zip(&after.flows).enumerate() {
        let missing = missing(counted.flows.get(&number), before, after);
        if missing != 0
            && let Some(word) = trackers.word(number, offset_of!(TrackerState, flows))
        {
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |flows| {
                Some(flows.cast_signed().saturating_add(missing).max(0).cast_unsigned())
            });
        }
    }
    for (number, (&before, &after)) in before.connections.iter().zip(&after.connections).enumerate() {
        plane.add_connections(number as u32, missing(counted.connections.get(&number), before, after));
    }
    Ok(())
}

/// Counts all flows that are live at `clock`, in ns of the data path's clock, and sets the counts right.
pub(crate) fn recount(plane: &Plane, clock: u64) -> Result<(), Error> {
    let now = (clock >> TICK_SHIFT) as u32;
    let before = Kept::read(plane)?;
    let mut counted = Counted::default();
    for which in FLOW_TABLES {
        let failed = |e| Error::kernel(format!("count {which:?}"), e);
        let mut walk = Walk::<FlowKey, Flow>::new(plane.maps.fd(which), BATCH);
        while let Some((keys, flows)) = walk.next_batch().map_err(failed)? {
            for (key, flow) in keys.iter().zip(flows) {
                if lives(plane, which, key, flow, now).map_err(failed)? {
                    counted.add(plane, flow);
                }
            }
        }
    }
    correct(plane, &before, &counted)
}

/// One flow less, that is gone before its time.
pub(super) fn one_less(plane: &Plane, flow: &Flow) -> Result<(), Error> {
    if flow.dir != DIR_ORIGINAL {
        return Ok(());
    }
    if flow.flags & FLOW_IS_SESSION != 0
        && let Some(word) = of_trackers(plane)?.word(flow.tracker.into(), offset_of!(TrackerState, flows))
    {
        let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |flows| flows.checked_sub(1));
    }
    if let Some(number) = flow.backend.checked_sub(1)
        && flow.state != FLOW_CLOSING
        && plane.backend(number).is_some_and(|backend| backend.identity == flow.identity)
    {
        plane.add_connections(number, -1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lb_abi::maps::{BACKEND_ACTIVE, Backend, FLOW_REPLIED};

    use super::super::tests::{PROVEN_FOR, insert, plane};
    use super::super::{pair_key, pass};
    use super::*;
    use crate::state::Which;
    use crate::sys::{bpf, process};

    /// Gives both directions of a flow to backend 0 and a session.
    fn give(plane: &Plane, which: Which, keys: [FlowKey; 2], identity: u32, state: u8) {
        for key in keys {
            let flow = bpf::lookup::<FlowKey, Flow>(plane.maps.fd(which), &key).unwrap().unwrap();
            let flow = Flow { backend: 1, identity, state, flags: FLOW_IS_SESSION, ..flow };
            bpf::update(plane.maps.fd(which), &key, &flow, bpf::ANY).unwrap();
        }
    }

    fn kept(plane: &Plane) -> (i64, i64) {
        let kept = Kept::read(plane).unwrap();
        (kept.flows[0], kept.connections[0])
    }

    fn loaded() -> Plane {
        let plane = plane();
        let backend = Backend { state: BACKEND_ACTIVE, identity: 7, ..Backend::default() };
        bpf::update(plane.maps.fd(Which::Backends), &0u32, &backend, bpf::ANY).unwrap();
        let give = |which, number, age, identity, state| {
            let keys = insert(&plane, which, number, age, age);
            give(&plane, which, keys, identity, state);
            keys
        };
        give(Which::FlowsProven, 1, 1, 7, FLOW_REPLIED);
        give(Which::FlowsNew, 2, 1, 7, FLOW_REPLIED);
        give(Which::FlowsAnswered, 3, 1, 7, FLOW_CLOSING);
        give(Which::FlowsNew, 4, 1, 8, FLOW_REPLIED);
        give(Which::FlowsNew, 5, 2 * PROVEN_FOR, 7, FLOW_REPLIED);
        plane
    }

    #[test]
    fn a_pass_sets_counts_right_that_are_too_high_or_too_low() {
        let plane = loaded();
        pass(&plane, false, &|| false).unwrap();
        assert_eq!(kept(&plane), (0, 0), "nobody asked");
        pass(&plane, true, &|| false).unwrap();
        // Of four live flows one closes, and one is another backend's that had the number before.
        assert_eq!(kept(&plane), (4, 2));
        plane.add_connections(0, 40);
        pass(&plane, true, &|| false).unwrap();
        assert_eq!(kept(&plane), (4, 2));
        plane.add_connections(0, -9);
        pass(&plane, true, &|| false).unwrap();
        assert_eq!(kept(&plane), (4, 2));
    }

    #[test]
    fn a_recount_goes_by_the_clock_it_is_given_and_deletes_nothing() {
        let plane = loaded();
        let clock = process::coarse_clock().unwrap();
        recount(&plane, clock).unwrap();
        assert_eq!(kept(&plane), (4, 2));
        recount(&plane, clock + ((2 * u64::from(PROVEN_FOR)) << TICK_SHIFT)).unwrap();
        assert_eq!(kept(&plane), (0, 0));
        recount(&plane, clock - ((2 * u64::from(PROVEN_FOR)) << TICK_SHIFT)).unwrap();
        assert_eq!(kept(&plane), (5, 3));
    }

    #[test]
    fn what_packets_add_during_a_pass_stays() {
        let plane = loaded();
        let before = Kept::read(&plane).unwrap();
        let mut counted = Counted::default();
        let flow = Flow { backend: 1, identity: 7, ..Flow::default() };
        counted.add(&plane, &flow);
        // Two flows came, before and after their tables were counted.
        plane.add_connections(0, 2);
        counted.add(&plane, &flow);
        correct(&plane, &before, &counted).unwrap();
        assert_eq!(kept(&plane).1, 3);
    }

    #[test]
    fn a_flow_that_is_taken_away_is_no_longer_counted() {
        let plane = loaded();
        recount(&plane, process::coarse_clock().unwrap()).unwrap();
        let key = FlowKey { src: [1; 16], dst: [2; 16], sport: 1, dport: 80, proto: 6, pad: [0; 3] };
        let flow = bpf::lookup::<FlowKey, Flow>(plane.maps.fd(Which::FlowsProven), &key).unwrap().unwrap();
        let back = pair_key(&key, &flow);
        let back = bpf::lookup::<FlowKey, Flow>(plane.maps.fd(Which::FlowsProven), &back).unwrap().unwrap();
        one_less(&plane, &back).unwrap();
        assert_eq!(kept(&plane), (4, 2));
        one_less(&plane, &flow).unwrap();
        assert_eq!(kept(&plane), (3, 1));
    }
}
