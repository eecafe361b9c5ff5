//! Owns keeping a program among those that the kernel calls directly (kernel/bpf/dispatcher.c), where programs are that
//! some device runs: only then are many runs of it by a system call quick. Never has it see a packet.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::sys::object;

/// A loopback device that is down, in a network namespace of its own, with the program on it. All of it is gone with the
/// value, or with the process.
#[derive(Debug)]
pub(super) struct Dispatched {
    link: OwnedFd,
    _namespace: File,
}

/// The loopback device of every network namespace.
const LOOPBACK: u32 = 1;

impl Dispatched {
    pub(super) fn keep(program: BorrowedFd<'_>) -> io::Result<Dispatched> {
        let attach = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let namespace = File::open("/proc/thread-self/ns/net")?;
            let link = object::link_create(program, LOOPBACK, object::XDP_FLAGS_SKB)?;
            Ok(Dispatched { link, _namespace: namespace })
        };
        // The caller's namespace stays what it is.
        let attached = thread::scope(|scope| scope.spawn(attach).join());
        attached.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
    /// Keeps another program in place of the one before.
    pub(super) fn change(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        object::link_update(self.link.as_fd(), program)
    }
}
