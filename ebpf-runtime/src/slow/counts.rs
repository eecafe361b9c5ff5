//! Owns what the slow path counts: in a map of the instance, so that it outlives the agent. Never what the data path
//! counts of the same packets.

use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::state::{Maps, Which};
use crate::sys::mapped::Mapped;

pub(crate) const MAP_NAME: &str = "AGENT_COUNTS";
/// Entries of the map.
pub(crate) const COUNTS: u32 = 16;

/// Index into the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Event {
    /// A signature was good, and where that matters new.
    Accepted,
    Invalid,
    Replayed,
    /// No signature was looked at: in session.
    InOrder,
    /// It began anew: of another generation.
    Anew,
    /// The queue of its thread was full.
    QueueFull,
    /// It had waited for too long.
    TooOld,
    ReplayFull,
    /// Given to a device, or to this host.
    Sent,
    Passed,
    /// No device took it.
    SendFailed,
    /// A session began.
    Begun,
    /// A record that is none, or a frame that the kernel does not run: a fault of ours.
    Fault,
    /// It came by an AF_XDP socket.
    BySocket,
}

#[derive(Debug)]
pub(crate) struct Counts {
    map: Mapped<u64>,
}

impl Counts {
    pub(crate) fn open(maps: &Maps) -> Result<Counts, Error> {
        let map = Mapped::new(maps.fd(Which::AgentCounts), COUNTS as usize);
        Ok(Counts { map: map.map_err(|e| Error::kernel("map AGENT_COUNTS into memory", e))? })
    }

    pub(crate) fn add(&self, event: Event, count: u64) {
        if let Some(word) = self.map.word(event as usize, 0).filter(|_| count > 0) {
            word.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, event: Event) -> u64 {
        self.map.get(event as usize).unwrap_or_default()
    }
}
