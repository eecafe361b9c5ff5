//! Owns the way of all packets through the tree: what is known of them at each place, and the rules that rest on it.
//! Never addresses, nor which way a given packet takes.

use super::each_chain;
use super::guards::{Place, Sight, contradiction};
use super::known::{Bound, Known, Learned};
use super::protocols::{self, ALL, NONE, TCP, UDP};
use super::stages::Site;
use crate::policy::{Chain, End, Match, Policy, Stage, StageKind, Tail, TreeId, Via};
use crate::report::Report;
use crate::source::Span;

struct Walk<'a> {
    policy: &'a Policy,
    report: &'a mut Report,
    /// What is known at the head of each tree, over all places that lead to it.
    heads: Vec<Option<Known>>,
    /// Trees on some path of which a tracker runs.
    tracks: &'a [bool],
    /// For each tracker, what is taken to be known of a packet wherever its flow was tracked.
    flows: &'a [Learned],
    /// For each tracker, what is known at all the places where it stands.
    tracked: Vec<Learned>,
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
    let flows = flows(policy, order, &tracks);
    walk(policy, order, &tracks, &flows, report);
}

/// What is known of the packets of each tracker's flows. A tracker may stand behind `flow in` itself: all is taken to
/// be known first, and what some place of a tracker does not know is taken away until nothing changes. By induction
/// over the packets that is sound: the first of a flow was tracked where no `flow in` has spoken for it.
fn flows(policy: &Policy, order: &[TreeId], tracks: &[bool]) -> Vec<Learned> {
    if policy.authorities.is_empty() && policy.mappers.is_empty() {
        return vec![Learned { flow: true, ..Learned::NOTHING }; policy.trackers.len()];
    }
    let mut flows = vec![Learned::ALL; policy.trackers.len()];
    loop {
        let tracked = walk(policy, order, tracks, &flows, &mut Report::default());
        if tracked == flows {
            return flows;
        }
        flows = tracked;
    }
}

/// One walk from the root; what is known where each tracker stands.
fn walk(
    policy: &Policy,
    order: &[TreeId],
    tracks: &[bool],
    flows: &[Learned],
    report: &mut Report,
) -> Vec<Learned> {
    let heads = vec![None; policy.trees.len()];
    let mut walk = Walk { policy, report, heads, tracks, flows, tracked: vec![Learned::ALL; flows.len()] };
    let everywhere = |place| Sight { policy, place, kinds: ALL, learned: Learned::NOTHING, flows };
    for guard in policy.sides.iter().filter_map(|side| side.guard.as_ref()) {
        everywhere(Place::Side).guard(guard, walk.report);
    }
    walk.chain(&policy.root, Known::START);
    for id in order {
        let head = walk.heads.get(id.index()).copied().flatten();
        if let (Some(tree), Some(known)) = (policy.trees.get(id.index()), head) {
            walk.chain(&tree.chain, known);
        }
    }
    for claim in policy.asserts.iter().flat_map(|assert| &assert.claims) {
        everywhere(Place::Claim).guard(&claim.guard, walk.report);
    }
    // `flow in` says that a flow is known, wherever it was tracked.
    walk.tracked.iter().map(|known| Learned { flow: true, ..*known }).collect()
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
            let is_track = |stage: &Stage| matches!(stage.kind, StageKind::Track { .. });
            // Few stages ask; the search goes through all that is behind the chain.
            let is_tracked_later = matches!(stage.kind, StageKind::Limit { .. } | StageKind::Verify { .. })
                && (rest.iter().any(is_track) || tracker_behind(&chain.tail, self.tracks));
            Site { policy: self.policy, known, stage, is_tracked_later }.check(self.report);
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
        match &stage.kind {
            StageKind::Limit { limit, .. } => {
                let limit = self.policy.limits.get(limit.index());
                *known = known.bounded(limit.and_then(|limit| Bound::of(limit, stage.span)));
            }
            // Both read UDP only, and all that they do not know leaves by an exit.
            StageKind::Verify { .. } => {
                *known =
                    known.narrowed(known.kinds.and(UDP), Learned { certificate: true, ..Learned::NOTHING });
                known.unproven = NONE;
                known.verified = known.verified.or(Some(stage.span));
            }
            StageKind::Map { .. } => {
                *known = known.narrowed(known.kinds.and(UDP), Learned { name: true, ..Learned::NOTHING });
            }
            StageKind::Synguard { .. } => {
                known.unproven = known.unproven.without(TCP);
                known.synguard = known.synguard.or(Some(stage.span));
            }
            StageKind::Track { tracker, .. } => {
                if let Some(first) = known.tracker {
                    self.report
                        .error("E0418", stage.span, "a second tracker on one way")
                        .also(first, "the first one")
                        .because("a flow is known to one tracker, which gives it its timeouts and its place")
                        .help("keep one of the two");
                }
                if let Some(tracked) = self.tracked.get_mut(tracker.index()) {
                    *tracked = tracked.and(known.learned);
                }
                known.tracked = true;
                known.tracker = known.tracker.or(Some(stage.span));
            }
            StageKind::Translate { .. } | StageKind::TranslateBack { .. } => self.translated(stage, known),
            StageKind::Count { .. } | StageKind::Log { .. } | StageKind::Ban { .. } => {}
        }
    }

    fn translated(&mut self, stage: &Stage, known: &mut Known) {
        if let Some(first) = known.translation {
            self.report
                .error("E0417", stage.span, "a second translation on one way")
                .also(first, "the first one")
                .because("a packet is translated once")
                .help("keep one of the two, or let the second stand in an exit of the first");
        }
        known.translation = known.translation.or(Some(stage.span));
        match stage.kind {
            StageKind::Translate { pool, .. } => {
                let pool = self.policy.pools.get(pool.index());
                if pool.is_some_and(|pool| pool.via != Via::Nat) {
                    known.direct = known.direct.or(Some(stage.span));
                }
            }
            // Only a packet of a known flow goes on.
            _ => known.unproven = NONE,
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
            let Known { kinds, learned, .. } = known;
            let sight = Sight { policy: self.policy, place: Place::Arm, kinds, learned, flows: self.flows };
            sight.guard(&arm.guard, self.report);
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
                let learned = Learned::by(self.policy, &arm.guard, self.flows);
                self.chain(&arm.chain, known.narrowed(kinds, learned));
            }
            let rest = protocols::falsify(self.policy, &arm.guard, known.kinds);
            known = known.narrowed(rest, Learned::NOTHING);
        }
        self.chain(&choice.otherwise, known);
    }
}
