//! Owns the guards of a policy as Boolean formulas over sets of one image field each, equal sets being one.
//! Never an order between guards: that is `region`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lb_abi::image::Field;
use policy_lang::policy::{self, AddrSet, Guard, NamePattern, Policy, SideId, Test, Values, VipId};
use policy_lang::source::Span;

use super::axis::{Axis, FIXED};
use super::classes::{Partition, Runs, TooMany};
use super::nested::Nested;
use super::numbering::Numbering;

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

/// Values of an axis other than the addresses.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Listed {
    /// Inclusive, sorted, disjoint.
    Ranges(Vec<(u32, u32)>),
    /// Names that one of these means.
    Names(Vec<NamePattern>),
    /// Payloads that begin with one of these.
    Prefixes(Vec<Vec<u8>>),
}

/// What `Axis::Free` stands for: that a packet's address is among what the sets hold at run time. It is one choice
/// wherever a policy asks for the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Free {
    /// `Src` or `Dst`.
    pub field: Field,
    pub sets: Vec<String>,
    /// What is known of their members, where they count as free although they are listed in files.
    known: Option<Content>,
}

#[derive(Default)]
struct AddressSets {
    by_place: HashMap<*const AddrSet, u32>,
    by_content: HashMap<Content, u32>,
    list: Vec<Arc<AddrSet>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Content(Arc<AddrSet>);

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.v4.hash(state);
        self.0.v6.hash(state);
    }
}

/// The classes of every axis, by its index.
pub struct Classes {
    /// Number of classes.
    pub counts: Vec<u32>,
    /// By set: its classes, ascending.
    pub of_sets: Vec<Vec<Vec<u16>>>,
    /// Values 0 to `Axis::absent()`; empty for addresses.
    pub small: [Runs<u32>; FIXED],
    /// Names that guards ask for, label by label from the last.
    pub names: Nested<Vec<String>>,
    /// Beginnings of payloads that guards ask for.
    pub prefixes: Nested<Vec<u8>>,
    /// By number.
    pub free: Vec<Free>,
    /// `Field::Src` and `Field::Dst`.
    pub v4: [Runs<u32>; 2],
    pub v6: [Runs<u128>; 2],
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

    /// The comparison that first named a set.
    pub fn place(&self, axis: Axis, set: u32) -> Span {
        self.places[axis.index()][set as usize]
    }

    /// The number of a set of addresses that some guard names, by its members.
    pub fn number(&self, field: Field, addrs: &Arc<AddrSet>) -> Option<u32> {
        let sets = self.addresses.get(field as usize)?;
        let known = sets.by_place.get(&Arc::as_ptr(addrs));
        known.or_else(|| sets.by_content.get(&Content(addrs.clone()))).copied()
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

    /// Membership of a list of values of an axis other than the addresses: inclusive, sorted, disjoint.
    pub fn ranges(&mut self, axis: impl Into<Axis>, ranges: Vec<(u32, u32)>, span: Span) -> Formula {
        self.listed(axis.into(), Listed::Ranges(ranges), span)
    }

    fn listed(&mut self, axis: Axis, listed: Listed, span: Span) -> Formula {
        let at = axis.index();
        let set = *self.small[at].entry(listed.clone()).or_insert_with(|| {
            self.small_lists[at].push(listed);
            self.places[at].push(span);
            self.small_lists[at].len() as u32 - 1
        });
        Formula::In(axis, set)
    }

    /// All beginnings of payloads that guards ask for, once each.
    pub fn prefixes(&self) -> Vec<Vec<u8>> {
        let lists = self.small_lists[Axis::Payload.index()].iter();
        let mut all: Vec<Vec<u8>> = lists
            .flat_map(|listed| match listed {
                Listed::Prefixes(prefixes) => prefixes.clone(),
                Listed::Ranges(_) | Listed::Names(_) => Vec::new(),
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// That a payload begins with one of these.
    pub fn begins(&mut self, prefixes: Vec<Vec<u8>>, span: Span) -> Formula {
        self.listed(Axis::Payload, Listed::Prefixes(prefixes), span)
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
        Formula::In(field.into(), set)
    }

    /// Cuts every axis into classes; an error names the axis and a set.
    pub fn classes(&self) -> Result<Classes, (Axis, TooMany)> {
        let mut classes = Classes {
            counts: Vec::with_capacity(FIXED + self.free_list.len()),
            of_sets: Vec::with_capacity(FIXED + self.free_list.len()),
            small: std::array::from_fn(|_| Runs { runs: Vec::new() }),
            names: self.nested_names(),
            prefixes: Nested::new(self.prefixes(), |long, short| long.starts_with(short)),
            free: self.free_list.clone(),
            v4: std::array::from_fn(|_| Runs { runs: Vec::new() }),
            v6: std::array::from_fn(|_| Runs { runs: Vec::new() }),
        };
        for axis in (0..FIXED).filter_map(Axis::fixed) {
            let at = axis.index();
            let mut partition = Partition::new();
            let too_many = |error| (axis, error);
            let sets = if at < 2 {
                let list = &self.addresses[at].list;
                let v4 = list.iter().enumerate().map(|(set, addrs)| (set as u32, addrs.v4.as_slice()));
                classes.v4[at] = partition.sweep(v4, |addr: u32| addr.checked_add(1)).map_err(too_many)?;
                let v6 = list.iter().enumerate().map(|(set, addrs)| (set as u32, addrs.v6.as_slice()));
                classes.v6[at] = partition.sweep(v6, |addr: u128| addr.checked_add(1)).map_err(too_many)?;
                list.len()
            } else {
                let list: Vec<_> = self.small_lists[at].iter().map(|listed| classes.places(listed)).collect();
                let sets = list.iter().enumerate().map(|(set, ranges)| (set as u32, ranges.as_ref()));
                let domain = axis.domain();
                let behind = |value: u32| (value < domain).then_some(value + 1);
                classes.small[at] = partition.sweep(sets, behind).map_err(too_many)?;
                list.len()
            };
            classes.counts.push(partition.count());
            classes.of_sets.push(partition.classes_of_sets(sets));
        }
        for _ in &self.free_list {
            classes.counts.push(2);
            classes.of_sets.push(vec![vec![1]]);
        }
        Ok(classes)
    }

    fn nested_names(&self) -> Nested<Vec<String>> {
        let lists = self.small_lists[Axis::Sni.index()].iter();
        let names = lists.flat_map(|listed| match listed {
            Listed::Names(names) => names.iter().map(labels).collect(),
            Listed::Ranges(_) | Listed::Prefixes(_) => Vec::new(),
        });
        Nested::new(names.collect(), |long: &Vec<String>, short| long.starts_with(short))
    }
}

/// The labels of a name, the last one first.
fn labels(pattern: &NamePattern) -> Vec<String> {
    pattern.name.rsplit('.').map(str::to_owned).collect()
}

impl Classes {
    /// A list of values as ranges of numbers.
    fn places<'l>(&self, listed: &'l Listed) -> Cow<'l, [(u32, u32)]> {
        let mut ranges: Vec<(u32, u32)> = match listed {
            Listed::Ranges(ranges) => return Cow::Borrowed(ranges),
            Listed::Names(names) => {
                let places = names.iter().filter_map(|pattern| {
                    let (itself, last) = self.names.places(&labels(pattern))?;
                    Some(if pattern.below { (itself + 1, last) } else { (itself, itself) })
                });
                places.collect()
            }
            Listed::Prefixes(prefixes) => {
                prefixes.iter().filter_map(|prefix| self.prefixes.places(prefix)).collect()
            }
        };
        ranges.sort_unstable();
        // Runs of places lie in each other or apart.
        let mut apart: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match apart.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => apart.push((first, last)),
            }
        }
        Cow::Owned(apart)
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
