//! Owns entering a named network namespace for as long as one piece of work takes.
//! Never makes one or removes one.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::Error;

/// Where `ip netns` keeps its namespaces.
const NAMED: &str = "/run/netns";

/// Does the work in network namespace `name` (as `ip netns` knows it), on a thread of its own, so that the caller's
/// namespace is never touched. Without a name: here.
pub fn within<T: Send>(name: Option<&str>, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let Some(name) = name else { return Ok(work()) };
    let unknown = |cause: io::Error| Error::UnknownNamespace { name: name.to_owned(), cause };
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(unknown(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let namespace = File::open(PathBuf::from(NAMED).join(name)).map_err(unknown)?;
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        match inside.join() {
            Ok(done) => done.map_err(|errno: nix::Error| unknown(errno.into())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
