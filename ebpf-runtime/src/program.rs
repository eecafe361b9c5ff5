//! Owns turning the prebuilt object into a loaded program over given maps, specialised by its mode.
//! Never attaches it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_abi::SCHEMA;
use lb_abi::image::OP_VERIFY;
use lb_abi::mode::{MODE_MAGIC, Mode};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::state::{Maps, SPECS};
use crate::sys::{object, process};

/// Built from `xdp/` by its own toolchain; see `prebuilt/`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/prebuilt/lbctl.bpf.o"));

/// Name of the function, and of the program in the kernel.
pub(crate) const NAME: &str = "lbctl";
/// Likewise of the program that goes on with packets which user space has decided on. It is attached to nothing.
pub(crate) const RESUME: &str = "lbctl_resume";

/// What makes one program differ from another: all else is in the maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Flags {
    pub(crate) fields: u32,
    pub(crate) ops: u32,
    pub(crate) features: u32,
}

fn mode_words(flags: Flags, image_words: u32) -> [u32; size_of::<Mode>() / 4] {
    [MODE_MAGIC, image_words.wrapping_sub(1), flags.fields, flags.ops, flags.features, SCHEMA, 0, 0]
}

/// The programs of one load, which share their maps and mode.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) packets: OwnedFd,
    /// Where packets are handed to user space.
    pub(crate) resume: Option<OwnedFd>,
}

/// Loads the programs over `maps`.
///
/// # Errors
/// `Verifier` with the last lines of its log where the kernel refuses one.
pub(crate) fn load(maps: &Maps, flags: Flags) -> Result<Programs, Error> {
    let object_error =
        |what: &str, cause: &dyn std::error::Error| Error::kernel(what, io::Error::other(chain(cause)));
    // aya takes maps that exist already by their pins alone, so they get some in a file system of this moment.
    let bpffs = process::detached_bpffs().map_err(|e| Error::kernel("make a bpffs for the load", e))?;
    let directory = PathBuf::from(format!("/proc/self/fd/{}", bpffs.as_raw_fd()));
    maps.pin(&directory)?;
    let words = mode_words(flags, maps.image_words()?);
    let mut loader = EbpfLoader::new();
    loader.btf(None).override_global("MODE", &words, true);
    for spec in &SPECS {
        loader.map_pin_path(spec.name, directory.join(spec.name));
    }
    let mut loaded = loader.load(OBJECT).map_err(|e| object_error("load the prebuilt object", &e))?;
    let packets = load_one(&mut loaded, NAME)?;
    let resume = if flags.ops & 1 << OP_VERIFY == 0 { None } else { Some(load_one(&mut loaded, RESUME)?) };
    Ok(Programs { packets, resume })
}

fn load_one(loaded: &mut Ebpf, name: &str) -> Result<OwnedFd, Error> {
    let object_error =
        |what: &str, cause: &dyn std::error::Error| Error::kernel(what, io::Error::other(chain(cause)));
    let program = loaded.program_mut(name).ok_or_else(|| {
        Error::kernel("load the prebuilt object", io::Error::other(format!("it holds no program {name}")))
    })?;
    let program: &mut Xdp = program.try_into().map_err(|e| object_error("load the prebuilt object", &e))?;
    program.load().map_err(|error| match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            Error::Verifier(format!("{io_error}; its last words: {}", last_words(&verifier_log.to_string())))
        }
        other => object_error("load the program", &other),
    })?;
    let fd = program.fd().map_err(|e| object_error("load the program", &e))?;
    fd.as_fd().try_clone_to_owned().map_err(|e| Error::kernel("keep the program", e))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The last lines of a verifier log that are not statistics.
fn last_words(log: &str) -> String {
    let told: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && !line.starts_with("processed ") && !line.starts_with("verification time")
        })
        .collect();
    let from = told.len().saturating_sub(3);
    told.get(from..).unwrap_or_default().join(" | ")
}

/// Instructions the verifier walked.
pub(crate) fn verified_instructions(program: &OwnedFd) -> Result<u32, Error> {
    let info = object::program_info(program.as_fd()).map_err(|e| Error::kernel("ask for the program", e))?;
    Ok(info.verified_instructions)
}

/// The kernel's id of a loaded program.
pub(crate) fn id(program: &OwnedFd) -> Result<u32, Error> {
    let info = object::program_info(program.as_fd()).map_err(|e| Error::kernel("ask for the program", e))?;
    Ok(info.id)
}
