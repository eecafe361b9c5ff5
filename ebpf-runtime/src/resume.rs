//! Owns what user space and the data path say to each other about a packet that is handed over: the record it comes in,
//! and the run of `lbctl_resume` with which it goes back. Never the decision, nor how a packet is carried or sent.

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use lb_abi::maps::{
    PENDING_SLOTS, PUNT_MAGIC, Pending, Punt, RESUME_META, RESUME_PASS, RESUME_SLOTS, Resume,
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
    pub action: Action,
    /// Interface to send by, for `Tx` and `Redirect`.
    pub ifindex: u32,
    /// Nothing was done, since the generation is another by now: it has to begin anew.
    pub stale: bool,
    /// A session began with it.
    pub born: bool,
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(crate) struct Room {
    frame: Vec<u8>,
    out: Vec<u8>,
}

impl Room {
    /// The frame as the last run left it.
    pub(crate) fn frame(&self) -> &[u8] {
        self.out.get(RESUME_META..).unwrap_or_default()
    }
}

/// The second program and the maps it shares with user space. Each thread has a slot of its own.
#[derive(Debug)]
pub(crate) struct Resumes {
    program: OwnedFd,
    orders: Mapped<Resume>,
    pending: Mapped<Pending>,
}

impl Resumes {
    pub(crate) fn new(program: BorrowedFd<'_>, maps: &Maps) -> Result<Resumes, Error> {
        let failed = |e| Error::kernel("map what is resumed into memory", e);
        Ok(Resumes {
            program: program.try_clone_to_owned().map_err(|e| Error::kernel("keep the program", e))?,
            orders: Mapped::new(maps.fd(Which::Resumes), RESUME_SLOTS as usize).map_err(failed)?,
            pending: Mapped::new(maps.fd(Which::Pending), PENDING_SLOTS as usize).map_err(failed)?,
        })
    }

    /// Runs the program on a frame that was handed over with `punt`, by a verdict `RESUME_*`. What it makes of the frame
    /// stays in `room`.
    pub(crate) fn run(
        &self,
        slot: u32,
        punt: &Punt,
        frame: &[u8],
        verdict: u32,
        room: &mut Room,
    ) -> Result<Resumed, Error> {
        let order = Resume {
            generation: punt.generation,
            node: punt.node,
            tracker: punt.tracker,
            cert: punt.cert,
            verdict,
            ..Resume::default()
        };
        self.orders.set(slot as usize, order);
        let ran = self.test_run(slot, punt, frame, room, 0)?;
        let order = self.orders.get(slot as usize).unwrap_or_default();
        Ok(Resumed {
            action: ran.into(),
            ifindex: order.ifindex,
            stale: order.stale != 0,
            born: order.born != 0,
        })
    }

    /// Hands an untouched frame to the local stack, as if it had just come in by its interface.
    pub(crate) fn pass(&self, slot: u32, punt: &Punt, frame: &[u8], room: &mut Room) -> Result<(), Error> {
        self.orders.set(slot as usize, Resume { verdict: RESUME_PASS, ..Resume::default() });
        self.test_run(slot, punt, frame, room, object::TEST_LIVE_FRAMES).map(drop)
    }

    fn test_run(
        &self,
        slot: u32,
        punt: &Punt,
        frame: &[u8],
        room: &mut Room,
        flags: u32,
    ) -> Result<u32, Error> {
        room.frame.clear();
        room.frame.extend(slot.to_ne_bytes());
        room.frame.resize(RESUME_META, 0);
        room.frame.extend(frame);
        let from = object::Origin { meta: RESUME_META as u32, ifindex: punt.ifindex, queue: punt.queue };
        object::test_run_into(self.program.as_fd(), &room.frame, from, flags, &mut room.out)
            .map_err(|e| Error::kernel(format!("resume a frame of {} bytes", frame.len()), e))
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

    /// A packet that was handed over is done with: its flow no longer waits for it.
    pub(crate) fn done(&self, punt: &Punt) {
        let slot = punt.flow as usize & (PENDING_SLOTS as usize - 1);
        let flow = self.pending.word(slot, offset_of!(Pending, flow));
        let done = self.pending.half_word(slot, offset_of!(Pending, done));
        if let (Some(flow), Some(done)) = (flow, done)
            && flow.load(Ordering::SeqCst) == punt.flow
        {
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
}
