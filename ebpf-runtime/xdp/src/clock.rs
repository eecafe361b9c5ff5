//! Owns time and chance: the kernel's, or those of a test. Never what they decide.

use core::mem::offset_of;

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use lb_abi::{
    hash,
    maps::{Control, TICK_SHIFT},
    mode::FEATURE_TEST,
};

use crate::{
    atomic,
    frame::key,
    maps::{CONTROL, feature},
    packet::Packet,
};

/// The instance's control word.
#[inline(always)]
pub fn control() -> Option<*mut Control> {
    CONTROL.get_ptr_mut(key(0))
}

/// Gives the packet its half of the image, and the number of the generation: one load, as the runtime stores them.
#[inline(always)]
pub fn begin(p: &mut Packet) -> Option<()> {
    const _: () = assert!(offset_of!(Control, current) == 0 && offset_of!(Control, generation) == 4);
    let control = control()?;
    // SAFETY: an aligned word of an array map.
    let word = unsafe { core::ptr::read_volatile(control.cast::<u64>()) };
    p.half = word as u32;
    p.generation = (word >> 32) as u32;
    Some(())
}

/// Wall clock in ns since 1970, as coarse as `now`.
#[inline(always)]
pub fn wall(p: &mut Packet) -> i64 {
    // SAFETY: an aligned word of an array map.
    let ahead =
        control().map_or(0, |control| unsafe { core::ptr::read_volatile(&raw const (*control).wall) });
    (now(p) as i64).wrapping_add(ahead)
}

/// Coarse monotonic time in ns, one reading a packet. It steps by the kernel's jiffy (4 ms at HZ 250).
#[inline(always)]
pub fn now(p: &mut Packet) -> u64 {
    if p.now == 0 {
        p.now = if feature(FEATURE_TEST) {
            // SAFETY: a value of an array map.
            control().map_or(0, |control| unsafe { (*control).clock })
        } else {
            // SAFETY: no arguments.
            unsafe { bpf_ktime_get_coarse_ns() }
        };
    }
    p.now
}

/// Time of the flow tables: wraps, so ages are wrapping differences.
#[inline(always)]
pub fn tick(p: &mut Packet) -> u32 {
    (now(p) >> TICK_SHIFT) as u32
}

#[inline(always)]
pub fn draw() -> u32 {
    if !feature(FEATURE_TEST) {
        // SAFETY: no arguments.
        return unsafe { bpf_get_prandom_u32() };
    }
    let Some(control) = control() else { return 0 };
    // SAFETY: an aligned word of an array map.
    let n = unsafe { atomic::fetch_add(&raw mut (*control).draws, 1) };
    // SAFETY: as above.
    hash::draw(unsafe { (*control).seed }, n)
}
