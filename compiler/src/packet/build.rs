//! Owns the way from a packet as an `expect` writes it to a whole Ethernet frame with right checksums. Never what the
//! packet means to a policy.

use lb_abi::image::{FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, FRAG_FIRST, FRAG_LATER, FRAG_NONE};
use policy_lang::policy::{PacketSpec, Policy, ProtoSpec};

use super::checksum::{ones_complement_sum, pseudo_header};
use super::hello::hello;
use super::trailer::with_trailer;
use super::{ICMP, ICMP6, TCP, UDP, addr};

/// Locally administered, as every MAC address here.
pub const DST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub const SRC_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// Where a later fragment stands in its packet, in units of 8 bytes.
const LATER_OFFSET: u16 = 185;

/// The frame of a packet with all that it asks for, the trailer of `signed` included.
pub fn build_in(policy: &Policy, spec: &PacketSpec) -> Vec<u8> {
    let written = PacketSpec { payload: payload(spec), sni: None, ..spec.clone() };
    match with_trailer(policy, &written, written.payload.clone()) {
        Some(payload) => build(&PacketSpec { payload, signed: None, ..written }),
        None => build(&written),
    }
}

fn payload(spec: &PacketSpec) -> Vec<u8> {
    spec.sni.as_ref().map_or_else(|| spec.payload.clone(), |name| hello(name))
}

/// A whole Ethernet frame, without the trailer of `signed`: only a policy knows its certificate. A later fragment carries its layer-4 bytes all the same, as payload: they must not be read
/// as a header. Of a payload that no IP length can hold the end is cut off; addresses of two families make an IPv6
/// packet with the IPv4 one mapped.
pub fn build(spec: &PacketSpec) -> Vec<u8> {
    let v6 = !(spec.src.is_ipv4() && spec.dst.is_ipv4());
    let mut frame = [DST_MAC, SRC_MAC].concat();
    if let Some(id) = spec.vlan {
        frame.extend(0x8100u16.to_be_bytes());
        frame.extend((id & 0x0fff).to_be_bytes());
    }
    let (ethertype, packet) = if v6 { (0x86ddu16, ipv6(spec)) } else { (0x0800, ipv4(spec)) };
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

fn proto(spec: &PacketSpec) -> u8 {
    match spec.proto {
        ProtoSpec::Tcp { .. } => TCP,
        ProtoSpec::Udp { .. } => UDP,
        ProtoSpec::Icmp { .. } => ICMP,
        ProtoSpec::Icmp6 { .. } => ICMP6,
        ProtoSpec::Other(proto) => proto,
    }
}

fn ipv4(spec: &PacketSpec) -> Vec<u8> {
    let segment = segment(spec, false, 65_535 - 20);
    let fragment: u16 = match spec.frag {
        FRAG_FIRST => 0x2000,
        FRAG_LATER => LATER_OFFSET,
        _ => 0,
    };
    let mut header = vec![0x45, spec.dscp << 2];
    header.extend((20 + segment.len() as u16).to_be_bytes());
    header.extend([0, 1]);
    header.extend(fragment.to_be_bytes());
    header.extend([spec.ttl, proto(spec), 0, 0]);
    for ip in [spec.src, spec.dst] {
        header.extend(addr(ip).iter().skip(12));
    }
    let checksum = !ones_complement_sum(0, &header);
    put(&mut header, 10, checksum);
    header.extend(segment);
    header
}

fn ipv6(spec: &PacketSpec) -> Vec<u8> {
    let fragment: Option<u16> = match spec.frag {
        FRAG_NONE => None,
        FRAG_FIRST => Some(1),
        _ => Some(LATER_OFFSET << 3),
    };
    let segment = segment(spec, true, 65_535 - 40 - 8);
    let length = segment.len() as u16 + if fragment.is_some() { 8 } else { 0 };
    let mut packet = (6u32 << 28 | u32::from(spec.dscp & 63) << 22).to_be_bytes().to_vec();
    packet.extend(length.to_be_bytes());
    packet.push(if fragment.is_some() { 44 } else { proto(spec) });
    packet.push(spec.ttl);
    for ip in [spec.src, spec.dst] {
        packet.extend(addr(ip));
    }
    if let Some(place) = fragment {
        packet.extend([proto(spec), 0]);
        packet.extend(place.to_be_bytes());
        packet.extend(1u32.to_be_bytes());
    }
    packet.extend(segment);
    packet
}

/// Layer-4 header and payload, at most `room` bytes.
fn segment(spec: &PacketSpec, v6: bool, room: usize) -> Vec<u8> {
    let all = payload(spec);
    let (mut bytes, checksum_at) = match spec.proto {
        ProtoSpec::Tcp { sport, dport, flags, seq, ack } => {
            (tcp_header(sport, dport, flags, seq, ack), Some(16))
        }
        ProtoSpec::Udp { sport, dport } => {
            let length = 8 + all.len().min(room - 8) as u16;
            ([sport, dport, length, 0].iter().flat_map(|word| word.to_be_bytes()).collect(), Some(6))
        }
        ProtoSpec::Icmp { kind, code, id } | ProtoSpec::Icmp6 { kind, code, id } => {
            let [high, low] = id.to_be_bytes();
            (vec![kind, code, 0, 0, high, low, 0, 0], Some(2))
        }
        ProtoSpec::Other(_) => (Vec::new(), None),
    };
    let length = all.len().min(room - bytes.len());
    bytes.extend(all.iter().take(length));
    if let Some(at) = checksum_at {
        let sum = match spec.proto {
            ProtoSpec::Icmp { .. } => 0,
            _ => pseudo_header(addr(spec.src), addr(spec.dst), v6, proto(spec), bytes.len() as u32),
        };
        let checksum = match (!ones_complement_sum(sum, &bytes), &spec.proto) {
            (0, ProtoSpec::Udp { .. }) => 0xffff,
            (checksum, _) => checksum,
        };
        put(&mut bytes, at, checksum);
    }
    bytes
}

fn tcp_header(sport: u16, dport: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(20);
    header.extend(sport.to_be_bytes());
    header.extend(dport.to_be_bytes());
    header.extend(seq.to_be_bytes());
    header.extend(ack.to_be_bytes());
    let bit = |flag: u32, bit: u8| if u32::from(flags) & flag != 0 { bit } else { 0 };
    header.extend([0x50, bit(FLAG_FIN, 1) | bit(FLAG_SYN, 2) | bit(FLAG_RST, 4) | bit(FLAG_ACK, 16)]);
    header.extend(0xffffu16.to_be_bytes());
    header.extend([0, 0, 0, 0]);
    header
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(word.to_be_bytes()) {
        *place = byte;
    }
}
