//! Owns whether a guard holds for a packet. Never state: a guard only looks.

use lb_abi::image;
use lb_abi::maps::Addr;
use policy_lang::policy::{
    AddrSet, Authority, Certificate, Field, Guard, NamePattern, Policy, SideId, Test, Values, VipId,
};
use policy_lang::source::Span;

use super::stages::{certificate as certificate_of, flow_tracker};
use super::{Learned, PathStep, State, StepKind};
use crate::packet::{Fields, Layer4, flow_key, payload, v4_number};

/// What guards look at, and where they note what decided.
pub(super) struct Sight<'a> {
    pub(super) policy: &'a Policy,
    pub(super) state: &'a State,
    pub(super) fields: &'a Fields,
    /// The whole frame.
    pub(super) frame: &'a [u8],
    /// 1 + interface id, 0 for a device that none names.
    pub(super) iface: u32,
    /// What the stages on the way here have learned.
    pub(super) learned: &'a Learned,
}

impl Sight<'_> {
    pub(super) fn holds(&self, guard: &Guard, path: &mut Vec<PathStep>) -> bool {
        match guard {
            Guard::And(parts) => parts.iter().all(|part| self.holds(part, path)),
            Guard::Or(parts) => parts.iter().any(|part| self.holds(part, path)),
            Guard::Not(inner) => !self.holds(inner, path),
            Guard::Test(test) => {
                let held = self.test(test);
                self.note(path, held, test.span, test.text.clone(), vec![test.field]);
                held
            }
            Guard::From(side, span) => {
                let held = self.is_from(*side);
                let name = self.policy.sides.get(side.index()).map_or("", |side| side.name.as_str());
                self.note(path, held, *span, format!("from {name}"), self.side_fields(*side));
                held
            }
            Guard::To(vip, span) => {
                let held = self.is_to(*vip);
                let name = self.policy.vips.get(vip.index()).map_or("", |vip| vip.name.as_str());
                self.note(path, held, *span, format!("to {name}"), self.vip_fields(*vip));
                held
            }
        }
    }

    fn note(&self, path: &mut Vec<PathStep>, held: bool, span: Span, text: String, fields: Vec<Field>) {
        let seen: Vec<String> = fields.iter().filter_map(|&field| self.seen(field)).collect();
        let seen = seen.join(", ");
        path.push(PathStep { kind: StepKind::Guard { held }, span: Some(span), text, fields, seen });
    }

    /// What a side's guard looks at, or for `otherwise` those of all sides.
    fn side_fields(&self, id: SideId) -> Vec<Field> {
        let own = self.policy.sides.get(id.index()).and_then(|side| side.guard.as_ref());
        let all = self.policy.sides.iter().filter_map(|side| side.guard.as_ref());
        let guards: Vec<&Guard> = own.map_or_else(|| all.collect(), |guard| vec![guard]);
        let mut fields = Vec::new();
        guards.into_iter().for_each(|guard| self.guard_fields(guard, &mut fields));
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    fn guard_fields(&self, guard: &Guard, fields: &mut Vec<Field>) {
        match guard {
            Guard::And(parts) | Guard::Or(parts) => {
                parts.iter().for_each(|part| self.guard_fields(part, fields));
            }
            Guard::Not(inner) => self.guard_fields(inner, fields),
            Guard::Test(test) => fields.push(test.field),
            Guard::From(..) => {}
            Guard::To(vip, _) => fields.extend(self.vip_fields(*vip)),
        }
    }

    fn vip_fields(&self, id: VipId) -> Vec<Field> {
        match self.policy.vips.get(id.index()) {
            Some(vip) if vip.ports.is_empty() => vec![Field::Dst],
            _ => vec![Field::Dst, Field::Proto, Field::Dport],
        }
    }

    /// `side A otherwise` is whatever no other side is.
    fn is_from(&self, id: SideId) -> bool {
        let mut unnoted = Vec::new();
        match self.policy.sides.get(id.index()).map(|side| &side.guard) {
            Some(Some(guard)) => self.holds(guard, &mut unnoted),
            Some(None) => {
                let guards = self.policy.sides.iter().filter_map(|side| side.guard.as_ref());
                !guards.into_iter().any(|guard| self.holds(guard, &mut unnoted))
            }
            None => false,
        }
    }

    fn is_to(&self, id: VipId) -> bool {
        let Some(vip) = self.policy.vips.get(id.index()) else { return false };
        let is_address = if self.fields.v6 {
            vip.v6.is_some_and(|v6| v6.octets() == self.fields.dst)
        } else {
            vip.v4.is_some_and(|v4| u32::from(v4) == v4_number(self.fields.dst))
        };
        let is_port = || match self.fields.ports() {
            Some((_, dport)) => vip
                .ports
                .iter()
                .any(|ports| ports.proto == self.fields.proto && (ports.first..=ports.last).contains(&dport)),
            None => false,
        };
        is_address && (vip.ports.is_empty() || is_port())
    }

    /// False on a packet that lacks the field, negated or not.
    fn test(&self, test: &Test) -> bool {
        let is_among = match &test.values {
            Values::Addrs(set) => match test.field {
                Field::Src => Some(self.is_among(test, set, self.fields.src)),
                Field::Dst => Some(self.is_among(test, set, self.fields.dst)),
                _ => None,
            },
            Values::Ranges(ranges) => self
                .number(test.field)
                .map(|number| ranges.iter().any(|&(first, last)| (first..=last).contains(&number))),
            Values::Prefixes(prefixes) => payload(self.frame, self.fields)
                .map(|payload| prefixes.iter().any(|prefix| payload.starts_with(prefix))),
            Values::Names(patterns) => {
                self.sni().map(|name| patterns.iter().any(|pattern| is_meant(pattern, name)))
            }
            Values::Tracker(tracker) => Some(flow_tracker(self.state, self.fields) == Some(tracker.0)),
        };
        is_among.is_some_and(|is_among| is_among != test.negated)
    }

    fn number(&self, field: Field) -> Option<u32> {
        match field {
            Field::Iface => Some(self.iface),
            Field::Cert => certificate_of(self.state, self.fields, self.learned),
            _ => number(self.fields, field),
        }
    }

    fn sni(&self) -> Option<&str> {
        self.learned.sni.as_deref().or_else(|| of_flow(self.state, self.fields)?.sni.as_deref())
    }

    /// Whether an address is in what the test names, members that sets have got at run time included.
    fn is_among(&self, test: &Test, set: &AddrSet, addr: Addr) -> bool {
        let is_member = || test.sets.iter().any(|set| self.state.is_member(set.0, addr));
        holds_addr(set, self.fields.v6, addr) || is_member()
    }

    /// What the packet shows in a field that the packet's headers do not tell.
    fn seen(&self, field: Field) -> Option<String> {
        match field {
            Field::Iface => {
                let interface = self.iface.checked_sub(1).map(|id| self.policy.interfaces.get(id as usize));
                let name = interface.flatten().map_or("of no name", |interface| interface.name.as_str());
                Some(format!("iface {name}"))
            }
            Field::Payload => Some(payload(self.frame, self.fields).map_or("no payload".to_owned(), shown)),
            Field::Sni => Some(self.sni().map_or("no sni".to_owned(), |name| format!("sni \"{name}\""))),
            Field::Cert => Some(match self.number(Field::Cert) {
                Some(number) => certificate_words(self.policy, number),
                None => "no cert".to_owned(),
            }),
            _ => None,
        }
    }
}

/// What the packet's live flow has learned.
fn of_flow<'a>(state: &'a State, fields: &Fields) -> Option<&'a Learned> {
    flow_tracker(state, fields)?;
    state.learned.get(&flow_key(fields))
}

/// A certificate by its `Policy::certificate_number`, and whose it is.
pub(super) fn certificate(policy: &Policy, number: u32) -> Option<(&Authority, &Certificate)> {
    let all = policy
        .authorities
        .iter()
        .flat_map(|authority| authority.certificates.iter().map(move |certificate| (authority, certificate)));
    all.into_iter().nth(number as usize)
}

/// `cert 3 of devices, "device-3"`.
fn certificate_words(policy: &Policy, number: u32) -> String {
    let Some((authority, certificate)) = certificate(policy, number) else { return String::new() };
    let subject = match certificate.subject.as_str() {
        "" => String::new(),
        subject => format!(", \"{subject}\""),
    };
    format!("cert {} of {}{subject}", certificate.id, authority.name)
}

/// The first bytes of a payload, printable ones as text.
fn shown(payload: &[u8]) -> String {
    const FEW: usize = 16;
    let few: Vec<u8> = payload.iter().copied().take(FEW).collect();
    let more = if payload.len() > FEW { " …" } else { "" };
    match few.iter().all(|byte| (0x20..0x7f).contains(byte) && *byte != b'"') {
        true => format!("payload \"{}\"{more}", String::from_utf8_lossy(&few)),
        false => {
            let digits: String = few.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("payload 0x{digits}{more}")
        }
    }
}

/// Whether a name in lower case is one that the pattern means.
fn is_meant(pattern: &NamePattern, name: &str) -> bool {
    if pattern.below {
        name.strip_suffix(&pattern.name).is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
    } else {
        name == pattern.name
    }
}

/// What a packet has in a field that holds numbers; `None` if it lacks the field.
pub fn number(fields: &Fields, field: Field) -> Option<u32> {
    match (field, fields.layer4) {
        (Field::Proto, _) => Some(u32::from(fields.proto)),
        (Field::Len, _) => Some(fields.len),
        (Field::Ttl, _) => Some(u32::from(fields.ttl)),
        (Field::Dscp, _) => Some(u32::from(fields.dscp)),
        (Field::Vlan, _) => fields.vlan.map(u32::from),
        (Field::Frag, _) => Some(fields.frag),
        (Field::TcpSport | Field::Sport, Layer4::Tcp { sport, .. }) => Some(u32::from(sport)),
        (Field::TcpDport | Field::Dport, Layer4::Tcp { dport, .. }) => Some(u32::from(dport)),
        (Field::TcpFlags, Layer4::Tcp { flags, .. }) => {
            Some(flags & (image::FLAG_SYN | image::FLAG_ACK | image::FLAG_FIN | image::FLAG_RST))
        }
        (Field::UdpSport | Field::Sport, Layer4::Udp { sport, .. }) => Some(u32::from(sport)),
        (Field::UdpDport | Field::Dport, Layer4::Udp { dport, .. }) => Some(u32::from(dport)),
        (Field::IcmpType, Layer4::Icmp { kind, .. }) => Some(u32::from(kind)),
        (Field::IcmpCode, Layer4::Icmp { code, .. }) => Some(u32::from(code)),
        (Field::Icmp6Type, Layer4::Icmp6 { kind, .. }) => Some(u32::from(kind)),
        (Field::Icmp6Code, Layer4::Icmp6 { code, .. }) => Some(u32::from(code)),
        _ => None,
    }
}

fn holds_addr(set: &AddrSet, v6: bool, addr: [u8; 16]) -> bool {
    if v6 {
        let number = u128::from_be_bytes(addr);
        is_in(&set.v6, number)
    } else {
        is_in(&set.v4, v4_number(addr))
    }
}

/// Ranges are sorted and disjoint.
fn is_in<T: Ord + Copy>(ranges: &[(T, T)], number: T) -> bool {
    let behind = ranges.partition_point(|&(first, _)| first <= number);
    behind.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|&(_, last)| number <= last)
}
