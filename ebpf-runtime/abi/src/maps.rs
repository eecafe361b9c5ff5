//! Owns names, keys and values of the maps that outlive an image. Never says who may write them: the data path and
//! one runtime under the instance's lock.

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

/// Key of `PUNT_KEYS`, an LRU table; the value is the theoretical arrival time of a source's bucket in 1/64 ns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(C)]
pub struct PuntKey {
    /// Masked to /32 and /64.
    pub addr: Addr,
    /// Ordinal of the authority.
    pub authority: u32,
}

/// Slots of `RETURNING`, an array of `u64`: upper half of the keyed hash of a source's prefix, below it `RETURNED` if it had
/// come before then, and below that the tick, modulo 2^31, at which it last came. A source that comes again within
/// `RETURNING_TICKS`, but not at once, has a bucket that a flood of forged sources can't empty.
pub const RETURNING_SLOTS: u32 = 1 << 18;
pub const RETURNING_TICKS: u32 = 4_000;
pub const RETURNED: u32 = 1 << 31;
pub const RETURNING_TICK: u32 = RETURNED - 1;

/// `PENDING[keyed flow hash % PENDING_SLOTS]`, mmapable: packets of a flow that are in user space. The newest flow owns a
/// slot; one that loses it loses the order of its packets, nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Pending {
    /// Keyed flow hash.
    pub flow: u64,
    /// Packets handed over, and packets done with; only the agent writes the latter.
    pub punted: u32,
    pub done: u32,
    /// Tick at which the agent was last done with one, or came to have one again: if that is more than `PENDING_TICKS` ago,
    /// those in user space are lost.
    pub last: u32,
    pub pad: u32,
}

pub const PENDING_SLOTS: u32 = 1 << 16;
pub const PENDING_TICKS: u32 = 1_000;

/// In front of a frame in `PUNTS` (a BPF ring buffer), or in the metadata in front of a frame in an AF_XDP socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Punt {
    /// `PUNT_MAGIC`.
    pub magic: u32,
    /// Bytes of the frame.
    pub len: u32,
    /// The generation whose image the packet followed, and the node of its `verify`.
    pub generation: u32,
    pub node: u32,
    /// Offset of the descriptor of the tracker that it passed before, 0 for none.
    pub tracker: u32,
    /// Interface and queue that it came in by.
    pub ifindex: u32,
    pub queue: u32,
    /// Dense number of the certificate that its trailer names.
    pub cert: u32,
    /// Ordinal of the authority.
    pub authority: u32,
    /// `PUNT_*`.
    pub flags: u32,
    /// UDP payload, trailer included: offset in the frame and bytes.
    pub payload: u32,
    pub payload_len: u32,
    /// Keyed flow hash: packets of equal ones keep their order.
    pub flow: u64,
    /// Coarse monotonic ns.
    pub at: u64,
}

pub const PUNT_MAGIC: u32 = 0x5450_424c;
/// It is in session already: only its place in the order matters.
pub const PUNT_IN_SESSION: u32 = 1;
/// Its source has come before: it is not one of a flood of forged ones, and may wait where those may not.
pub const PUNT_RETURNING: u32 = 2;
/// Longest frame that is handed over: as much of a page as `BPF_PROG_TEST_RUN` with live frames takes, by which it comes
/// back, in whole cache lines.
pub const PUNT_FRAME: usize = 3_328;

/// Bytes of the ring buffer `PUNTS`.
pub const PUNTS_BYTES: u32 = 1 << 22;

/// `RESUME_BATCHES[slot]`, mmapable: packets that come back from user space, of which the program `lbctl_resume` takes one
/// at each run. The slot is the `u32` in the 8 bytes of metadata in front of what it is run on; one user of a slot at a
/// time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(64))]
pub struct ResumeBatch {
    /// Which packet the next run takes, and how many there are: user space begins with 0, and a run beyond them does
    /// nothing.
    pub next: u32,
    pub count: u32,
    /// Interfaces by which the program lets a frame go, as an attached one does (0: the local stack, by `XDP_PASS`; unused
    /// places hold `RESUME_NOWHERE`). What is to leave by another comes back into its place of `RESUME_FRAMES`.
    pub direct: [u32; RESUME_DIRECT],
}

pub const RESUME_DIRECT: usize = 14;
pub const RESUME_NOWHERE: u32 = u32::MAX;

/// `RESUMES[slot * RESUME_BATCH + n]`, mmapable: how the program is to go on with packet `n` of a batch. The packet itself
/// is the value of `RESUME_FRAMES`, likewise mmapable, with the same index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(64))]
pub struct Resume {
    // In.
    /// As in the `Punt`.
    pub generation: u32,
    pub node: u32,
    pub tracker: u32,
    pub cert: u32,
    /// `RESUME_*`.
    pub verdict: u32,
    // In and out.
    /// Bytes of the frame, at most `PUNT_FRAME`; out for a frame that came back.
    pub len: u32,
    // Out.
    /// `XDP_*`, whether it was carried out or is user space's to carry out; user space begins with `RESUME_WAITS`.
    pub action: u32,
    /// Interface to send by, for `XDP_TX` and `XDP_REDIRECT`.
    pub ifindex: u32,
    /// 1 if the generation is another by now: nothing was done, and the packet has to begin anew.
    pub stale: u32,
    /// 1 if a session began with this packet.
    pub born: u32,
    /// 1 if the frame came back.
    pub back: u32,
    /// 1 if it is handed over again: `punt` says how.
    pub punted: u32,
    pub reserved: [u32; 4],
    pub punt: Punt,
}

/// Leave the `verify` by its exit `VERIFY_*`.
pub const RESUME_EXIT: u32 = 0;
/// Go on behind the `verify`, with the certificate.
pub const RESUME_ON: u32 = 16;
/// From the top, as a packet that has just arrived.
pub const RESUME_ANEW: u32 = 17;
/// It is done with: nothing is looked at.
pub const RESUME_DONE: u32 = 18;

/// No `XDP_*`: the program has not run.
pub const RESUME_WAITS: u32 = u32::MAX;

pub const RESUME_SLOTS: u32 = 32;
/// Packets of a slot.
pub const RESUME_BATCH: u32 = 64;
/// Bytes of metadata in front of what the program is run on.
pub const RESUME_META: usize = 8;

/// Entries of `XSKS`: AF_XDP sockets by [`xsk_slot`].
pub const XSK_SLOTS: u32 = 1 << 10;

/// Where the socket of a device's queue stands; devices whose numbers collide can't both have one.
pub const fn xsk_slot(ifindex: u32, queue: u32) -> u32 {
    (ifindex & 63) << 4 | (queue & 15)
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
const _: () = assert!(core::mem::size_of::<Punt>() == 64);
const _: () = assert!(core::mem::size_of::<ResumeBatch>() == 64);
const _: () = assert!(core::mem::size_of::<Resume>() == 128);
const _: () = assert!(core::mem::size_of::<LimitKey>() == 20);
