//! Owns what one thread does with the packets of its flows: checks the signature, and has them go on. Never takes a packet
//! of another thread's flow, so that each flow keeps its order.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use lb_abi::image::VERIFY_REPLAYED;
use lb_abi::maps::{PUNT_IN_SESSION, Punt, RESUME_ANEW, RESUME_BATCH, RESUME_EXIT, RESUME_ON};

use super::back::{Back, Packet};
use super::counts::{Counts, Event};
use super::dispatched::Dispatched;
use super::queue::{Batch, Queue};
use super::replays::KernelReplays;
use super::verify::{Verdict, Verifier};
use crate::error::Error;
use crate::resume::Resumes;
use crate::state::{Maps, Which};
use crate::sys::process;

/// What has waited for longer, in ns, is dropped.
const PATIENCE: u64 = 2_000_000_000;
/// So many packets whose signature was looked at go back together: for as long as it takes to look at them a packet may
/// wait for another, half a millisecond where packets queue anyway.
const CHECKED: usize = 8;

/// How long it may take until a generation that packets follow already is known to be in place.
const SETTLED: Duration = Duration::from_millis(200);

/// What the generation in place says of certificates.
pub(super) struct Current {
    pub(super) generation: u32,
    pub(super) verifier: Verifier,
    /// Dense numbers.
    pub(super) trackers: Vec<u32>,
}

impl Current {
    /// As if the packet's signature had not been accepted.
    pub(super) fn forget(&self, shared: &Shared<'_>, punt: &Punt, frame: &[u8]) {
        if let Some(key) = self.verifier.remembered_under(punt, frame) {
            let _ = KernelReplays::new(shared.maps.fd(Which::Replays)).forget(&key);
        }
    }
}

/// What the threads share.
pub(super) struct Shared<'m> {
    pub(super) maps: &'m Maps,
    pub(super) resumes: Resumes,
    pub(super) counts: Counts,
    /// Packets that go back by one system call.
    pub(super) at_once: usize,
    dispatched: Option<Dispatched>,
    current: RwLock<Arc<Current>>,
}

impl<'m> Shared<'m> {
    /// `dispatched` is that of the program before, if there was one.
    pub(super) fn new(
        maps: &'m Maps,
        program: BorrowedFd<'_>,
        dispatched: Option<Dispatched>,
        current: Current,
    ) -> Result<Shared<'m>, Error> {
        let changed = dispatched.filter(|dispatched| dispatched.change(program).is_ok());
        // Where that is refused, packets go back one by one.
        let dispatched = changed.or_else(|| Dispatched::keep(program).ok());
        Ok(Shared {
            maps,
            resumes: Resumes::new(program, maps)?,
            counts: Counts::open(maps)?,
            at_once: if dispatched.is_some() { RESUME_BATCH as usize } else { 1 },
            dispatched,
            current: RwLock::new(Arc::new(current)),
        })
    }

    /// For the next program.
    pub(super) fn into_dispatched(self) -> Option<Dispatched> {
        self.dispatched
    }

    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one of that generation, if it comes into place soon, and otherwise the one in place. The dispatcher learns of a
    /// new one by a packet, or a little later by its record.
    fn current_of(&self, generation: u32) -> Arc<Current> {
        let newer = |than: u32| generation.wrapping_sub(than).cast_signed() > 0;
        let deadline = Instant::now() + SETTLED;
        loop {
            let current = self.current();
            if !newer(current.generation) || Instant::now() >= deadline {
                return current;
            }
            thread::sleep(SETTLED / 100);
        }
    }

    pub(super) fn set_current(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }
}

pub(super) struct Worker<'s> {
    shared: &'s Shared<'s>,
    current: Arc<Current>,
    back: Back<'s>,
    /// Signatures looked at since packets went back.
    checked: usize,
}

impl<'s> Worker<'s> {
    /// Of the slot of `RESUME_BATCHES` that nobody else uses; in the network namespace whose devices it sends by.
    pub(super) fn new(shared: &'s Shared<'s>, slot: u32) -> Result<Worker<'s>, Error> {
        Ok(Worker { shared, current: shared.current(), back: Back::new(shared, slot)?, checked: 0 })
    }

    /// Works on what comes by the queue until it is closed.
    pub(super) fn run(&mut self, queue: &Queue) {
        let mut batch = Batch::default();
        while queue.take(&mut batch) {
            for at in 0..batch.len() {
                let Some(punt) = batch.punt(at) else { continue };
                let packet = Packet { punt: *punt, at };
                if self.checked >= CHECKED || !self.back.takes(&packet) {
                    self.flush(&batch);
                }
                self.packet(&batch, packet);
            }
            self.flush(&batch);
        }
    }

    /// Has all go back that were decided on. What begins anew by the policy that is in place now is decided on by that, and
    /// goes before any packet that came after it.
    fn flush(&mut self, batch: &Batch) {
        let mut again = self.back.flush(&self.current, batch);
        while !again.is_empty() {
            for packet in again {
                self.packet(batch, packet);
            }
            again = self.back.flush(&self.current, batch);
        }
        self.checked = 0;
    }

    /// Looks at the packet's signature where that is to be done, and has it go on.
    fn packet(&mut self, batch: &Batch, packet: Packet) {
        let (punt, frame) = (&packet.punt, batch.frame(packet.at));
        let counts = &self.shared.counts;
        let now = process::coarse_clock().unwrap_or_default();
        if now.saturating_sub(punt.at) > PATIENCE {
            counts.add(Event::TooOld, 1);
            self.shared.resumes.done(punt, now);
            return;
        }
        if punt.generation != self.current.generation {
            self.current = self.shared.current_of(punt.generation);
        }
        let is_known = punt.generation == self.current.generation;
        let is_checked = punt.flags & PUNT_IN_SESSION == 0 && is_known;
        self.checked += usize::from(is_checked);
        let replays = KernelReplays::new(self.shared.maps.fd(Which::Replays));
        let verdict = match is_known {
            true => self.current.verifier.verdict(punt, frame, &replays),
            false => Verdict::Anew,
        };
        let (event, order) = match verdict {
            Verdict::On if is_checked => (Event::Accepted, RESUME_ON),
            Verdict::On => (Event::InOrder, RESUME_ON),
            Verdict::Exit(VERIFY_REPLAYED) => (Event::Replayed, RESUME_EXIT + VERIFY_REPLAYED),
            Verdict::Exit(exit) => (Event::Invalid, RESUME_EXIT + exit),
            Verdict::Anew => (Event::Anew, RESUME_ANEW),
            Verdict::Full => {
                counts.add(Event::ReplayFull, 1);
                self.shared.resumes.done(punt, now);
                return;
            }
        };
        self.back.put(batch, packet, order, event);
    }
}
