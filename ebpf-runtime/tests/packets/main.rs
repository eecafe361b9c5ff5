//! The XDP program on single frames, with images written by hand: no compiler stands between a fault and its cause.
//! Needs root.

mod build;
mod cpus;
mod eviction;
mod flows;
mod refusals;
mod stages;
