//! Owns the way from a frame to its fields, with the first reason for which one is refused.
//! Never a verdict: what is refused gets the policy's.

use lb_abi::{
    image::{FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, FRAG_FIRST, FRAG_LATER, FRAG_NONE, Field},
    reason::Reason,
};

use crate::{
    addr,
    frame::Frame,
    packet::{Packet, set_ports},
    parse6,
};

const ETHERNET: u32 = 14;
const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV6: u32 = 0x86dd;

pub const ICMP: u32 = 1;
pub const TCP: u32 = 6;
pub const UDP: u32 = 17;
pub const ICMPV6: u32 = 58;

const ICMP_ECHO_REPLY: u32 = 0;
pub const ICMP_ECHO_REQUEST: u32 = 8;
pub const ICMPV6_ECHO_REQUEST: u32 = 128;
pub const ICMPV6_ECHO_REPLY: u32 = 129;

#[inline(always)]
fn is_vlan(ethertype: u32) -> bool {
    ethertype == 0x8100 || ethertype == 0x88a8
}

/// Fills `p` from the frame. `Reason::Neighbour` and `Reason::OtherEthertype` are ends as well, not refusals.
#[inline(always)]
pub fn parse(frame: &Frame, p: &mut Packet) -> Result<(), Reason> {
    p.reset(frame.len());
    let Some(ethernet) = frame.at::<14>(0) else { return Err(Reason::ShortFrame) };
    let mut ethertype = ethernet.u16(12);
    let mut l3 = ETHERNET;
    if is_vlan(ethertype) {
        let Some(tag) = frame.at::<4>(l3) else { return Err(Reason::ShortFrame) };
        p.set(Field::Vlan, tag.u16(0) & 0xfff);
        ethertype = tag.u16(2);
        l3 += 4;
        if is_vlan(ethertype) {
            let Some(tag) = frame.at::<4>(l3) else { return Err(Reason::ShortFrame) };
            ethertype = tag.u16(2);
            l3 += 4;
            if is_vlan(ethertype) {
                return Err(Reason::VlanDepth);
            }
        }
    }
    p.l3 = l3;
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, p, l3)?,
        ETHERTYPE_IPV6 => parse6::ipv6(frame, p, l3)?,
        ETHERTYPE_ARP => return Err(Reason::Neighbour),
        _ => return Err(Reason::OtherEthertype),
    }
    if p.get(Field::Frag) == FRAG_LATER { Ok(()) } else { layer4(frame, p) }
}

/// RFC 791, section 3.1.
#[inline(always)]
fn ipv4(frame: &Frame, p: &mut Packet, l3: u32) -> Result<(), Reason> {
    let Some(ip) = frame.at::<20>(l3) else { return Err(Reason::Ipv4Header) };
    if ip.u8(0) >> 4 != 4 {
        return Err(Reason::IpVersion);
    }
    let header = (ip.u8(0) & 0xf) * 4;
    if header < 20 || l3 + header > p.frame_len {
        return Err(Reason::Ipv4Header);
    }
    let total = ip.u16(2);
    if total < header || l3 + total > p.frame_len {
        return Err(Reason::IpLength);
    }
    let fragment = ip.u16(6);
    let frag = if fragment & 0x1fff != 0 {
        FRAG_LATER
    } else if fragment & 0x2000 != 0 {
        FRAG_FIRST
    } else {
        FRAG_NONE
    };
    p.v6 = 0;
    p.proto = ip.u8(9);
    set_ports(&mut p.key, 0, 0, p.proto);
    p.l4 = l3 + header;
    p.end = l3 + total;
    p.set(Field::Proto, p.proto);
    p.set(Field::Len, total);
    p.set(Field::Ttl, ip.u8(8));
    p.set(Field::Dscp, ip.u8(1) >> 2);
    p.set(Field::Frag, frag);
    addr::write(&mut p.key.src, addr::mapped(ip.raw32(12)));
    addr::write(&mut p.key.dst, addr::mapped(ip.raw32(16)));
    Ok(())
}

/// Ports, flags and ICMP type, with the lengths that would make them lie.
#[inline(always)]
fn layer4(frame: &Frame, p: &mut Packet) -> Result<(), Reason> {
    // Read back, so that the bound covers both families; extension headers end at 22 + 40 + 256.
    let l4 = p.l4 & 0x1ff;
    let there = p.end.wrapping_sub(l4);
    match (p.v6, p.proto) {
        (_, TCP) => {
            let Some(tcp) = frame.at::<20>(l4) else { return Err(Reason::Layer4Header) };
            let offset = (tcp.u8(12) >> 4) * 4;
            if there < 20 || offset < 20 || offset > there {
                return Err(Reason::Layer4Header);
            }
            let bits = tcp.u8(13);
            let mut flags = 0;
            if bits & 0x02 != 0 {
                flags |= FLAG_SYN;
            }
            if bits & 0x10 != 0 {
                flags |= FLAG_ACK;
            }
            if bits & 0x01 != 0 {
                flags |= FLAG_FIN;
            }
            if bits & 0x04 != 0 {
                flags |= FLAG_RST;
            }
            p.set(Field::TcpFlags, flags);
            p.seq = tcp.u32(4);
            p.ack = tcp.u32(8);
            ports(p, tcp.u16(0), tcp.u16(2), TCP);
        }
        (v6, UDP) => {
            let Some(udp) = frame.at::<8>(l4) else { return Err(Reason::Layer4Header) };
            let length = udp.u16(4);
            if there < 8 || length < 8 || (length > there && p.get(Field::Frag) == FRAG_NONE) {
                return Err(Reason::Layer4Header);
            }
            if v6 != 0 && udp.u16(6) == 0 {
                return Err(Reason::Udp6Checksum);
            }
            ports(p, udp.u16(0), udp.u16(2), UDP);
        }
        (0, ICMP) => {
            let Some(icmp) = frame.at::<8>(l4) else { return Err(Reason::Layer4Header) };
            if there < 8 {
                return Err(Reason::Layer4Header);
            }
            let kind = icmp.u8(0);
            p.set(Field::IcmpType, kind);
            p.set(Field::IcmpCode, icmp.u8(1));
            echo(p, kind == ICMP_ECHO_REQUEST, kind == ICMP_ECHO_REPLY, icmp.u16(4));
        }
        (1, ICMPV6) => {
            let Some(icmp) = frame.at::<8>(l4) else { return Err(Reason::Layer4Header) };
            if there < 8 {
                return Err(Reason::Layer4Header);
            }
            let kind = icmp.u8(0);
            p.set(Field::IcmpType, kind);
            p.set(Field::IcmpCode, icmp.u8(1));
            // Neighbour discovery (RFC 4861, section 6.1.1): hop limit 255 says that no router has forwarded it.
            if (133..=137).contains(&kind) && p.get(Field::Ttl) == 255 && p.get(Field::Frag) == FRAG_NONE {
                return Err(Reason::Neighbour);
            }
            echo(p, kind == ICMPV6_ECHO_REQUEST, kind == ICMPV6_ECHO_REPLY, icmp.u16(4));
        }
        _ => {}
    }
    Ok(())
}

#[inline(always)]
fn ports(p: &mut Packet, sport: u32, dport: u32, proto: u32) {
    p.set(Field::Sport, sport);
    p.set(Field::Dport, dport);
    set_ports(&mut p.key, sport, dport, proto);
}

/// The identifier takes the place of the requester's port.
#[inline(always)]
fn echo(p: &mut Packet, request: bool, reply: bool, identifier: u32) {
    if request {
        p.key.sport = identifier as u16;
    }
    if reply {
        p.key.dport = identifier as u16;
    }
}
