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
    pub authorities: Vec<Authority>,
    /// By authority and id.
    pub certificates: Vec<Certificate>,
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
    /// The word is 1 + the certificate.
    Certificate = 7,
    /// The word is the first of a `Field::Cert` table, whose entries but the last are ordered by certificate: re-order
    /// them. The last is for packets without one.
    CertificateTable = 8,
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

/// Whose signatures a `verify` accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    pub identity: Identity,
    pub name: String,
    /// For how many ns a signature is remembered, so that it is accepted once; `None`: it is accepted again.
    pub replay: Option<u64>,
    /// Signatures checked a second, of all sources; bounds how many there are to remember.
    pub checks: u64,
}

/// A P-256 key and the time it is valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Of the authority's name and the hash; where the key is generated, of the name and the id.
    pub identity: Identity,
    /// Ordinal of its authority.
    pub authority: u32,
    pub id: u8,
    /// SHA-256 of the certificate's DER, or of a bare key's uncompressed point. Without a key it only stands in.
    pub hash: [u8; 32],
    /// SEC 1, section 2.3.3: 4, x, y. `None`: the agent generates one at each start.
    pub key: Option<[u8; 65]>,
    /// Seconds since 1970, ends included.
    pub valid: Option<(i64, i64)>,
    pub revoked: bool,
    /// The subject's common name; empty where there is none.
    pub name: String,
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
