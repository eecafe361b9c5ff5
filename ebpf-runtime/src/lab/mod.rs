//! Owns small networks of unnamed namespaces for the demo, benches and tests: hosts, their links to a balancer, and
//! traffic on them. Never touches the caller's own namespaces, and never needs an installed tool.
//!
//! # Why nothing is left behind
//! A namespace lives as long as a thread, a mount or an open file holds it. Here a short-lived thread makes it
//! (`unshare(2)` works on the calling thread alone) and hands back an open file of `/proc/thread-self/ns`; no name is
//! bound to it, and no child process is parked in it. The file closes when the value is dropped or the process ends,
//! `kill -9` included, and with the namespace go its devices, addresses, routes and attached programs. The same
//! holds for the balancer's mount namespace and the tmpfs that it has as `/run`: run directory, bpffs and pins of a
//! lab exist in it alone and go with it. Commands started inside are killed with their parent (`PR_SET_PDEATHSIG`).
//!
//! # What veth needs
//! A frame that a program sends back (`XDP_TX`) or redirects into a veth is dropped without a word unless the peer
//! has a native program of its own or GRO switched on, and one that leaves a stack without a checksum can't be
//! rewritten. So every device of a lab that faces the balancer carries a native program that passes everything, and
//! both ends have transmit checksums computed in software (`ethtool -K DEVICE tx off`). `Frames` counts what really
//! came and went.

mod constant;
mod error;
mod frames;
mod gateway;
mod layout;
mod link;
mod namespace;
mod ping;
mod serve;
#[cfg(test)]
mod tests;

pub use constant::{ConstantProgram, Verdict};
pub use error::Error;
pub use frames::FrameSocket;
pub use gateway::Gateway;
pub use layout::{Arms, HOST_DEVICE, Host, Lab, Plan};
pub use link::Frames;
pub use namespace::Namespace;
pub use ping::ping;
pub use serve::{Server, connect_from, http_get};
