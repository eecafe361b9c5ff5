//! Owns the way from a frame to its fields, or to the reason for which it never reaches the tree (section 1 of
//! `docs/packet-path.md`). Never a verdict: that is the policy's.

use lb_abi::image::{FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, FRAG_FIRST, FRAG_LATER, FRAG_NONE};
use lb_abi::maps::Addr;
use lb_abi::reason::Reason;
use policy_lang::policy::Via;

use super::{Fields, ICMP, ICMP6, Layer4, TCP, UDP};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AH: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;

const MAX_EXTENSIONS: usize = 8;
const MAX_EXTENSION_BYTES: usize = 256;

/// Reads a whole Ethernet frame. Fragments give their fields, with `frag` saying which kind; everything else that
/// never reaches the tree gives its reason.
pub fn parse(frame: &[u8]) -> Result<Fields, Reason> {
    let (vlan, ethertype, ip) = ethernet(frame)?;
    let fields = match ethertype {
        0x0800 => ipv4(frame, ip, vlan)?,
        0x86dd => ipv6(frame, ip, vlan)?,
        0x0806 => return Err(Reason::Neighbour),
        _ => return Err(Reason::OtherEthertype),
    };
    let fields = layer4(frame, fields)?;
    match fields.layer4 {
        Layer4::Icmp6 { kind: 133..=137, .. } if fields.ttl == 255 && !fields.is_fragment() => {
            Err(Reason::Neighbour)
        }
        _ => Ok(fields),
    }
}

/// What stands behind the header of TCP or UDP: for UDP as much as its own length says, of a first fragment what is
/// there. `None` for other protocols and later fragments.
pub fn payload<'a>(frame: &'a [u8], fields: &Fields) -> Option<&'a [u8]> {
    let segment = frame.get(fields.transport..fields.end)?;
    match fields.layer4 {
        Layer4::Tcp { .. } => segment.get(usize::from(byte(segment, 12)? >> 4) * 4..),
        Layer4::Udp { .. } => {
            let length = usize::from(word(segment, 4)?).min(segment.len());
            segment.get(8..length)
        }
        _ => None,
    }
}

/// The frame that a forwarded one has within: its packet behind the same link header. `None` if the way does not wrap.
pub fn unwrapped(frame: &[u8], via: Via) -> Option<Vec<u8>> {
    let fields = parse(frame).ok()?;
    let skip = match via {
        Via::Nat | Via::L2dsr => return None,
        Via::Ipip => 0,
        Via::Gue { .. } => 8,
    };
    let packet = frame.get(fields.transport + skip..fields.end)?;
    let ethertype: [u8; 2] = if packet.first()? >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    Some([frame.get(..fields.ip.checked_sub(2)?)?, &ethertype, packet].concat())
}

fn byte(frame: &[u8], at: usize) -> Option<u8> {
    frame.get(at).copied()
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([byte(frame, at)?, byte(frame, at + 1)?]))
}

fn long(frame: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(word(frame, at)?) << 16 | u32::from(word(frame, at + 2)?))
}

fn v6_addr(frame: &[u8], at: usize) -> Option<Addr> {
    frame.get(at..at + 16)?.try_into().ok()
}

fn v4_addr(frame: &[u8], at: usize) -> Option<Addr> {
    Some(std::net::Ipv4Addr::from(long(frame, at)?).to_ipv6_mapped().octets())
}

/// Outer VLAN id, ethertype behind the tags, offset of what follows.
fn ethernet(frame: &[u8]) -> Result<(Option<u16>, u16, usize), Reason> {
    let is_tag = |ethertype| matches!(ethertype, 0x8100 | 0x88a8);
    let mut ethertype = word(frame, 12).ok_or(Reason::ShortFrame)?;
    let mut next = 14;
    let mut vlan = None;
    for _ in 0..2 {
        if is_tag(ethertype) {
            let tag = word(frame, next).ok_or(Reason::ShortFrame)?;
            vlan = vlan.or(Some(tag & 0x0fff));
            ethertype = word(frame, next + 2).ok_or(Reason::ShortFrame)?;
            next += 4;
        }
    }
    if is_tag(ethertype) { Err(Reason::VlanDepth) } else { Ok((vlan, ethertype, next)) }
}

fn ipv4(frame: &[u8], ip: usize, vlan: Option<u16>) -> Result<Fields, Reason> {
    let there = frame.len() - ip;
    if there < 20 {
        return Err(Reason::Ipv4Header);
    }
    let read = |at| byte(frame, ip + at).ok_or(Reason::Ipv4Header);
    let (version, header) = (read(0)? >> 4, usize::from(read(0)? & 15) * 4);
    if version != 4 {
        return Err(Reason::IpVersion);
    }
    if header < 20 || header > there {
        return Err(Reason::Ipv4Header);
    }
    let total = usize::from(word(frame, ip + 2).ok_or(Reason::Ipv4Header)?);
    if total < header || total > there {
        return Err(Reason::IpLength);
    }
    let fragment = word(frame, ip + 6).ok_or(Reason::Ipv4Header)?;
    Ok(Fields {
        src: v4_addr(frame, ip + 12).ok_or(Reason::Ipv4Header)?,
        dst: v4_addr(frame, ip + 16).ok_or(Reason::Ipv4Header)?,
        v6: false,
        proto: read(9)?,
        len: total as u32,
        ttl: read(8)?,
        dscp: read(1)? >> 2,
        vlan,
        frag: match (fragment & 0x1fff, fragment & 0x2000) {
            (0, 0) => FRAG_NONE,
            (0, _) => FRAG_FIRST,
            _ => FRAG_LATER,
        },
        layer4: Layer4::Absent,
        ip,
        transport: ip + header,
        end: ip + total,
    })
}

fn ipv6(frame: &[u8], ip: usize, vlan: Option<u16>) -> Result<Fields, Reason> {
    let there = frame.len() - ip;
    if there < 40 {
        return Err(Reason::IpLength);
    }
    let read = |at| byte(frame, ip + at).ok_or(Reason::IpLength);
    if read(0)? >> 4 != 6 {
        return Err(Reason::IpVersion);
    }
    let total = 40 + usize::from(word(frame, ip + 4).ok_or(Reason::IpLength)?);
    // `len` is 16 bits wide. Without a jumbogram's header option (RFC 2675) no packet is longer than that in earnest.
    if total > there || total > 0xffff {
        return Err(Reason::IpLength);
    }
    let src = v6_addr(frame, ip + 8).ok_or(Reason::IpLength)?;
    let dst = v6_addr(frame, ip + 24).ok_or(Reason::IpLength)?;
    let is_mapped = |addr: Addr| u128::from_be_bytes(addr) >> 32 == 0xffff;
    if is_mapped(src) || is_mapped(dst) {
        return Err(Reason::MappedAddress);
    }
    let end = ip + total;
    let packet = frame.get(..end).ok_or(Reason::IpLength)?;
    let chain = extensions(packet, ip + 40, read(6)?).ok_or(Reason::Ipv6Chain)?;
    Ok(Fields {
        src,
        dst,
        v6: true,
        proto: chain.proto,
        len: total as u32,
        ttl: read(7)?,
        dscp: (word(frame, ip).ok_or(Reason::IpLength)? >> 6 & 63) as u8,
        vlan,
        frag: chain.frag,
        layer4: Layer4::Absent,
        ip,
        transport: chain.end,
        end,
    })
}

struct Extensions {
    proto: u8,
    frag: u32,
    end: usize,
}

/// Walks the extension headers from `start`; `packet` ends where the IPv6 payload does. `None`: a chain we refuse.
fn extensions(packet: &[u8], start: usize, first: u8) -> Option<Extensions> {
    let mut proto = first;
    let mut at = start;
    let mut headers = 0;
    let mut frag = None;
    while matches!(proto, HOP_BY_HOP | ROUTING | FRAGMENT | AH | DESTINATION | MOBILITY) {
        let units = usize::from(byte(packet, at + 1)?);
        let length = match proto {
            FRAGMENT => 8,
            AH => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        headers += 1;
        if headers > MAX_EXTENSIONS || at + length - start > MAX_EXTENSION_BYTES {
            return None;
        }
        let header = packet.get(at..at + length)?;
        match proto {
            HOP_BY_HOP if headers > 1 => return None,
            ROUTING if byte(header, 2)? == 0 && byte(header, 3)? != 0 => return None,
            FRAGMENT if frag.is_some() => return None,
            FRAGMENT => {
                let place = word(header, 2)?;
                frag = Some(match (place >> 3, place & 1) {
                    (0, 0) => FRAG_NONE,
                    (0, _) => FRAG_FIRST,
                    _ => FRAG_LATER,
                });
            }
            _ => {}
        }
        proto = byte(header, 0)?;
        at += length;
        if frag == Some(FRAG_LATER) {
            break;
        }
    }
    Some(Extensions { proto, frag: frag.unwrap_or(FRAG_NONE), end: at })
}

fn layer4(frame: &[u8], fields: Fields) -> Result<Fields, Reason> {
    if fields.frag == FRAG_LATER {
        return Ok(fields);
    }
    let segment = frame.get(fields.transport..fields.end).ok_or(Reason::Layer4Header)?;
    let layer4 = match (fields.proto, fields.v6) {
        (TCP, _) => tcp(segment),
        (UDP, _) => udp(segment, fields.frag),
        (ICMP, false) => icmp(segment).map(|(kind, code, id)| Layer4::Icmp { kind, code, id }),
        (ICMP6, true) => icmp(segment).map(|(kind, code, id)| Layer4::Icmp6 { kind, code, id }),
        _ => Some(Layer4::Absent),
    };
    match layer4.ok_or(Reason::Layer4Header)? {
        Layer4::Udp { checksum: 0, .. } if fields.v6 => Err(Reason::Udp6Checksum),
        layer4 => Ok(Fields { layer4, ..fields }),
    }
}

fn tcp(segment: &[u8]) -> Option<Layer4> {
    let header = segment.get(..20)?;
    let length = usize::from(byte(header, 12)? >> 4) * 4;
    if length < 20 || length > segment.len() {
        return None;
    }
    // RFC 9293, section 3.1: FIN 1, SYN 2, RST 4, ACK 16.
    let bits = byte(header, 13)?;
    let flag = |bit: u8, flag: u32| if bits & bit != 0 { flag } else { 0 };
    Some(Layer4::Tcp {
        sport: word(header, 0)?,
        dport: word(header, 2)?,
        seq: long(header, 4)?,
        ack: long(header, 8)?,
        flags: flag(1, FLAG_FIN) | flag(2, FLAG_SYN) | flag(4, FLAG_RST) | flag(16, FLAG_ACK),
    })
}

fn udp(segment: &[u8], frag: u32) -> Option<Layer4> {
    let header = segment.get(..8)?;
    let length = usize::from(word(header, 4)?);
    if length < 8 || (length > segment.len() && frag != FRAG_FIRST) {
        return None;
    }
    Some(Layer4::Udp { sport: word(header, 0)?, dport: word(header, 2)?, checksum: word(header, 6)? })
}

/// Type, code, and the identifier that echo messages have.
fn icmp(segment: &[u8]) -> Option<(u8, u8, u16)> {
    let header = segment.get(..8)?;
    Some((byte(header, 0)?, byte(header, 1)?, word(header, 4)?))
}
