//! Owns the search for arms that an earlier arm, or the union of several, has taken everything from. Never sets
//! from files: a refreshed list must not break an apply.

use std::collections::HashMap;

use super::cover::Cover;
use super::each_chain;
use super::guards::{is_opaque, is_within};
use crate::policy::{Arm, Field, Guard, Match, Policy, Tail, Test, Values};
use crate::report::Report;
use crate::source::Span;

/// Up to so many arms, each is compared with each before it.
const PAIRWISE: usize = 256;

pub(super) fn check(policy: &Policy, report: &mut Report) {
    let chains = std::iter::once(&policy.root).chain(policy.trees.iter().map(|tree| &tree.chain));
    for chain in chains {
        each_chain(chain, &mut |chain| {
            if let Tail::Match(choice) = &chain.tail {
                arms(policy, choice, report);
            }
        });
    }
}

fn arms(policy: &Policy, choice: &Match, report: &mut Report) {
    let mut by_text: HashMap<&str, Span> = HashMap::new();
    let mut covered = Covered::default();
    for (at, arm) in choice.arms.iter().enumerate() {
        let earlier = choice.arms.get(..at).unwrap_or(&[]);
        let twin = by_text.get(arm.text.as_str()).copied();
        let by_one = twin.or_else(|| {
            let near = earlier.len() <= PAIRWISE;
            near.then(|| earlier.iter().find(|before| implies(policy, &arm.guard, &before.guard)))?
                .map(|arm| arm.span)
        });
        if let Some(place) = by_one {
            told(report, arm, "an earlier arm takes every packet that it would match")
                .also(place, "shadowed by this arm");
        } else if conjuncts(&arm.guard).any(|test| covered.has(policy, test)) {
            told(report, arm, "the arms above, taken together, take every packet that it would match");
        }
        by_text.entry(arm.text.as_str()).or_insert(arm.span);
        if let Guard::Test(test) = &arm.guard {
            covered.add(policy, test);
        }
    }
}

fn told<'r>(report: &'r mut Report, arm: &Arm, why: &str) -> crate::report::Finding<'r> {
    report
        .error("E0414", arm.span, "this arm is never taken")
        .label("shadowed")
        .because(why)
        .help("remove it, or move it up")
}

/// The comparisons of a guard that all have to hold.
fn conjuncts(guard: &Guard) -> Box<dyn Iterator<Item = &Test> + '_> {
    match guard {
        Guard::Test(test) => Box::new(std::iter::once(test)),
        Guard::And(parts) => Box::new(parts.iter().flat_map(conjuncts)),
        Guard::Or(_) | Guard::Not(_) | Guard::From(..) | Guard::To(..) => Box::new(std::iter::empty()),
    }
}

/// Whether every packet of `inner` surely is one of `outer`; false where that is hard to say.
fn implies(policy: &Policy, inner: &Guard, outer: &Guard) -> bool {
    match (inner, outer) {
        (Guard::Or(parts), _) => parts.iter().all(|part| implies(policy, part, outer)),
        (_, Guard::And(parts)) => parts.iter().all(|part| implies(policy, inner, part)),
        (_, Guard::Or(parts)) if parts.iter().any(|part| implies(policy, inner, part)) => true,
        (Guard::And(parts), _) => parts.iter().any(|part| implies(policy, part, outer)),
        (Guard::Test(a), Guard::Test(b)) => within(policy, a, b),
        (Guard::From(a, _), Guard::From(b, _)) => a == b,
        (Guard::To(a, _), Guard::To(b, _)) => a == b,
        (Guard::Not(a), Guard::Not(b)) => implies(policy, b, a),
        _ => false,
    }
}

fn within(policy: &Policy, a: &Test, b: &Test) -> bool {
    if a.field != b.field || a.negated != b.negated || is_opaque(policy, a) || is_opaque(policy, b) {
        return false;
    }
    let (small, large) = if a.negated { (b, a) } else { (a, b) };
    is_within(&small.values, &large.values)
}

/// What arms of one comparison each have taken so far.
#[derive(Default)]
struct Covered {
    numbers: HashMap<Field, Cover>,
    v4: HashMap<Field, Cover>,
    v6: HashMap<Field, Cover>,
}

impl Covered {
    fn add(&mut self, policy: &Policy, test: &Test) {
        if test.negated || is_opaque(policy, test) {
            return;
        }
        match &test.values {
            Values::Ranges(ranges) => {
                let cover = self.numbers.entry(test.field).or_default();
                ranges.iter().for_each(|&(first, last)| cover.insert(first.into(), last.into()));
            }
            Values::Addrs(addrs) => {
                let cover = self.v4.entry(test.field).or_default();
                addrs.v4.iter().for_each(|&(first, last)| cover.insert(first.into(), last.into()));
                let cover = self.v6.entry(test.field).or_default();
                addrs.v6.iter().for_each(|&(first, last)| cover.insert(first, last));
            }
            Values::Tracker(_) | Values::Prefixes(_) | Values::Names(_) => {}
        }
    }

    fn has(&self, policy: &Policy, test: &Test) -> bool {
        if test.negated || is_opaque(policy, test) {
            return false;
        }
        let within = |covers: &HashMap<Field, Cover>, first: u128, last: u128| {
            covers.get(&test.field).is_some_and(|cover| cover.contains(first, last))
        };
        match &test.values {
            Values::Ranges(ranges) => {
                !ranges.is_empty()
                    && ranges.iter().all(|&(first, last)| within(&self.numbers, first.into(), last.into()))
            }
            Values::Addrs(addrs) => {
                !(addrs.v4.is_empty() && addrs.v6.is_empty())
                    && addrs.v4.iter().all(|&(first, last)| within(&self.v4, first.into(), last.into()))
                    && addrs.v6.iter().all(|&(first, last)| within(&self.v6, first, last))
            }
            Values::Tracker(_) | Values::Prefixes(_) | Values::Names(_) => false,
        }
    }
}
