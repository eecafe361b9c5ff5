//! Owns the guards of a policy as Boolean formulas over sets of one image field each, equal sets being one.
//! Never an order between guards: that is `region`.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lb_abi::image::{ALL_FIELDS, FIELDS, Field};
use policy_lang::policy::{self, AddrSet, Guard, Policy, SideId, Test, Values, VipId};
use policy_lang::source::Span;

use super::classes::{Partition, Runs, TooMany};

/// A guard whose comparisons are memberships of sets.
#[derive(Clone, Debug)]
pub enum Formula {
    And(Vec<Formula>),
    Or(Vec<Formula>),
    Not(Box<Formula>),
    /// The field's value is in the set of this number.
    In(Field, u32),
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
    /// By the policy's own ids: what `Flow` has for each tracker, less 1.
    trackers: Vec<u32>,
    shared: Vec<Arc<Formula>>,
    /// Those of `policy`.
    numbers: HashMap<Shared, u32>,
    small: [HashMap<Vec<(u32, u32)>, u32>; FIELDS],
    small_lists: [Vec<Vec<(u32, u32)>>; FIELDS],
    /// `Field::Src` and `Field::Dst`.
    addresses: [AddressSets; 2],
    /// The comparison that first named each set.
    places: [Vec<Span>; FIELDS],
}

#[derive(Default)]
struct AddressSets {
    by_place: HashMap<*const AddrSet, u32>,
    by_content: HashMap<Content, u32>,
    list: Vec<Arc<AddrSet>>,
}

#[derive(PartialEq, Eq)]
struct Content(Arc<AddrSet>);

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.v4.hash(state);
        self.0.v6.hash(state);
    }
}

/// The classes of every field.
pub struct Classes {
    /// Number of classes by field.
    pub counts: [u32; FIELDS],
    /// By field and set: its classes, ascending.
    pub of_sets: [Vec<Vec<u16>>; FIELDS],
    /// Values 0 to `Field::absent()`; empty for addresses.
    pub small: [Runs<u32>; FIELDS],
    /// `Field::Src` and `Field::Dst`.
    pub v4: [Runs<u32>; 2],
    pub v6: [Runs<u128>; 2],
}

const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMP: u32 = 1;
const ICMPV6: u32 = 58;

/// The image's field, and the protocol that the language's name for it implies.
fn image_field(field: policy::Field) -> (Field, Option<u32>) {
    match field {
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
        policy::Field::Iface | policy::Field::Payload | policy::Field::Sni | policy::Field::Cert => {
            (Field::Vlan, None)
        }
    }
}

impl<'p> Sets<'p> {
    pub fn new(policy: &'p Policy) -> Sets<'p> {
        Sets {
            policy,
            trackers: (0..policy.trackers.len() as u32).collect(),
            shared: Vec::new(),
            numbers: HashMap::new(),
            small: Default::default(),
            small_lists: Default::default(),
            addresses: Default::default(),
            places: Default::default(),
        }
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

    /// The comparison that first named a set.
    pub fn place(&self, field: Field, set: u32) -> Span {
        self.places[field as usize][set as usize]
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
        let (field, proto) = image_field(test.field);
        let formula = match &test.values {
            Values::Addrs(addrs) => {
                let inside = self.addresses(field, addrs, test.span);
                if test.negated { Formula::Not(Box::new(inside)) } else { inside }
            }
            Values::Ranges(ranges) => {
                let last = field.domain().saturating_sub(1);
                let mut inside: Vec<(u32, u32)> = ranges.iter().map(|&(a, b)| (a, b.min(last))).collect();
                inside.retain(|&(first, last)| first <= last);
                let values = if test.negated { complement(&inside, last) } else { inside };
                self.ranges(field, values, test.span)
            }
            Values::Prefixes(_) | Values::Names(_) => Formula::Or(Vec::new()),
            Values::Tracker(tracker) => {
                // A tracker that is none of the policy's is no flow's.
                let number = self.trackers.get(tracker.index()).map(|number| (1 + number, 1 + number));
                let inside = self.ranges(field, number.into_iter().collect(), test.span);
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

    /// Membership of a list of values of a field other than the addresses: inclusive, sorted, disjoint.
    pub fn ranges(&mut self, field: Field, ranges: Vec<(u32, u32)>, span: Span) -> Formula {
        let at = field as usize;
        let set = *self.small[at].entry(ranges.clone()).or_insert_with(|| {
            self.small_lists[at].push(ranges);
            self.places[at].push(span);
            self.small_lists[at].len() as u32 - 1
        });
        Formula::In(field, set)
    }

    /// Membership of a set of addresses; the field is `Src` or `Dst`.
    pub fn addresses(&mut self, field: Field, addrs: &Arc<AddrSet>, span: Span) -> Formula {
        let at = field as usize;
        let sets = &mut self.addresses[at];
        // Looking at the place first reads a list of a million prefixes once, however many guards name it.
        let set = *sets.by_place.entry(Arc::as_ptr(addrs)).or_insert_with(|| {
            *sets.by_content.entry(Content(addrs.clone())).or_insert_with(|| {
                self.places[at].push(span);
                self.places[at].len() as u32 - 1
            })
        });
        if set as usize == sets.list.len() {
            sets.list.push(addrs.clone());
        }
        // The place stays taken as long as the set is listed; a set equal to a listed one may go.
        if !Arc::ptr_eq(&sets.list[set as usize], addrs) {
            sets.by_place.remove(&Arc::as_ptr(addrs));
        }
        Formula::In(field, set)
    }

    /// Cuts every field into classes; an error names the field and a set.
    pub fn classes(&self) -> Result<Classes, (Field, TooMany)> {
        let empty = || Runs { runs: Vec::new() };
        let mut classes = Classes {
            counts: [1; FIELDS],
            of_sets: Default::default(),
            small: std::array::from_fn(|_| empty()),
            v4: std::array::from_fn(|_| empty()),
            v6: std::array::from_fn(|_| Runs { runs: Vec::new() }),
        };
        for field in ALL_FIELDS {
            let at = field as usize;
            let mut partition = Partition::new();
            let too_many = |error| (field, error);
            let sets = if at < 2 {
                let list = &self.addresses[at].list;
                let v4 = list.iter().enumerate().map(|(set, addrs)| (set as u32, addrs.v4.as_slice()));
                classes.v4[at] = partition.sweep(v4, |addr: u32| addr.checked_add(1)).map_err(too_many)?;
                let v6 = list.iter().enumerate().map(|(set, addrs)| (set as u32, addrs.v6.as_slice()));
                classes.v6[at] = partition.sweep(v6, |addr: u128| addr.checked_add(1)).map_err(too_many)?;
                list.len()
            } else {
                let list = &self.small_lists[at];
                let sets = list.iter().enumerate().map(|(set, ranges)| (set as u32, ranges.as_slice()));
                let domain = field.domain();
                let behind = |value: u32| (value < domain).then_some(value + 1);
                classes.small[at] = partition.sweep(sets, behind).map_err(too_many)?;
                list.len()
            };
            classes.counts[at] = partition.count();
            classes.of_sets[at] = partition.classes_of_sets(sets);
        }
        Ok(classes)
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
