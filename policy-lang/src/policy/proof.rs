//! Owns the typed form of `expect` and `assert`: steps, packets, outcomes, claims. Never their running or proof.

use super::{AddrSet, AuthorityId, End, Guard, InterfaceId, PoolId, SetId, TreeId};
use crate::source::Span;

/// `expect "…" { … }`: its steps in order, against one fresh state.
#[derive(Clone, Debug)]
pub struct Expect {
    pub title: String,
    pub span: Span,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// `given clock 12s`: the clock, counted from the start of the test.
    GivenClock(std::time::Duration),
    /// `given seed 7`.
    GivenSeed(u64),
    /// `given date 2027-01-31`: the wall clock, in seconds since 1970; it goes on with the clock.
    GivenDate(i64),
    /// `given ADDRESS in SET`.
    GivenMember { set: SetId, addrs: AddrSet, span: Span },
    /// `after 2s`.
    After(std::time::Duration),
    Packet {
        packet: PacketSpec,
        times: u32,
        /// Every packet of an `expect` has one; those asked about on a command line have none.
        outcome: Option<Outcome>,
        span: Span,
    },
}

/// A packet as an `expect` or `explain` writes it. What is not written has the stated default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PacketSpec {
    pub src: std::net::IpAddr,
    pub dst: std::net::IpAddr,
    pub proto: ProtoSpec,
    /// Default 64.
    pub ttl: u8,
    /// Default 0.
    pub dscp: u8,
    pub vlan: Option<u16>,
    /// `lb_abi::image::FRAG_*`; default none.
    pub frag: u32,
    /// Payload behind the layer-4 header; default empty. `len N` pads it with zeros to an IP total length of N.
    pub payload: Vec<u8>,
    /// The interface it comes in by.
    pub iface: Option<InterfaceId>,
    /// `sni "…"`: the payload is a DTLS hello that asks for this name, in one record (RFC 6066 section 3).
    pub sni: Option<String>,
    /// `signed AUTHORITY ID`: behind the payload stands the trailer of this certificate.
    pub signed: Option<Signed>,
}

impl PacketSpec {
    /// A packet with nothing but defaults.
    pub fn new(src: std::net::IpAddr, dst: std::net::IpAddr, proto: ProtoSpec) -> PacketSpec {
        PacketSpec {
            src,
            dst,
            proto,
            ttl: 64,
            dscp: 0,
            vlan: None,
            frag: 0,
            payload: Vec::new(),
            iface: None,
            sni: None,
            signed: None,
        }
    }
}

/// The trailer of a packet in an `expect`. Keys of certificates are secret, so each is stood in for by a key made
/// for tests, and what it signs is what the test's `verify` accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed {
    pub authority: AuthorityId,
    /// Index into the authority's certificates.
    pub certificate: u32,
    /// The signature is wrong by a bit.
    pub forged: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProtoSpec {
    /// `flags` as in `Field::TcpFlags`; sequence and acknowledgement numbers default to 0.
    Tcp {
        sport: u16,
        dport: u16,
        flags: u8,
        seq: u32,
        ack: u32,
    },
    Udp {
        sport: u16,
        dport: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    Icmp6 {
        kind: u8,
        code: u8,
        id: u16,
    },
    Other(u8),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// `drop`, `pass`, `forward`, `reply echo`, …
    End(End),
    /// `reply cookie`: a synguard answers a SYN by a SYN-ACK of its own.
    ReplyCookie,
    /// `forward NAME` with a pool.
    ForwardPool(PoolId),
    /// `forward NAME` with a backend: pool and index of the backend.
    ForwardBackend(PoolId, u32),
    /// `forward ADDRESS[:PORT]`: destination after translation.
    ForwardTo(std::net::IpAddr, Option<u16>),
}

/// `assert "…" { … }`: claims about all packets.
#[derive(Clone, Debug)]
pub struct Assert {
    pub title: String,
    pub span: Span,
    pub claims: Vec<Claim>,
}

#[derive(Clone, Debug)]
pub struct Claim {
    /// `never`, else `always`.
    pub never: bool,
    pub guard: Guard,
    pub goal: Goal,
    /// Names after `without`: pools, trees, limits or trackers.
    pub without: Vec<String>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Goal {
    ReachesPool(PoolId),
    ReachesTree(TreeId),
    /// A stage by the name of its limit or tracker.
    ReachesStage(String),
    Ends(End),
}
