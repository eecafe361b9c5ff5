//! Owns the queue in front of each thread that checks signatures: bounded, first in first out, the newest dropped.
//! Never allocates for a packet once it has grown: two buffers change places between dispatcher and thread.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use lb_abi::maps::{PUNT_IN_SESSION, PUNT_RETURNING, Punt};

/// Packets that wait for one thread, and bytes of their frames. As many may be in its hands.
pub(super) const PACKETS: usize = 4096;
/// Where so many wait, a packet of a source that was not seen before finds no room: a flood of forged sources keeps the
/// others waiting for no longer than these take, some 20 ms.
pub(super) const OF_NEW_SOURCES: usize = 256;
const BYTES: usize = 4 << 20;

/// Packets in one piece of memory.
#[derive(Default)]
pub(super) struct Batch {
    packets: Vec<(Punt, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Batch {
    pub(super) fn push(&mut self, punt: Punt, frame: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.packets.push((punt, start..self.bytes.len()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Punt, &[u8])> {
        self.packets.iter().enumerate().map(|(at, (punt, _))| (punt, self.frame(at)))
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn punt(&self, at: usize) -> Option<&Punt> {
        self.packets.get(at).map(|(punt, _)| punt)
    }

    /// Empty if there is no such packet.
    pub(super) fn frame(&self, at: usize) -> &[u8] {
        let place = self.packets.get(at).map(|(_, place)| place.clone());
        place.and_then(|place| self.bytes.get(place)).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.packets.clear();
        self.bytes.clear();
    }
}

#[derive(Default)]
struct State {
    batch: Batch,
    /// The thread sleeps until it is woken.
    asleep: bool,
    closed: bool,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if there is no room: the packet is dropped.
    pub(super) fn push(&self, punt: Punt, frame: &[u8]) -> bool {
        let most =
            if punt.flags & (PUNT_IN_SESSION | PUNT_RETURNING) == 0 { OF_NEW_SOURCES } else { PACKETS };
        let batch = &mut self.lock().batch;
        let room = batch.packets.len() < most && batch.bytes.len() + frame.len() <= BYTES;
        if room {
            batch.push(punt, frame);
        }
        room
    }

    /// Wakes the thread if it sleeps and there is something to do: to be called after pushing.
    pub(super) fn wake(&self) {
        let mut state = self.lock();
        if state.asleep && (state.closed || !state.batch.packets.is_empty()) {
            state.asleep = false;
            drop(state);
            self.ready.notify_one();
        }
    }

    /// What is in the queue is still to be taken, but nothing more is to come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    /// Waits for packets and takes all that are there, in place of what `batch` held. False once the queue is closed and
    /// empty.
    pub(super) fn take(&self, batch: &mut Batch) -> bool {
        batch.clear();
        let mut state = self.lock();
        while state.batch.packets.is_empty() {
            if state.closed {
                return false;
            }
            state.asleep = true;
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.asleep = false;
        std::mem::swap(&mut state.batch, batch);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn punt(flow: u64) -> Punt {
        Punt { flow, flags: PUNT_RETURNING, ..Punt::default() }
    }

    fn flows(batch: &Batch) -> Vec<u64> {
        batch.iter().map(|(punt, _)| punt.flow).collect()
    }

    #[test]
    fn a_full_queue_drops_the_newest() {
        let queue = Queue::default();
        let pushed = (0..5000).filter(|flow| queue.push(punt(*flow), &[1; 60])).count();
        assert_eq!(pushed, PACKETS);
        let mut batch = Batch::default();
        assert!(queue.take(&mut batch));
        assert_eq!(flows(&batch), (0..PACKETS as u64).collect::<Vec<_>>());
        assert!(batch.iter().all(|(_, frame)| frame == [1; 60]));
        let large = (0..5000).filter(|flow| queue.push(punt(*flow), &[1; 3840])).count();
        assert_eq!(large, BYTES / 3840);
    }

    #[test]
    fn a_flood_of_new_sources_leaves_room_for_those_that_come_again() {
        let queue = Queue::default();
        let new = |flow| Punt { flags: 0, ..punt(flow) };
        let pushed = (0..5000).filter(|flow| queue.push(new(*flow), &[1; 60])).count();
        assert_eq!(pushed, OF_NEW_SOURCES);
        assert!(queue.push(punt(1), &[1; 60]));
        assert!(queue.push(Punt { flags: PUNT_IN_SESSION, ..punt(2) }, &[1; 60]));
        assert!(!queue.push(new(3), &[1; 60]));
    }

    #[test]
    fn packets_come_in_order_and_a_closed_queue_is_emptied_first() {
        let queue = Queue::default();
        let taken = std::thread::scope(|scope| {
            let taker = scope.spawn(|| {
                let mut all = Vec::new();
                let mut batch = Batch::default();
                while queue.take(&mut batch) {
                    all.extend(flows(&batch));
                }
                all
            });
            for flow in 0..100_000u64 {
                while !queue.push(punt(flow), &flow.to_ne_bytes()) {
                    std::thread::yield_now();
                }
                queue.wake();
            }
            queue.close();
            taker.join().unwrap()
        });
        assert_eq!(taken, (0..100_000).collect::<Vec<_>>());
    }
}
