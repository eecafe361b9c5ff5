//! Owns what is written down of an applied generation, so that status, the agent and the next apply find it from
//! another process. Never trusts it over the kernel: pins and links say what is, records say what it means.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::apply::Mode;
use crate::error::Error;
use crate::generation::Generation;
use crate::program::Flags;

/// The generation in place.
pub(crate) const FILE: &str = "record.json";
/// One that is being put in place; whether it came to be, the kernel tells.
pub(crate) const PENDING: &str = "pending.json";

/// Bumped with the layout of this file.
pub(crate) const FORMAT: u32 = 2;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) ifindex: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) format: u32,
    /// `/proc/sys/kernel/random/boot_id`: what the kernel held is gone with the boot.
    pub(crate) boot: String,
    pub(crate) namespace: Option<String>,
    /// Name of the policy.
    pub(crate) policy: String,
    /// sha256 of the image, in hex.
    pub(crate) id: String,
    pub(crate) generation: u32,
    /// The generation that loaded the program: names the directory of its pins.
    pub(crate) load: u32,
    /// Seconds since 1970.
    pub(crate) applied: u64,
    pub(crate) mode: Mode,
    /// It took nothing over from the generation before it.
    pub(crate) fresh: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) flags: Flags,
    /// What is numbered, named and counted.
    pub(crate) content: Generation,
}

/// Identifies this boot of the machine.
pub(crate) fn boot() -> Result<String, Error> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(PATH).map_err(|e| Error::file(PATH, e))?.trim().to_owned())
}

/// The record in `path`; `None` if there is none, or it is of an earlier boot.
///
/// # Errors
/// `Record` where it is of another version or damaged.
pub(crate) fn read(path: &Path) -> Result<Option<Record>, Error> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
        boot: String,
    }
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(path, error)),
    };
    let unreadable = |cause: String| Error::Record { path: path.to_owned(), cause };
    let head: Head = serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
    if head.boot != boot()? {
        return Ok(None);
    }
    if head.format != FORMAT {
        return Err(unreadable(format!("it has format {}, this version writes {FORMAT}", head.format)));
    }
    serde_json::from_slice(&text).map(Some).map_err(|e| unreadable(e.to_string()))
}

/// When the record in `path` was written; `None` if there is none.
pub(crate) fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Writes the record aside, to the disk, and into place: a reader finds the old one or the new one whole.
pub(crate) fn write(path: &Path, record: &Record) -> Result<(), Error> {
    put(&aside(path), path, record).map_err(|e| Error::file(path, e))
}

/// Where a record is written before it is whole; a killed process may have left one there.
pub(crate) fn aside(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

fn put(aside: &Path, path: &Path, record: &Record) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(aside)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()?;
    fs::rename(aside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes the file; it need not be there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path, error)),
        _ => Ok(()),
    }
}
