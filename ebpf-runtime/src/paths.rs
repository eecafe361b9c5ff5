//! Owns where one instance keeps its files and pins.
//! Never opens one.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::run_dir::BPF;
use crate::{lock, netns, record};

#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// Of records and locks.
    pub(crate) directory: PathBuf,
    /// Of pins, on the bpffs.
    pub(crate) pins: PathBuf,
}

/// Names of pinned programs, beside their maps: the one that devices run, and the one that goes on with packets which
/// user space has decided on.
pub(crate) const PROGRAM: &str = "program";
pub(crate) const RESUME: &str = "resume";

/// Refuses what could lead out of the run directory or read as another instance's.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= 32 && name.chars().all(good) && name != BPF {
        return Ok(());
    }
    Err(Error::InstanceName(name.to_owned()))
}

impl Paths {
    /// Of instance `name` in this thread's network namespace; `base` is the run directory as this process reaches it.
    pub(crate) fn new(base: &Path, name: &str) -> Result<Paths, Error> {
        check_name(name)?;
        let key = format!("{name}{}", netns::suffix()?);
        Ok(Paths { directory: base.join(&key), pins: base.join(BPF).join(&key) })
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.directory.join(record::FILE)
    }

    pub(crate) fn pending(&self) -> PathBuf {
        self.directory.join(record::PENDING)
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.directory.join(lock::CHANGE)
    }

    pub(crate) fn agent_lock(&self) -> PathBuf {
        self.directory.join(lock::AGENT)
    }

    /// Of an agent in the background; beside the directory, which goes with the instance.
    pub(crate) fn agent_log(&self) -> PathBuf {
        let key = self.directory.file_name().unwrap_or_default().to_string_lossy();
        self.directory.with_file_name(format!("agent-{key}.log"))
    }

    /// Of generated keys, which only their owner may look at.
    pub(crate) fn keys(&self) -> PathBuf {
        self.directory.join("keys")
    }

    /// Of the private key that was generated for certificate `id` of an authority.
    pub(crate) fn key(&self, authority: &str, id: u8) -> PathBuf {
        let safe = |c: char| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
        let authority: String = authority.chars().map(safe).collect();
        self.keys().join(format!("{authority}-{id}.key"))
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.pins.join("links")
    }

    pub(crate) fn link(&self, ifindex: u32) -> PathBuf {
        self.links().join(ifindex.to_string())
    }

    /// Pins of the program that generation `load` brought, and of its maps.
    pub(crate) fn load(&self, load: u32) -> PathBuf {
        self.pins.join(format!("load-{load}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "a/b", "a@1", "-a", "_a", "bpf", "ä", "a b", &"a".repeat(33)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["a", "edge-1", "Edge_2", &"a".repeat(32)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
