//! Owns what holds on every path to a stage: the protocols that may come, and whether a tracker has run. Never
//! addresses, nor which path a given packet takes.

use super::each_chain;
use super::protocols::{self, ALL, Kinds, NONE, OTHER, TCP, V4, V6};
use crate::policy::{
    Chain, End, Field, Guard, LimitUnit, Match, Policy, PoolId, Stage, StageKind, Tail, Test, TreeId, Values,
    Via,
};
use crate::report::Report;
use crate::source::Span;

/// What is known of the packets at a place.
#[derive(Clone, Copy)]
struct Known {
    kinds: Kinds,
    /// A tracker has run on every path to here.
    tracked: bool,
    /// The first tracker on some path to here.
    tracker: Option<Span>,
    /// The first translation on some path to here.
    translation: Option<Span>,
}

impl Known {
    const START: Known = Known { kinds: ALL, tracked: false, tracker: None, translation: None };

    /// What is known where two paths meet.
    fn or(self, other: Known) -> Known {
        Known {
            kinds: self.kinds.or(other.kinds),
            tracked: self.tracked && other.tracked,
            tracker: self.tracker.or(other.tracker),
            translation: self.translation.or(other.translation),
        }
    }
}

struct Walk<'a> {
    policy: &'a Policy,
    report: &'a mut Report,
    /// What is known at the head of each tree, over all places that lead to it.
    heads: Vec<Option<Known>>,
    /// Trees on some path of which a tracker runs.
    tracks: Vec<bool>,
}

/// `order` has each tree before those that it leads to.
pub(super) fn check(policy: &Policy, order: &[TreeId], report: &mut Report) {
    let mut tracks = vec![false; policy.trees.len()];
    for id in order.iter().rev() {
        let Some(tree) = policy.trees.get(id.index()) else { continue };
        let runs = tracker_in(&tree.chain, &tracks);
        if let Some(place) = tracks.get_mut(id.index()) {
            *place = runs;
        }
    }
    let mut walk = Walk { policy, report, heads: vec![None; policy.trees.len()], tracks };
    for side in &policy.sides {
        if let Some(guard) = &side.guard {
            walk.guard(guard, ALL);
        }
    }
    walk.chain(&policy.root, Known::START);
    for id in order {
        let head = walk.heads.get(id.index()).copied().flatten();
        if let (Some(tree), Some(known)) = (policy.trees.get(id.index()), head) {
            walk.chain(&tree.chain, known);
        }
    }
    for assert in &policy.asserts {
        for claim in &assert.claims {
            walk.guard(&claim.guard, ALL);
        }
    }
}

/// Whether a tracker runs somewhere behind a tail.
fn tracker_behind(tail: &Tail, trees: &[bool]) -> bool {
    match tail {
        Tail::End(..) => false,
        Tail::Tree(id, _) => trees.get(id.index()) == Some(&true),
        Tail::Match(choice) => {
            let chains = choice.arms.iter().map(|arm| &arm.chain);
            chains.chain([&*choice.otherwise]).any(|chain| tracker_in(chain, trees))
        }
        Tail::Every(every) => every.ways.iter().any(|way| tracker_in(way, trees)),
    }
}

/// Whether a tracker runs in this chain, in one of its inner chains or in a tree they lead to.
fn tracker_in(chain: &Chain, trees: &[bool]) -> bool {
    let mut found = false;
    each_chain(chain, &mut |chain| {
        found |= chain.stages.iter().any(|stage| matches!(stage.kind, StageKind::Track { .. }));
        found |= matches!(chain.tail, Tail::Tree(id, _) if trees.get(id.index()) == Some(&true));
    });
    found
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain, mut known: Known) {
        for (at, stage) in chain.stages.iter().enumerate() {
            let rest = chain.stages.get(at + 1..).unwrap_or(&[]);
            self.stage(chain, stage, rest, known);
            for (_, exit) in stage.kind.exits() {
                self.chain(&exit.chain, known);
            }
            self.step(stage, &mut known);
        }
        match &chain.tail {
            Tail::End(End::Pass, span) => self.nothing_is_kept(*span, known),
            Tail::End(..) => {}
            Tail::Tree(id, _) => {
                if let Some(head) = self.heads.get_mut(id.index()) {
                    *head = Some(head.map_or(known, |before| before.or(known)));
                }
            }
            Tail::Match(choice) => self.choice(choice, known),
            Tail::Every(every) => every.ways.iter().for_each(|way| self.chain(way, known)),
        }
    }

    /// What is known behind a stage. Its exits are taken by packets that it did not track or translate.
    fn step(&mut self, stage: &Stage, known: &mut Known) {
        match stage.kind {
            StageKind::Track { .. } => {
                if let Some(first) = known.tracker {
                    self.report
                        .error("E0418", stage.span, "a second tracker on one way")
                        .also(first, "the first one")
                        .because("a flow is known to one tracker, which gives it its timeouts and its place")
                        .help("keep one of the two");
                }
                known.tracked = true;
                known.tracker = known.tracker.or(Some(stage.span));
            }
            StageKind::Translate { .. } | StageKind::TranslateBack { .. } => {
                if let Some(first) = known.translation {
                    self.report
                        .error("E0417", stage.span, "a second translation on one way")
                        .also(first, "the first one")
                        .because("a packet is translated once")
                        .help("keep one of the two, or let the second stand in an exit of the first");
                }
                known.translation = known.translation.or(Some(stage.span));
            }
            StageKind::Count { .. }
            | StageKind::Log { .. }
            | StageKind::Ban { .. }
            | StageKind::Limit { .. }
            | StageKind::Verify { .. }
            | StageKind::Map { .. }
            | StageKind::Synguard { .. } => {}
        }
    }

    /// State is made only where a chain ends in `forward`.
    fn nothing_is_kept(&mut self, end: Span, known: Known) {
        let Some(stage) = known.translation.or(known.tracker) else { return };
        let message = match known.translation {
            Some(_) => "the packet is passed as it came, not translated",
            None => "the flow of a packet that is passed is not kept",
        };
        self.report
            .warning("W0410", end, message)
            .also(stage, "this has no effect here")
            .because("flows are kept, and packets rewritten, only where the chain ends in `forward`")
            .help("end the chain in `forward`, or leave the stage out on this way");
    }

    fn choice(&mut self, choice: &Match, mut known: Known) {
        for arm in &choice.arms {
            self.guard(&arm.guard, known.kinds);
            let alone = protocols::narrow(self.policy, &arm.guard, ALL, true);
            let kinds = protocols::narrow(self.policy, &arm.guard, known.kinds, true);
            // An arm that is never taken is told once; what stands in it says nothing then.
            if alone.is_none() || contradiction(&arm.guard).is_some() {
                let place = contradiction(&arm.guard).unwrap_or(arm.span);
                self.report
                    .error("E0415", place, "this guard never matches")
                    .because("no packet has all that it asks for")
                    .help("join the parts with `or`, or remove the arm");
            } else if kinds.is_none() && !known.kinds.is_none() {
                self.report
                    .error("E0415", arm.span, "this arm is never taken")
                    .because("no packet of the protocol and family it asks for gets to this place")
                    .help("remove the arm, or move it up");
            } else {
                self.chain(&arm.chain, Known { kinds, ..known });
            }
            known.kinds = protocols::falsify(self.policy, &arm.guard, known.kinds);
        }
        self.chain(&choice.otherwise, known);
    }

    /// Rule 3: bare ports only where everything that may come is TCP or UDP.
    fn guard(&mut self, guard: &Guard, kinds: Kinds) {
        match guard {
            Guard::And(parts) => {
                let proved = parts
                    .iter()
                    .fold(kinds, |kinds, part| protocols::narrow(self.policy, part, kinds, false));
                parts.iter().for_each(|part| self.guard(part, proved));
            }
            Guard::Or(parts) => parts.iter().for_each(|part| self.guard(part, kinds)),
            Guard::Not(inner) => self.guard(inner, kinds),
            Guard::Test(test) => self.test(test, kinds),
            Guard::From(..) | Guard::To(..) => {}
        }
    }

    fn test(&mut self, test: &Test, kinds: Kinds) {
        if matches!(test.field, Field::Sport | Field::Dport) && kinds.meets(OTHER) {
            let name = if test.field == Field::Sport { "sport" } else { "dport" };
            self.report
                .error("E0416", test.span, format!("`{name}` is not proven to be a port of TCP or UDP here"))
                .because("packets of other protocols may get here, and they have no ports")
                .help(format!(
                    "write `tcp.{name}` or `udp.{name}`, or add `proto in {{ tcp, udp }}` in front"
                ));
        }
        let empty = match &test.values {
            Values::Addrs(addrs) => addrs.v4.is_empty() && addrs.v6.is_empty(),
            Values::Ranges(ranges) => ranges.is_empty(),
            Values::Prefixes(prefixes) => prefixes.is_empty(),
            Values::Names(names) => names.is_empty(),
            Values::Tracker(_) => false,
        };
        let opaque =
            test.sets.iter().any(|id| self.policy.sets.get(id.index()).is_some_and(|set| set.is_opaque()));
        if empty && !opaque && !test.negated {
            self.report
                .error("E0415", test.span, "this comparison never matches")
                .because("there is nothing in the set")
                .help("put something in, or remove the comparison");
        }
    }

    fn stage(&mut self, chain: &Chain, stage: &Stage, rest: &[Stage], known: Known) {
        match &stage.kind {
            StageKind::Limit { limit, .. } => {
                let counts_flows = self
                    .policy
                    .limits
                    .get(limit.index())
                    .is_some_and(|limit| limit.unit == LimitUnit::Connections);
                let follows = rest.iter().any(|stage| matches!(stage.kind, StageKind::Track { .. }))
                    || tracker_behind(&chain.tail, &self.tracks);
                if counts_flows && known.kinds.without(TCP) != NONE && !follows && !known.tracked {
                    self.report
                        .error("E0411", stage.span, "this limit counts connections that nothing tracks")
                        .because(
                            "outside of TCP, `conn/s` counts packets that the tracker behind it does not know, \
                             and none follows",
                        )
                        .help("let `track T` follow, ask for `proto == tcp` first, or limit `pkt/s`");
                }
            }
            StageKind::Translate { pool, empty, .. } => {
                // Without NAT nothing has to be remembered.
                let nat = self.policy.pools.get(pool.index()).is_some_and(|pool| pool.via == Via::Nat);
                if !known.tracked && nat {
                    self.report
                        .error("E0405", stage.span, "this `translate` has no tracker in front of it")
                        .because("NAT takes its timeouts and its size from the tracker that has run before")
                        .help("put `track T (full -> drop, invalid -> drop) ->` in front, on every way that leads here");
                }
                if !empty.written {
                    self.may_be_empty(*pool, stage.span, known.kinds);
                }
            }
            StageKind::Count { .. }
            | StageKind::Log { .. }
            | StageKind::Ban { .. }
            | StageKind::Verify { .. }
            | StageKind::Map { .. }
            | StageKind::Synguard { .. }
            | StageKind::Track { .. }
            | StageKind::TranslateBack { .. } => {}
        }
    }

    fn may_be_empty(&mut self, pool: PoolId, place: Span, kinds: Kinds) {
        let Some(pool) = self.policy.pools.get(pool.index()) else { return };
        let usable = || pool.backends.iter().filter(|backend| !backend.drain && backend.weight > 0);
        let (v4, v6) =
            (usable().any(|backend| backend.v4.is_some()), usable().any(|backend| backend.v6.is_some()));
        for (has, family, name) in [(v4, V4, "IPv4"), (v6, V6, "IPv6")] {
            if !has && kinds.and(family).without(OTHER) != NONE {
                self.report
                    .warning(
                        "W0406",
                        place,
                        format!("{name} packets get here, and `{}` has no {name} backend", pool.name),
                    )
                    .because("they take the exit `empty`, which is not written")
                    .help("write `(empty -> drop)`, or give the pool backends of that family");
            }
        }
    }
}

/// Two comparisons of one field, joined by `and`, that no value satisfies; the place of the second.
fn contradiction(guard: &Guard) -> Option<Span> {
    match guard {
        Guard::And(parts) => {
            let tests: Vec<&Test> = parts
                .iter()
                .filter_map(|part| match part {
                    Guard::Test(test) if !test.negated && test.sets.is_empty() => Some(test),
                    _ => None,
                })
                .collect();
            let inner = parts.iter().find_map(contradiction);
            inner.or_else(|| {
                tests.iter().enumerate().find_map(|(at, test)| {
                    let clash =
                        tests.iter().take(at).any(|other| other.field == test.field && disjoint(other, test));
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

fn disjoint(a: &Test, b: &Test) -> bool {
    use crate::value::addr::{intersect, intersection_of, is_empty};
    match (&a.values, &b.values) {
        (Values::Addrs(a), Values::Addrs(b)) => is_empty(&intersection_of(a, b)),
        (Values::Ranges(a), Values::Ranges(b)) => intersect(a, b).is_empty(),
        (Values::Prefixes(a), Values::Prefixes(b)) => {
            !a.iter().any(|one| b.iter().any(|other| one.starts_with(other) || other.starts_with(one)))
        }
        (Values::Names(a), Values::Names(b)) => {
            !a.iter().any(|one| b.iter().any(|other| one.covers(other) || other.covers(one)))
        }
        _ => false,
    }
}
