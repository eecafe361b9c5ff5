//! Owns the layout of what the two programs and the agent share about packets on their way through user space. Never that
//! of what is checked there: the trailer has a module of its own.

use super::Addr;

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

const _: () = assert!(core::mem::size_of::<Punt>() == 64);
const _: () = assert!(core::mem::size_of::<ResumeBatch>() == 64);
const _: () = assert!(core::mem::size_of::<Resume>() == 128);
