//! Owns where instances are kept: a directory of records and locks with a bpffs of our own in it.
//! Never a policy, never a map's contents.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::error::Error;
use crate::netns;

/// The directory below which instances live. The system's own is one for all mount namespaces; one given by path
/// belongs to the caller's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunDir {
    path: PathBuf,
    system: bool,
}

impl RunDir {
    pub const SYSTEM: &str = "/run/lbctl";

    /// `/run/lbctl` in the mount namespace of process 1, whatever namespace the caller is in: `ip netns exec` gives
    /// its command a private one, and pins made there would die with it.
    pub fn system() -> RunDir {
        RunDir { path: Self::SYSTEM.into(), system: true }
    }

    /// A directory of the caller's own mount namespace, made if missing.
    pub fn at(path: impl Into<PathBuf>) -> RunDir {
        RunDir { path: path.into(), system: false }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory has to be reached through process 1.
    fn elsewhere(&self) -> Result<bool, Error> {
        if !self.system {
            return Ok(false);
        }
        let shared = netns::shares_mounts_with_process_1().map_err(|cause| {
            Error::Pins(format!(
                "{} belongs to the mount namespace of process 1, which cannot be looked at ({cause}); \
                 run this as root outside of the container, or name a directory with --run-dir",
                Self::SYSTEM
            ))
        })?;
        Ok(!shared)
    }

    /// The directory as this process reaches it.
    pub(crate) fn reach(&self) -> Result<PathBuf, Error> {
        if self.elsewhere()? {
            return Ok(Path::new("/proc/1/root").join(self.path.strip_prefix("/").unwrap_or(&self.path)));
        }
        std::path::absolute(&self.path).map_err(|e| Error::file(&self.path, e))
    }

    /// As `reach`, with the directory made and the bpffs mounted in it.
    pub(crate) fn prepare(&self) -> Result<PathBuf, Error> {
        let base = self.reach()?;
        let bpf = base.join(BPF);
        // Only its owner may look: pins are as good as the maps.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&bpf);
        made.map_err(|cause| Error::RunDir { path: self.path.clone(), cause })?;
        if is_bpffs(&bpf)? {
            return Ok(base);
        }
        let failed =
            |cause: io::Error| Error::Pins(format!("no bpffs can be mounted at {} ({cause})", bpf.display()));
        if self.elsewhere()? {
            mount_for_process_1(&self.path.join(BPF)).map_err(failed)?;
        } else {
            mount_bpffs(&bpf).map_err(failed)?;
        }
        if is_bpffs(&bpf)? {
            Ok(base)
        } else {
            Err(failed(io::Error::other("it does not show after the mount")))
        }
    }

    /// Names of the instances in this thread's network namespace, in order.
    pub(crate) fn instances(&self) -> Result<Vec<String>, Error> {
        let base = self.reach()?;
        let suffix = netns::suffix()?;
        let mut names = Vec::new();
        let entries = match fs::read_dir(&base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(Error::file(base, error)),
        };
        for entry in entries.flatten() {
            let key = entry.file_name().to_string_lossy().into_owned();
            let (name, of) = key.split_at(key.find('@').unwrap_or(key.len()));
            if of == suffix && name != BPF && entry.path().join(crate::record::FILE).exists() {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

impl Default for RunDir {
    fn default() -> RunDir {
        RunDir::system()
    }
}

/// Where the bpffs is mounted, below the run directory.
pub(crate) const BPF: &str = "bpf";

fn is_bpffs(path: &Path) -> Result<bool, Error> {
    let stat = statfs(path).map_err(|e| Error::file(path, e.into()))?;
    Ok(stat.filesystem_type() == BPF_FS_MAGIC)
}

fn mount_bpffs(path: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))?;
    Ok(())
}

/// Mounts on a thread that has gone over into the mount namespace of process 1; the rest of this process stays.
fn mount_for_process_1(path: &Path) -> io::Result<()> {
    let namespace = File::open("/proc/1/ns/mnt")?;
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            // A thread that shares its working directory with others may not change mount namespaces.
            unshare(CloneFlags::CLONE_FS)?;
            setns(&namespace, CloneFlags::CLONE_NEWNS)?;
            mount_bpffs(path)
        });
        there.join().unwrap_or_else(|_| Err(io::Error::other("the mounting thread failed")))
    })
}
