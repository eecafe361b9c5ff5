//! Owns access to the words of the image, every offset masked. Never what a word means.

use core::arch::asm;

use lb_abi::image::{H_MAGIC, HEADER_WORDS, MAGIC, NODE_WORDS};

use crate::{
    frame::key,
    maps::{IMAGE, mode},
    packet::Packet,
};

/// The half of the image that a packet follows from its first look to its end.
#[derive(Clone, Copy)]
pub struct Image {
    words: *const u32,
    /// `Mode::image_mask`, read once. As 64 bits, since the verifier forgets a spilled value of 32 that shares its
    /// stack slot with another.
    mask: u64,
}

/// `Mode::image_mask` as 64 bits of which the compiler knows nothing, or it would spill the lower 32.
#[inline(always)]
fn mask() -> u64 {
    let mut mask = mode!(image_mask) as u64;
    // SAFETY: moves a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) mask, options(nomem, nostack)) };
    mask
}

impl Image {
    #[inline(always)]
    pub fn open(half: u32) -> Option<Image> {
        let image = Image { words: IMAGE.get_ptr(key(half & 1))?.cast(), mask: mask() };
        if image.header(H_MAGIC) == MAGIC { Some(image) } else { None }
    }

    /// The one that the packet follows already, in a function of its own.
    #[inline(always)]
    pub fn of(p: &Packet) -> Option<Image> {
        Some(Image { words: IMAGE.get_ptr(key(p.half & 1))?.cast(), mask: mask() })
    }

    /// The word at `offset`, modulo the size of the image: an image that points outside of itself gets a wrong word,
    /// never another's memory.
    #[inline(always)]
    pub fn word(&self, offset: u32) -> u32 {
        let masked = offset as u64 & self.mask;
        // SAFETY: `image_mask + 1` words are there; the verifier compares the mask with the map's value size.
        unsafe { *self.words.wrapping_add(masked as usize) }
    }

    /// A word of the header, which every image has.
    #[inline(always)]
    pub fn header(&self, n: usize) -> u32 {
        // SAFETY: an image has at least `HEADER_WORDS` words; the verifier checks it.
        unsafe { *self.words.wrapping_add(n % HEADER_WORDS) }
    }

    /// The node at `offset`, likewise masked.
    #[inline(always)]
    pub fn node(&self, offset: u32) -> Node {
        let first = offset as u64 & self.mask & !(NODE_WORDS as u64 - 1);
        Node { words: self.words.wrapping_add(first as usize) }
    }
}

#[derive(Clone, Copy)]
pub struct Node {
    words: *const u32,
}

impl Node {
    /// `N_*`.
    #[inline(always)]
    pub fn word(&self, n: usize) -> u32 {
        // SAFETY: nodes are aligned to their size, so the last word is still within the image.
        unsafe { *self.words.wrapping_add(n % NODE_WORDS) }
    }
}
