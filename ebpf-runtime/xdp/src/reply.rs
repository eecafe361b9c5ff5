//! Owns the end `reply echo`: the answer to an echo request, made of the request itself. Never another answer.

use aya_ebpf::bindings::{xdp_action::XDP_TX, xdp_md};
use lb_abi::{
    image::{FRAG_NONE, Field, LIMIT_SHIFT},
    maps::{ANSWERS_BURST, ANSWERS_PER_SECOND},
    reason::Reason,
};

use crate::{
    clock,
    frame::Frame,
    limit, martian,
    packet::Packet,
    parse::{ICMP, ICMP_ECHO_REQUEST, ICMPV6, ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST},
    rewrite::Change,
};

const INTERVAL: u64 = (1_000_000_000 << LIMIT_SHIFT) / ANSWERS_PER_SECOND;
/// RFC 1122, section 3.2.1.7, and RFC 4861's default.
const TTL: u8 = 64;

/// `Err` is the number of the reason for which there is no answer.
#[inline(always)]
pub fn echo(ctx: *mut xdp_md, p: &mut Packet) -> Result<u32, u32> {
    let kind = p.get(Field::IcmpType);
    let request = if p.v6 == 0 {
        p.proto == ICMP && kind == ICMP_ECHO_REQUEST
    } else {
        p.proto == ICMPV6 && kind == ICMPV6_ECHO_REQUEST
    };
    if !request || p.get(Field::Frag) != FRAG_NONE {
        return Err(Reason::NotEcho as u32);
    }
    if martian::is_martian(p) {
        return Err(Reason::Martian as u32);
    }
    let now = clock::now(p) << LIMIT_SHIFT;
    let control = clock::control().ok_or(Reason::NoImage as u32)?;
    // SAFETY: an aligned word of an array map.
    if !unsafe { limit::spend(&raw mut (*control).answers, now, INTERVAL, INTERVAL * ANSWERS_BURST) } {
        return Err(Reason::AnswerLimit as u32);
    }
    answer(&Frame::new(ctx), p).ok_or(Reason::ShortFrame as u32)
}

/// Swaps who it came from and who it went to; the sums of addresses stay what they were.
#[inline(always)]
fn answer(frame: &Frame, p: &Packet) -> Option<u32> {
    let ethernet = frame.at::<14>(0)?;
    let (dst, src) = (ethernet.mac(0), ethernet.mac(6));
    ethernet.put_mac(0, src);
    ethernet.put_mac(6, dst);
    let l3 = p.l3 & 0x1f;
    let kind = if p.v6 == 0 {
        let ip = frame.at::<20>(l3)?;
        let (src, dst) = (ip.raw32(12), ip.raw32(16));
        ip.put32(12, dst);
        ip.put32(16, src);
        let old = ip.raw16(8);
        let new = (old & 0xff00) | TTL as u16;
        ip.put8(8, TTL);
        ip.put16(10, Change::NONE.word16(old, new).apply(ip.raw16(10)));
        0
    } else {
        let ip = frame.at::<40>(l3)?;
        for n in [0, 8] {
            let (src, dst) = (ip.raw64(8 + n), ip.raw64(24 + n));
            ip.put64(8 + n, dst);
            ip.put64(24 + n, src);
        }
        ip.put8(7, TTL);
        ICMPV6_ECHO_REPLY as u16
    };
    let icmp = frame.at::<8>(p.l4 & 0x1ff)?;
    let old = icmp.raw16(0);
    let new = (old & 0xff00) | kind;
    icmp.put8(0, kind as u8);
    icmp.put16(2, Change::NONE.word16(old, new).apply(icmp.raw16(2)));
    Some(XDP_TX)
}
