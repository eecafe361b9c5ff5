//! Owns what each stage and each end does, over plain settings, the state and the packet: sections 1 and 3 to 5 of
//! `docs/packet-path.md`. Never the way between stages: the tree's walker and the tables' walker both call these.

mod answer;
mod commit;
mod end;
mod flows;
mod limit;
mod log;
mod map;
mod rewrite;
mod sessions;
mod synguard;
mod track;
mod translate;
mod verify;
mod wrap;

pub use end::{before, end};
pub use limit::{every, limit};
pub use log::{key_range, log};
pub use map::{Asking, map};
pub use sessions::Session;
pub use synguard::{Guarded, Guarding, Splice, Standing, spliced, synguard};
pub use track::{certificate, flow_tracker, live_flow, track};
pub use translate::{translate, translate_back};
pub use verify::{Certified, VerifyParams, verify};
pub use wrap::Wrap;

use lb_abi::maps::Addr;
use lb_abi::reason::Reason;
use policy_lang::policy::LimitKey;

use super::Learned;

const TCP_CHECKSUM: usize = 16;

/// Where a stage sends the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    On,
    /// Exit `exceed` of `limit`.
    Exceed,
    /// Exit `full` of `track` and `map`.
    Full,
    /// Exit `missing` of `verify` and `map`.
    Missing,
    /// Exits of `verify`.
    Expired,
    Revoked,
    Replayed,
    /// Exit `bad` of `synguard`.
    Bad,
    /// Kept back by `map`.
    Held,
    /// Exit `invalid` of `track`, `translate back`, `verify` and `map`.
    Invalid,
    /// Exit `empty` of `translate`.
    Empty,
    /// Exit `ports` of `translate`.
    Ports,
    /// Out of the tree, whatever is written.
    Drop(Reason),
}

/// Settings of a `limit`; times in 1/64 ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitParams {
    /// Ordinal of the limit.
    pub id: u32,
    pub unit: LimitUnit,
    pub key: Option<LimitKey>,
    /// Of one packet, connection or byte.
    pub interval: u64,
    /// Burst × interval.
    pub tolerance: u64,
}

/// What one unit of a limit is (`image::LIMIT_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitUnit {
    Packets,
    Bytes,
    Syns,
    Connections,
}

/// Settings of a `track`; times in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrackParams {
    /// Ordinal of the tracker.
    pub id: u32,
    pub idle_tcp: u32,
    pub idle_udp: u32,
    pub half_open: u32,
    /// Greatest number of proven flows, or of sessions.
    pub max: u32,
    /// `key cert`.
    pub by_certificate: bool,
    /// Only pools whose backends answer the clients themselves come behind it: replies are never seen, and flows are
    /// picked up at any packet.
    pub one_way: bool,
}

/// Settings of a `translate`, for the family of one packet.
#[derive(Clone, Copy)]
pub struct PoolParams<'a> {
    /// Ordinal of the pool.
    pub id: u32,
    pub pick: PickBy,
    /// `via nat`; else the tuple stays, and no flow is needed.
    pub is_nat: bool,
    /// Number of slots; 0: no usable backend of the family.
    pub slots: u32,
    /// The backend in a slot below `slots`: its place in `backends`.
    pub slot: &'a dyn Fn(u32) -> Option<usize>,
    /// What can be picked, in the order written.
    pub backends: &'a [Load],
    /// Source addresses of the family; empty: the client's address and port stay.
    pub sources: &'a [Addr],
    pub port_first: u16,
    /// How many source ports there are, the first included.
    pub port_count: u32,
    /// The backend's address with this ordinal, or where packets of the family can't be sent to that, its other one; be it
    /// drained.
    pub reached: &'a dyn Fn(u32) -> Option<Target>,
    /// Hash of a certificate by its number.
    pub hash: &'a dyn Fn(u32) -> Option<[u8; 32]>,
    /// How packets get to the backend with this ordinal, if not by translation.
    pub wrap: &'a dyn Fn(u32) -> Option<Wrap>,
}

/// A backend that can be picked, and what bounds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    pub target: Target,
    pub weight: u32,
    /// Greatest number of connections at once.
    pub max_conn: Option<u32>,
    /// Of the backend's addresses, whichever its connections came by.
    pub ordinals: Vec<u32>,
}

/// Where the index into the slots comes from (`image::PICK_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PickBy {
    RoundRobin,
    Random,
    Source,
    Flow,
    /// By the packet's certificate.
    Certificate,
    /// The fewest for its weight.
    LeastConnections,
}

/// A backend's address of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Ordinal of the backend's address.
    pub backend: u32,
    /// Lower half of its identity.
    pub identity: u32,
    pub addr: Addr,
    /// 0 keeps the packet's.
    pub port: u16,
}

/// What the stages so far want to be written once the packet is forwarded.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The tracker that the packet passed last.
    tracker: Option<TrackParams>,
    flow: Option<PlannedFlow>,
    translation: Option<Translation>,
    /// What stages learned of the packet.
    pub(crate) learned: Learned,
    /// Tracker and certificate, behind a `track` with `key cert`.
    session: Option<(u32, u32)>,
    /// The trailer is cut off.
    strip: bool,
    /// What is added to the sequence number of a packet on its way to the client.
    shift: u32,
    /// The packet is the backend's answer to a SYN that a cookie opened: it goes no further.
    acknowledges: Option<Splice>,
}

#[derive(Clone, Copy, Debug)]
enum PlannedFlow {
    New,
    Known { table: flows::Table, next: track::Transition },
}

/// The tuple that the packet leaves with.
#[derive(Clone, Copy, Debug)]
struct Translation {
    src: Addr,
    dst: Addr,
    sport: u16,
    dport: u16,
    /// Ordinals of pool and backend, and the backend's identity.
    pool: u32,
    backend: u32,
    identity: u32,
    /// A new flow, in the place of what the packet's key had before.
    is_new: bool,
    /// Towards the backend, else back to the client.
    to_backend: bool,
    /// The tuple stays, and this goes around.
    wrap: Option<Wrap>,
}
