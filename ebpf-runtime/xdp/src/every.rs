//! Owns the stage `every` and the keyed hash of a flow. Never which way a number stands for.

use lb_abi::{
    hash::{scale, siphash13},
    image::{EVERY_FLOW, EVERY_PACKET, EVERY_RANDOM},
    mode::FEATURE_HASH,
};

use crate::{
    addr, atomic, clock,
    frame::key,
    maps::{TURNS, feature},
    packet::Packet,
};

/// The way among `ways` that this packet takes; the first in an image with a fault.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn every(p: *mut Packet, kind: u32, turn: u32, ways: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return 0 };
    if ways == 0 {
        return 0;
    }
    match kind {
        EVERY_PACKET => {
            let Some(turn) = TURNS.get_ptr_mut(key(turn)) else { return 0 };
            // SAFETY: an aligned word of an array map.
            let turn = unsafe { atomic::fetch_add(turn, 1) };
            (turn % ways as u64) as u32
        }
        EVERY_FLOW if feature(FEATURE_HASH) => scale(flow_hash(p), ways),
        EVERY_RANDOM => clock::draw() % ways,
        _ => 0,
    }
}

/// The same for both directions, secret to whoever chooses the tuples.
#[inline(always)]
pub fn flow_hash(p: &Packet) -> u64 {
    let Some(control) = clock::control() else { return 0 };
    // SAFETY: a value of an array map; the runtime writes the key before any packet.
    let secret = unsafe { (*control).hash_key };
    let (src, dst) = (addr::read(&p.key.src).map(u64::from_be), addr::read(&p.key.dst).map(u64::from_be));
    let (sport, dport) = (p.key.sport as u64, p.key.dport as u64);
    let ordered = (src[0], src[1], sport) <= (dst[0], dst[1], dport);
    let (a, pa, b, pb) = if ordered { (src, sport, dst, dport) } else { (dst, dport, src, sport) };
    let last = pa << 48 | pb << 32 | p.proto as u64;
    if p.v6 == 0 {
        siphash13(secret, [a[1] << 32 | b[1] & 0xffff_ffff, last])
    } else {
        siphash13(secret, [a[0], a[1], b[0], b[1], last])
    }
}

#[inline(always)]
pub fn source_hash(p: &Packet) -> u64 {
    let Some(control) = clock::control() else { return 0 };
    // SAFETY: as above.
    let secret = unsafe { (*control).hash_key };
    let src = addr::read(&p.key.src).map(u64::from_be);
    if p.v6 == 0 { siphash13(secret, [src[1] & 0xffff_ffff]) } else { siphash13(secret, src) }
}
