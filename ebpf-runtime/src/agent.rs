//! Owns the work that needs a process: ageing flows and keeping next hops fresh.
//! Never decides a packet: traffic goes on without it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::Error;
use crate::run_dir::RunDir;

/// Serves instance `name` until `stop` is set (within a second), then leaves the data path as it is.
pub fn run(run_dir: &RunDir, name: &str, stop: &Arc<AtomicBool>) -> Result<(), Error> {
    let _ = (run_dir, stop);
    Err(Error::NothingApplied(name.to_owned()))
}
