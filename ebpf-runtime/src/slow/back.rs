//! Owns the way back of one thread's packets: many of them, decided on, go through `lbctl_resume` by one system call, and
//! what does not leave by that is sent by a packet socket. Never decides on a packet.

use std::ops::Range;
use std::time::{Duration, Instant};

use lb_abi::maps::{Punt, RESUME_ANEW, RESUME_BATCH, RESUME_DIRECT, RESUME_DONE, Session, SessionKey};

use super::counts::Event;
use super::queue::Batch;
use super::worker::{Current, Shared};
use crate::error::Error;
use crate::generation;
use crate::netdev;
use crate::state::Which;
use crate::sys::packet_socket::PacketSocket;
use crate::sys::{bpf, process};
use crate::trial::Action;

/// How soon it is noticed that a device takes redirected frames, or takes them no more.
const NOTICE: Duration = Duration::from_secs(1);
/// The local stack takes frames always.
const LOCAL_STACK: u32 = 0;

/// A packet: how it was handed over, and the place of its frame in what the thread has taken from its queue.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    pub(super) punt: Punt,
    pub(super) at: usize,
}

/// One that was decided on.
struct Held {
    packet: Packet,
    /// What is counted if it goes on as decided.
    event: Event,
}

pub(super) struct Back<'s> {
    shared: &'s Shared<'s>,
    slot: u32,
    socket: PacketSocket,
    held: Vec<Held>,
    /// Interfaces whose devices take redirected frames, those asked about, and until when that holds.
    direct: Vec<u32>,
    asked: Vec<u32>,
    until: Instant,
    /// Frames that came back to be sent, and by which interface.
    frames: Vec<u8>,
    out: Vec<(u32, Range<usize>)>,
}

impl<'s> Back<'s> {
    /// By the slot that nobody else uses; in the network namespace whose devices it sends by.
    pub(super) fn new(shared: &'s Shared<'s>, slot: u32) -> Result<Back<'s>, Error> {
        Ok(Back {
            shared,
            slot,
            socket: PacketSocket::open().map_err(|e| Error::kernel("open a packet socket", e))?,
            held: Vec::new(),
            direct: Vec::new(),
            asked: Vec::new(),
            until: Instant::now(),
            frames: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Whether a packet can go back together with those that were put there.
    pub(super) fn takes(&self, packet: &Packet) -> bool {
        let Some(first) = self.held.first().map(|held| &held.packet.punt) else { return true };
        // The kernel takes the packets of one call for those of one queue, and those of a generation that is over go first.
        let kind = |punt: &Punt| (punt.ifindex, punt.queue, punt.generation);
        kind(first) == kind(&packet.punt) && self.held.len() < self.shared.at_once.min(RESUME_BATCH as usize)
    }

    /// Has a packet that it takes go on by `verdict`, with the next [`flush`](Back::flush). `event` is counted unless it has
    /// to begin anew.
    pub(super) fn put(&mut self, batch: &Batch, packet: Packet, verdict: u32, event: Event) {
        self.shared.resumes.put(self.slot, self.held.len(), &packet.punt, batch.frame(packet.at), verdict);
        self.held.push(Held { packet, event });
    }

    /// Sends all packets that were put there; only then may the next ones of their flows overtake. The result are those
    /// that began anew and are to be decided on again, before any other.
    pub(super) fn flush(&mut self, current: &Current, batch: &Batch) -> Vec<Packet> {
        let mut again = Vec::new();
        if self.held.is_empty() {
            return again;
        }
        let held = std::mem::take(&mut self.held);
        let since = process::coarse_clock().unwrap_or_default();
        if self.run(&held) {
            let mut stale = Vec::new();
            for (n, Held { packet, event }) in held.iter().enumerate() {
                if self.shared.resumes.outcome(self.slot, n).stale {
                    // It is checked again, which must not take it for its own twin.
                    if *event == Event::Accepted {
                        current.forget(self.shared, &packet.punt, batch.frame(packet.at));
                    }
                    stale.push(n);
                    continue;
                }
                self.shared.counts.add(*event, 1);
                again.extend(self.leave(current, batch, packet, n, since));
            }
            again.extend(self.begin_anew(current, batch, &held, &stale, since));
        }
        self.send();
        let now = process::coarse_clock().unwrap_or_default();
        for held in &held {
            self.shared.resumes.done(&held.packet.punt, now);
        }
        self.held = held;
        self.held.clear();
        again
    }

    /// Whether the program has run. It has not if the interface is gone.
    fn run(&mut self, held: &[Held]) -> bool {
        let now = Instant::now();
        if self.until <= now {
            self.until = now + NOTICE;
            self.direct.clear();
            self.direct.push(LOCAL_STACK);
            self.asked.clear();
        }
        let Some(from) = held.first().map(|held| &held.packet.punt) else { return false };
        let ran = self.shared.resumes.run(self.slot, held.len(), from, &self.direct).is_ok();
        if !ran {
            self.shared.counts.add(Event::Fault, held.len() as u64);
        }
        ran
    }

    /// Has those begin anew; all others of the batch are done with.
    fn begin_anew(
        &mut self,
        current: &Current,
        batch: &Batch,
        held: &[Held],
        stale: &[usize],
        since: u64,
    ) -> Vec<Packet> {
        let mut again = Vec::new();
        if stale.is_empty() {
            return again;
        }
        for n in 0..held.len() {
            let verdict = if stale.contains(&n) { RESUME_ANEW } else { RESUME_DONE };
            self.shared.resumes.change(self.slot, n, verdict);
        }
        self.shared.counts.add(Event::Anew, stale.len() as u64);
        if self.run(held) {
            for n in stale {
                if let Some(held) = held.get(*n) {
                    again.extend(self.leave(current, batch, &held.packet, *n, since));
                }
            }
        }
        again
    }

    /// Counts what became of a packet, or puts it on its way. The result is one that was handed over again.
    fn leave(
        &mut self,
        current: &Current,
        batch: &Batch,
        packet: &Packet,
        n: usize,
        since: u64,
    ) -> Option<Packet> {
        let shared = self.shared;
        let resumed = shared.resumes.outcome(self.slot, n);
        match resumed.action {
            Action::Tx | Action::Redirect if resumed.back => {
                let start = self.frames.len();
                shared.resumes.frame(self.slot, n, &mut self.frames);
                self.out.push((resumed.ifindex, start..self.frames.len()));
            }
            Action::Tx | Action::Redirect => shared.counts.add(Event::Sent, 1),
            Action::Pass if !resumed.back => shared.counts.add(Event::Passed, 1),
            Action::Drop => {}
            Action::Pass | Action::Aborted => shared.counts.add(Event::Fault, 1),
        }
        if resumed.born {
            shared.counts.add(Event::Begun, 1);
            self.note_beginning(current, &packet.punt, batch.frame(packet.at).len() as u64, since);
        }
        // It came when it came, and waits for no longer than any other.
        resumed.again.map(|punt| Packet { punt: Punt { at: packet.punt.at, ..punt }, ..*packet })
    }

    fn send(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let frames = self
            .out
            .iter()
            .map(|(ifindex, place)| (*ifindex, self.frames.get(place.clone()).unwrap_or_default()));
        let sent = self.socket.send(frames);
        self.shared.counts.add(Event::Sent, sent.sent);
        self.shared.counts.add(Event::SendFailed, sent.failed);
        for (ifindex, _) in self.out.drain(..) {
            if !self.asked.contains(&ifindex) {
                self.asked.push(ifindex);
                let features = netdev::xdp_features(ifindex).ok().flatten();
                if features.is_some_and(netdev::XdpFeatures::redirect_target)
                    && self.direct.len() < RESUME_DIRECT
                {
                    self.direct.push(ifindex);
                }
            }
        }
        self.frames.clear();
    }

    /// Writes into a session that began with this packet, at `since` or later, what its certificate's packets had come to
    /// before. Only lists show it: an error is none.
    fn note_beginning(&self, current: &Current, punt: &Punt, bytes: u64, since: u64) {
        let map = self.shared.maps.fd(Which::Sessions);
        let Ok(counted) = generation::count_in(self.shared.maps, Which::CertificateCounts, punt.cert) else {
            return;
        };
        for &tracker in &current.trackers {
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
