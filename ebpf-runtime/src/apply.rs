//! Owns putting a policy on devices: what the caller may ask for and what was done.
//! Never leaves a device without the old generation or the new one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::attach;
use crate::error::Error;

/// Where on its way into the kernel a device hands a packet to the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, before the kernel makes a socket buffer.
    #[default]
    Native,
    /// In the network stack: any device, several times slower.
    Generic,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        })
    }
}

/// What the file that holds the instance's hash key is called unless the caller says otherwise.
pub const HASH_KEY_PATH: &str = "/var/lib/lbctl/hash.key";

#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// sha256 of the image, as `compiler::image::id` gives it.
    pub id: [u8; 32],
    /// Every device the instance shall have from now on; those it has besides are let go.
    pub devices: Vec<String>,
    pub mode: Mode,
    /// Give up the flows and counters in place where their layout is another version's.
    pub fresh_state: bool,
    /// 16 random bytes, made if missing, that every node of a set must share.
    pub hash_key: PathBuf,
    /// Hand packets whose signature is to be checked to user space by AF_XDP sockets, where a queue of a device takes one.
    pub af_xdp: bool,
    /// Name of the network namespace this is done in, for `status` to show.
    pub namespace: Option<String>,
}

impl ApplyOptions {
    pub fn new(id: [u8; 32], devices: Vec<String>) -> ApplyOptions {
        ApplyOptions {
            id,
            devices,
            mode: Mode::Native,
            fresh_state: false,
            hash_key: HASH_KEY_PATH.into(),
            af_xdp: false,
            namespace: None,
        }
    }

    /// Asked before an instance is opened, which makes its directories.
    ///
    /// # Errors
    /// `NoDevice`, `UnknownDevice`.
    pub fn refuse_unknown_devices(&self) -> Result<(), Error> {
        if self.devices.is_empty() {
            return Err(Error::NoDevice);
        }
        let found = attach::links()?;
        self.devices.iter().try_for_each(|name| attach::find(&found, name).map(drop))
    }
}

/// How the new generation became current.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Swap {
    /// Nothing was in place before.
    First,
    /// One store: the other half of the image.
    Half,
    /// A new program took the links over, with the state of the old one.
    Program,
    /// A new program took the links over, with empty state.
    Fresh,
}

/// What `apply` did.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    pub generation: u32,
    pub swap: Swap,
    pub program_id: u32,
    pub devices: Vec<String>,
    pub detached: Vec<String>,
    /// What works, but not as well as it could: one sentence each.
    pub warnings: Vec<String>,
}

/// What `detach` did.
#[derive(Clone, Debug, Serialize)]
pub struct Detached {
    pub devices: Vec<String>,
}
