//! The XDP program on single frames, with images written by hand: no compiler stands between a fault and its cause.
//! Needs root.

mod build;
mod certified;
mod cpus;
mod eviction;
mod flows;
mod pick;
mod punt;
mod refusals;
mod sessions;
mod stages;
mod strip;
mod verify;
