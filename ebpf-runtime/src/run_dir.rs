//! Owns where instances are kept: a directory of records and locks with a bpffs of our own in it.
//! Never a policy, never a map's contents.

use std::path::{Path, PathBuf};

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
}

impl Default for RunDir {
    fn default() -> RunDir {
        RunDir::system()
    }
}
