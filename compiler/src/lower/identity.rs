//! Owns what the things that outlive an apply are known by: 64 bits over stable text. Never positions or dense numbers.

use lb_abi::bundle::Identity;
use sha2::{Digest, Sha256};

/// The first 64 bits, big-endian, of the SHA-256 of the parts, each behind its length, so that no two lists of parts
/// read the same.
pub fn identity(parts: &[&str]) -> Identity {
    u64::from_be_bytes(halves(parts).0)
}

/// Two independent public hashes of the parts: offset and skip of a Maglev permutation.
pub fn two_hashes(parts: &[&str]) -> (u64, u64) {
    let (first, second) = halves(parts);
    (u64::from_be_bytes(first), u64::from_be_bytes(second))
}

fn halves(parts: &[&str]) -> ([u8; 8], [u8; 8]) {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    let (mut first, mut second) = ([0; 8], [0; 8]);
    first.copy_from_slice(&hash[..8]);
    second.copy_from_slice(&hash[8..16]);
    (first, second)
}
