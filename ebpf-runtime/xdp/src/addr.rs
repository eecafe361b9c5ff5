//! Owns addresses as two words of 64 bits in memory order, the form in which they are copied and compared.
//! Never which of them are allowed; `martian.rs` knows that.

use lb_abi::maps::Addr;

/// `Addr` in memory order.
pub type Words = [u64; 2];

/// IPv4 address (memory order) in its mapped form.
#[inline(always)]
pub fn mapped(v4: u32) -> Words {
    [0, 0xffff_0000 | (v4 as u64) << 32]
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

/// Whether it is in ::ffff:0:0/96.
#[inline(always)]
pub fn is_mapped(addr: &Addr) -> bool {
    let [high, low] = read(addr);
    high == 0 && low as u32 == 0xffff_0000
}

/// The first `prefix` bits, the rest 0.
#[inline(always)]
pub fn masked(addr: Words, prefix: u32) -> Words {
    let mask = |bits: u32| if bits >= 64 { u64::MAX } else { !(u64::MAX >> bits) };
    let low = prefix.saturating_sub(64);
    [addr[0] & mask(prefix).to_be(), addr[1] & mask(low).to_be()]
}

/// As four words in memory order.
#[inline(always)]
pub fn words32(addr: &Addr) -> [u32; 4] {
    let [high, low] = read(addr);
    [high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32]
}
