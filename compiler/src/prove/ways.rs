//! Owns which packets can make a claim false: backwards from the goal, one diagram for each chain, and forwards again
//! the way of one of them. Never which packets exist, nor how a packet is shown.

use std::collections::{HashMap, HashSet};

use lb_abi::image::{FLAG_SYN, Field};
use policy_lang::policy::{Chain, Claim, End, Goal, Guard, Match, Policy, Stage, StageKind, Tail, TreeId};
use policy_lang::source::Span;

use super::conditions::Conditions;
use super::guards::Guards;
use super::outcomes::{Outcome, outcomes};
use crate::eval::{PathStep, StepKind};
use crate::expect::end_word;
use crate::lower::diagram::{NOTHING, Ref, TRUE, TooLarge, leaf};
use crate::lower::region::Regions;

/// One claim held against one policy.
pub struct Search<'s, 'a, 'p> {
    pub policy: &'p Policy,
    pub claim: &'p Claim,
    pub guards: &'s Guards,
    pub regions: &'s mut Regions<'a, 'p>,
    pub conditions: &'s Conditions<Ref>,
    /// Guards as diagrams, kept from claim to claim.
    pub held: &'s mut HashMap<*const Guard, Ref>,
    pub trees: HashMap<TreeId, Ref>,
}

impl<'p> Search<'_, '_, 'p> {
    /// The packets that exist, that the claim speaks of, and that some outcome of the stages leads to what it excludes.
    pub fn counterexamples(&mut self) -> Result<Ref, TooLarge> {
        let spoken_of = self.guard(&self.claim.guard)?;
        let spoken_of = self.regions.diagrams.mask(self.conditions.universe, spoken_of)?;
        let found = self.chain(&self.policy.root)?;
        self.regions.diagrams.mask(spoken_of, found)
    }

    fn guard(&mut self, guard: &'p Guard) -> Result<Ref, TooLarge> {
        let place: *const Guard = guard;
        if let Some(&known) = self.held.get(&place) {
            return Ok(known);
        }
        let formula = self.guards.formula(guard).ok_or(TooLarge)?;
        let made = self.regions.guard(formula)?;
        self.held.insert(place, made);
        Ok(made)
    }

    fn either(&mut self, parts: &[Ref]) -> Result<Ref, TooLarge> {
        parts.iter().try_fold(NOTHING, |any, &part| self.regions.diagrams.over(any, part))
    }

    fn chain(&mut self, chain: &'p Chain) -> Result<Ref, TooLarge> {
        let mut packets = self.tail(&chain.tail)?;
        for stage in chain.stages.iter().rev() {
            packets = self.stage(stage, packets)?;
        }
        Ok(packets)
    }

    fn tail(&mut self, tail: &'p Tail) -> Result<Ref, TooLarge> {
        match tail {
            Tail::End(end, _) => Ok(self.end(*end)),
            Tail::Tree(tree, _) => self.tree(*tree),
            Tail::Match(inner) => self.arms(inner),
            Tail::Every(every) => {
                let ways: Result<Vec<Ref>, TooLarge> = every.ways.iter().map(|way| self.chain(way)).collect();
                self.either(&ways?)
            }
        }
    }

    /// Packets that an end itself refuses count neither as ended there nor as ended elsewhere.
    fn end(&self, end: End) -> Ref {
        match &self.claim.goal {
            Goal::Ends(wanted) if (*wanted == end) == self.claim.never => match end {
                End::Forward => self.conditions.sendable,
                End::ReplyEcho => self.conditions.answerable,
                End::Drop | End::Pass | End::Reject | End::ReplyRst => TRUE,
            },
            _ => NOTHING,
        }
    }

    fn tree(&mut self, tree: TreeId) -> Result<Ref, TooLarge> {
        if matches!(self.claim.goal, Goal::ReachesTree(wanted) if wanted == tree) {
            return Ok(TRUE);
        }
        if let Some(&known) = self.trees.get(&tree) {
            return Ok(known);
        }
        let policy = self.policy;
        let tree_itself = policy.trees.get(tree.index()).ok_or(TooLarge)?;
        let made = if self.is_spared(&tree_itself.name) { NOTHING } else { self.chain(&tree_itself.chain)? };
        self.trees.insert(tree, made);
        Ok(made)
    }

    /// Arms that lead to the same packets are one leaf, so that a thousand arms to `drop` are one.
    fn arms(&mut self, arms: &'p Match) -> Result<Ref, TooLarge> {
        let mut numbers: HashMap<Ref, u32> = HashMap::new();
        let mut parts = Vec::with_capacity(arms.arms.len() + 1);
        for arm in &arms.arms {
            let then = self.chain(&arm.chain)?;
            let next = numbers.len() as u32;
            let number = *numbers.entry(then).or_insert(next);
            let guard = self.guard(&arm.guard)?;
            parts.push((self.regions.diagrams.mask(guard, leaf(number))?, arm.span));
        }
        let then = self.chain(&arms.otherwise)?;
        let next = numbers.len() as u32;
        let number = *numbers.entry(then).or_insert(next);
        if numbers.len() == 1 {
            return Ok(then);
        }
        parts.push((leaf(number), arms.otherwise_span));
        let first = self.regions.first_match(&parts).map_err(|_| TooLarge)?;
        let mut found = Vec::new();
        let mut numbered: Vec<(u32, Ref)> =
            numbers.into_iter().map(|(then, number)| (number, then)).collect();
        numbered.sort_unstable();
        for (number, then) in numbered.into_iter().filter(|&(_, then)| then != NOTHING) {
            let here = self.regions.diagrams.select(first, leaf(number))?;
            found.push(self.regions.diagrams.mask(here, then)?);
        }
        self.either(&found)
    }

    fn stage(&mut self, stage: &'p Stage, next: Ref) -> Result<Ref, TooLarge> {
        if self.is_goal(&stage.kind) {
            return Ok(TRUE);
        }
        if self.name(&stage.kind).is_some_and(|name| self.is_spared(name)) {
            return Ok(NOTHING);
        }
        let mut found = Vec::new();
        for (outcome, when) in outcomes(&stage.kind, self.policy, self.conditions, self.regions)? {
            let then = match outcome {
                Outcome::On => next,
                Outcome::Opens => self.as_syn(next)?,
                Outcome::Exit(exit, _) => self.chain(&exit.chain)?,
                Outcome::Refused => self.end(End::Drop),
            };
            found.push(self.regions.diagrams.mask(when, then)?);
        }
        self.either(&found)
    }

    /// The packets that, were they SYNs, would be these.
    fn as_syn(&mut self, packets: Ref) -> Result<Ref, TooLarge> {
        let syn = self.syn_class();
        self.regions.diagrams.fix(packets, Field::TcpFlags, syn)
    }

    fn syn_class(&self) -> u16 {
        self.regions.class(Field::TcpFlags, FLAG_SYN)
    }

    fn name(&self, stage: &StageKind) -> Option<&'p str> {
        let policy = self.policy;
        match stage {
            StageKind::Limit { limit, .. } => policy.limits.get(limit.index()).map(|item| item.name.as_str()),
            StageKind::Track { tracker, .. } => {
                policy.trackers.get(tracker.index()).map(|item| item.name.as_str())
            }
            StageKind::Translate { pool, .. } => {
                policy.pools.get(pool.index()).map(|item| item.name.as_str())
            }
            StageKind::Verify { authority, .. } => {
                policy.authorities.get(authority.index()).map(|item| item.name.as_str())
            }
            StageKind::Map { mapper, .. } => {
                policy.mappers.get(mapper.index()).map(|item| item.name.as_str())
            }
            StageKind::Synguard { synguard, .. } => {
                policy.synguards.get(synguard.index()).map(|item| item.name.as_str())
            }
            StageKind::Ban { set } => policy.sets.get(set.index()).map(|item| item.name.as_str()),
            StageKind::Count { .. } | StageKind::Log { .. } | StageKind::TranslateBack { .. } => None,
        }
    }

    fn is_goal(&self, stage: &StageKind) -> bool {
        match (&self.claim.goal, stage) {
            (Goal::ReachesPool(wanted), StageKind::Translate { pool, .. }) => wanted == pool,
            (Goal::ReachesStage(wanted), stage) if !matches!(stage, StageKind::Translate { .. }) => {
                self.name(stage) == Some(wanted)
            }
            _ => false,
        }
    }

    fn is_spared(&self, name: &str) -> bool {
        self.claim.without.iter().any(|spared| spared == name)
    }

    // --- forwards -------------------------------------------------------------------------------------------------

    /// The first way of a packet, given by its classes, to what the claim excludes.
    pub fn way(&mut self, classes: &[u32]) -> Result<Vec<PathStep>, TooLarge> {
        let root = &self.policy.root;
        let mut walk = Walk { classes: classes.to_vec(), steps: Vec::new(), failed: HashSet::new() };
        self.walk(&root.stages, &root.tail, &mut walk)?;
        Ok(walk.steps)
    }

    fn holds(&self, guard: Ref, classes: &[u32]) -> bool {
        self.regions.diagrams.walk(guard, classes) == TRUE
    }

    fn walk(&mut self, stages: &'p [Stage], tail: &'p Tail, walk: &mut Walk) -> Result<bool, TooLarge> {
        let Some((stage, rest)) = stages.split_first() else { return self.walk_tail(tail, walk) };
        let name = self.name(&stage.kind);
        let text = self.policy.stage_words(&stage.kind);
        if self.is_goal(&stage.kind) {
            walk.step(StepKind::Stage { exit: None }, stage.span, text);
            return Ok(true);
        }
        if name.is_some_and(|name| self.is_spared(name)) {
            return Ok(false);
        }
        let before = walk.steps.len();
        for (outcome, when) in outcomes(&stage.kind, self.policy, self.conditions, self.regions)? {
            if !self.holds(when, &walk.classes) {
                continue;
            }
            let arrived = match outcome {
                Outcome::Opens => {
                    walk.step(StepKind::Stage { exit: None }, stage.span, text.clone());
                    let syn = u32::from(self.syn_class());
                    let arrived = std::mem::replace(&mut walk.classes[Field::TcpFlags as usize], syn);
                    let failed = std::mem::take(&mut walk.failed);
                    let found = self.walk(rest, tail, walk)?;
                    walk.failed = failed;
                    walk.classes[Field::TcpFlags as usize] = arrived;
                    found
                }
                Outcome::On => {
                    walk.step(StepKind::Stage { exit: None }, stage.span, text.clone());
                    self.walk(rest, tail, walk)?
                }
                Outcome::Exit(exit, name) => {
                    walk.step(StepKind::Stage { exit: Some(name) }, stage.span, text.clone());
                    self.walk(&exit.chain.stages, &exit.chain.tail, walk)?
                }
                Outcome::Refused => {
                    walk.step(StepKind::Stage { exit: None }, stage.span, text.clone());
                    walk.step(StepKind::Refused, stage.span, text.clone());
                    self.end(End::Drop) == TRUE
                }
            };
            if arrived {
                return Ok(true);
            }
            walk.steps.truncate(before);
        }
        Ok(false)
    }

    fn walk_tail(&mut self, tail: &'p Tail, walk: &mut Walk) -> Result<bool, TooLarge> {
        let before = walk.steps.len();
        let arrived = match tail {
            Tail::End(end, span) => {
                walk.step(StepKind::End, *span, end_word(*end).to_owned());
                self.holds(self.end(*end), &walk.classes)
            }
            Tail::Tree(id, span) => {
                let policy = self.policy;
                let tree = policy.trees.get(id.index()).ok_or(TooLarge)?;
                walk.step(StepKind::Tree, *span, tree.name.clone());
                if matches!(self.claim.goal, Goal::ReachesTree(wanted) if wanted == *id) {
                    return Ok(true);
                }
                !self.is_spared(&tree.name)
                    && !walk.failed.contains(id)
                    && (self.walk(&tree.chain.stages, &tree.chain.tail, walk)? || !walk.failed.insert(*id))
            }
            Tail::Match(arms) => {
                let mut taken = None;
                for arm in &arms.arms {
                    let guard = self.guard(&arm.guard)?;
                    if self.holds(guard, &walk.classes) {
                        taken = Some(arm);
                        break;
                    }
                }
                let chain = match taken {
                    Some(arm) => {
                        walk.step(StepKind::Arm, arm.span, arm.text.clone());
                        &arm.chain
                    }
                    None => {
                        walk.step(StepKind::Else, arms.otherwise_span, "else".to_owned());
                        &*arms.otherwise
                    }
                };
                self.walk(&chain.stages, &chain.tail, walk)?
            }
            Tail::Every(every) => {
                for (turn, chain) in (1..).zip(&every.ways) {
                    let text = format!("every {}", every.ways.len());
                    walk.step(StepKind::Turn(turn), every.span, text);
                    if self.walk(&chain.stages, &chain.tail, walk)? {
                        return Ok(true);
                    }
                    walk.steps.truncate(before);
                }
                false
            }
        };
        if !arrived {
            walk.steps.truncate(before);
        }
        Ok(arrived)
    }
}

/// A search for one way.
struct Walk {
    /// By index of the axis.
    classes: Vec<u32>,
    steps: Vec<PathStep>,
    /// Trees that lead this packet nowhere, so that none is walked twice.
    failed: HashSet<TreeId>,
}

impl Walk {
    fn step(&mut self, kind: StepKind, span: Span, text: String) {
        self.steps.push(PathStep::new(kind, Some(span), text));
    }
}
