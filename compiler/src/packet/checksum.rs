//! Owns the Internet checksum (RFC 1071), computed afresh for building and verifying and mended incrementally
//! (RFC 1624). Never decides which words of a packet change.

use super::{Fields, Header, ICMP, ICMP6, Layer4, TCP, UDP, parse};

/// Sum of big-endian 16-bit words with end-around carry, an odd last byte padded with zero; starts from `sum`.
/// Zero only if everything summed is zero.
pub(crate) fn ones_complement_sum(sum: u16, bytes: &[u8]) -> u16 {
    let mut total = u64::from(sum);
    for pair in bytes.chunks(2) {
        let word = [pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0)];
        total += u64::from(u16::from_be_bytes(word));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The checksum after the words `old` became `new`: equation 3 of RFC 1624. Both are of the same even length.
pub(crate) fn mend(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let inverted: Vec<u8> = old.iter().map(|byte| !byte).collect();
    !ones_complement_sum(ones_complement_sum(!checksum, &inverted), new)
}

/// Sum of the pseudo-header of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1).
pub(crate) fn pseudo_header(src: [u8; 16], dst: [u8; 16], v6: bool, proto: u8, length: u32) -> u16 {
    let start = if v6 { 0 } else { 12 };
    let sum = ones_complement_sum(0, src.get(start..).unwrap_or_default());
    let sum = ones_complement_sum(sum, dst.get(start..).unwrap_or_default());
    let sum = ones_complement_sum(sum, &length.to_be_bytes());
    ones_complement_sum(sum, &[0, proto])
}

/// The checksum of a TCP, ICMP or ICMPv6 message behind a header, its own place holding 0.
pub(crate) fn checksum(header: &Header, message: &[u8]) -> u16 {
    let length = message.len() as u32;
    let sum = match header.proto {
        ICMP => 0,
        proto => pseudo_header(header.src, header.dst, header.v6, proto, length),
    };
    !ones_complement_sum(sum, message)
}

/// Whether every checksum of the frame is right, computed afresh: IPv4 header, TCP, UDP (0 over IPv4 counts as
/// right), ICMP and ICMPv6. Of a fragment only the header is looked at. False for a frame that does not parse,
/// neighbour discovery and ARP included.
pub fn verify_checksums(frame: &[u8]) -> bool {
    let Ok(fields) = parse(frame) else { return false };
    header_is_right(frame, &fields) && (fields.is_fragment() || layer4_is_right(frame, &fields))
}

fn header_is_right(frame: &[u8], fields: &Fields) -> bool {
    let header = usize::from(frame.get(fields.ip).copied().unwrap_or(0) & 15) * 4;
    fields.v6
        || frame
            .get(fields.ip..fields.ip + header)
            .is_some_and(|header| ones_complement_sum(0, header) == 0xffff)
}

fn layer4_is_right(frame: &[u8], fields: &Fields) -> bool {
    let Some(segment) = frame.get(fields.transport..fields.end) else { return false };
    let pseudo = |length| pseudo_header(fields.src, fields.dst, fields.v6, fields.proto, length as u32);
    let is_right = |pseudo, bytes| ones_complement_sum(pseudo, bytes) == 0xffff;
    match (fields.proto, fields.layer4) {
        (_, Layer4::Absent) => true,
        (TCP, _) => is_right(pseudo(segment.len()), segment),
        (UDP, Layer4::Udp { checksum: 0, .. }) => true,
        (UDP, _) => {
            let length = match segment {
                [_, _, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                _ => return false,
            };
            segment.get(..length).is_some_and(|datagram| is_right(pseudo(length), datagram))
        }
        (ICMP, _) => is_right(0, segment),
        (ICMP6, _) => is_right(pseudo(segment.len()), segment),
        _ => true,
    }
}
