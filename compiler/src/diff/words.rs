//! Owns how a product reads in the language's own words: fields, prefixes, ports, and the names that both policies mean
//! alike. Never which products there are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lb_abi::image::Field;
use policy_lang::policy::{self, AddrSet, Policy};

use super::cover::{ClassSet, Literal, Product};
use super::fields::{TCP, field_names, implies_protocol, is_everywhere, is_named};
use super::joint::Joint;
use super::values::{self, Values};
use crate::lower::axis::Axis;
use crate::lower::formula::{Classes, Sets};

/// A guard, whole and cut to a line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Said {
    pub whole: String,
    pub short: String,
}

/// What is known of classes beside their values.
pub struct Words<'a> {
    cut: &'a Classes,
    /// Of sets, vips and pools, with the classes of their addresses.
    names: Vec<(Axis, &'a str, Vec<u16>)>,
    /// Classes of IPv4 sources and destinations.
    v4: [ClassSet; 2],
    joint: &'a Joint<'a>,
}

/// Values that a list shows, whole and short.
const MOST_VALUES: [usize; 2] = [1_000, 6];
const PROTO: Axis = Axis::Of(Field::Proto);

/// One form of a literal.
struct Form {
    /// `not in`, `!=`.
    negated: bool,
    /// `not (…)`: holds for packets without the field as well.
    inverted: bool,
    pieces: Vec<String>,
}

impl<'a> Words<'a> {
    pub fn new(
        policies: [&'a Policy; 2],
        joint: &'a Joint<'a>,
        cut: &'a Classes,
        sets: &Sets<'_>,
    ) -> Words<'a> {
        let mut names = Vec::new();
        for field in [Field::Src, Field::Dst] {
            let [old, new] = policies.map(|policy| numbers(policy, field, sets));
            let declared =
                policies.map(|policy| address_names(policy).map(|(name, _)| name).collect::<Vec<_>>());
            for (at, (here, there)) in [(&old, &new), (&new, &old)].into_iter().enumerate() {
                for (&name, &set) in here {
                    let is_other = declared[1 - at].contains(&name) && there.get(name) != Some(&set);
                    if !is_other {
                        names.push((
                            Axis::Of(field),
                            name,
                            cut.of_sets[field as usize][set as usize].clone(),
                        ));
                    }
                }
            }
        }
        names.sort_unstable_by_key(|&(field, name, _)| (field, name.len(), name));
        names.dedup_by_key(|(field, name, _)| (*field, *name));
        Words { cut, names, v4: super::describe::classes_of_v4(cut), joint }
    }

    /// The product as a guard; one that every packet fulfils reads `every packet`.
    pub fn guard(&self, product: &Product) -> Said {
        let [whole, short] = MOST_VALUES.map(|most| self.written(product, most));
        Said { whole, short }
    }

    fn written(&self, product: &Product, most: usize) -> String {
        let (protocols, family) = (self.protocols(product), self.family(product));
        let mut parts = Vec::new();
        let mut is_said = false;
        for literal in product.iter().filter(|literal| literal.field != PROTO) {
            let names = self.field_names(literal.field, protocols.as_deref(), family);
            let form = self.form(literal, &names);
            is_said |= !form.inverted && matches!(names.as_slice(), [one] if implies_protocol(*one));
            parts.push(form.written(&names, self.joint.by_hash, most));
        }
        let protocol = product.iter().find(|literal| literal.field == PROTO);
        if let Some(literal) = protocol.filter(|_| !is_said) {
            let names = [policy::Field::Proto];
            parts.insert(0, self.form(literal, &names).written(&names, false, most));
        }
        if parts.is_empty() { "every packet".to_owned() } else { parts.join(" and ") }
    }

    fn field_names(&self, axis: Axis, protocols: Option<&[String]>, v6: Option<bool>) -> Vec<policy::Field> {
        match axis {
            Axis::Of(field) => field_names(field, protocols, v6),
            Axis::Iface => vec![policy::Field::Iface],
            Axis::Sni => vec![policy::Field::Sni],
            Axis::Payload => vec![policy::Field::Payload],
            Axis::Free(number) => {
                let free = self.cut.free.get(usize::from(number));
                free.map_or_else(Vec::new, |free| field_names(free.field, protocols, v6))
            }
        }
    }

    /// The protocols of a product, where they are few.
    fn protocols(&self, product: &Product) -> Option<Vec<String>> {
        let flags = product.iter().find(|literal| literal.field == Axis::Of(Field::TcpFlags));
        if flags.is_some_and(|flags| !self.form(flags, &[policy::Field::TcpFlags]).inverted) {
            return Some(vec![TCP.to_owned()]);
        }
        let literal = product.iter().find(|literal| literal.field == PROTO)?;
        let [inside, _] = values::both(self.cut, PROTO, &literal.must, &|value| {
            Some(policy::Field::Proto.value_word(value))
        });
        Some(inside.pieces)
    }

    /// Whether all of a product is IPv6 or all IPv4, by its addresses.
    fn family(&self, product: &Product) -> Option<bool> {
        let addresses =
            product.iter().filter(|literal| matches!(literal.field, Axis::Of(Field::Src | Field::Dst)));
        let mut families = addresses.filter_map(|literal| {
            let v4 = self.v4.get(literal.field.index())?;
            let v6 = ClassSet { others: !v4.others, ..v4.clone() };
            [v4, &v6].iter().position(|family| is_within(&literal.must, family)).map(|at| at == 1)
        });
        families.next()
    }

    /// Empty: none of those that have a name.
    fn value(&self, axis: Axis, names: &[policy::Field], value: u32) -> Option<String> {
        let named = |name: String| Some(name).filter(|name| value == 0 || !name.is_empty());
        match (axis, names) {
            (Axis::Of(Field::Flow), _) => named(self.joint.tracker_name(value).to_owned()),
            (Axis::Iface, _) => named(self.joint.interface_name(value).to_owned()),
            (Axis::Of(Field::Cert), _) => {
                Some(self.joint.certificate_name(value)).filter(|name| !name.is_empty())
            }
            (Axis::Sni, _) => {
                named(self.cut.names.key(value).map_or_else(String::new, |(labels, is_itself)| {
                    let name = labels.iter().rev().cloned().collect::<Vec<_>>().join(".");
                    if is_itself { format!("\"{name}\"") } else { format!("\"*.{name}\"") }
                }))
            }
            (Axis::Payload, _) => {
                named(self.cut.prefixes.key(value).map_or_else(String::new, |(begins, _)| {
                    let digits: String = begins.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("0x{digits}")
                }))
            }
            (_, [one]) => Some(one.value_word(value)),
            // Names of ICMP's types are not those of ICMPv6's.
            _ => Some(value.to_string()),
        }
    }

    /// The shortest form of what a literal must have and what it may have.
    fn form(&self, literal: &Literal, names: &[policy::Field]) -> Form {
        let field = literal.field;
        if let Some(form) = self.named(literal).or_else(|| self.free(literal)) {
            return form;
        }
        let of = |classes: &ClassSet| {
            values::both(self.cut, field, classes, &|value| self.value(field, names, value))
        };
        let mut forms: Vec<Form> = Vec::new();
        for classes in [&literal.must, &literal.may] {
            let [inside, outside] = of(classes);
            forms.extend(Form::of(field, inside, outside));
        }
        forms.extend(self.by_names(literal));
        // The last of equals, so that names go before numbers.
        let length = |form: &Form| form.pieces.len() + usize::from(form.inverted);
        let shortest = forms.into_iter().rev().min_by_key(length);
        shortest.unwrap_or(Form { negated: false, inverted: false, pieces: Vec::new() })
    }

    /// By the name of a set that is filled at run time.
    fn free(&self, literal: &Literal) -> Option<Form> {
        let Axis::Free(number) = literal.field else { return None };
        let free = self.cut.free.get(usize::from(number))?;
        Some(Form { negated: !literal.must.has(1), inverted: false, pieces: free.sets.clone() })
    }

    /// By the name of a set, if one fits.
    fn named(&self, literal: &Literal) -> Option<Form> {
        let named = self.names.iter().filter(|(field, ..)| *field == literal.field);
        named.into_iter().find_map(|(_, name, classes)| {
            let of = |others| ClassSet { listed: classes.clone(), others };
            let negated = [false, true].into_iter().find(|&others| fits(&of(others), literal))?;
            Some(Form { negated, inverted: false, pieces: vec![(*name).to_owned()] })
        })
    }

    /// By the names of several sets, and by numbers what they leave: of addresses inside, and of those outside.
    fn by_names(&self, literal: &Literal) -> Vec<Form> {
        let names: Vec<_> = self.names.iter().filter(|(field, ..)| *field == literal.field).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let not = |classes: &ClassSet| ClassSet { others: !classes.others, ..classes.clone() };
        let (must, may) = (literal.must.clone(), literal.may.clone());
        let sides = [(false, must, may), (true, not(&literal.may), not(&literal.must))];
        let form = |(negated, must, may): (bool, ClassSet, ClassSet)| {
            let (mut left, mut pieces) = (must, Vec::new());
            let of_name = |listed: &Vec<u16>| ClassSet { listed: listed.clone(), others: false };
            let mut fitting: Vec<_> = names
                .iter()
                .map(|(_, name, listed)| (*name, of_name(listed)))
                .filter(|(_, classes)| is_within(classes, &may))
                .collect();
            loop {
                let gain =
                    |classes: &ClassSet| classes.listed.iter().filter(|&&class| left.has(class)).count();
                // The first of equals, which is the shortest name.
                let best = (0..fitting.len()).rev().max_by_key(|&at| gain(&fitting[at].1));
                let Some(at) = best.filter(|&at| gain(&fitting[at].1) > 0) else { break };
                let (name, classes) = fitting.remove(at);
                left = left.and(&not(&classes));
                pieces.push(name.to_owned());
            }
            pieces.sort_unstable();
            let [rest, _] = values::both(self.cut, literal.field, &left, &|_| None);
            pieces.extend(rest.pieces);
            Form { negated, inverted: false, pieces }
        };
        sides.into_iter().map(form).collect()
    }
}

/// Whether classes lie between what a literal must have and what it may have.
fn fits(classes: &ClassSet, literal: &Literal) -> bool {
    is_within(&literal.must, classes) && is_within(classes, &literal.may)
}

fn is_within(inner: &ClassSet, outer: &ClassSet) -> bool {
    match (inner.others, outer.others) {
        (false, _) => inner.listed.iter().all(|&class| outer.has(class)),
        (true, true) => outer.listed.iter().all(|&class| !inner.has(class)),
        // All but a few are never within a few.
        (true, false) => false,
    }
}

impl Form {
    fn of(axis: Axis, mut inside: Values, mut outside: Values) -> Vec<Form> {
        inside.absent &= !is_everywhere(axis);
        let form = |negated, inverted, pieces| Form { negated, inverted, pieces };
        // What has no name is none of those that have one.
        let is_unnamed = |values: &Values| values.pieces.iter().any(String::is_empty);
        let negates = inside.absent || is_unnamed(&inside);
        if negates && is_unnamed(&outside) {
            // No guard tells packets without the field from those whose value has no name.
            return Vec::new();
        }
        outside.pieces.retain(|name| !name.is_empty());
        // A payload's beginning is one value over TCP and another over UDP.
        for values in [&mut inside, &mut outside] {
            let mut seen = HashSet::new();
            values.pieces.retain(|piece| seen.insert(piece.clone()));
        }
        match negates {
            true => vec![form(false, true, outside.pieces)],
            false if outside.pieces.is_empty() || is_named(axis) => vec![form(false, false, inside.pieces)],
            false => vec![form(false, false, inside.pieces), form(true, false, outside.pieces)],
        }
    }

    fn written(&self, fields: &[policy::Field], by_hash: bool, most: usize) -> String {
        let Form { negated, inverted, pieces } = self;
        let values = match pieces.as_slice() {
            [one] => one.clone(),
            all if all.len() > most => {
                let more = all.len() - most;
                format!("{{ {}, … {more} more }}", all.get(..most).unwrap_or_default().join(", "))
            }
            all => format!("{{ {} }}", all.join(", ")),
        };
        let is_one = pieces.len() == 1 && !is_many(&values);
        let operator = match (is_one && !is_name(&values, fields), negated) {
            (true, false) => "==",
            (true, true) => "!=",
            (false, false) => "in",
            (false, true) => "not in",
        };
        let word = |field: &policy::Field| match field {
            policy::Field::Cert if by_hash => "cert.hash",
            field => field.word(),
        };
        let tests: Vec<String> =
            fields.iter().map(|field| format!("{} {operator} {values}", word(field))).collect();
        match (tests.as_slice(), inverted) {
            ([one], false) => one.clone(),
            ([one], true) => format!("not ({one})"),
            (_, false) => format!("({})", tests.join(" or ")),
            (_, true) => format!("not ({})", tests.join(" or ")),
        }
    }
}

/// A prefix or a range; `syn-ack` is one value.
fn is_many(piece: &str) -> bool {
    let is_number = piece.starts_with(|first: char| first.is_ascii_digit()) || piece.contains(':');
    piece.contains('/') || piece.contains('-') && is_number
}

/// Sets and trackers have members.
fn is_name(value: &str, fields: &[policy::Field]) -> bool {
    match fields {
        [policy::Field::Flow | policy::Field::Iface | policy::Field::Sni | policy::Field::Payload] => true,
        [policy::Field::Src | policy::Field::Dst] => {
            !value.starts_with(|first: char| first.is_ascii_digit()) && !value.contains(':')
        }
        _ => false,
    }
}

/// Everything of a policy whose addresses have a name.
fn address_names(policy: &Policy) -> impl Iterator<Item = (&str, Arc<AddrSet>)> {
    let sets =
        policy.sets.iter().filter(|set| set.dynamic.is_none()).map(|set| (&*set.name, set.addrs.clone()));
    let one = |v4: Option<std::net::Ipv4Addr>, v6: Option<std::net::Ipv6Addr>| AddrSet {
        v4: v4.into_iter().map(|addr| (addr.into(), addr.into())).collect(),
        v6: v6.into_iter().map(|addr| (addr.into(), addr.into())).collect(),
    };
    let vips = policy.vips.iter().map(move |vip| (&*vip.name, Arc::new(one(vip.v4, vip.v6))));
    let pools = policy.pools.iter().map(move |pool| {
        let addresses = |backend: &policy::Backend| one(backend.v4.map(|v4| v4.0), backend.v6.map(|v6| v6.0));
        let all = pool.backends.iter().map(addresses).reduce(|all, one| all.union(&one));
        (&*pool.name, Arc::new(all.unwrap_or_default()))
    });
    sets.chain(vips).chain(pools)
}

/// The sets that a policy's names stand for, of those that some guard compares the field with.
fn numbers<'p>(policy: &'p Policy, field: Field, sets: &Sets<'_>) -> HashMap<&'p str, u32> {
    address_names(policy).filter_map(|(name, addrs)| Some((name, sets.number(field, &addrs)?))).collect()
}
