//! Owns the locks of an instance: one for changing it, one for its agent.
//! Never waits: a lock that is taken is an answer.
//!
//! They are open file description locks (fcntl(2)), so that they go with the process and can be asked for without
//! being taken.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

/// Of `apply` and `detach`.
pub(crate) const CHANGE: &str = "lock";
/// Of the agent.
pub(crate) const AGENT: &str = "agent.lock";

/// A held lock; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

pub(crate) enum Taken {
    Ours(Lock),
    /// Somebody else has it: their process id, if they wrote one.
    Busy(Option<u32>),
}

fn whole(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Takes the lock in `path`, whose directory exists.
pub(crate) fn take(path: &Path) -> io::Result<Taken> {
    loop {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
            Ok(_) => {}
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => return Ok(Taken::Busy(written(path))),
            Err(error) => return Err(error.into()),
        }
        // Whoever removed the instance meanwhile removed this file: what we hold is then nobody's lock.
        let held = file.metadata()?;
        if !fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
            continue;
        }
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())?;
        return Ok(Taken::Ours(Lock { _file: file }));
    }
}

fn written(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Process id of the holder of the lock in `path`, without touching it; `None` if it is free.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    let file = File::open(path).ok()?;
    let mut lock = whole(libc::F_RDLCK);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
    if lock.l_type == libc::F_UNLCK as libc::c_short { None } else { written(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_can_be_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(CHANGE);
        assert_eq!(holder(&path), None);
        let Taken::Ours(lock) = take(&path).unwrap() else { panic!("free, yet busy") };
        assert_eq!(holder(&path), Some(std::process::id()));
        assert!(matches!(take(&path).unwrap(), Taken::Busy(Some(pid)) if pid == std::process::id()));
        drop(lock);
        assert_eq!(holder(&path), None);
        assert!(matches!(take(&path).unwrap(), Taken::Ours(_)));
    }
}
