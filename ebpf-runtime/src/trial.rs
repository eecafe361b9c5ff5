//! Owns running an image without a device: the program in private maps under `BPF_PROG_TEST_RUN`.
//! Never pins or attaches anything.

use lb_abi::bundle::Image;
use lb_abi::maps;
use lb_abi::reason::REASON_COUNT;

use crate::error::Error;

/// A loaded image that sees only the frames it is given.
#[derive(Debug)]
pub struct Trial {
    image: Image,
}

/// What the program did with a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    pub action: Action,
    /// The frame as the program left it, MACs included.
    pub frame: Vec<u8>,
}

/// XDP return codes (include/uapi/linux/bpf.h, `enum xdp_action`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// The flow tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FlowTable {
    New,
    Answered,
    Proven,
}

/// What the data path has counted for one counter or tally.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl Trial {
    /// Loads the image with `features` (`lb_abi::mode::FEATURE_*`) besides its own.
    pub fn load(image: &Image, features: u32) -> Result<Trial, Error> {
        let _ = features;
        Ok(Trial { image: image.clone() })
    }

    /// Makes another image current as `apply` would, with the same state: by a store where flags and sizes are the
    /// same, otherwise by a new program.
    pub fn swap(&mut self, image: &Image) -> Result<(), Error> {
        self.image = image.clone();
        Ok(())
    }

    /// One frame that arrived on interface `ifindex` of this network namespace (0: loopback).
    pub fn run(&mut self, frame: &[u8], ifindex: u32) -> Result<Ran, Error> {
        let _ = (frame, ifindex);
        Err(Error::Image(self.image.name.clone()))
    }

    /// The frame `repeat` times, as arriving on `ifindex`; mean nanoseconds of one, whole ones as the kernel reports
    /// them.
    pub fn run_repeat(&mut self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<u32, Error> {
        let _ = (frame, ifindex, repeat);
        Err(Error::Image(self.image.name.clone()))
    }

    /// Clock in ns and seed under `FEATURE_TEST`; takes effect with the next frame.
    pub fn set_clock(&mut self, ns: u64) -> Result<(), Error> {
        let _ = ns;
        Ok(())
    }

    pub fn set_seed(&mut self, seed: u64) -> Result<(), Error> {
        let _ = seed;
        Ok(())
    }

    pub fn set_hash_key(&mut self, key: lb_abi::hash::Key) -> Result<(), Error> {
        let _ = key;
        Ok(())
    }

    /// Frames of a bench mix (at most `maps::TEMPLATE_BYTES` of each are written), cut to a power of two of them.
    pub fn set_templates(&mut self, frames: &[Vec<u8>]) -> Result<(), Error> {
        let _ = frames;
        Ok(())
    }

    /// Packets and bytes by ordinal of `Image::counters`.
    pub fn counters(&self) -> Result<Vec<Count>, Error> {
        Ok(Vec::new())
    }

    /// Packets and bytes by index of `Image::tallies`.
    pub fn tallies(&self) -> Result<Vec<Count>, Error> {
        Ok(Vec::new())
    }

    /// Packets by `Reason`.
    pub fn reasons(&self) -> Result<[u64; REASON_COUNT], Error> {
        Ok([0; REASON_COUNT])
    }

    /// All entries of a flow table, with numbers (tracker, pool, backend) as ordinals of the current image;
    /// `None` in their place is written as `u16::MAX` or `u32::MAX`.
    pub fn flows(&self, table: FlowTable) -> Result<Vec<(maps::FlowKey, maps::Flow)>, Error> {
        let _ = table;
        Ok(Vec::new())
    }

    /// State and next hop of a backend by ordinal of the current image.
    pub fn set_backend(&mut self, ordinal: u32, state: u16, next_hop: maps::NextHop) -> Result<(), Error> {
        let _ = (ordinal, state, next_hop);
        Ok(())
    }

    /// Instructions the verifier walked.
    pub fn verified_instructions(&self) -> Result<u32, Error> {
        Err(Error::Image(self.image.name.clone()))
    }
}
