//! The words shared by the compiler, the runtime and the XDP program: image layout, map keys and values,
//! mode flags, drop reasons and the few functions that must be the same on both sides.
//! Never: a dependency, an allocation, a policy decision.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(feature = "alloc")]
pub mod bundle;
pub mod hash;
pub mod image;
pub mod maps;
pub mod mode;
pub mod reason;
#[cfg(feature = "alloc")]
pub mod seen;
pub mod trailer;

/// Bumped whenever a layout in this crate changes; pinned maps of another schema are never reused.
pub const SCHEMA: u32 = 2;
