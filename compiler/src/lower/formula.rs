//! Owns the guards of a policy as Boolean formulas over sets of one image field each, equal sets being one.
//! Never an order between guards: that is `region`, nor what the sets hold.

mod cut;
mod lists;

use std::collections::HashMap;
use std::sync::Arc;

use lb_abi::image::Field;
use policy_lang::policy::{self, AddrSet, Guard, Policy, SideId, Test, Values, VipId};
use policy_lang::source::Span;

use super::axis::{Axis, FIXED};
use super::numbering::Numbering;
pub use cut::Classes;
pub use lists::Free;
use lists::{AddressSets, Content, Listed};

/// A guard whose comparisons are memberships of sets.
#[derive(Clone, Debug)]
pub enum Formula {
    And(Vec<Formula>),
    Or(Vec<Formula>),
    Not(Box<Formula>),
    /// The value is in the set of this number.
    In(Axis, u32),
    /// A side or a vip, whose formula is kept once: its number among them.
    Shared(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Shared {
    Side(SideId),
    Vip(VipId),
}

/// Every set that some guard compares a field with: of one policy, or of two that are held against each other.
pub struct Sets<'p> {
    policy: &'p Policy,
    numbering: Numbering,
    shared: Vec<Arc<Formula>>,
    /// Those of `policy`.
    numbers: HashMap<Shared, u32>,
    small: [HashMap<Listed, u32>; FIXED],
    small_lists: [Vec<Listed>; FIXED],
    /// `Field::Src` and `Field::Dst`.
    addresses: [AddressSets; 2],
    /// The comparison that first named each set.
    places: [Vec<Span>; FIXED],
    free: HashMap<Free, u16>,
    /// By number.
    free_list: Vec<Free>,
    /// Sets from files are free as well.
    is_opaque: bool,
}

const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;

/// The axis of a field, and the protocol that the language's name for it implies.
fn axis_of(field: policy::Field) -> (Axis, Option<u32>) {
    let (field, proto) = match field {
        policy::Field::Iface => return (Axis::Iface, None),
        policy::Field::Payload => return (Axis::Payload, None),
        policy::Field::Sni => return (Axis::Sni, None),
        policy::Field::Src => (Field::Src, None),
        policy::Field::Dst => (Field::Dst, None),
        policy::Field::Proto => (Field::Proto, None),
        policy::Field::Len => (Field::Len, None),
        policy::Field::Ttl => (Field::Ttl, None),
        policy::Field::Dscp => (Field::Dscp, None),
        policy::Field::Vlan => (Field::Vlan, None),
        policy::Field::Frag => (Field::Frag, None),
        policy::Field::TcpSport => (Field::Sport, Some(TCP)),
        policy::Field::TcpDport => (Field::Dport, Some(TCP)),
        policy::Field::TcpFlags => (Field::TcpFlags, Some(TCP)),
        policy::Field::UdpSport => (Field::Sport, Some(UDP)),
        policy::Field::UdpDport => (Field::Dport, Some(UDP)),
        policy::Field::Sport => (Field::Sport, None),
        policy::Field::Dport => (Field::Dport, None),
        policy::Field::IcmpType => (Field::IcmpType, Some(ICMP)),
        policy::Field::IcmpCode => (Field::IcmpCode, Some(ICMP)),
        policy::Field::Icmp6Type => (Field::IcmpType, Some(ICMPV6)),
        policy::Field::Icmp6Code => (Field::IcmpCode, Some(ICMPV6)),
        policy::Field::Flow => (Field::Flow, None),
        policy::Field::Cert => (Field::Cert, None),
    };
    (Axis::Of(field), proto)
}

impl<'p> Sets<'p> {
    pub fn new(policy: &'p Policy) -> Sets<'p> {
        Sets {
            policy,
            numbering: Numbering::of(policy),
            shared: Vec::new(),
            numbers: HashMap::new(),
            small: Default::default(),
            small_lists: Default::default(),
            addresses: Default::default(),
            places: Default::default(),
            free: HashMap::new(),
            free_list: Vec::new(),
            is_opaque: false,
        }
    }

    /// As `new`, but what sets from files hold may be anything.
    pub fn opaque(policy: &'p Policy) -> Sets<'p> {
        Sets { is_opaque: true, ..Sets::new(policy) }
    }

    /// The policy whose guards are read.
    pub fn policy(&self) -> &'p Policy {
        self.policy
    }

    pub fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// From here on guards are this policy's, with these numbers.
    pub fn turn_to(&mut self, policy: &'p Policy, numbering: Numbering) {
        self.policy = policy;
        self.numbering = numbering;
        self.numbers.clear();
    }

    /// Reads a guard, and numbers the sets it names.
    pub fn formula(&mut self, guard: &Guard) -> Formula {
        match guard {
            Guard::And(parts) => Formula::And(parts.iter().map(|part| self.formula(part)).collect()),
            Guard::Or(parts) => Formula::Or(parts.iter().map(|part| self.formula(part)).collect()),
            Guard::Not(inner) => Formula::Not(Box::new(self.formula(inner))),
            Guard::Test(test) => self.test(test),
            Guard::From(side, _) => self.share(Shared::Side(*side), |sets| sets.side(*side)),
            Guard::To(vip, span) => self.share(Shared::Vip(*vip), |sets| sets.vip(*vip, *span)),
        }
    }

    pub fn shared(&self, number: u32) -> Arc<Formula> {
        self.shared[number as usize].clone()
    }

    fn share(&mut self, shared: Shared, read: impl FnOnce(&mut Self) -> Formula) -> Formula {
        if let Some(&known) = self.numbers.get(&shared) {
            return Formula::Shared(known);
        }
        let formula = Arc::new(read(self));
        self.shared.push(formula);
        let number = self.shared.len() as u32 - 1;
        self.numbers.insert(shared, number);
        Formula::Shared(number)
    }

    /// `otherwise` is whatever no other side is.
    fn side(&mut self, side: SideId) -> Formula {
        let policy = self.policy;
        if let Some(guard) = &policy.sides[side.index()].guard {
            return self.formula(guard);
        }
        let others = policy.sides.iter().filter_map(|other| other.guard.as_ref());
        Formula::Not(Box::new(Formula::Or(others.map(|guard| self.formula(guard)).collect())))
    }

    fn vip(&mut self, vip: VipId, span: Span) -> Formula {
        let vip = &self.policy.vips[vip.index()];
        let v4 = vip.v4.map(u32::from);
        let v6 = vip.v6.map(u128::from);
        let addrs = AddrSet {
            v4: v4.iter().map(|&addr| (addr, addr)).collect(),
            v6: v6.iter().map(|&addr| (addr, addr)).collect(),
        };
        let mut parts = vec![self.addresses(Field::Dst, &Arc::new(addrs), span)];
        if !vip.ports.is_empty() {
            let ports = vip.ports.iter().map(|ports| {
                let range = vec![(u32::from(ports.first), u32::from(ports.last))];
                let proto = u32::from(ports.proto);
                Formula::And(vec![
                    self.ranges(Field::Dport, range, span),
                    self.ranges(Field::Proto, vec![(proto, proto)], span),
                ])
            });
            parts.push(Formula::Or(ports.collect()));
        }
        Formula::And(parts)
    }

    fn test(&mut self, test: &Test) -> Formula {
        let (axis, proto) = axis_of(test.field);
        let last = axis.domain().saturating_sub(1);
        let formula = match &test.values {
            Values::Addrs(addrs) => match axis {
                Axis::Of(field @ (Field::Src | Field::Dst)) => {
                    let inside = self.members(field, addrs, test);
                    if test.negated { Formula::Not(Box::new(inside)) } else { inside }
                }
                _ => Formula::Or(Vec::new()),
            },
            Values::Ranges(ranges) => {
                let mut inside: Vec<(u32, u32)> = ranges.iter().map(|&(a, b)| (a, b.min(last))).collect();
                inside.retain(|&(first, last)| first <= last);
                match axis {
                    Axis::Iface => inside = self.numbering.interfaces(&inside),
                    Axis::Of(Field::Cert) => inside = self.numbering.certificates(&inside),
                    _ => {}
                }
                let values = if test.negated { complement(&inside, last) } else { inside };
                self.ranges(axis, values, test.span)
            }
            Values::Prefixes(prefixes) => {
                self.present_and(axis, Listed::Prefixes(prefixes.clone()), test, last)
            }
            Values::Names(names) => self.present_and(axis, Listed::Names(names.clone()), test, last),
            Values::Tracker(tracker) => {
                // A tracker that is none of the policy's is no flow's.
                let number =
                    self.numbering.trackers.get(tracker.index()).map(|number| (1 + number, 1 + number));
                let inside = self.ranges(axis, number.into_iter().collect(), test.span);
                if test.negated { Formula::Not(Box::new(inside)) } else { inside }
            }
        };
        match proto {
            None => formula,
            Some(proto) => {
                Formula::And(vec![formula, self.ranges(Field::Proto, vec![(proto, proto)], test.span)])
            }
        }
    }

    /// Membership, or, negated, that there is a value and it is no member.
    fn present_and(&mut self, axis: Axis, listed: Listed, test: &Test, last: u32) -> Formula {
        let inside = self.listed(axis, listed, test.span);
        if !test.negated {
            return inside;
        }
        let present = self.ranges(axis, vec![(0, last)], test.span);
        Formula::And(vec![present, Formula::Not(Box::new(inside))])
    }

    /// What a comparison with addresses asks for: its own, or those that its sets hold at run time.
    fn members(&mut self, field: Field, addrs: &Arc<AddrSet>, test: &Test) -> Formula {
        let sets = &self.policy.sets;
        let named: Vec<&policy::Set> = test.sets.iter().filter_map(|set| sets.get(set.index())).collect();
        if self.is_opaque && named.iter().any(|set| set.from_file) {
            let mut sets: Vec<String> = named.iter().map(|set| set.name.clone()).collect();
            sets.sort();
            return self.free(Free { field, sets, known: Some(Content(addrs.clone())) });
        }
        let renamed = &self.numbering.renamed;
        let shared = |set: &&policy::Set| renamed.get(&set.name).unwrap_or(&set.name).clone();
        let dynamic: Vec<String> =
            named.iter().copied().filter(|set| set.dynamic.is_some()).map(|set| shared(&set)).collect();
        let inside = self.addresses(field, addrs, test.span);
        if dynamic.is_empty() {
            return inside;
        }
        let mut parts = vec![inside];
        for set in dynamic {
            parts.push(self.free(Free { field, sets: vec![set], known: None }));
        }
        Formula::Or(parts)
    }

    fn free(&mut self, free: Free) -> Formula {
        let list = &mut self.free_list;
        let number = *self.free.entry(free).or_insert_with_key(|free| {
            list.push(free.clone());
            list.len() as u16 - 1
        });
        Formula::In(Axis::Free(number), 0)
    }
}

/// What is left of `0..=last`.
fn complement(ranges: &[(u32, u32)], last: u32) -> Vec<(u32, u32)> {
    let mut left = Vec::new();
    let mut next = 0;
    for &(first, end) in ranges {
        if next < first {
            left.push((next, first - 1));
        }
        next = end + 1;
    }
    if next <= last {
        left.push((next, last));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::complement;

    #[test]
    fn complement_has_what_the_ranges_lack() {
        assert_eq!(complement(&[], 9), [(0, 9)]);
        assert_eq!(complement(&[(0, 3), (5, 9)], 9), [(4, 4)]);
        assert_eq!(complement(&[(2, 3)], 9), [(0, 1), (4, 9)]);
        assert_eq!(complement(&[(0, 9)], 9), []);
    }
}
