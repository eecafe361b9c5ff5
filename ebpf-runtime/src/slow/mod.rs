//! Owns the way of a packet through user space: off a carrier, to the thread of its flow, its signature checked, back
//! into the data path's own code and out. Never decides where a packet goes: `lbctl_resume` does, as for any other.

mod back;
mod carrier;
mod counts;
mod dispatched;
mod keys;
mod place;
mod queue;
mod replays;
mod serve;
mod verify;
mod worker;

pub(crate) use counts::{COUNTS, Counts, Event, MAP_NAME};
pub(crate) use replays::KernelReplays;
pub(crate) use serve::serve;

pub use verify::{Authority, Key, Remembered, Replays, Verdict, Verifier};
