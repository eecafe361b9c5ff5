//! Owns access to the words of the image, every offset masked. Never what a word means.

use lb_abi::image::{H_MAGIC, MAGIC, NODE_WORDS};

use crate::{
    frame::key,
    maps::{IMAGE, mode},
    packet::Packet,
};

/// The half of the image that a packet follows from its first look to its end.
#[derive(Clone, Copy)]
pub struct Image {
    words: *const u32,
}

impl Image {
    #[inline(always)]
    pub fn open(half: u32) -> Option<Image> {
        let image = Image { words: IMAGE.get_ptr(key(half & 1))?.cast() };
        if image.word(H_MAGIC as u32) == MAGIC { Some(image) } else { None }
    }

    /// The one that the packet follows already, in a function of its own.
    #[inline(always)]
    pub fn of(p: &Packet) -> Option<Image> {
        Some(Image { words: IMAGE.get_ptr(key(p.half & 1))?.cast() })
    }

    /// The word at `offset`, modulo the size of the image: an image that points outside of itself gets a wrong word,
    /// never another's memory.
    #[inline(always)]
    pub fn word(&self, offset: u32) -> u32 {
        // Read anew each time: a spilled copy may share its stack slot, and then the verifier forgets its value.
        let masked = offset & mode!(image_mask);
        // SAFETY: `image_mask + 1` words are there; the verifier compares the mask with the map's value size.
        unsafe { *self.words.wrapping_add(masked as usize) }
    }

    /// Word `n` of the node at `offset`.
    #[inline(always)]
    pub fn node(&self, offset: u32, n: usize) -> u32 {
        let first = offset & mode!(image_mask) & !(NODE_WORDS as u32 - 1);
        // SAFETY: as above; nodes are aligned to their size, so the last word is still below the mask.
        unsafe { *self.words.wrapping_add(first as usize).wrapping_add(n) }
    }
}
