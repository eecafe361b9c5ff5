//! Owns the image as a value: its words, what must exist before it can run, and the names of what it counts.
//! Never a file, a map or a syntax tree; the compiler makes it, the runtime loads it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::maps::Addr;

/// A compiled policy. `words` use canonical dense numbers (ordinal = dense number); `relocations` say where the
/// numbers of an instance go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// Name of the policy.
    pub name: String,
    pub words: Vec<u32>,
    /// As in `mode::Mode`.
    pub fields: u32,
    pub ops: u32,
    pub features: u32,
    pub relocations: Vec<Relocation>,
    pub limits: Vec<Limit>,
    pub turns: Vec<Turn>,
    pub trackers: Vec<Tracker>,
    pub pools: Vec<Pool>,
    pub backends: Vec<Backend>,
    /// Counter ordinal → the tallies it adds to. Not part of the id, as are all names and places.
    pub counters: Vec<Counter>,
    pub tallies: Vec<Tally>,
}

/// A word of the image that holds a dense number of the instance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Relocation {
    pub word: u32,
    pub kind: Dense,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Dense {
    /// The word is 1 + the counter.
    Counter = 0,
    Limit = 1,
    Turn = 2,
    Tracker = 3,
    Pool = 4,
    /// The word is 1 + the backend.
    Backend = 5,
    /// The word is the first of a `Field::Flow` table, whose entries 1.. are ordered by tracker: re-order them.
    FlowTable = 6,
}

/// What stays the same over an apply: 64 bits made of names, not of positions.
pub type Identity = u64;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    pub identity: Identity,
    pub name: String,
    /// Keys it may hold; 0 without a key.
    pub max: u32,
}

/// The counter of one `every`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    pub identity: Identity,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracker {
    pub identity: Identity,
    pub name: String,
    /// Proven flows it may hold.
    pub max: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    pub identity: Identity,
    pub name: String,
}

/// One address of a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backend {
    pub identity: Identity,
    /// Ordinal of its pool.
    pub pool: u32,
    pub name: String,
    pub addr: Addr,
    /// 0 keeps the packet's port.
    pub port: u16,
    /// `maps::BACKEND_ACTIVE` or `maps::BACKEND_DRAINING`.
    pub state: u16,
}

/// A per-CPU counter of the data path: one way through the arms of a region, or one exit of a stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counter {
    pub identity: Identity,
    /// Indices of the tallies it adds to.
    pub tallies: Vec<u32>,
}

/// What a user sees counted: an arm, an exit, or a named counter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally {
    pub identity: Identity,
    pub kind: TallyKind,
    /// The arm's guard text, `stage (exit)`, or the counter's name.
    pub label: String,
    /// Tree it stands in, or the policy's name.
    pub tree: String,
    pub file: String,
    /// 1-based.
    pub line: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum TallyKind {
    Arm = 0,
    Exit = 1,
    Named = 2,
    /// A way of an `every`.
    Way = 3,
}
