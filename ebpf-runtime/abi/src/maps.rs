//! Owns names, keys and values of the maps that outlive an image. Never says who may write them: the data path and
//! one runtime under the instance's lock.

mod slow;

pub use slow::*;

/// An address of either family in network byte order; IPv4 as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
pub type Addr = [u8; 16];

pub const MAP_CONTROL: &str = "CONTROL";
pub const MAP_IMAGE: &str = "IMAGE";
pub const MAP_COUNTERS: &str = "COUNTERS";
pub const MAP_REASONS: &str = "REASONS";
pub const MAP_LIMIT_KEYS: &str = "LIMIT_KEYS";
pub const MAP_LIMITS: &str = "LIMITS";
pub const MAP_TURNS: &str = "TURNS";
pub const MAP_TRACKERS: &str = "TRACKERS";
pub const MAP_POOLS: &str = "POOLS";
pub const MAP_BACKENDS: &str = "BACKENDS";
pub const MAP_FLOWS_NEW: &str = "FLOWS_NEW";
pub const MAP_FLOWS_ANSWERED: &str = "FLOWS_ANSWERED";
pub const MAP_FLOWS_PROVEN: &str = "FLOWS_PROVEN";
pub const MAP_TEMPLATES: &str = "TEMPLATES";
pub const MAP_CERTIFICATES: &str = "CERTIFICATES";
pub const MAP_CERTIFICATE_COUNTS: &str = "CERT_COUNTS";
pub const MAP_BACKEND_COUNTS: &str = "BACKEND_COUNTS";
pub const MAP_SESSIONS: &str = "SESSIONS";
pub const MAP_REPLAYS: &str = "REPLAYS";
pub const MAP_PUNTS: &str = "PUNTS";
pub const MAP_PUNT_KEYS: &str = "PUNT_KEYS";
pub const MAP_RETURNING: &str = "RETURNING";
pub const MAP_PENDING: &str = "PENDING";
pub const MAP_RESUME_BATCHES: &str = "RESUME_BATCHES";
pub const MAP_RESUMES: &str = "RESUMES";
pub const MAP_RESUME_FRAMES: &str = "RESUME_FRAMES";
pub const MAP_XSKS: &str = "XSKS";

/// Bytes of kernel memory that an entry of a hash table takes, for a key and a value of so many (kernel/bpf/hashtab.c:
/// each is rounded up to 8, with 48 bytes before them and a bucket of 16).
pub const fn hash_entry_bytes(key: usize, value: usize) -> u64 {
    (48 + key.next_multiple_of(8) + value.next_multiple_of(8) + 16) as u64
}

/// A tick of flow times is `2^20` ns of the kernel's coarse monotonic clock, about a millisecond; it wraps after
/// 52 days, so ages are wrapping differences.
pub const TICK_SHIFT: u32 = 20;

/// `CONTROL[0]`, mmapable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(64))]
pub struct Control {
    /// Which half of `IMAGE` is current: 0 or 1.
    pub current: u32,
    pub generation: u32,
    pub schema: u32,
    pub pad: u32,
    pub hash_key: [u64; 2],
    /// Seed of `hash::draw` under `FEATURE_TEST`.
    pub seed: u64,
    /// Clock in ns under `FEATURE_TEST`.
    pub clock: u64,
    /// What is added to the coarse monotonic clock to have the wall clock, in ns since 1970. Written by apply, and by the
    /// agent whenever the wall clock is set.
    pub wall: i64,
    pub reserved: u64,
    /// Words that the data path writes, on a cache line of their own.
    pub draws: u64,
    /// Theoretical arrival time of the bucket for generated answers, 1/64 ns.
    pub answers: u64,
    /// Likewise of the two buckets for packets to user space: sources that come again, and all others.
    pub punts: [u64; 2],
    pub reserved2: [u64; 4],
}

/// Generated answers (`reply echo`): rate and burst of their one bucket.
pub const ANSWERS_PER_SECOND: u64 = 10_000;
pub const ANSWERS_BURST: u64 = 1_000;

/// `COUNTERS[dense]`, per CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Counter {
    pub packets: u64,
    /// Bytes of the frame as it arrived, Ethernet header included.
    pub bytes: u64,
}

/// Key of `LIMIT_KEYS`; the value is the `u64` theoretical arrival time in 1/64 ns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct LimitKey {
    /// Masked to the limit's prefix length.
    pub addr: Addr,
    /// Dense number of the limit.
    pub limit: u32,
}

/// `LIMITS[dense]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct LimitState {
    /// Theoretical arrival time of a limit without a key, 1/64 ns.
    pub tat: u64,
    /// Keys inserted since the limit exists; those no longer in `LIMIT_KEYS` were evicted.
    pub inserted: u64,
}

/// `TRACKERS[dense]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct TrackerState {
    /// Flows of this tracker in `FLOWS_PROVEN`, a pair counted once.
    pub proven: u64,
    /// Live flows of its sessions (`TRACK_CERTIFICATE`): up with a new flow, down when one is deleted, and set right by
    /// the agent at each pass over the flow tables.
    pub flows: u64,
}

/// `POOLS[dense]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct PoolState {
    /// New flows so far: the turn of `PICK_ROUND_ROBIN`.
    pub turn: u64,
    /// Source ports tried so far (RFC 6056, algorithm 3: `next_ephemeral`).
    pub port: u64,
}

/// A resolved next hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct NextHop {
    /// 0: unknown.
    pub ifindex: u32,
    pub dmac: [u8; 6],
    pub smac: [u8; 6],
}

/// `BACKENDS[dense]`: one address of a backend of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Backend {
    pub addr: Addr,
    /// Host byte order; 0 keeps the packet's port.
    pub port: u16,
    /// `BACKEND_*`.
    pub state: u16,
    /// Lower half of the identity (pool, address, port), so that a re-used number is never taken for its former owner.
    pub identity: u32,
    /// Written by apply and the agent; `ifindex` 0 makes the data path ask the routing table.
    pub next_hop: NextHop,
    /// New flows sent here since the backend exists.
    pub flows: u64,
    /// Live flows that are not closing (`FEATURE_LOAD`); kept as `TrackerState::flows`. Signed, since a flow that was
    /// evicted and one that was counted twice may each take it beyond 0 for a moment.
    pub connections: i64,
    /// 1 + dense number of the same backend's address of the other family, 0 without one.
    pub other: u32,
    pub reserved: u32,
}

pub const BACKEND_ABSENT: u16 = 0;
pub const BACKEND_ACTIVE: u16 = 1;
/// Keeps its flows, takes no new one.
pub const BACKEND_DRAINING: u16 = 2;

/// Key of the flow tables: a packet's own tuple, so a flow has one entry for each direction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct FlowKey {
    pub src: Addr,
    pub dst: Addr,
    /// Host byte order. ICMP echo: the request has its identifier as `sport` and 0 as `dport`, the reply the other
    /// way round; protocols without ports have 0 in both.
    pub sport: u16,
    pub dport: u16,
    pub proto: u8,
    pub pad: [u8; 3],
}

/// One direction of a flow: the tuple its packets leave with, and what both directions must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Flow {
    /// What a packet of this direction is rewritten to; equal to the key's where nothing is translated.
    pub src: Addr,
    pub dst: Addr,
    pub sport: u16,
    pub dport: u16,
    /// `FLOW_*`.
    pub state: u8,
    /// `DIR_*`.
    pub dir: u8,
    /// Dense number of the tracker that knows it.
    pub tracker: u16,
    /// Tick of the last packet in this direction, and after how many of them in both it is over.
    pub last: u32,
    pub timeout: u32,
    /// 1 + dense number of the backend, 0 if untranslated; and its identity.
    pub backend: u32,
    pub identity: u32,
    /// `DIR_ORIGINAL`: the server's initial sequence number + 1 once REPLIED.
    pub isn: u32,
    /// Latest acknowledgement number sent in this direction: an RST of the other side must carry it as its
    /// sequence number (RFC 5961, section 3).
    pub acked: u32,
    /// Next hop of this direction and the tick it was asked for.
    pub next_hop: NextHop,
    pub resolved: u32,
    /// `FIN_*` seen so far.
    pub fins: u8,
    /// `FLOW_IS_*`.
    pub flags: u8,
    /// 1 + dense number of the certificate that its packets were verified by, 0 for none.
    pub cert: u16,
    /// Dense number of the pool + 1, 0 if untranslated.
    pub pool: u32,
    /// Ticks that it lives on once it is CLOSING: the reply's way may pass no tracker that could tell.
    pub half_open: u32,
}

pub const DIR_ORIGINAL: u8 = 0;
pub const DIR_REPLY: u8 = 1;

/// First packet seen.
pub const FLOW_NEW: u8 = 0;
/// The other side has answered.
pub const FLOW_REPLIED: u8 = 1;
/// The client has acknowledged the server's own sequence number.
pub const FLOW_PROVEN: u8 = 2;
/// FIN of both sides, or a credible RST: lives for the half-open time.
pub const FLOW_CLOSING: u8 = 3;

/// `Flow::flags`: it belongs to the session (tracker, certificate).
pub const FLOW_IS_SESSION: u8 = 1;
/// Of the original direction: packets that came before it was committed may still be in user space, so that `PENDING`
/// is to be asked.
pub const FLOW_IS_PENDING: u8 = 2;

pub const FIN_ORIGINAL: u8 = 1;
pub const FIN_REPLY: u8 = 2;

/// A next hop kept in a flow is asked for again after this many ticks (about a second).
pub const NEXT_HOP_TICKS: u32 = 1_000;

/// `CERTIFICATES[dense]`, mmapable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(64))]
pub struct Certificate {
    pub hash: [u8; 32],
    /// Wall clock in ns since 1970 of the first and the last moment at which it is valid.
    pub not_before: i64,
    pub not_after: i64,
    /// `CERTIFICATE_*`.
    pub state: u32,
    pub pad: u32,
    pub reserved: u64,
}

pub const CERTIFICATE_ABSENT: u32 = 0;
pub const CERTIFICATE_ACTIVE: u32 = 1;
pub const CERTIFICATE_REVOKED: u32 = 2;

/// Key of `SESSIONS`, a plain hash table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(C)]
pub struct SessionKey {
    /// Dense numbers.
    pub tracker: u32,
    pub cert: u32,
    /// 0: the session itself; 1 + dense number of a pool: the backend that it has there.
    pub pool: u32,
}

/// A session, or its backend in one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Session {
    /// Coarse monotonic ns of its beginning: a backend belongs to the session that began at the same moment.
    pub born: u64,
    /// Of the session itself: `CERT_COUNTS` of the certificate when it began, written by the agent.
    pub packets_before: u64,
    pub bytes_before: u64,
    /// Tick of the last packet of any of its flows, either way, and after how many it is over.
    pub last: u32,
    pub timeout: u32,
    /// Of a backend: 1 + dense number, and the lower half of its identity.
    pub backend: u32,
    pub identity: u32,
}

/// Key of `REPLAYS`, a plain hash table that nothing evicts; the value is the `u64` monotonic ns after which the
/// signature is forgotten. Written and read by the agent alone, kept in the kernel to outlive it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct ReplayKey {
    /// Of the authority.
    pub authority: u64,
    /// First 24 bytes of the SHA-256 of the signature in the form with the lower s.
    pub signature: [u64; 3],
}

/// `TEMPLATES[i]`: a packet of a bench mix, and its first `len` bytes. One of length 0, or the end of the map, ends the
/// mix: after it comes `TEMPLATES[0]` again.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Template {
    pub len: u32,
    pub pad: u32,
    pub bytes: [u8; TEMPLATE_BYTES],
}

pub const TEMPLATE_BYTES: usize = 64;
/// Packets of the largest mix.
pub const MAX_TEMPLATES: u32 = 65_536;

const _: () = assert!(core::mem::size_of::<Control>() == 128);
const _: () = assert!(core::mem::size_of::<FlowKey>() == 40);
const _: () = assert!(core::mem::size_of::<Flow>() == 96);
const _: () = assert!(core::mem::size_of::<Backend>() == 64);
const _: () = assert!(core::mem::size_of::<Certificate>() == 64);
const _: () = assert!(core::mem::size_of::<Session>() == 40);
const _: () = assert!(core::mem::size_of::<LimitKey>() == 20);
