//! Owns what a guard proves about the protocol and family of the packets that it lets through. Never addresses or
//! ports beyond that.

use crate::policy::{Field, Guard, Policy, Side, Test, Values};

/// A set of {TCP, UDP, other} × {IPv4, IPv6}.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kinds(u8);

pub(super) const ALL: Kinds = Kinds(0b111_111);
pub(super) const NONE: Kinds = Kinds(0);
pub(super) const TCP: Kinds = Kinds(0b001_001);
pub(super) const UDP: Kinds = Kinds(0b010_010);
pub(super) const OTHER: Kinds = Kinds(0b100_100);
pub(super) const V4: Kinds = Kinds(0b000_111);
pub(super) const V6: Kinds = Kinds(0b111_000);

impl Kinds {
    pub fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 & other.0)
    }

    pub fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub fn without(self, other: Kinds) -> Kinds {
        Kinds(self.0 & !other.0)
    }

    pub fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Packets of `from` that may satisfy the guard. With `may_ask` false, what may be asked in some places only proves
/// nothing: a bare `sport` or `dport`, a name, a certificate.
pub(super) fn narrow(policy: &Policy, guard: &Guard, from: Kinds, may_ask: bool) -> Kinds {
    match guard {
        Guard::And(parts) => parts.iter().fold(from, |kinds, part| narrow(policy, part, kinds, may_ask)),
        Guard::Or(parts) => {
            parts.iter().fold(NONE, |kinds, part| kinds.or(narrow(policy, part, from, may_ask)))
        }
        Guard::Not(inner) => falsify(policy, inner, from),
        Guard::From(id, _) => match policy.sides.get(id.index()) {
            Some(Side { guard: Some(guard), .. }) => narrow(policy, guard, from, may_ask),
            _ => from,
        },
        Guard::To(id, _) => {
            let Some(vip) = policy.vips.get(id.index()) else { return from };
            let mut kinds = NONE;
            if vip.v4.is_some() {
                kinds = kinds.or(V4);
            }
            if vip.v6.is_some() {
                kinds = kinds.or(V6);
            }
            if !vip.ports.is_empty() {
                let protos =
                    vip.ports.iter().fold(NONE, |kinds, ports| kinds.or(of_proto(ports.proto.into())));
                kinds = kinds.and(protos);
            }
            from.and(kinds)
        }
        Guard::Test(test) => from.and(test_kinds(test, may_ask)),
    }
}

/// Packets of `from` that may fail the guard; more than those where that is hard to say.
pub(super) fn falsify(policy: &Policy, guard: &Guard, from: Kinds) -> Kinds {
    match guard {
        Guard::Or(parts) => parts.iter().fold(from, |kinds, part| falsify(policy, part, kinds)),
        Guard::And(parts) => parts.iter().fold(NONE, |kinds, part| kinds.or(falsify(policy, part, from))),
        Guard::Not(inner) => narrow(policy, inner, from, true),
        Guard::From(id, _) => match policy.sides.get(id.index()) {
            Some(Side { guard: Some(guard), .. }) => falsify(policy, guard, from),
            _ => from,
        },
        Guard::Test(Test { field: Field::Proto, negated, values: Values::Ranges(ranges), .. }) => {
            if *negated { from.and(touched(ranges)) } else { from.without(covered(ranges)) }
        }
        Guard::To(..) | Guard::Test(_) => from,
    }
}

fn test_kinds(test: &Test, may_ask: bool) -> Kinds {
    match (test.field, &test.values) {
        (Field::TcpSport | Field::TcpDport | Field::TcpFlags, _) => TCP,
        (Field::UdpSport | Field::UdpDport, _) => UDP,
        (Field::Sport | Field::Dport, _) if may_ask => TCP.or(UDP),
        (Field::IcmpType | Field::IcmpCode, _) => OTHER.and(V4),
        (Field::Icmp6Type | Field::Icmp6Code, _) => OTHER.and(V6),
        (Field::Payload, _) => TCP.or(UDP),
        // `verify` and `map` read UDP only.
        (Field::Sni | Field::Cert, _) if may_ask => UDP,
        (Field::Proto, Values::Ranges(ranges)) if test.negated => ALL.without(covered(ranges)),
        (Field::Proto, Values::Ranges(ranges)) => touched(ranges),
        // `not in` looks at packets of both families: an address of the other family is not in the set.
        (Field::Src | Field::Dst, Values::Addrs(addrs)) if !test.negated && test.sets.is_empty() => {
            match (addrs.v4.is_empty(), addrs.v6.is_empty()) {
                (false, true) => V4,
                (true, false) => V6,
                _ => ALL,
            }
        }
        _ => ALL,
    }
}

fn of_proto(proto: u32) -> Kinds {
    match proto {
        6 => TCP,
        17 => UDP,
        _ => OTHER,
    }
}

/// Kinds that have a protocol in the ranges.
fn touched(ranges: &[(u32, u32)]) -> Kinds {
    let has = |proto: u32| ranges.iter().any(|&(first, last)| first <= proto && proto <= last);
    let mut kinds = NONE;
    if has(6) {
        kinds = kinds.or(TCP);
    }
    if has(17) {
        kinds = kinds.or(UDP);
    }
    let count: u32 = ranges.iter().map(|&(first, last)| last - first + 1).sum();
    if count > u32::from(has(6)) + u32::from(has(17)) {
        kinds = kinds.or(OTHER);
    }
    kinds
}

/// Kinds all of whose protocols are in the ranges.
fn covered(ranges: &[(u32, u32)]) -> Kinds {
    let touched = touched(ranges);
    let every_other = (0..256).filter(|proto| ![6, 17].contains(proto));
    let has = |proto: u32| ranges.iter().any(|&(first, last)| first <= proto && proto <= last);
    if every_other.into_iter().all(has) { touched } else { touched.without(OTHER) }
}
