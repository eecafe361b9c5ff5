//! Owns the kernel: loads the XDP program, fills its maps, attaches, swaps and adopts, reads counters, ages flows.
//! Never reads a policy: it is given a finished [`Image`](lb_abi::bundle::Image) and the 32 bytes of its id.
//!
//! An *instance* ([`instance::Instance`]) is a name within a network namespace, with one or more devices below it.
//! What it keeps in the kernel is pinned below a [`run_dir::RunDir`], so that traffic goes on when every process is gone.

mod ageing;
mod assign;
mod attach;
mod carry;
mod change;
mod generation;
mod hash_key;
mod lapsed;
mod lock;
mod next_hop;
mod paths;
mod pinned;
mod plane;
mod program;
mod record;
mod report;
mod settle;
mod state;
mod sys;

pub mod agent;
pub mod apply;
pub mod error;
pub mod ethtool;
pub mod footprint;
pub mod instance;
pub mod lab;
pub mod net;
pub mod netdev;
pub mod netns;
pub mod resume;
pub mod run_dir;
pub mod sessions;
pub mod slow;
pub mod status;
pub mod trial;

pub use error::Error;
