//! Owns Ethernet frames as the tests send them: any mixture of headers, well formed unless told otherwise.
//! Never reads a frame, and shares no code with the compiler's packets, so that one cannot hide the other's faults.

use std::net::IpAddr;

/// Locally administered MAC addresses of the sender and of the device under test.
pub const SENDER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub const DEVICE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

/// TCP flag bits as on the wire (RFC 9293, section 3.1).
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// One packet and what surrounds it. `src` and `dst` are of one family.
#[derive(Clone, Debug)]
pub struct Packet {
    /// TPID and TCI, the outer tag first.
    pub tags: Vec<(u16, u16)>,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    /// Six bits.
    pub dscp: u8,
    /// IPv4 options; a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: own number and whole bytes; the first byte is overwritten by the number that follows.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// IPv4: offset in units of 8 bytes and "more fragments". IPv6 puts a fragment header among `extensions`.
    pub fragment: Option<(u16, bool)>,
    pub transport: Transport,
    pub payload: Vec<u8>,
    /// Zero bytes behind the packet, as short Ethernet frames have them.
    pub padding: usize,
}

#[derive(Clone, Debug)]
pub enum Transport {
    /// `flags` as on the wire; `options` a multiple of 4 bytes.
    Tcp {
        sport: u16,
        dport: u16,
        flags: u8,
        seq: u32,
        ack: u32,
        options: Vec<u8>,
    },
    /// Without `checksum` the field is 0.
    Udp {
        sport: u16,
        dport: u16,
        checksum: bool,
    },
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
        seq: u16,
    },
    Icmp6 {
        kind: u8,
        code: u8,
        id: u16,
        seq: u16,
    },
    /// Only the payload: what a later fragment or an unknown protocol has.
    Raw(u8),
}

impl Packet {
    pub fn new(src: IpAddr, dst: IpAddr, transport: Transport) -> Packet {
        Packet {
            tags: Vec::new(),
            src,
            dst,
            ttl: 64,
            dscp: 0,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            transport,
            payload: Vec::new(),
            padding: 0,
        }
    }

    pub fn tcp(src: (IpAddr, u16), dst: (IpAddr, u16), flags: u8, seq: u32, ack: u32) -> Packet {
        let transport = Transport::Tcp { sport: src.1, dport: dst.1, flags, seq, ack, options: Vec::new() };
        Packet::new(src.0, dst.0, transport)
    }

    pub fn udp(src: (IpAddr, u16), dst: (IpAddr, u16)) -> Packet {
        Packet::new(src.0, dst.0, Transport::Udp { sport: src.1, dport: dst.1, checksum: true })
    }

    /// An echo request or reply of the addresses' family.
    pub fn echo(src: IpAddr, dst: IpAddr, request: bool, id: u16) -> Packet {
        let transport = match (src.is_ipv4(), request) {
            (true, true) => Transport::Icmp { kind: 8, code: 0, id, seq: 1 },
            (true, false) => Transport::Icmp { kind: 0, code: 0, id, seq: 1 },
            (false, true) => Transport::Icmp6 { kind: 128, code: 0, id, seq: 1 },
            (false, false) => Transport::Icmp6 { kind: 129, code: 0, id, seq: 1 },
        };
        Packet::new(src, dst, transport)
    }

    pub fn payload(mut self, payload: &[u8]) -> Packet {
        self.payload = payload.to_vec();
        self
    }

    pub fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => TCP,
            Transport::Udp { .. } => UDP,
            Transport::Icmp { .. } => ICMP,
            Transport::Icmp6 { .. } => ICMP6,
            Transport::Raw(protocol) => protocol,
        }
    }

    /// The whole Ethernet frame, without its check sequence.
    pub fn bytes(&self) -> Vec<u8> {
        let ip = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.ipv4(src.octets(), dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.ipv6(src.octets(), dst.octets()),
            (src, dst) => panic!("addresses of two families: {src} and {dst}"),
        };
        let ethertype = if self.src.is_ipv4() { 0x0800 } else { 0x86dd };
        let mut frame = ethernet(&self.tags, ethertype, &ip);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    fn ipv4(&self, src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
        let transport = self.layer4(&src, &dst);
        let header = 20 + self.options.len();
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let mut ip = vec![0u8; header];
        ip[0] = 0x40 | (header / 4) as u8;
        ip[1] = self.dscp << 2;
        ip[2..4].copy_from_slice(&((header + transport.len()) as u16).to_be_bytes());
        ip[6..8].copy_from_slice(&((offset & 0x1fff) | u16::from(more) << 13).to_be_bytes());
        ip[8] = self.ttl;
        ip[9] = self.protocol();
        ip[12..16].copy_from_slice(&src);
        ip[16..20].copy_from_slice(&dst);
        ip[20..].copy_from_slice(&self.options);
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend(transport);
        ip
    }

    fn ipv6(&self, src: [u8; 16], dst: [u8; 16]) -> Vec<u8> {
        let mut rest = Vec::new();
        for (place, (_, bytes)) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(place + 1).map_or(self.protocol(), |(number, _)| *number);
            let start = rest.len();
            rest.extend(bytes);
            if let Some(first) = rest.get_mut(start) {
                *first = next;
            }
        }
        rest.extend(self.layer4(&src, &dst));
        let mut ip = vec![0u8; 40];
        ip[0] = 0x60 | self.dscp >> 2;
        ip[1] = self.dscp << 6;
        ip[4..6].copy_from_slice(&(rest.len() as u16).to_be_bytes());
        ip[6] = self.extensions.first().map_or(self.protocol(), |(number, _)| *number);
        ip[7] = self.ttl;
        ip[8..24].copy_from_slice(&src);
        ip[24..40].copy_from_slice(&dst);
        ip.extend(rest);
        ip
    }

    fn layer4(&self, src: &[u8], dst: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let place = match &self.transport {
            Transport::Tcp { sport, dport, flags, seq, ack, options } => {
                out.extend(sport.to_be_bytes());
                out.extend(dport.to_be_bytes());
                out.extend(seq.to_be_bytes());
                out.extend(ack.to_be_bytes());
                out.extend([((20 + options.len()) as u8) << 2, *flags, 0x20, 0, 0, 0, 0, 0]);
                out.extend(options);
                Some(16)
            }
            Transport::Udp { sport, dport, checksum } => {
                out.extend(sport.to_be_bytes());
                out.extend(dport.to_be_bytes());
                out.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                out.extend([0, 0]);
                checksum.then_some(6)
            }
            Transport::Icmp { kind, code, id, seq } | Transport::Icmp6 { kind, code, id, seq } => {
                out.extend([*kind, *code, 0, 0]);
                out.extend(id.to_be_bytes());
                out.extend(seq.to_be_bytes());
                Some(2)
            }
            Transport::Raw(_) => None,
        };
        out.extend(&self.payload);
        if let Some(place) = place {
            let sum = match self.transport {
                Transport::Icmp { .. } => checksum(&[&out]),
                _ => {
                    let length = (out.len() as u32).to_be_bytes();
                    checksum(&[src, dst, &length, &[0, 0, 0, self.protocol()], &out])
                }
            };
            // RFC 768: a UDP checksum of 0 is sent as all ones.
            let sum = if sum == 0 && self.protocol() == UDP { 0xffff } else { sum };
            out[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        }
        out
    }
}

/// Ethernet header with VLAN tags (TPID, TCI), the outer one first, before `payload`.
pub fn ethernet(tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [DEVICE_MAC, SENDER_MAC].concat();
    for (tpid, tci) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The Internet checksum (RFC 1071) of parts that follow each other; each part but the last is of even length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv6 extension header of `units` further 8-byte words, filled with `fill`.
/// Number 44 is the fragment header: offset 0, no more fragments.
pub fn extension(number: u8, units: u8, fill: u8) -> (u8, Vec<u8>) {
    let bytes = match number {
        44 => vec![0; 8],
        // AH counts in 4-byte words, minus 2 (RFC 4302, section 2.2).
        51 => {
            let mut bytes = vec![fill; 8 + 8 * units as usize];
            bytes[1] = units * 2;
            bytes
        }
        _ => {
            let mut bytes = vec![fill; 8 + 8 * units as usize];
            bytes[1] = units;
            bytes
        }
    };
    (number, bytes)
}

/// An IPv6 fragment header: offset in units of 8 bytes, and "more fragments".
pub fn fragment_header(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let word = (offset << 3 | u16::from(more)).to_be_bytes();
    (44, vec![0, 0, word[0], word[1], 0, 0, 0x12, 0x34])
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketHeaders, TransportHeader};

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn checksums_and_lengths_are_those_of_etherparse() {
        for (src, dst) in [("192.0.2.1", "198.51.100.7"), ("2001:db8::1", "2001:db8:7::7")] {
            let (src, dst) = (addr(src), addr(dst));
            for packet in [
                Packet::tcp((src, 4000), (dst, 80), SYN, 7, 0).payload(b"odd"),
                Packet::udp((src, 4000), (dst, 53)).payload(b"even"),
            ] {
                let bytes = packet.bytes();
                let headers = PacketHeaders::from_ethernet_slice(&bytes).unwrap();
                let net = headers.net.as_ref().unwrap();
                let (sum, right) = match (net, headers.transport.as_ref().unwrap()) {
                    (etherparse::NetHeaders::Ipv4(ip, _), transport) => {
                        assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
                        assert_eq!(usize::from(ip.total_len), bytes.len() - 14);
                        match transport {
                            TransportHeader::Tcp(tcp) => {
                                (tcp.checksum, tcp.calc_checksum_ipv4(ip, headers.payload.slice()))
                            }
                            TransportHeader::Udp(udp) => {
                                (udp.checksum, udp.calc_checksum_ipv4(ip, headers.payload.slice()))
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    (etherparse::NetHeaders::Ipv6(ip, _), transport) => {
                        assert_eq!(usize::from(ip.payload_length), bytes.len() - 54);
                        match transport {
                            TransportHeader::Tcp(tcp) => {
                                (tcp.checksum, tcp.calc_checksum_ipv6(ip, headers.payload.slice()))
                            }
                            TransportHeader::Udp(udp) => {
                                (udp.checksum, udp.calc_checksum_ipv6(ip, headers.payload.slice()))
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!(Ok(sum), right.map_err(|_| ()));
            }
        }
    }
}
