//! Owns the typed form of the items that stages and guards name: sets, vips, sides, limits, trackers, pools, interfaces,
//! authorities, synguards and mappers. Never chains, guards or proofs.

use std::sync::Arc;

use super::{AddrSet, Guard};
use crate::source::Span;

#[derive(Clone, Debug)]
pub struct Set {
    pub name: String,
    pub span: Span,
    pub addrs: Arc<AddrSet>,
    /// From a file: opaque to the errors about empty or shadowed guards.
    pub from_file: bool,
    /// Filled at run time; `addrs` is empty then.
    pub dynamic: Option<Dynamic>,
    pub max: Option<u32>,
}

impl Set {
    /// What is in it is not the policy's to say: errors about empty and shadowed guards leave it alone.
    pub fn is_opaque(&self) -> bool {
        self.from_file || self.dynamic.is_some()
    }
}

/// A set that `ban` and the operator fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dynamic {
    /// How long a member stays after it was last added.
    pub ttl: Option<std::time::Duration>,
}

#[derive(Clone, Debug)]
pub struct Vip {
    pub name: String,
    pub span: Span,
    pub v4: Option<std::net::Ipv4Addr>,
    pub v6: Option<std::net::Ipv6Addr>,
    /// Empty: every port and protocol.
    pub ports: Vec<VipPorts>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VipPorts {
    /// 6 or 17.
    pub proto: u8,
    /// Inclusive.
    pub first: u16,
    pub last: u16,
}

/// `side A otherwise` has no guard: it is whatever no other side is.
#[derive(Clone, Debug)]
pub struct Side {
    pub name: String,
    pub span: Span,
    pub guard: Option<Guard>,
}

#[derive(Clone, Debug)]
pub struct Limit {
    pub name: String,
    pub span: Span,
    pub key: Option<LimitKey>,
    pub unit: LimitUnit,
    /// Units per `per`; bits for `LimitUnit::Bits`.
    pub rate: u64,
    pub per: std::time::Duration,
    /// In the rate's unit.
    pub burst: u64,
    /// Keys; present with a key.
    pub max: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitUnit {
    Packets,
    Bits,
    Syns,
    Connections,
}

/// `per src v4 /32 v6 /64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitKey {
    /// Else the destination.
    pub source: bool,
    pub v4: u8,
    pub v6: u8,
}

#[derive(Clone, Debug)]
pub struct Tracker {
    pub name: String,
    pub span: Span,
    pub idle_tcp: std::time::Duration,
    /// UDP and everything else.
    pub idle_udp: std::time::Duration,
    pub half_open: std::time::Duration,
    pub max: u32,
    pub key: TrackKey,
}

/// What an entry of a tracker stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackKey {
    /// A 5-tuple.
    Flow,
    /// A certificate: its packets go to one backend, from whatever address. Their flows are tracked below it.
    Certificate,
}

#[derive(Clone, Debug)]
pub struct Pool {
    pub name: String,
    pub span: Span,
    pub pick: Pick,
    pub via: Via,
    /// Source addresses of the translated packets; none: the client's address stays.
    pub sources_v4: Vec<std::net::Ipv4Addr>,
    pub sources_v6: Vec<std::net::Ipv6Addr>,
    /// Inclusive source port range; only with a source.
    pub ports: Option<(u16, u16)>,
    pub backends: Vec<Backend>,
    pub health: Option<Health>,
}

impl Pool {
    /// Whether flows can be more than source ports: elsewhere none is taken.
    pub fn can_run_out_of_ports(&self) -> bool {
        self.via == Via::Nat
    }
}

/// How the agent finds out whether a backend serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    pub span: Span,
    pub check: HealthCheck,
    /// None: the backend's own.
    pub port: Option<u16>,
    pub interval: std::time::Duration,
    pub timeout: std::time::Duration,
    /// Failures in a row that take a backend out.
    pub fall: u32,
    /// Successes in a row that bring it back.
    pub rise: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HealthCheck {
    Tcp,
    /// A GET answered by a status in the range, ends included.
    Http {
        path: String,
        /// The `Host` header; none: the backend's address.
        host: Option<String>,
        status: (u16, u16),
    },
    Icmp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pick {
    RoundRobin,
    Random,
    Source,
    /// Slots, and by flow or (else) by source.
    Maglev {
        slots: u32,
        by_flow: bool,
    },
    /// The backend with the fewest connections for its weight.
    LeastConnections,
    /// By the certificate that `verify` learned.
    Certificate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    Nat,
    /// The packet as it came, to the backend's MAC address; the backend answers the client itself.
    L2dsr,
    /// The packet, with one hop less to go, within IPv4 or IPv6 (RFC 2003, RFC 2473); the backend answers the client
    /// itself.
    Ipip,
    /// As `Ipip`, within UDP to this port (Generic UDP Encapsulation, variant 1).
    Gue {
        port: u16,
    },
}

#[derive(Clone, Debug)]
pub struct Backend {
    pub name: String,
    pub span: Span,
    pub v4: Option<(std::net::Ipv4Addr, u16)>,
    /// Port 0 keeps the packet's.
    pub v6: Option<(std::net::Ipv6Addr, u16)>,
    pub weight: u32,
    pub drain: bool,
    /// Connections at once; a backend that has them is passed over.
    pub max_conn: Option<u32>,
}

/// Devices under one name.
#[derive(Clone, Debug)]
pub struct Interface {
    pub name: String,
    pub span: Span,
    pub devices: Vec<String>,
    /// Largest IP packet in bytes, where it is stated.
    pub mtu: Option<u32>,
}

/// Whose signatures `verify` accepts.
#[derive(Clone, Debug)]
pub struct Authority {
    pub name: String,
    pub span: Span,
    /// By id, ascending; at most 256.
    pub certificates: Vec<Certificate>,
    /// Hashes of certificates that are accepted no longer.
    pub revoked: Vec<[u8; 32]>,
    /// Every packet is verified; else the first of a session, and the later ones are held to its 5-tuple and hash.
    pub every_packet: bool,
    /// The trailer is cut off what is sent on.
    pub strip: bool,
    /// How long a signature is remembered, so that it is accepted once; None: it is accepted again.
    pub replay: Option<std::time::Duration>,
    /// Signatures that are checked: of all sources, and of each.
    pub checks: Rate,
    pub checks_per_source: Rate,
}

impl Authority {
    /// Whether there is a time at which some certificate is not valid.
    pub fn can_expire(&self) -> bool {
        self.certificates.iter().any(|certificate| certificate.valid.is_some())
    }

    pub fn can_be_revoked(&self) -> bool {
        !self.revoked.is_empty()
    }

    pub fn can_be_replayed(&self) -> bool {
        self.replay.is_some()
    }
}

/// A P-256 key and the time it is valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    pub id: u8,
    pub span: Span,
    /// SHA-256 of the certificate's DER, or of the uncompressed point for a bare key. Where the key is yet to be
    /// generated, that of the authority's name and the id, which stands in for it in tests.
    pub hash: [u8; 32],
    /// SEC 1 section 2.3.3: 4, x, y. None: the agent generates one at each start.
    pub key: Option<[u8; 65]>,
    /// Seconds since 1970, ends included; none for a bare key without an end.
    pub valid: Option<(i64, i64)>,
    /// The subject's common name; empty where there is none.
    pub subject: String,
}

/// Answers SYNs with cookies (RFC 4987 section 3.6) while more come than it is told to let through.
#[derive(Clone, Debug)]
pub struct Synguard {
    pub name: String,
    pub span: Span,
    pub above: Rate,
    /// In bytes, as the answers announce it.
    pub mss: u16,
}

/// Learns the name in a client's hello, and keeps it for the flow.
#[derive(Clone, Debug)]
pub struct Mapper {
    pub name: String,
    pub span: Span,
    pub protocol: MapperProtocol,
    /// Flows it knows or waits for.
    pub max: u32,
    /// How long a flow is known after its last packet.
    pub idle: std::time::Duration,
    /// How long it waits for the rest of a hello.
    pub wait: std::time::Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapperProtocol {
    /// RFC 9147 and RFC 6347.
    Dtls,
    /// RFC 9001.
    Quic,
}

/// So many packets per time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    pub count: u64,
    pub per: std::time::Duration,
}
