//! Owns entering a named network namespace for as long as one piece of work takes.
//! Never makes one or removes one.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::Error;
use crate::sys::process;

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

/// Inode numbers of the first network and mount namespace of a machine (include/uapi/linux/nsfs.h, Linux 6.18).
const INIT_NET: u64 = 0xefff_fff9;
const INIT_MOUNT: u64 = 0xefff_fff8;

/// Whether this thread is in the namespace of process 1. Where process 1 may not be looked at, the first namespace of
/// the machine is still known by its number.
fn is_of_process_1(kind: &str, first: u64) -> io::Result<bool> {
    let own = std::fs::metadata(format!("/proc/thread-self/ns/{kind}"))?;
    match std::fs::metadata(format!("/proc/1/ns/{kind}")) {
        Ok(of_1) => Ok((own.dev(), own.ino()) == (of_1.dev(), of_1.ino())),
        Err(_) if own.ino() == first => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether what this thread mounts is seen by process 1.
pub(crate) fn shares_mounts_with_process_1() -> io::Result<bool> {
    is_of_process_1("mnt", INIT_MOUNT)
}

/// What sets the names of this network namespace's instances apart: nothing in that of process 1.
pub(crate) fn suffix() -> Result<String, Error> {
    if is_of_process_1("net", INIT_NET).unwrap_or(false) {
        return Ok(String::new());
    }
    let cookie = process::netns_cookie().map_err(|e| Error::kernel("tell network namespaces apart", e))?;
    Ok(format!("@{cookie}"))
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount};

    use super::*;
    use crate::lab::Namespace;
    use crate::net;

    #[test]
    fn work_in_a_named_namespace_sees_its_devices_only() {
        let named = Namespace::new("named").unwrap();
        let here = Namespace::with_own_run("here").unwrap();
        let of_named = named.run(suffix).unwrap().unwrap();
        let handle = named.run(|| File::open("/proc/thread-self/ns/net").unwrap()).unwrap();
        let (inside, outside) = here
            .run(|| {
                use std::os::fd::AsRawFd;
                std::fs::create_dir_all(NAMED).unwrap();
                let name = PathBuf::from(NAMED).join("blue");
                File::create(&name).unwrap();
                let source = format!("/proc/self/fd/{}", handle.as_raw_fd());
                mount(Some(source.as_str()), &name, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
                (within(Some("blue"), suffix).unwrap().unwrap(), within(None, suffix).unwrap().unwrap())
            })
            .unwrap();
        assert_eq!(inside, of_named);
        assert_ne!(outside, of_named);
        let links = named.run(|| within(None, net::links)).unwrap().unwrap().unwrap();
        assert_eq!(links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["lo"]);
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        for name in ["", "../net", ".hidden", "no-such-namespace"] {
            assert!(matches!(within(Some(name), || ()), Err(Error::UnknownNamespace { .. })), "{name}");
        }
    }
}
