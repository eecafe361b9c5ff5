//! Owns the typed form of guards: comparisons, their fields and values. Never which arm wins, or what a packet has.

use std::sync::Arc;

use super::{SetId, SideId, TrackerId, VipId};
use crate::source::Span;

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
    /// The sets that `values` was taken from, those they are united from included: what `given X in SET` or `ban`
    /// adds to one of them, it adds here. Sets taken away by `except` are not among them. Members of dynamic sets
    /// are not in `values`.
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
    /// The device it came in by: 1 + interface id, 0 for a device that no `interface` names.
    Iface,
    /// The first bytes behind the layer-4 header; absent from other protocols than TCP and UDP.
    Payload,
    /// The name that `map` learned; absent before.
    Sni,
    /// The certificate that `verify` accepted, as a number over all authorities' certificates in order
    /// (`Policy::certificate_number`); absent before. All of `cert.*` are comparisons with it.
    Cert,
}

#[derive(Clone, Debug)]
pub enum Values {
    /// For `Src` and `Dst`.
    Addrs(Arc<AddrSet>),
    /// Inclusive, sorted, disjoint, not adjacent.
    Ranges(Vec<(u32, u32)>),
    /// For `Flow`.
    Tracker(TrackerId),
    /// For `Payload`: it begins with one of these.
    Prefixes(Vec<Vec<u8>>),
    /// For `Sni`.
    Names(Vec<NamePattern>),
}

/// A name as clients ask for it, in lower case without a final dot; `*.` in front of the written name stands for one
/// or more labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NamePattern {
    pub name: String,
    /// The name itself is not meant, but those below it.
    pub below: bool,
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
