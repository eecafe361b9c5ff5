//! Owns what can be seen from outside of one frame's fate: evaluator, tables and program are compared by it.
//! Never why it met that fate.

use alloc::vec::Vec;

/// What became of one frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    Drop,
    /// To the local stack, as it came.
    Pass,
    /// Forwarded, or answered: as it left, from byte 12 on. MAC addresses belong to the environment.
    Sent(Vec<u8>),
}

/// Bytes of the two MAC addresses in front of a frame.
pub const MAC_BYTES: usize = 12;
