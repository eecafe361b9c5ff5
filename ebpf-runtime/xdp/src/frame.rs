//! Owns the bounds of the frame: every read and write of its bytes goes through a range check here.
//! Never what the bytes mean.

use core::arch::asm;

use aya_ebpf::bindings::xdp_md;

/// A map key that the compiler can't turn into a constant in read-only memory, where it was seen merged with `MODE`.
#[inline(always)]
pub fn key(mut index: u32) -> u32 {
    // SAFETY: moves a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) index, options(nomem, nostack)) };
    index
}

#[derive(Clone, Copy)]
pub struct Frame {
    data: usize,
    end: usize,
}

impl Frame {
    #[inline(always)]
    pub fn new(ctx: *mut xdp_md) -> Frame {
        // SAFETY: the context is valid for the whole run.
        unsafe { Frame { data: (*ctx).data as usize, end: (*ctx).data_end as usize } }
    }

    #[inline(always)]
    pub fn len(&self) -> u32 {
        (self.end - self.data) as u32
    }

    /// The `N` bytes at `offset`, if they are all in the frame. `offset` must have an upper bound that the verifier
    /// knows, below 65,535.
    #[inline(always)]
    pub fn at<const N: usize>(&self, offset: u32) -> Option<Bytes> {
        let mut start = self.data + offset as usize;
        // SAFETY: moves a register onto itself; it keeps this check apart from others on the same offset.
        unsafe { asm!("{0} = {0}", inout(reg) start, options(nomem, nostack)) };
        if start + N > self.end { None } else { Some(Bytes { start }) }
    }
}

/// Bytes that a range check has found in the frame. Offsets are the caller's promise to stay below the checked `N`;
/// the verifier refuses the program otherwise.
#[derive(Clone, Copy)]
pub struct Bytes {
    start: usize,
}

impl Bytes {
    #[inline(always)]
    pub fn u8(&self, offset: usize) -> u32 {
        // SAFETY: within the range that `Frame::at` checked; the verifier proves it.
        unsafe { *((self.start + offset) as *const u8) as u32 }
    }

    /// Big-endian.
    #[inline(always)]
    pub fn u16(&self, offset: usize) -> u32 {
        // SAFETY: as above.
        unsafe { u16::from_be(((self.start + offset) as *const u16).read_unaligned()) as u32 }
    }

    /// Big-endian.
    #[inline(always)]
    pub fn u32(&self, offset: usize) -> u32 {
        // SAFETY: as above.
        unsafe { u32::from_be(((self.start + offset) as *const u32).read_unaligned()) }
    }

    /// Eight bytes as they are.
    #[inline(always)]
    pub fn raw64(&self, offset: usize) -> u64 {
        // SAFETY: as above.
        unsafe { ((self.start + offset) as *const u64).read_unaligned() }
    }

    /// Two bytes as they are.
    #[inline(always)]
    pub fn raw16(&self, offset: usize) -> u16 {
        // SAFETY: as above.
        unsafe { ((self.start + offset) as *const u16).read_unaligned() }
    }

    /// Four bytes as they are.
    #[inline(always)]
    pub fn raw32(&self, offset: usize) -> u32 {
        // SAFETY: as above.
        unsafe { ((self.start + offset) as *const u32).read_unaligned() }
    }

    #[inline(always)]
    pub fn put8(&self, offset: usize, value: u8) {
        // SAFETY: as above; the frame is this run's alone.
        unsafe { *((self.start + offset) as *mut u8) = value }
    }

    #[inline(always)]
    pub fn put16(&self, offset: usize, value: u16) {
        // SAFETY: as for `put8`.
        unsafe { ((self.start + offset) as *mut u16).write_unaligned(value) }
    }

    #[inline(always)]
    pub fn put32(&self, offset: usize, value: u32) {
        // SAFETY: as for `put8`.
        unsafe { ((self.start + offset) as *mut u32).write_unaligned(value) }
    }

    #[inline(always)]
    pub fn put64(&self, offset: usize, value: u64) {
        // SAFETY: as for `put8`.
        unsafe { ((self.start + offset) as *mut u64).write_unaligned(value) }
    }

    /// An Ethernet address as it lies there, in two pieces: six bytes at once would become a call of `memmove`.
    #[inline(always)]
    pub fn mac(&self, offset: usize) -> (u32, u16) {
        (self.raw32(offset), self.raw16(offset + 4))
    }

    #[inline(always)]
    pub fn put_mac(&self, offset: usize, mac: (u32, u16)) {
        self.put32(offset, mac.0);
        self.put16(offset + 4, mac.1);
    }
}
