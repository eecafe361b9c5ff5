//! Owns what the things that outlive an apply are known by: 64 bits over stable text. Never positions or dense numbers.

use lb_abi::bundle::Identity;
use sha2::{Digest, Sha256};

/// The first 64 bits, big-endian, of the SHA-256 of the parts, each behind its length, so that no two lists of parts
/// read the same.
pub fn identity(parts: &[&str]) -> Identity {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
}
