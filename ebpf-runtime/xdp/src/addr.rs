//! Owns addresses as two words of 64 bits in memory order, the form in which they are copied and compared.
//! Never which of them are allowed; `martian.rs` knows that.

use lb_abi::maps::Addr;

/// `Addr` in memory order.
pub type Words = [u64; 2];

/// IPv4 address (host order) in its mapped form.
#[inline(always)]
pub fn mapped(v4: u32) -> Words {
    [0, (0xffff_0000_0000 | v4 as u64).to_be()]
}

#[inline(always)]
pub fn read(addr: &Addr) -> Words {
    let words: *const u64 = core::ptr::from_ref(addr).cast();
    // SAFETY: 16 bytes behind a reference, read as two words without asking for alignment.
    unsafe { [words.read_unaligned(), words.add(1).read_unaligned()] }
}

#[inline(always)]
pub fn write(addr: &mut Addr, value: Words) {
    let words: *mut u64 = core::ptr::from_mut(addr).cast();
    // SAFETY: as in `read`.
    unsafe {
        words.write_unaligned(value[0]);
        words.add(1).write_unaligned(value[1]);
    }
}

/// The IPv4 address (host order) in the last four bytes.
#[inline(always)]
pub fn v4(addr: &Addr) -> u32 {
    u64::from_be(read(addr)[1]) as u32
}
