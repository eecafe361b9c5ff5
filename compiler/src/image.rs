//! Owns what can be said about a finished image: its id, its bytes, its text, and whether it is sound. Never how it
//! came to be; the layout is `lb_abi::image`.

mod bytes;
pub mod names;
mod rows;
mod text;
mod validate;

pub use bytes::{from_bytes, to_bytes};
pub use text::to_text;
pub use validate::validate;

use std::fmt;

use lb_abi::bundle::Image;
use lb_abi::image::OP_DECIDE;
use lb_abi::image::{OP_END, OP_EVERY, OP_LIMIT, OP_TRACK, OP_TRANSLATE, OP_TRANSLATE_BACK, OP_VERIFY};
use sha2::{Digest, Sha256};

/// Why bytes or words are no image that the packet path could follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Corrupt {
    pub place: Place,
    pub problem: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Offset in the bytes.
    Byte(usize),
    /// Offset in the words.
    Word(usize),
    /// Entry of one of the lists beside the words.
    Entry(&'static str, usize),
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Byte(at) => write!(f, "byte {at}: {}", self.problem),
            Place::Word(at) => write!(f, "word {at}: {}", self.problem),
            Place::Entry(list, at) => write!(f, "{list} {at}: {}", self.problem),
        }
    }
}

impl std::error::Error for Corrupt {}

/// SHA-256 of all that decides what the image does and which state it goes on with: words, mode, sizes, identities. Names
/// and places of the source are no part of it.
pub fn id(image: &Image) -> [u8; 32] {
    let mut hash = Sha256::new();
    // Each list goes behind its length, so that no two images read the same.
    let mut list = |name: &str, items: &mut dyn Iterator<Item = Vec<u64>>, count: usize| {
        hash.update(name.as_bytes());
        hash.update((count as u64).to_le_bytes());
        for item in items {
            item.iter().for_each(|number| hash.update(number.to_le_bytes()));
        }
    };
    let mode = [image.fields, image.ops, image.features].map(u64::from);
    list("mode", &mut std::iter::once(mode.to_vec()), 1);
    let relocations = &image.relocations;
    list(
        "relocations",
        &mut relocations.iter().map(|one| vec![one.word.into(), one.kind as u64]),
        relocations.len(),
    );
    list(
        "limits",
        &mut image.limits.iter().map(|one| vec![one.identity, one.max.into()]),
        image.limits.len(),
    );
    list("turns", &mut image.turns.iter().map(|one| vec![one.identity]), image.turns.len());
    list(
        "trackers",
        &mut image.trackers.iter().map(|one| vec![one.identity, one.max.into()]),
        image.trackers.len(),
    );
    list("pools", &mut image.pools.iter().map(|one| vec![one.identity]), image.pools.len());
    list(
        "backends",
        &mut image.backends.iter().map(|one| {
            let (high, low) = (u128::from_be_bytes(one.addr) >> 64, u128::from_be_bytes(one.addr));
            vec![one.identity, one.pool.into(), high as u64, low as u64, one.port.into(), one.state.into()]
        }),
        image.backends.len(),
    );
    list(
        "authorities",
        &mut image
            .authorities
            .iter()
            .map(|one| vec![one.identity, one.replay.is_some().into(), one.replay.unwrap_or(0), one.checks]),
        image.authorities.len(),
    );
    list(
        "certificates",
        &mut image.certificates.iter().map(|one| {
            let key = one.key.as_ref().map_or(&[][..], |key| key);
            let (first, last) = one.valid.unwrap_or_default();
            let mut all = vec![one.identity, one.authority.into(), one.id.into(), one.revoked.into()];
            all.extend([one.valid.is_some().into(), first as u64, last as u64, key.len() as u64]);
            all.extend(one.hash.iter().chain(key).map(|&byte| u64::from(byte)));
            all
        }),
        image.certificates.len(),
    );
    list(
        "counters",
        &mut image.counters.iter().map(|one| {
            let tallies = one.tallies.iter().map(|&tally| u64::from(tally));
            [one.identity, one.tallies.len() as u64].into_iter().chain(tallies).collect()
        }),
        image.counters.len(),
    );
    list(
        "tallies",
        &mut image.tallies.iter().map(|one| vec![one.identity, one.kind as u64]),
        image.tallies.len(),
    );
    hash.update((image.words.len() as u64).to_le_bytes());
    for words in image.words.chunks(1024) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        hash.update(bytes);
    }
    hash.finalize().into()
}

/// The word for an op in texts.
pub(crate) fn op_name(op: u32) -> &'static str {
    match op {
        OP_DECIDE => "decide",
        OP_LIMIT => "limit",
        OP_EVERY => "every",
        OP_TRACK => "track",
        OP_TRANSLATE => "translate",
        OP_TRANSLATE_BACK => "translate back",
        OP_END => "end",
        OP_VERIFY => "verify",
        _ => "unknown op",
    }
}

#[cfg(test)]
mod tests;
