//! Owns ways to damage a frame: cut, stretched, contradictory or with bytes flipped. Never asks whether the result is
//! still legal; sometimes it is.

use fastrand::Rng;

/// Damages `frame` in one or two ways. It keeps at least the 14 bytes of an Ethernet header, the least that the kernel
/// lets a test run carry.
pub fn damage(rng: &mut Rng, frame: &mut Vec<u8>) {
    for _ in 0..rng.u32(1..3) {
        once(rng, frame);
    }
    // What is larger than the way out's MTU is not for these tests.
    frame.truncate(1514);
    if frame.len() < 14 {
        frame.resize(14, 0);
    }
}

fn once(rng: &mut Rng, frame: &mut Vec<u8>) {
    match rng.u32(0..10) {
        // Cut anywhere, headers before payload.
        0 | 1 => {
            let limit = if rng.bool() { frame.len().min(90) } else { frame.len() };
            frame.truncate(rng.usize(14.min(limit)..limit + 1));
        }
        // Bytes behind.
        2 => frame.extend(std::iter::repeat_n(rng.u8(..), rng.usize(1..64))),
        // Ethertype.
        3 => {
            let ethertype =
                [0x0800u16, 0x86dd, 0x0806, 0x88cc, 0x8100, 0x88a8, 0x0026, 0x8847][rng.usize(0..8)];
            put(frame, 12, &ethertype.to_be_bytes());
        }
        // Version and header length.
        4 => put(frame, 14, &[rng.u8(..)]),
        5 => put(frame, 14, &[0x40 | rng.u8(0..16)]),
        // Total length (IPv4) or payload length (IPv6), near what it was or anything.
        6 => {
            let place = if frame.get(12..14) == Some(&[0x86, 0xdd]) { 18 } else { 16 };
            let old = frame.get(place..place + 2).map_or(0, |old| u16::from_be_bytes([old[0], old[1]]));
            let new = if rng.bool() { old.wrapping_add(rng.u16(0..5)).wrapping_sub(2) } else { rng.u16(..) };
            put(frame, place, &new.to_be_bytes());
        }
        // Fragment fields or next header.
        7 => put(frame, 20, &[rng.u8(..), rng.u8(..)]),
        // Any byte of the headers.
        _ => {
            let limit = frame.len().min(80);
            if limit > 12 {
                let place = rng.usize(12..limit);
                frame[place] = match rng.u32(0..4) {
                    0 => 0,
                    1 => 0xff,
                    2 => frame[place] ^ 1 << rng.u32(0..8),
                    _ => rng.u8(..),
                };
            }
        }
    }
}

/// Writes as much of `bytes` as fits at `place`.
fn put(frame: &mut [u8], place: usize, bytes: &[u8]) {
    for (to, from) in frame.iter_mut().skip(place).zip(bytes) {
        *to = *from;
    }
}
