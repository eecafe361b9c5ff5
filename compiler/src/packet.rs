//! Owns the oracle's own view of a packet: parse, build, flow key, hashes and checksums, each as the first two sections
//! of `docs/packet-path.md` say. Never state, a policy's guards, or code that lowering or the XDP program use.

mod build;
mod checksum;
mod flow;
mod header;
mod hello;
mod parse;
mod quic;
mod trailer;

pub use build::{DST_MAC, SRC_MAC, build, build_in};
pub use checksum::verify_checksums;
pub use flow::{certificate_hash, cookie_hash, flow_hash, flow_key, source_hash};
pub use hello::{Hello, Hellos, hello};
pub use parse::{parse, payload, unwrapped};
pub use trailer::{Signer, Trailer, forge, test_public_key, trailer};

pub(crate) use checksum::{checksum, mend};
pub(crate) use header::Header;

use lb_abi::image::{self, Field};
use lb_abi::maps::Addr;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP6: u8 = 58;

pub const ICMP_ECHO_REPLY: u8 = 0;
pub const ICMP_ECHO_REQUEST: u8 = 8;
pub const ICMP6_ECHO_REQUEST: u8 = 128;
pub const ICMP6_ECHO_REPLY: u8 = 129;

/// What a frame that reaches the tree says about itself, read once as it arrived. Numbers in host byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fields {
    /// IPv4 mapped, as in `maps::Addr`.
    pub src: Addr,
    pub dst: Addr,
    pub v6: bool,
    /// IPv4 protocol, or the last next-header of the IPv6 chain.
    pub proto: u8,
    /// IPv4 total length, or 40 + the IPv6 payload length.
    pub len: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    pub dscp: u8,
    /// Id of the outer tag.
    pub vlan: Option<u16>,
    /// `image::FRAG_*`.
    pub frag: u32,
    pub layer4: Layer4,
    /// Byte offset of the IP header in the frame.
    pub ip: usize,
    /// Byte offset of what follows the IP header and its extension headers.
    pub transport: usize,
    /// Byte offset behind the IP packet; padding follows.
    pub end: usize,
}

/// The layer-4 header that guards can look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer4 {
    Tcp {
        sport: u16,
        dport: u16,
        /// `image::FLAG_*`.
        flags: u32,
        seq: u32,
        ack: u32,
    },
    Udp {
        sport: u16,
        dport: u16,
        checksum: u16,
    },
    /// ICMP over IPv4.
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    /// ICMPv6 over IPv6.
    Icmp6 {
        kind: u8,
        code: u8,
        id: u16,
    },
    /// Another protocol, or a later fragment.
    Absent,
}

impl Fields {
    /// Source and destination port; only TCP and UDP have them, and no later fragment.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.layer4 {
            Layer4::Tcp { sport, dport, .. } | Layer4::Udp { sport, dport, .. } => Some((sport, dport)),
            _ => None,
        }
    }

    /// `image::FLAG_*` of TCP.
    pub fn flags(&self) -> Option<u32> {
        match self.layer4 {
            Layer4::Tcp { flags, .. } => Some(flags),
            _ => None,
        }
    }

    /// Type and code of ICMP over IPv4 or ICMPv6 over IPv6.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        match self.layer4 {
            Layer4::Icmp { kind, code, .. } | Layer4::Icmp6 { kind, code, .. } => Some((kind, code)),
            _ => None,
        }
    }

    pub fn is_fragment(&self) -> bool {
        self.frag != image::FRAG_NONE
    }

    /// The value that a field table is asked for; `Field::absent()` where the packet lacks the field. `None` for the
    /// two addresses, for `Field::Flow` and `Field::Cert`, which no number of the packet gives.
    pub fn value(&self, field: Field) -> Option<u32> {
        let present = match field {
            Field::Src | Field::Dst | Field::Flow | Field::Cert => return None,
            Field::Dport => self.ports().map(|(_, dport)| u32::from(dport)),
            Field::Sport => self.ports().map(|(sport, _)| u32::from(sport)),
            Field::Proto => Some(u32::from(self.proto)),
            Field::TcpFlags => self.flags(),
            Field::IcmpType => self.icmp().map(|(kind, _)| u32::from(kind)),
            Field::IcmpCode => self.icmp().map(|(_, code)| u32::from(code)),
            Field::Len => Some(self.len),
            Field::Ttl => Some(u32::from(self.ttl)),
            Field::Dscp => Some(u32::from(self.dscp)),
            Field::Vlan => self.vlan.map(u32::from),
            Field::Frag => Some(self.frag),
        };
        Some(present.unwrap_or(field.absent()))
    }
}

/// An IP address as the maps hold it: IPv4 as `::ffff:a.b.c.d`.
pub fn addr(ip: std::net::IpAddr) -> Addr {
    match ip {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    }
}

/// The last four bytes of a mapped IPv4 address as a host-order number.
pub fn v4_number(addr: Addr) -> u32 {
    u128::from_be_bytes(addr) as u32
}

#[cfg(test)]
mod tests;
