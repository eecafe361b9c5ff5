//! Owns the counters of the policy and of the reasons, per CPU and written in place. Never a verdict.

use lb_abi::{maps::Counter, reason::REASON_COUNT};

use crate::{
    frame::key,
    maps::{BACKEND_COUNTS, CERT_COUNTS, COUNTERS, REASONS},
};

/// One more packet of `bytes` for the counter `1 + dense`; 0 counts nothing.
#[inline(always)]
pub fn node(counter: u32, bytes: u32) {
    if counter != 0 {
        add(COUNTERS.get_ptr_mut(key(counter - 1)), bytes);
    }
}

/// One more packet of `bytes` forwarded for the certificate `1 + dense`.
#[inline(always)]
pub fn certificate(cert: u32, bytes: u32) {
    if cert != 0 {
        add(CERT_COUNTS.get_ptr_mut(key(cert - 1)), bytes);
    }
}

/// One more packet of `bytes` sent to the backend `1 + dense`.
#[inline(always)]
pub fn backend(backend: u32, bytes: u32) {
    if backend != 0 {
        add(BACKEND_COUNTS.get_ptr_mut(key(backend - 1)), bytes);
    }
}

#[inline(always)]
fn add(counter: Option<*mut Counter>, bytes: u32) {
    if let Some(counter) = counter {
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
