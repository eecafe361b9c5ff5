//! Owns time and chance: the kernel's, or those of a test. Never what they decide.

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
