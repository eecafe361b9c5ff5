//! Owns what user space and the data path say to each other about a packet that is handed over: the record it comes in,
//! and the runs of `lbctl_resume` with which it goes back. Never the decision, nor how a packet is carried to user space.

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use lb_abi::maps::{
    PENDING_SLOTS, PUNT_FRAME, PUNT_MAGIC, Pending, Punt, RESUME_BATCH, RESUME_DIRECT, RESUME_META,
    RESUME_NOWHERE, RESUME_SLOTS, RESUME_WAITS, Resume, ResumeBatch, TICK_SHIFT,
};

use crate::error::Error;
use crate::state::{Maps, Which};
use crate::sys::mapped::Mapped;
use crate::sys::object;
use crate::trial::Action;

const PUNT_BYTES: usize = size_of::<Punt>();

/// A record's description and frame; `None` for what is no record of ours.
pub(crate) fn punted(record: &[u8]) -> Option<(Punt, &[u8])> {
    let (description, frame) = record.split_at_checked(PUNT_BYTES)?;
    let word = |at: usize| {
        let bytes = description.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let wide = |at: usize| {
        let bytes = description.get(at..at + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let punt = Punt {
        magic: word(offset_of!(Punt, magic))?,
        len: word(offset_of!(Punt, len))?,
        generation: word(offset_of!(Punt, generation))?,
        node: word(offset_of!(Punt, node))?,
        tracker: word(offset_of!(Punt, tracker))?,
        ifindex: word(offset_of!(Punt, ifindex))?,
        queue: word(offset_of!(Punt, queue))?,
        cert: word(offset_of!(Punt, cert))?,
        authority: word(offset_of!(Punt, authority))?,
        flags: word(offset_of!(Punt, flags))?,
        payload: word(offset_of!(Punt, payload))?,
        payload_len: word(offset_of!(Punt, payload_len))?,
        flow: wide(offset_of!(Punt, flow))?,
        at: wide(offset_of!(Punt, at))?,
    };
    let frame = frame.get(..punt.len as usize)?;
    (punt.magic == PUNT_MAGIC).then_some((punt, frame))
}

/// What became of a resumed packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resumed {
    /// `Aborted` if the kernel has not run the program on it.
    pub action: Action,
    /// Interface by which it left, or has to be sent, for `Tx` and `Redirect`.
    pub ifindex: u32,
    /// Nothing was done, since the generation is another by now: it has to begin anew.
    pub stale: bool,
    /// A session began with it.
    pub born: bool,
    /// The frame came back: user space is to carry out the action.
    pub back: bool,
    /// It is handed over again, with the frame that user space has.
    pub again: Option<Punt>,
}

/// The second program and the maps it shares with user space. Each thread has a slot of its own, with room for
/// [`RESUME_BATCH`] packets.
#[derive(Debug)]
pub(crate) struct Resumes {
    program: OwnedFd,
    batches: Mapped<ResumeBatch>,
    orders: Mapped<Resume>,
    frames: Mapped<u8>,
    pending: Mapped<Pending>,
}

fn place(slot: u32, n: usize) -> usize {
    slot as usize * RESUME_BATCH as usize + n
}

impl Resumes {
    pub(crate) fn new(program: BorrowedFd<'_>, maps: &Maps) -> Result<Resumes, Error> {
        const PLACES: usize = (RESUME_SLOTS * RESUME_BATCH) as usize;
        let failed = |e| Error::kernel("map what is resumed into memory", e);
        Ok(Resumes {
            program: program.try_clone_to_owned().map_err(|e| Error::kernel("keep the program", e))?,
            batches: Mapped::new(maps.fd(Which::ResumeBatches), RESUME_SLOTS as usize).map_err(failed)?,
            orders: Mapped::new(maps.fd(Which::Resumes), PLACES).map_err(failed)?,
            frames: Mapped::new(maps.fd(Which::ResumeFrames), PLACES * PUNT_FRAME).map_err(failed)?,
            pending: Mapped::new(maps.fd(Which::Pending), PENDING_SLOTS as usize).map_err(failed)?,
        })
    }

    /// Makes a frame that was handed over with `punt` the `n`th of the slot's batch, by a verdict `RESUME_*`.
    pub(crate) fn put(&self, slot: u32, n: usize, punt: &Punt, frame: &[u8], verdict: u32) {
        let frame = frame.get(..PUNT_FRAME).unwrap_or(frame);
        let order = Resume {
            generation: punt.generation,
            node: punt.node,
            tracker: punt.tracker,
            cert: punt.cert,
            verdict,
            len: frame.len() as u32,
            action: RESUME_WAITS,
            ..Resume::default()
        };
        self.orders.set(place(slot, n), order);
        self.frames.fill(place(slot, n) * PUNT_FRAME, frame);
    }

    /// Another verdict for the `n`th, whose frame is still as it was put there.
    pub(crate) fn change(&self, slot: u32, n: usize, verdict: u32) {
        if let Some(order) = self.orders.get(place(slot, n)) {
            let order = Resume { verdict, action: RESUME_WAITS, stale: 0, punted: 0, ..order };
            self.orders.set(place(slot, n), order);
        }
    }

    /// Runs the program on the first `count` of the slot's batch, in order, as if they had just come in by the interface
    /// and queue of `from`. Frames that are to leave by an interface of `direct` do so (0: to the local stack), in the
    /// manner of an attached program's; others come back.
    pub(crate) fn run(&self, slot: u32, count: usize, from: &Punt, direct: &[u32]) -> Result<(), Error> {
        let mut batch = ResumeBatch { next: 0, count: count as u32, direct: [RESUME_NOWHERE; RESUME_DIRECT] };
        for (to, direct) in batch.direct.iter_mut().zip(direct) {
            *to = *direct;
        }
        self.batches.set(slot as usize, batch);
        // The program puts the frame in work in the place of this one.
        let mut input = [0; RESUME_META + 64];
        for (to, byte) in input.iter_mut().zip(slot.to_ne_bytes()) {
            *to = byte;
        }
        let origin = object::Origin { meta: RESUME_META as u32, ifindex: from.ifindex, queue: from.queue };
        object::run_live(self.program.as_fd(), &input, origin, count as u32)
            .map_err(|e| Error::kernel(format!("resume {count} frames"), e))
    }

    pub(crate) fn outcome(&self, slot: u32, n: usize) -> Resumed {
        let order = self.orders.get(place(slot, n)).unwrap_or_default();
        Resumed {
            action: order.action.into(),
            ifindex: order.ifindex,
            stale: order.stale != 0,
            born: order.born != 0,
            back: order.back != 0,
            again: (order.punted != 0).then_some(order.punt),
        }
    }

    /// Adds the `n`th frame to `to`: what the program made of it if it came back, otherwise as it was put there.
    pub(crate) fn frame(&self, slot: u32, n: usize, to: &mut Vec<u8>) {
        let len = self.orders.get(place(slot, n)).unwrap_or_default().len;
        self.frames.append(place(slot, n) * PUNT_FRAME, (len as usize).min(PUNT_FRAME), to);
    }

    /// Whatever was handed over before is done with.
    pub(crate) fn all_done(&self) {
        for slot in 0..self.pending.len() {
            let (Some(pending), Some(done)) =
                (self.pending.get(slot), self.pending.half_word(slot, offset_of!(Pending, done)))
            else {
                continue;
            };
            if pending.done != pending.punted {
                done.store(pending.punted, Ordering::SeqCst);
            }
        }
    }

    /// A packet that was handed over is done with at `now` (coarse monotonic ns): its flow no longer waits for it.
    pub(crate) fn done(&self, punt: &Punt, now: u64) {
        let slot = punt.flow as usize & (PENDING_SLOTS as usize - 1);
        let flow = self.pending.word(slot, offset_of!(Pending, flow));
        let done = self.pending.half_word(slot, offset_of!(Pending, done));
        let last = self.pending.half_word(slot, offset_of!(Pending, last));
        if let (Some(flow), Some(done), Some(last)) = (flow, done, last)
            && flow.load(Ordering::SeqCst) == punt.flow
        {
            last.store((now >> TICK_SHIFT) as u32, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
}
