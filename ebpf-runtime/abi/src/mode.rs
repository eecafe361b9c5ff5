//! Owns the read-only words that specialise the program at load: the verifier prunes what they switch off.
//! Never holds what may change without a new program.

use crate::image::FIELDS;

pub const MODE_MAGIC: u32 = 0x4d50_424c;

/// The program's read-only configuration, one struct so that no two words of it are merged by the compiler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Mode {
    pub magic: u32,
    /// Size of an image half in words, a power of two, minus one.
    pub image_mask: u32,
    /// `Field::bit` of every field that some region looks at.
    pub fields: u32,
    /// `1 << OP_*` of every op that occurs.
    pub ops: u32,
    /// `FEATURE_*`.
    pub features: u32,
    pub reserved: [u32; 3],
}

/// The address table of the field has rows (otherwise its root is a leaf).
pub const FEATURE_SRC4: u32 = 1 << 0;
pub const FEATURE_SRC6: u32 = 1 << 1;
pub const FEATURE_DST4: u32 = 1 << 2;
pub const FEATURE_DST6: u32 = 1 << 3;
/// Some chain ends in `forward`.
pub const FEATURE_FORWARD: u32 = 1 << 4;
pub const FEATURE_REPLY: u32 = 1 << 5;
/// Some pool picks by hash, or some `every` turns by flow.
pub const FEATURE_HASH: u32 = 1 << 6;
/// Some pool has a backend with a cap or picks by connections, or some flow is a session's: `BACKENDS[].connections`,
/// `TRACKERS[].flows` and `BACKEND_COUNTS` are kept.
pub const FEATURE_LOAD: u32 = 1 << 7;
/// Clock and seed come from `maps::Control`, not from the kernel: tests only.
pub const FEATURE_TEST: u32 = 1 << 8;
/// Each run first writes the next packet of the `TEMPLATES` map over the frame: benches only.
pub const FEATURE_BENCH: u32 = 1 << 9;
/// After that, return `XDP_PASS` at once: the floor of a bench.
pub const FEATURE_BENCH_FLOOR: u32 = 1 << 10;
/// Packets for user space leave through `XSKS` where that has a socket for the queue, not through `PUNTS`.
pub const FEATURE_XSK: u32 = 1 << 11;

const _: () = assert!(core::mem::size_of::<Mode>() == 32);
const _: () = assert!(FIELDS <= 32);
