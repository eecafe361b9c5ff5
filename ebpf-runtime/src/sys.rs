//! Owns every raw system call of the crate, each wrapped into a safe function over owned descriptors.
//! Never knows what a map means: that is `state`'s.

pub(crate) mod bpf;
pub(crate) mod mapped;
pub(crate) mod object;
pub(crate) mod packet_socket;
pub(crate) mod process;
pub(crate) mod ring;
pub(crate) mod xsk;
