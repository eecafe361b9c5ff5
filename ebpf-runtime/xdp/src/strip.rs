//! Owns cutting the trailer off a packet that is forwarded: where, and what its lengths and checksums are then. Never
//! whether; `verify` plans it.

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_xdp_adjust_tail};
use lb_abi::{reason::Reason, trailer::TRAILER_BYTES};

use crate::{frame::Frame, packet::Packet, rewrite::Change};

const TRAILER: u32 = TRAILER_BYTES as u32;
/// As in `verify.rs`.
const FARTHEST: u32 = 0x7fff;

/// Where the frame ends without the trailer, from its start.
#[inline(always)]
pub fn end(frame: &Frame, p: &Packet) -> Option<u32> {
    let l4 = p.l4 & 0x1ff;
    Some(l4 + frame.at::<8>(l4)?.u16(4) - TRAILER)
}

/// Mends lengths and checksums for a frame that ends at `end`. `Err` is the number of a reason, and can't come.
#[inline(always)]
pub fn mend(frame: &Frame, p: &Packet, end: u32) -> Result<(), u32> {
    const SHORT: u32 = Reason::ShortFrame as u32;
    let (l3, l4) = (p.l3 & 0x1f, p.l4 & 0x1ff);
    let total = end.wrapping_sub(l3);
    if p.v6 == 0 {
        let ip = frame.at::<20>(l3).ok_or(SHORT)?;
        let (old, new) = (ip.raw16(2), (total as u16).to_be());
        ip.put16(2, new);
        ip.put16(10, Change::NONE.word16(old, new).apply(ip.raw16(10)));
    } else {
        frame.at::<40>(l3).ok_or(SHORT)?.put16(4, (total as u16).wrapping_sub(40).to_be());
    }
    let length = end.wrapping_sub(l4);
    let udp = frame.at::<8>(l4).ok_or(SHORT)?;
    let (old, new) = (udp.raw16(4), (length as u16).to_be());
    udp.put16(4, new);
    let checksum = udp.raw16(6);
    // RFC 768: 0 says that there is none, which a sum of 0 must not.
    if checksum != 0 {
        let change = Change::NONE.word16(old, new).word16(old, new);
        let mended = cut(frame, end & FARTHEST, length & 1 != 0, change).ok_or(SHORT)?.apply(checksum);
        udp.put16(6, if mended == 0 { 0xffff } else { mended });
    }
    Ok(())
}

/// What the bytes from `end` on take from a sum of the datagram's words, of which one may begin with the byte before.
#[inline(always)]
fn cut(frame: &Frame, end: u32, odd: bool, mut change: Change) -> Option<Change> {
    let bytes = frame.at::<TRAILER_BYTES>(end)?;
    if !odd {
        for n in 0..TRAILER_BYTES / 4 {
            change = change.word32(bytes.raw32(4 * n), 0);
        }
        return Some(change);
    }
    // As they lie in memory: the byte before comes first in its word, and the last one has none behind it.
    let before = frame.at::<1>(end.wrapping_sub(1) & FARTHEST)?.u8(0) as u16;
    let first = bytes.u8(0) as u16;
    change =
        change.word16(u16::from_ne_bytes([before as u8, first as u8]), u16::from_ne_bytes([before as u8, 0]));
    for n in 0..(TRAILER_BYTES - 4) / 4 {
        change = change.word32(bytes.raw32(1 + 4 * n), 0);
    }
    change = change.word16(bytes.raw16(TRAILER_BYTES - 3), 0);
    let last = bytes.u8(TRAILER_BYTES - 1) as u8;
    Some(change.word16(u16::from_ne_bytes([last, 0]), 0))
}

/// Makes the frame end at `end`. All pointers into it are over then.
#[inline(always)]
pub fn shorten(ctx: *mut xdp_md, p: &Packet, end: u32) -> Result<(), u32> {
    let by = end as i32 - p.frame_len as i32;
    // SAFETY: the context.
    if unsafe { bpf_xdp_adjust_tail(ctx, by) } == 0 { Ok(()) } else { Err(Reason::ShortFrame as u32) }
}
