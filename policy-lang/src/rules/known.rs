//! Owns what is known of the packets at one place in the tree, and how it is joined where ways meet. Never how a packet
//! gets there.

use std::time::Duration;

use super::protocols::{ALL, Kinds, NONE};
use crate::policy::{Field, Guard, Limit, LimitUnit, Policy, Values};
use crate::source::Span;

/// What has been learned of a packet on every way to a place, beyond what stands in its headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Learned {
    /// `verify` has accepted its certificate.
    pub certificate: bool,
    /// `map` has learned the name that it asks for.
    pub name: bool,
    /// Its flow is known to a tracker.
    pub flow: bool,
}

impl Learned {
    pub const NOTHING: Learned = Learned { certificate: false, name: false, flow: false };
    pub const ALL: Learned = Learned { certificate: true, name: true, flow: true };

    /// What both know.
    pub fn and(self, other: Learned) -> Learned {
        Learned {
            certificate: self.certificate && other.certificate,
            name: self.name && other.name,
            flow: self.flow && other.flow,
        }
    }

    /// What either knows.
    pub fn or(self, other: Learned) -> Learned {
        Learned {
            certificate: self.certificate || other.certificate,
            name: self.name || other.name,
            flow: self.flow || other.flow,
        }
    }

    /// What a guard that holds says by its `flow in`. `flows` has for each tracker what was known of a packet
    /// wherever its flow was tracked.
    pub fn by(policy: &Policy, guard: &Guard, flows: &[Learned]) -> Learned {
        let of = |part: &Guard| Learned::by(policy, part, flows);
        match guard {
            Guard::And(parts) => parts.iter().map(of).fold(Learned::NOTHING, Learned::or),
            Guard::Or(parts) => parts.iter().map(of).reduce(Learned::and).unwrap_or(Learned::NOTHING),
            Guard::From(id, _) => {
                let side = policy.sides.get(id.index()).and_then(|side| side.guard.as_ref());
                side.map_or(Learned::NOTHING, of)
            }
            Guard::Test(test) if test.field == Field::Flow && !test.negated => match test.values {
                Values::Tracker(id) => {
                    let flow = Learned { flow: true, ..Learned::NOTHING };
                    flows.get(id.index()).map_or(flow, |known| known.or(flow))
                }
                _ => Learned::NOTHING,
            },
            Guard::Not(_) | Guard::To(..) | Guard::Test(_) => Learned::NOTHING,
        }
    }
}

/// A limit of one bucket that every packet has met, so that no more SYNs than this come behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub count: u64,
    pub per: Duration,
    pub place: Span,
}

impl Bound {
    /// None for a limit that bounds only what one key sends, or only bytes.
    pub fn of(limit: &Limit, place: Span) -> Option<Bound> {
        let counts = limit.key.is_none() && limit.unit != LimitUnit::Bits;
        counts.then_some(Bound { count: limit.rate, per: limit.per, place })
    }

    pub fn is_within(&self, count: u64, per: Duration) -> bool {
        u128::from(self.count) * per.as_millis() <= u128::from(count) * self.per.as_millis()
    }

    fn least(self, other: Bound) -> Bound {
        if self.is_within(other.count, other.per) { self } else { other }
    }

    fn most(self, other: Bound) -> Bound {
        if self.is_within(other.count, other.per) { other } else { self }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Known {
    pub kinds: Kinds,
    /// Those of `kinds` whose source may be forged: nothing on the way has proven it.
    pub unproven: Kinds,
    pub learned: Learned,
    /// A tracker has run on every way to here.
    pub tracked: bool,
    /// The first tracker on some way to here.
    pub tracker: Option<Span>,
    /// The first translation on some way to here.
    pub translation: Option<Span>,
    /// The first `verify` that was passed on some way to here.
    pub verified: Option<Span>,
    /// The first synguard on some way to here.
    pub synguard: Option<Span>,
    /// The first translation without NAT on some way to here.
    pub direct: Option<Span>,
    pub bound: Option<Bound>,
}

impl Known {
    pub const START: Known = Known {
        kinds: ALL,
        unproven: ALL,
        learned: Learned::NOTHING,
        tracked: false,
        tracker: None,
        translation: None,
        verified: None,
        synguard: None,
        direct: None,
        bound: None,
    };

    /// What is known where two ways meet.
    pub fn or(self, other: Known) -> Known {
        Known {
            kinds: self.kinds.or(other.kinds),
            unproven: self.unproven.or(other.unproven),
            learned: self.learned.and(other.learned),
            tracked: self.tracked && other.tracked,
            tracker: self.tracker.or(other.tracker),
            translation: self.translation.or(other.translation),
            verified: self.verified.or(other.verified),
            synguard: self.synguard.or(other.synguard),
            direct: self.direct.or(other.direct),
            bound: self.bound.zip(other.bound).map(|(a, b)| a.most(b)),
        }
    }

    /// The packets that are left of these kinds, of which this much more is known.
    pub fn narrowed(self, kinds: Kinds, learned: Learned) -> Known {
        let unproven = if learned.flow { NONE } else { self.unproven.and(kinds) };
        Known { kinds, unproven, learned: self.learned.or(learned), ..self }
    }

    pub fn bounded(self, bound: Option<Bound>) -> Known {
        let bound = match (self.bound, bound) {
            (Some(a), Some(b)) => Some(a.least(b)),
            (a, b) => a.or(b),
        };
        Known { bound, ..self }
    }
}
