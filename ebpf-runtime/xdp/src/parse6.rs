//! Owns the IPv6 header and its chain of extension headers. Never layer 4.

use lb_abi::{
    image::{FRAG_FIRST, FRAG_LATER, Field},
    reason::Reason,
};

use crate::{
    addr,
    frame::Frame,
    packet::{Packet, set_ports},
};

const HEADER: u32 = 40;
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION: u32 = 60;
const MOBILITY: u32 = 135;

/// Headers and bytes of a chain that are still walked.
const MAX_HEADERS: u32 = 8;
const MAX_BYTES: u32 = 256;

/// RFC 8200, section 3.
#[inline(always)]
pub fn ipv6(frame: &Frame, p: &mut Packet, l3: u32) -> Result<(), Reason> {
    let Some(ip) = frame.at::<40>(l3) else { return Err(Reason::IpLength) };
    if ip.u8(0) >> 4 != 6 {
        return Err(Reason::IpVersion);
    }
    let total = HEADER + ip.u16(4);
    if l3 + total > p.frame_len {
        return Err(Reason::IpLength);
    }
    p.v6 = 1;
    p.end = l3 + total;
    p.set(Field::Len, total);
    p.set(Field::Ttl, ip.u8(7));
    p.set(Field::Dscp, (ip.u16(0) >> 6) & 0x3f);
    addr::write(&mut p.key.src, [ip.raw64(8), ip.raw64(16)]);
    addr::write(&mut p.key.dst, [ip.raw64(24), ip.raw64(32)]);
    if addr::is_mapped(&p.key.src) || addr::is_mapped(&p.key.dst) {
        return Err(Reason::MappedAddress);
    }
    let (proto, l4) = chain(frame, p, ip.u8(6), l3 + HEADER)?;
    p.proto = proto;
    set_ports(&mut p.key, 0, 0, proto);
    p.l4 = l4;
    p.set(Field::Proto, proto);
    Ok(())
}

#[inline(always)]
fn is_extension(header: u32) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY)
}

/// RFC 8200, section 4. Gives the protocol at the end and the offset of what follows the chain.
#[inline(always)]
fn chain(frame: &Frame, p: &mut Packet, first: u32, start: u32) -> Result<(u32, u32), Reason> {
    let mut header = first;
    let mut offset = start;
    let mut fragmented = false;
    for n in 0..=MAX_HEADERS {
        if !is_extension(header) {
            return Ok((header, offset));
        }
        if n == MAX_HEADERS || (header == HOP_BY_HOP && n != 0) {
            break;
        }
        let Some(extension) = frame.at::<8>(offset) else { break };
        let units = extension.u8(1);
        let length = match header {
            FRAGMENT => 8,
            AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        let next = offset + length;
        if next > p.end || next - start > MAX_BYTES {
            break;
        }
        if header == ROUTING && extension.u8(2) == 0 && extension.u8(3) != 0 {
            break;
        }
        if header == FRAGMENT {
            if fragmented {
                break;
            }
            fragmented = true;
            let word = extension.u16(2);
            if word >> 3 != 0 {
                p.set(Field::Frag, FRAG_LATER);
                return Ok((extension.u8(0), next));
            }
            if word & 1 != 0 {
                p.set(Field::Frag, FRAG_FIRST);
            }
        }
        header = extension.u8(0);
        offset = next;
    }
    Err(Reason::Ipv6Chain)
}
