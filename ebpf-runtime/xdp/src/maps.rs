//! Owns the declarations of the maps, one per name in `lb_abi::maps`, and the read-only mode of the program.
//! Never their sizes (set at load) nor what they mean.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, XskMap},
};
use lb_abi::{
    SCHEMA,
    maps::{
        Backend, Certificate, Control, Counter, Flow, FlowKey, LimitKey, LimitState, PUNT_FRAME, Pending,
        PoolState, PuntKey, RESUME_SLOTS, Resume, ResumeBatch, Session, SessionKey, Template, TrackerState,
    },
    mode::{MODE_MAGIC, Mode},
    reason::REASON_COUNT,
};

use crate::{packet::Packet, punt::Record};

/// `BPF_F_MMAPABLE` of `include/uapi/linux/bpf.h`.
const MMAPABLE: u32 = 1 << 10;

/// Set at load; the map behind it is frozen, so that the verifier knows every word and prunes.
#[unsafe(no_mangle)]
pub static MODE: Mode =
    Mode { magic: MODE_MAGIC, image_mask: 0xffff, fields: 0, ops: 0, features: 0, reserved: [SCHEMA, 0, 0] };

/// A word of the mode. Volatile, or the compiler would believe the words above.
macro_rules! mode {
    ($word:ident) => {
        // SAFETY: a read of an immutable static.
        unsafe { core::ptr::read_volatile(core::ptr::addr_of!($crate::maps::MODE.$word)) }
    };
}
pub(crate) use mode;

#[inline(always)]
pub fn fields() -> u32 {
    mode!(fields)
}

#[inline(always)]
pub fn op_occurs(op: u32) -> bool {
    mode!(ops) & (1 << op) != 0
}

#[inline(always)]
pub fn feature(bit: u32) -> bool {
    mode!(features) & bit != 0
}

#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, MMAPABLE);

/// Two halves, each one value of `image_mask + 1` words: the runtime makes this map with that value size and hands it
/// over by its pin path, so the size here never comes to exist.
#[map]
pub static IMAGE: Array<[u32; 65_536]> = Array::with_max_entries(2, MMAPABLE);

#[map]
pub static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASON_COUNT as u32, 0);

/// Theoretical arrival times of limits with a key.
#[map]
pub static LIMIT_KEYS: LruHashMap<LimitKey, u64> = LruHashMap::with_max_entries(1, 0);

#[map]
pub static LIMITS: Array<LimitState> = Array::with_max_entries(1, 0);

#[map]
pub static TURNS: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub static TRACKERS: Array<TrackerState> = Array::with_max_entries(1, 0);

#[map]
pub static POOLS: Array<PoolState> = Array::with_max_entries(1, 0);

#[map]
pub static BACKENDS: Array<Backend> = Array::with_max_entries(1, MMAPABLE);

#[map]
pub static FLOWS_NEW: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(1, 0);

#[map]
pub static FLOWS_ANSWERED: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(1, 0);

#[map]
pub static FLOWS_PROVEN: HashMap<FlowKey, Flow> = HashMap::with_max_entries(1, 0);

#[map]
pub static CERTIFICATES: Array<Certificate> = Array::with_max_entries(1, MMAPABLE);

/// Packets forwarded for each certificate, and sent to each backend.
#[map]
pub static CERT_COUNTS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static BACKEND_COUNTS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(1, 0);

/// Nothing evicts a session.
#[map]
pub static SESSIONS: HashMap<SessionKey, Session> = HashMap::with_max_entries(1, 0);

/// What user space is to decide on.
#[map]
pub static PUNTS: RingBuf = RingBuf::with_byte_size(4_096, 0);

#[map]
pub static XSKS: XskMap = XskMap::with_max_entries(1, 0);

/// Theoretical arrival times of sources with signatures to check.
#[map]
pub static PUNT_KEYS: LruHashMap<PuntKey, u64> = LruHashMap::with_max_entries(1, 0);

#[map]
pub static RETURNING: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub static PENDING: Array<Pending> = Array::with_max_entries(1, MMAPABLE);

/// What user space has decided.
#[map]
pub static RESUME_BATCHES: Array<ResumeBatch> = Array::with_max_entries(1, MMAPABLE);

#[map]
pub static RESUMES: Array<Resume> = Array::with_max_entries(1, MMAPABLE);

#[map]
pub static RESUME_FRAMES: Array<[u8; PUNT_FRAME]> = Array::with_max_entries(1, MMAPABLE);

/// The record in the making.
#[map]
pub static RECORDS: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

/// Packets that are resumed, by slot of `RESUME_BATCHES`.
#[map]
pub static RESUMED: Array<Packet> = Array::with_max_entries(RESUME_SLOTS, 0);

/// Packets of a bench mix; only looked at with `FEATURE_BENCH`.
#[map]
pub static TEMPLATES: Array<Template> = Array::with_max_entries(1, 0);

/// The packet in work, one a CPU: XDP runs with bottom halves off and never nests.
#[map]
pub static PACKET: PerCpuArray<Packet> = PerCpuArray::with_max_entries(1, 0);
