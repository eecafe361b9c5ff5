//! Owns the counters of the policy and of the reasons, per CPU and written in place. Never a verdict.

use lb_abi::reason::REASON_COUNT;

use crate::{
    frame::key,
    maps::{COUNTERS, REASONS},
};

/// One more packet of `bytes` for the counter `1 + dense`; 0 counts nothing.
#[inline(always)]
pub fn node(counter: u32, bytes: u32) {
    if counter != 0
        && let Some(counter) = COUNTERS.get_ptr_mut(key(counter - 1))
    {
        // SAFETY: this CPU's own value, and no packet interrupts another.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes as u64;
        }
    }
}

/// One more packet for the reason with this number.
#[inline(always)]
pub fn reason(reason: u32) {
    if let Some(count) = REASONS.get_ptr_mut(key(reason % REASON_COUNT as u32)) {
        // SAFETY: as above.
        unsafe { *count += 1 };
    }
}
