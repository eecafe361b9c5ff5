//! Owns what one thread does with the packets of its flows: checks the signature, has the data path go on with the
//! packet, and sends what comes out. Never takes a packet of another thread's flow, so that each flow keeps its order.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, PoisonError, RwLock};

use lb_abi::maps::{PUNT_IN_SESSION, Punt, RESUME_ANEW, RESUME_EXIT, RESUME_ON, Session, SessionKey};

use super::counts::{Counts, Event};
use super::queue::{Batch, Queue};
use super::replays::KernelReplays;
use super::verify::{Verdict, Verifier};
use crate::error::Error;
use crate::generation;
use crate::resume::{Resumed, Resumes, Room};
use crate::state::{Maps, Which};
use crate::sys::packet_socket::{BATCH, PacketSocket};
use crate::sys::{bpf, process};
use crate::trial::Action;

/// What has waited for longer, in ns, is dropped.
const PATIENCE: u64 = 2_000_000_000;

/// What the generation in place says of certificates.
pub(super) struct Current {
    pub(super) generation: u32,
    pub(super) verifier: Verifier,
    /// Dense numbers.
    pub(super) trackers: Vec<u32>,
}

/// What the threads share.
pub(super) struct Shared<'m> {
    pub(super) maps: &'m Maps,
    pub(super) resumes: Resumes,
    pub(super) counts: Counts,
    current: RwLock<Arc<Current>>,
}

impl<'m> Shared<'m> {
    pub(super) fn new(
        maps: &'m Maps,
        program: BorrowedFd<'_>,
        current: Current,
    ) -> Result<Shared<'m>, Error> {
        Ok(Shared {
            maps,
            resumes: Resumes::new(program, maps)?,
            counts: Counts::open(maps)?,
            current: RwLock::new(Arc::new(current)),
        })
    }

    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_current(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }
}

pub(super) struct Worker<'s> {
    shared: &'s Shared<'s>,
    current: Arc<Current>,
    slot: u32,
    socket: PacketSocket,
    room: Room,
    /// Frames to be sent, and by which interface.
    frames: Vec<u8>,
    out: Vec<(u32, Range<usize>)>,
    /// Packets that are done with once those are sent.
    finished: Vec<Punt>,
}

impl<'s> Worker<'s> {
    /// Of the slot of `RESUMES` that nobody else uses; in the network namespace whose devices it sends by.
    pub(super) fn new(shared: &'s Shared<'s>, slot: u32) -> Result<Worker<'s>, Error> {
        Ok(Worker {
            shared,
            current: shared.current(),
            slot,
            socket: PacketSocket::open().map_err(|e| Error::kernel("open a packet socket", e))?,
            room: Room::default(),
            frames: Vec::new(),
            out: Vec::new(),
            finished: Vec::new(),
        })
    }

    /// Works on what comes by the queue until it is closed.
    pub(super) fn run(&mut self, queue: &Queue) {
        let mut batch = Batch::default();
        while queue.take(&mut batch) {
            for (punt, frame) in batch.iter() {
                let is_checked = self.packet(punt, frame);
                // A signature takes as long as many a call: no packet waits for that of another.
                if is_checked || self.finished.len() >= BATCH {
                    self.flush();
                }
            }
            self.flush();
        }
    }

    /// Whether the packet's signature was looked at.
    fn packet(&mut self, punt: &Punt, frame: &[u8]) -> bool {
        self.finished.push(*punt);
        let counts = &self.shared.counts;
        let now = process::coarse_clock().unwrap_or_default();
        if now.saturating_sub(punt.at) > PATIENCE {
            counts.add(Event::TooOld, 1);
            return false;
        }
        if punt.generation != self.current.generation {
            self.current = self.shared.current();
        }
        let is_checked = punt.flags & PUNT_IN_SESSION == 0 && punt.generation == self.current.generation;
        let replays = KernelReplays::new(self.shared.maps.fd(Which::Replays));
        let verdict = match punt.generation == self.current.generation {
            true => self.current.verifier.verdict(punt, frame, &replays),
            false => Verdict::Anew,
        };
        let (event, order) = match verdict {
            Verdict::On if is_checked => (Event::Accepted, RESUME_ON),
            Verdict::On => (Event::InOrder, RESUME_ON),
            Verdict::Exit(lb_abi::image::VERIFY_REPLAYED) => {
                (Event::Replayed, RESUME_EXIT + lb_abi::image::VERIFY_REPLAYED)
            }
            Verdict::Exit(exit) => (Event::Invalid, RESUME_EXIT + exit),
            Verdict::Anew => (Event::Anew, RESUME_ANEW),
            Verdict::Full => {
                counts.add(Event::ReplayFull, 1);
                return is_checked;
            }
        };
        let resumed = match self.resume(punt, frame, order) {
            Some(resumed) if resumed.stale => {
                // It is checked again, which must not take it for its own twin.
                if event == Event::Accepted
                    && let Some(key) = self.current.verifier.remembered_under(punt, frame)
                {
                    let _ = replays.forget(&key);
                }
                counts.add(Event::Anew, 1);
                self.resume(punt, frame, RESUME_ANEW)
            }
            other => {
                counts.add(event, 1);
                other
            }
        };
        if let Some(resumed) = resumed {
            self.leave(punt, resumed);
            if resumed.born {
                counts.add(Event::Begun, 1);
                self.note_beginning(punt, frame.len() as u64, now);
            }
        }
        is_checked
    }

    fn resume(&mut self, punt: &Punt, frame: &[u8], order: u32) -> Option<Resumed> {
        let resumed = self.shared.resumes.run(self.slot, punt, frame, order, &mut self.room);
        if resumed.is_err() {
            // An interface that is gone, or a frame that the kernel runs no program on.
            self.shared.counts.add(Event::Fault, 1);
        }
        resumed.ok()
    }

    /// Puts what came out on its way.
    fn leave(&mut self, punt: &Punt, resumed: Resumed) {
        match resumed.action {
            Action::Tx | Action::Redirect => {
                let start = self.frames.len();
                self.frames.extend_from_slice(self.room.frame());
                self.out.push((resumed.ifindex, start..self.frames.len()));
            }
            Action::Pass => {
                let frame = self.room.frame().to_vec();
                self.flush_out();
                match self.shared.resumes.pass(self.slot, punt, &frame, &mut self.room) {
                    Ok(()) => self.shared.counts.add(Event::Passed, 1),
                    Err(_) => self.shared.counts.add(Event::Fault, 1),
                }
            }
            Action::Drop | Action::Aborted => {}
        }
    }

    fn flush_out(&mut self) {
        let frames = self
            .out
            .iter()
            .map(|(ifindex, place)| (*ifindex, self.frames.get(place.clone()).unwrap_or_default()));
        let sent = self.socket.send(frames);
        self.shared.counts.add(Event::Sent, sent.sent);
        self.shared.counts.add(Event::SendFailed, sent.failed);
        self.out.clear();
        self.frames.clear();
    }

    /// Sends, and only then lets the flows' next packets overtake.
    fn flush(&mut self) {
        self.flush_out();
        for punt in self.finished.drain(..) {
            self.shared.resumes.done(&punt);
        }
    }

    /// Writes into a session that began with this packet, at `since` or later, what its certificate's packets had come to
    /// before. Only lists show it: an error is none.
    fn note_beginning(&self, punt: &Punt, bytes: u64, since: u64) {
        let map = self.shared.maps.fd(Which::Sessions);
        let Ok(counted) = generation::count_in(self.shared.maps, Which::CertificateCounts, punt.cert) else {
            return;
        };
        for &tracker in &self.current.trackers {
            let key = SessionKey { tracker, cert: punt.cert, pool: 0 };
            if let Ok(Some(session)) = bpf::lookup::<SessionKey, Session>(map, &key)
                && session.born >= since
            {
                let session = Session {
                    packets_before: counted.packets.saturating_sub(1),
                    bytes_before: counted.bytes.saturating_sub(bytes),
                    ..session
                };
                let _ = bpf::update(map, &key, &session, bpf::EXIST);
            }
        }
    }
}
