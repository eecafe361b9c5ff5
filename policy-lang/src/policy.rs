//! Owns the typed tree: what a policy is once every name is resolved and every value has a type.
//! Never text (but for labels and spans), files, evaluation or lowering.

mod proof;

use std::sync::Arc;

pub use proof::{Assert, Claim, Expect, Goal, Outcome, PacketSpec, ProtoSpec, Step};

use crate::source::Span;

/// A whole policy, from one file and what it includes. Ids are indices into the vectors here.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub span: Span,
    /// What an unwritten exit takes.
    pub default: DefaultEnd,
    pub before: BeforeTree,
    pub root: Chain,
    pub trees: Vec<Tree>,
    pub sets: Vec<Set>,
    pub vips: Vec<Vip>,
    pub sides: Vec<Side>,
    pub limits: Vec<Limit>,
    pub trackers: Vec<Tracker>,
    pub pools: Vec<Pool>,
    pub expects: Vec<Expect>,
    pub asserts: Vec<Assert>,
}

macro_rules! ids {
    ($($name:ident),*) => {$(
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);
        impl $name { pub fn index(self) -> usize { self.0 as usize } }
    )*};
}
ids!(TreeId, SetId, VipId, SideId, LimitId, TrackerId, PoolId);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultEnd {
    Drop,
    Reject,
}

/// What happens to packets that never reach the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeforeTree {
    pub neighbours: Before,
    pub unparsed: Before,
    pub other: Before,
    pub fragments: Before,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    Drop,
    Pass,
    /// The tree decides; only for fragments.
    Match,
}

#[derive(Clone, Debug)]
pub struct Tree {
    pub name: String,
    pub span: Span,
    pub chain: Chain,
}

/// `stage -> stage -> … -> tail`.
#[derive(Clone, Debug)]
pub struct Chain {
    pub stages: Vec<Stage>,
    pub tail: Tail,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Tail {
    End(End, Span),
    Tree(TreeId, Span),
    Match(Match),
    Every(Every),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    Drop,
    Pass,
    Forward,
    ReplyEcho,
    Reject,
    ReplyRst,
}

#[derive(Clone, Debug)]
pub struct Match {
    pub arms: Vec<Arm>,
    pub otherwise: Box<Chain>,
    /// The word `else`.
    pub otherwise_span: Span,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Arm {
    pub guard: Guard,
    /// The guard as written, white space folded to single blanks.
    pub text: String,
    /// The guard.
    pub span: Span,
    pub chain: Chain,
}

/// `every N { 1 -> … }`: `ways[k]` is taken on turn k (0-based).
#[derive(Clone, Debug)]
pub struct Every {
    pub mode: EveryMode,
    pub ways: Vec<Chain>,
    pub span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EveryMode {
    Packet,
    Flow,
    Random,
}

#[derive(Clone, Debug)]
pub struct Stage {
    pub kind: StageKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum StageKind {
    Count { name: String },
    Limit { limit: LimitId, exceed: Exit },
    Track { tracker: TrackerId, full: Exit, invalid: Exit },
    Translate { pool: PoolId, empty: Exit, ports: Exit },
    TranslateBack { invalid: Exit },
}

impl StageKind {
    /// The exits, with their names, in the order in which the language lists them.
    pub fn exits(&self) -> Vec<(&'static str, &Exit)> {
        match self {
            StageKind::Count { .. } => Vec::new(),
            StageKind::Limit { exceed, .. } => vec![("exceed", exceed)],
            StageKind::Track { full, invalid, .. } => vec![("full", full), ("invalid", invalid)],
            StageKind::Translate { empty, ports, .. } => vec![("empty", empty), ("ports", ports)],
            StageKind::TranslateBack { invalid } => vec![("invalid", invalid)],
        }
    }
}

/// Where a stage goes other than on. An unwritten exit has the chain of the policy's default and the stage's span.
#[derive(Clone, Debug)]
pub struct Exit {
    pub chain: Box<Chain>,
    pub written: bool,
    /// The exit's name.
    pub span: Span,
}

// --- guards ---------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
pub enum Guard {
    And(Vec<Guard>),
    Or(Vec<Guard>),
    /// Boolean complement.
    Not(Box<Guard>),
    Test(Test),
    /// `from SIDE`: the side's own meaning is `Side::guard`.
    From(SideId, Span),
    /// `to VIP`.
    To(VipId, Span),
}

/// One comparison. It is false on a packet that lacks the field, `negated` or not.
#[derive(Clone, Debug)]
pub struct Test {
    pub field: Field,
    /// `!=` or `not in`: the field is there and its value is not among `values`.
    pub negated: bool,
    pub values: Values,
    /// The sets that `values` was taken from, those they are united from included: what `given X in SET` adds
    /// to one of them, it adds here. Sets taken away by `except` are not among them.
    pub sets: Vec<SetId>,
    /// As written, white space folded.
    pub text: String,
    pub span: Span,
}

/// A field as the language names it; those with a protocol in their name are absent from other packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Field {
    Src,
    Dst,
    Proto,
    /// IP total length in bytes.
    Len,
    Ttl,
    Dscp,
    /// Id of the outer tag.
    Vlan,
    /// 0 none, 1 first, 2 later (`lb_abi::image::FRAG_*`).
    Frag,
    TcpSport,
    TcpDport,
    /// SYN 1, ACK 2, FIN 4, RST 8 (`lb_abi::image::FLAG_*`).
    TcpFlags,
    UdpSport,
    UdpDport,
    /// TCP or UDP.
    Sport,
    Dport,
    IcmpType,
    IcmpCode,
    Icmp6Type,
    Icmp6Code,
    /// `flow in T`: values are tracker ids.
    Flow,
}

#[derive(Clone, Debug)]
pub enum Values {
    /// For `Src` and `Dst`.
    Addrs(Arc<AddrSet>),
    /// Inclusive, sorted, disjoint, not adjacent.
    Ranges(Vec<(u32, u32)>),
    /// For `Flow`.
    Tracker(TrackerId),
}

/// Addresses of both families as inclusive ranges, sorted, disjoint and not adjacent; host-order integers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AddrSet {
    pub v4: Vec<(u32, u32)>,
    pub v6: Vec<(u128, u128)>,
}

impl AddrSet {
    /// What is in either.
    pub fn union(&self, other: &AddrSet) -> AddrSet {
        crate::value::addr::union_of(self, other)
    }
}

// --- items ----------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
pub struct Set {
    pub name: String,
    pub span: Span,
    pub addrs: Arc<AddrSet>,
    /// From a file: opaque to the errors about empty or shadowed guards.
    pub from_file: bool,
    pub max: Option<u32>,
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
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    Nat,
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
}
