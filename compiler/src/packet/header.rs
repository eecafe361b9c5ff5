//! Owns IP headers of packets that begin here: answers, and what a packet is wrapped in. Never what they carry.

use lb_abi::maps::Addr;

use super::checksum::ones_complement_sum;

/// TTL or hop limit of packets that begin here (RFC 1700).
pub(crate) const OWN_TTL: u8 = 64;

/// What an IP header without options says. IPv4: identification 0 and not to be fragmented (RFC 6864, section 4.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// IPv4 mapped.
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) v6: bool,
    pub(crate) proto: u8,
    /// Traffic class, or type of service.
    pub(crate) class: u8,
    /// 20 bits; IPv6 only.
    pub(crate) label: u32,
}

impl Header {
    /// The header in front of so many bytes, its checksum included.
    pub(crate) fn bytes(&self, length: usize) -> Vec<u8> {
        if self.v6 {
            let first = 6u32 << 28 | u32::from(self.class) << 20 | self.label & 0xf_ffff;
            let mut header = first.to_be_bytes().to_vec();
            header.extend((length as u16).to_be_bytes());
            header.extend([self.proto, OWN_TTL]);
            header.extend(self.src);
            header.extend(self.dst);
            return header;
        }
        let mut header = vec![0x45, self.class];
        header.extend((20 + length as u16).to_be_bytes());
        header.extend([0, 0, 0x40, 0, OWN_TTL, self.proto, 0, 0]);
        header.extend(self.src.iter().skip(12));
        header.extend(self.dst.iter().skip(12));
        let checksum = !ones_complement_sum(0, &header);
        for (place, byte) in header.iter_mut().skip(10).zip(checksum.to_be_bytes()) {
            *place = byte;
        }
        header
    }
}
