//! Owns the stage `limit`: buckets by the generic cell rate algorithm (ATM Forum TM 4.0, section 4.4.2) in 1/64 ns.
//! Never what happens to a packet that exceeds.

use aya_ebpf::bindings::BPF_NOEXIST;
use lb_abi::{
    image::{
        FLAG_ACK, FLAG_SYN, Field, L_BURST, L_ID, L_INTERVAL, L_KEY, L_UNIT, L_V4, L_V6, LIMIT_BYTES,
        LIMIT_CONNS, LIMIT_KEY_DST, LIMIT_KEY_NONE, LIMIT_PACKETS, LIMIT_SHIFT,
    },
    maps::LimitKey,
    reason::Reason,
};

use crate::{
    addr, atomic, clock,
    frame::key,
    image::Image,
    maps::{LIMIT_KEYS, LIMITS},
    packet::Packet,
    parse::TCP,
    plan::{EXIT_A, NEXT, drop},
};

/// How often a lost compare-exchange is tried again. A packet that loses them all is one of many at this very
/// moment: it passes and spends by an addition, so no token is lost and the bucket overshoots by at most one packet
/// a CPU.
const TRIES: u32 = 4;

/// Whether [`spend`] would find nothing, now.
///
/// # Safety
/// `tat` is an aligned word of a map.
#[inline(always)]
pub unsafe fn is_empty(tat: *const u64, now: u64, cost: u64, tolerance: u64) -> bool {
    // SAFETY: the caller's promise.
    let old = unsafe { core::ptr::read_volatile(tat) };
    old.max(now).wrapping_add(cost).wrapping_sub(now) > tolerance
}

/// Spends `cost` from the bucket at `tat`, or nothing if more than `tolerance` would be owed.
///
/// # Safety
/// `tat` points to an aligned value of a map.
#[inline(always)]
pub unsafe fn spend(tat: *mut u64, now: u64, cost: u64, tolerance: u64) -> bool {
    for _ in 0..TRIES {
        // SAFETY: the caller's promise.
        let old = unsafe { core::ptr::read_volatile(tat) };
        let new = old.max(now).wrapping_add(cost);
        if new.wrapping_sub(now) > tolerance {
            return false;
        }
        // SAFETY: as above.
        if unsafe { atomic::compare_exchange(tat, old, new) } == old {
            return true;
        }
    }
    // SAFETY: as above.
    unsafe { atomic::fetch_add(tat, cost) };
    true
}

/// One packet against the limit at `descriptor`; `live` says whether it has a flow. Exit A is `exceed`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn limit(p: *mut Packet, descriptor: u32, live: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return drop(Reason::NoImage) };
    let Some(image) = Image::of(p) else { return drop(Reason::NoImage) };
    let word = |n: usize| image.word(descriptor.wrapping_add(n as u32));
    let wide = |n: usize| (word(n + 1) as u64) << 32 | word(n) as u64;
    let opens = p.proto == TCP && p.get(Field::TcpFlags) & (FLAG_SYN | FLAG_ACK) == FLAG_SYN;
    let amount = match word(L_UNIT) {
        LIMIT_PACKETS => 1,
        LIMIT_BYTES => p.get(Field::Len) as u64,
        LIMIT_CONNS if p.proto != TCP => (live == 0) as u64,
        _ => opens as u64,
    };
    if amount == 0 {
        return NEXT;
    }
    let now = clock::now(p) << LIMIT_SHIFT;
    let cost = wide(L_INTERVAL).wrapping_mul(amount);
    let tolerance = wide(L_BURST);
    let id = word(L_ID);
    let kind = word(L_KEY);
    if kind == LIMIT_KEY_NONE {
        let Some(state) = LIMITS.get_ptr_mut(key(id)) else { return drop(Reason::BadImage) };
        // SAFETY: an aligned word of an array map.
        return if unsafe { spend(&raw mut (*state).tat, now, cost, tolerance) } { NEXT } else { EXIT_A };
    }
    let side = if kind == LIMIT_KEY_DST { &p.key.dst } else { &p.key.src };
    let prefix = if p.v6 == 0 { 96 + word(L_V4) } else { word(L_V6) };
    let mut bucket = LimitKey { addr: [0; 16], limit: id };
    addr::write(&mut bucket.addr, addr::masked(addr::read(side), prefix));
    if let Some(tat) = LIMIT_KEYS.get_ptr_mut(&bucket) {
        // SAFETY: an aligned value of a hash map; if it is re-used meanwhile, a stranger's bucket pays for us.
        return if unsafe { spend(tat, now, cost, tolerance) } { NEXT } else { EXIT_A };
    }
    let Some(state) = LIMITS.get_ptr_mut(key(id)) else { return drop(Reason::BadImage) };
    if cost > tolerance {
        return EXIT_A;
    }
    if LIMIT_KEYS.insert(&bucket, now.wrapping_add(cost), BPF_NOEXIST as u64).is_ok() {
        // SAFETY: an aligned word of an array map.
        unsafe { atomic::fetch_add(&raw mut (*state).inserted, 1) };
        return NEXT;
    }
    // Another CPU was first, or there is no room at all: then it exceeds.
    let Some(tat) = LIMIT_KEYS.get_ptr_mut(&bucket) else { return EXIT_A };
    // SAFETY: as above.
    if unsafe { spend(tat, now, cost, tolerance) } { NEXT } else { EXIT_A }
}
