//! Owns the atomic instructions of BPF (`Documentation/bpf/standardization/instruction-set.rst`, "Atomic operations"),
//! which the compiler gives no fetching form of. Never what is counted.

use core::arch::asm;

/// Adds, and gives the value before. The value is exact over all CPUs.
///
/// # Safety
/// `word` points to an aligned value of a map.
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u64, mut amount: u64) -> u64 {
    // SAFETY: the caller's promise; the verifier checks the pointer.
    unsafe {
        asm!("{v} = atomic_fetch_add((u64 *)({p} + 0), {v})", p = in(reg) word, v = inout(reg) amount, options(nostack));
    }
    amount
}

/// Stores `new` if the word is `old`; gives the value before, which is `old` if it was stored.
///
/// # Safety
/// As for `fetch_add`.
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u64, mut old: u64, new: u64) -> u64 {
    // SAFETY: the caller's promise; the verifier checks the pointer.
    unsafe {
        asm!("r0 = cmpxchg_64({p} + 0, r0, {v})", p = in(reg) word, v = in(reg) new, inout("r0") old, options(nostack));
    }
    old
}
