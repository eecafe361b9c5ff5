//! Owns an unnamed network namespace (and, for the balancer, a mount namespace with a `/run` of its own) and the ways
//! to run something inside. Never moves the calling thread: work is done on threads and processes of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::Error;

/// A network namespace that exists as long as this value (see the module's notes), and its name for messages.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    net: File,
    mounts: Option<File>,
}

impl Namespace {
    /// An empty network namespace whose loopback is up. Needs CAP_SYS_ADMIN.
    pub fn new(name: &str) -> Result<Namespace, Error> {
        Namespace::make(name, false)
    }

    /// As `new`, with a mount namespace in which `/run` is an empty tmpfs with a bpffs at `/run/lbctl/bpf`, and `/sys`
    /// shows this network namespace. Whatever is pinned or written there goes with the namespace.
    pub fn with_own_run(name: &str) -> Result<Namespace, Error> {
        Namespace::make(name, true)
    }

    fn make(name: &str, own_run: bool) -> Result<Namespace, Error> {
        let made = on_thread(name, move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let net = File::open("/proc/thread-self/ns/net")?;
            if !own_run {
                return Ok((net, None));
            }
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount_own_run()?;
            Ok((net, Some(File::open("/proc/thread-self/ns/mnt")?)))
        });
        let (net, mounts) = made
            .and_then(|done: io::Result<_>| done)
            .map_err(|cause| Error::new(format!("make the namespace {name} (this needs root)"), cause))?;
        let namespace = Namespace { name: name.to_owned(), net, mounts };
        namespace.up("lo")?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn net_fd(&self) -> RawFd {
        self.net.as_raw_fd()
    }

    /// Runs `work` on a thread inside the namespace and waits for it; a panic in it goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let done = thread::scope(|scope| {
            thread::Builder::new()
                .name(self.name.clone())
                .spawn_scoped(scope, || self.enter().map(|()| work()))
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        done.and_then(|entered| entered).map_err(|cause| Error::new(format!("enter {}", self.name), cause))
    }

    /// Runs `work` on a thread inside the namespace and goes on at once.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<thread::JoinHandle<io::Result<T>>, Error> {
        let place = self.handles().and_then(|(net, mounts)| {
            thread::Builder::new()
                .name(self.name.clone())
                .spawn(move || enter(&net, mounts.as_ref()).map(|()| work()))
        });
        place.map_err(|cause| Error::new(format!("start a thread in {}", self.name), cause))
    }

    /// Makes `command` run inside the namespace and die with the thread that starts it, however that ends.
    pub fn place(&self, command: &mut Command) -> Result<(), Error> {
        let (net, mounts) =
            self.handles().map_err(|cause| Error::new(format!("hand over {}", self.name), cause))?;
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec the closure makes system calls only (setns, unshare, prctl, getppid); it
        // neither allocates nor takes a lock, and the descriptors it uses are owned by it.
        unsafe {
            command.pre_exec(move || {
                enter(&net, mounts.as_ref())?;
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
                // A parent that died before the line above sends no signal any more.
                if nix::unistd::getppid() != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            });
        }
        Ok(())
    }

    /// Writes a value below `/proc/sys`, of this namespace: `net/ipv4/ip_forward`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<(), Error> {
        self.run(|| std::fs::write(format!("/proc/sys/{path}"), value))?
            .map_err(|cause| Error::new(format!("set {path} to {value} in {}", self.name), cause))
    }

    fn handles(&self) -> io::Result<(File, Option<File>)> {
        Ok((self.net.try_clone()?, self.mounts.as_ref().map(File::try_clone).transpose()?))
    }

    fn enter(&self) -> io::Result<()> {
        enter(&self.net, self.mounts.as_ref())
    }
}

/// Moves the calling thread for good.
fn enter(net: &File, mounts: Option<&File>) -> io::Result<()> {
    setns(net.as_fd(), CloneFlags::CLONE_NEWNET)?;
    if let Some(mounts) = mounts {
        // A thread that shares its root and working directory with others may not change its mounts (setns(2)).
        unshare(CloneFlags::CLONE_FS)?;
        setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
    }
    Ok(())
}

fn on_thread<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, work)
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn mount_own_run() -> io::Result<()> {
    const NONE: Option<&str> = None;
    // Without this, what follows would show in the namespace we came from.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(
        Some("lbctl-lab"),
        "/run",
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=0755"),
    )?;
    mount(Some("lbctl-lab"), "/sys", Some("sysfs"), MsFlags::empty(), NONE)?;
    std::fs::create_dir_all("/run/lbctl/bpf")?;
    mount(
        Some("lbctl-lab"),
        "/run/lbctl/bpf",
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=0700"),
    )?;
    Ok(())
}
