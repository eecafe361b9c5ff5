//! Owns what is wrong with a guard where it stands: a field that is not proven to be there, a comparison with nothing,
//! parts that no packet satisfies together. Never which arm takes a packet.

use super::known::Learned;
use super::protocols::{self, Kinds, OTHER, TCP};
use crate::policy::{Field, Guard, NamePattern, Policy, Test, Values};
use crate::report::Report;
use crate::source::Span;
use crate::value::addr::{intersect, intersection_of, is_empty, subtract};

/// Where a guard is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Arm,
    /// Wherever the side is asked for.
    Side,
    Claim,
}

/// A place, and what is known of the packets there.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub policy: &'a Policy,
    pub place: Place,
    pub kinds: Kinds,
    pub learned: Learned,
    /// For each tracker, what was known of a packet wherever its flow was tracked.
    pub flows: &'a [Learned],
}

impl Sight<'_> {
    /// Rules 3 and 6: bare ports only where everything that may come is TCP or UDP, names and certificates only where
    /// they have been learned.
    pub fn guard(self, guard: &Guard, report: &mut Report) {
        match guard {
            Guard::And(parts) => {
                let kinds = parts
                    .iter()
                    .fold(self.kinds, |kinds, part| protocols::narrow(self.policy, part, kinds, false));
                let learned = self.learned.or(Learned::by(self.policy, guard, self.flows));
                parts.iter().for_each(|part| Sight { kinds, learned, ..self }.guard(part, report));
            }
            Guard::Or(parts) => parts.iter().for_each(|part| self.guard(part, report)),
            Guard::Not(inner) => self.guard(inner, report),
            Guard::Test(test) => self.test(test, report),
            Guard::From(..) | Guard::To(..) => {}
        }
    }

    fn test(self, test: &Test, report: &mut Report) {
        let name = test.field.word();
        if matches!(test.field, Field::Sport | Field::Dport) && self.kinds.meets(OTHER) {
            report
                .error("E0416", test.span, format!("`{name}` is not proven to be a port of TCP or UDP here"))
                .because("packets of other protocols may get here, and they have no ports")
                .help(format!(
                    "write `tcp.{name}` or `udp.{name}`, or add `proto in {{ tcp, udp }}` in front"
                ));
        }
        match test.field {
            Field::Sni if !self.learned.name => self.not_learned(test, "sni", report),
            Field::Cert if !self.learned.certificate => self.not_learned(test, "cert", report),
            _ => {}
        }
        let is_nothing = match &test.values {
            Values::Addrs(addrs) => is_empty(addrs),
            Values::Ranges(ranges) => ranges.is_empty(),
            Values::Prefixes(prefixes) => prefixes.is_empty(),
            Values::Names(names) => names.is_empty(),
            Values::Tracker(_) => false,
        };
        if is_nothing && !is_opaque(self.policy, test) && !test.negated {
            report
                .error("E0415", test.span, "this comparison never matches")
                .because("there is nothing in the set")
                .help("put something in, or remove the comparison");
        }
    }

    fn not_learned(self, test: &Test, what: &str, report: &mut Report) {
        let (what, stage, item) = match what {
            "sni" => ("the name that a client asks for", "map", "mapper"),
            _ => ("the certificate of a packet", "verify", "authority"),
        };
        let message = format!("{what} is not known here");
        let finding = report.error("E0430", test.span, message);
        match self.place {
            Place::Side => finding
                .because("a side is asked for wherever `from` stands, before any stage has looked into the packet")
                .help("tell sides apart by address or interface, and ask for this in an arm"),
            Place::Claim => finding
                .because("a claim speaks of packets as they come in, before any stage has looked into them")
                .help(format!("name the stage: `… without {}`", item.to_uppercase())),
            // There is no name in what opens a TCP connection, and a backend is picked for that packet.
            Place::Arm if stage == "map" && self.kinds.meets(TCP) => finding
                .because("it is learned by `map`, from DTLS and QUIC: the SYN that opens a TCP connection has no name yet")
                .help("let `map` stand in front on every way that leads here; for TLS over TCP, give each name a vip of its own"),
            Place::Arm => finding
                .because(format!("it is learned by `{stage}`, and not every way that leads here has one"))
                .help(format!("let `{stage} {}` stand in front on every way, or ask for `flow in T` where all that is tracked has passed it", item.to_uppercase())),
        };
    }
}

pub(super) fn is_opaque(policy: &Policy, test: &Test) -> bool {
    test.sets.iter().any(|id| policy.sets.get(id.index()).is_some_and(|set| set.is_opaque()))
}

/// Two comparisons of one field, joined by `and`, that no value satisfies; the place of the second.
pub(super) fn contradiction(guard: &Guard) -> Option<Span> {
    match guard {
        Guard::And(parts) => {
            let tests: Vec<&Test> = parts
                .iter()
                .filter_map(|part| match part {
                    Guard::Test(test) if test.sets.is_empty() => Some(test),
                    _ => None,
                })
                .collect();
            let inner = parts.iter().find_map(contradiction);
            inner.or_else(|| {
                tests.iter().enumerate().find_map(|(at, test)| {
                    let clash =
                        tests.iter().take(at).any(|other| other.field == test.field && clash(other, test));
                    clash.then_some(test.span)
                })
            })
        }
        // One way that is left is enough.
        Guard::Or(parts) if parts.iter().all(|part| contradiction(part).is_some()) => {
            parts.first().and_then(contradiction)
        }
        _ => None,
    }
}

fn clash(a: &Test, b: &Test) -> bool {
    match (a.negated, b.negated) {
        (false, false) => are_disjoint(&a.values, &b.values),
        (false, true) => is_within(&a.values, &b.values),
        (true, false) => is_within(&b.values, &a.values),
        (true, true) => false,
    }
}

fn are_disjoint(a: &Values, b: &Values) -> bool {
    match (a, b) {
        (Values::Addrs(a), Values::Addrs(b)) => is_empty(&intersection_of(a, b)),
        (Values::Ranges(a), Values::Ranges(b)) => intersect(a, b).is_empty(),
        (Values::Prefixes(a), Values::Prefixes(b)) => {
            !a.iter().any(|one| b.iter().any(|other| one.starts_with(other) || other.starts_with(one)))
        }
        (Values::Names(a), Values::Names(b)) => {
            let meet = |one: &NamePattern, other: &NamePattern| one.covers(other) || other.covers(one);
            !a.iter().any(|one| b.iter().any(|other| meet(one, other)))
        }
        // A flow is known to one tracker.
        (Values::Tracker(a), Values::Tracker(b)) => a != b,
        _ => false,
    }
}

/// Whether every value of `a` surely is one of `b`.
pub(super) fn is_within(a: &Values, b: &Values) -> bool {
    match (a, b) {
        (Values::Addrs(a), Values::Addrs(b)) => is_empty(&crate::value::addr::except_of(a, b)),
        (Values::Ranges(a), Values::Ranges(b)) => subtract(a, b).is_empty(),
        (Values::Tracker(a), Values::Tracker(b)) => a == b,
        (Values::Prefixes(a), Values::Prefixes(b)) => {
            a.iter().all(|long| b.iter().any(|short| long.starts_with(short)))
        }
        (Values::Names(a), Values::Names(b)) => {
            a.iter().all(|name| b.iter().any(|pattern| pattern.covers(name)))
        }
        _ => false,
    }
}
