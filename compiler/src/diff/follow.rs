//! Owns the way from a policy to one diagram of fates: a stage in front of a match is that stage in each of its arms,
//! because guards look at packets as they arrived. Never what two policies have in common.

use std::collections::HashMap;
use std::hash::Hash;

use policy_lang::policy::{
    Before, Chain, End, Every, Guard, Match, Policy, Stage as Written, StageKind, Tail,
};

use super::fate::{Fate, FateId, Fates, NEVER, Stage};
use super::items::{Item, Items, Kind};
use crate::lower::diagram::{NOTHING, Ref, TRUE, TooLarge, leaf, leaf_number};
use crate::lower::region::Regions;
use crate::prove::{Conditions, Guards, Outcome, outcomes};

/// What stands at the leaves of a policy's diagram.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Leaf {
    /// As written.
    pub shown: FateId,
    /// Without what no packet of the leaf can meet: an exit that it can't take, an end that refuses it.
    pub real: FateId,
}

/// Things that stand at leaves of diagrams, by number.
pub struct Numbers<T> {
    list: Vec<T>,
    known: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    pub fn new() -> Numbers<T> {
        Numbers { list: Vec::new(), known: HashMap::new() }
    }

    /// The terminal for a thing.
    pub fn terminal(&mut self, thing: T) -> Ref {
        leaf(*self.known.entry(thing).or_insert_with_key(|thing| {
            self.list.push(thing.clone());
            self.list.len() as u32 - 1
        }))
    }

    /// The terminal of a thing that has one.
    pub fn known(&self, thing: &T) -> Option<Ref> {
        self.known.get(thing).map(|&number| leaf(number))
    }

    /// What a terminal stands for.
    pub fn at(&self, terminal: Ref) -> Option<&T> {
        let number = (terminal != NOTHING).then(|| leaf_number(terminal));
        self.list.get(number? as usize)
    }
}

/// Everything that both policies share while their diagrams are made.
pub struct Space<'a, 'p> {
    pub regions: Regions<'a, 'p>,
    /// What is true of packets, by the old policy's authorities.
    pub is: Conditions<Ref>,
    /// By the new policy's.
    pub new_is: Conditions<Ref>,
    /// An acknowledgement may open a flow, as the SYN that its cookie stands for.
    pub has_synguards: bool,
    pub fates: Fates,
    pub items: Items<'p>,
    pub leaves: Numbers<Leaf>,
}

/// One policy on its way into the space.
pub struct Follow<'s, 'p> {
    pub policy: &'p Policy,
    pub new: bool,
    guards: &'s Guards,
    held: HashMap<*const Guard, Ref>,
    /// The fates at each place of a chain: in front of each stage, and of the tail.
    chains: HashMap<*const Chain, Vec<Ref>>,
    /// Stages in front of the same ways are one.
    stages: HashMap<(Item, Vec<Ref>), Ref>,
    /// Which arm is taken, by number; `else` is behind the last.
    arms: HashMap<*const Match, Ref>,
}

impl<'s, 'p> Follow<'s, 'p> {
    pub fn new(policy: &'p Policy, new: bool, guards: &'s Guards) -> Follow<'s, 'p> {
        Follow {
            policy,
            new,
            guards,
            held: HashMap::new(),
            chains: HashMap::new(),
            stages: HashMap::new(),
            arms: HashMap::new(),
        }
    }

    /// The fate of every packet; fragments included, which may never reach the tree.
    pub fn whole(&mut self, space: &mut Space<'_, 'p>) -> Result<Ref, TooLarge> {
        let tree = self.chain(&self.policy.root, space)?;
        let end = match self.policy.before.fragments {
            Before::Match => return Ok(tree),
            Before::Drop => End::Drop,
            Before::Pass => End::Pass,
        };
        let end = space.end(end);
        let ended = space.regions.diagrams.mask(space.is.fragment, end)?;
        space.regions.diagrams.over(ended, tree)
    }

    fn chain(&mut self, chain: &'p Chain, space: &mut Space<'_, 'p>) -> Result<Ref, TooLarge> {
        if let Some(&known) = self.chains.get(&std::ptr::from_ref(chain)).and_then(|places| places.first()) {
            return Ok(known);
        }
        let mut fates = self.tail(&chain.tail, space)?;
        let mut places = vec![fates];
        for stage in chain.stages.iter().rev() {
            fates = self.stage(stage, fates, space)?;
            places.push(fates);
        }
        places.reverse();
        self.chains.insert(chain, places);
        Ok(fates)
    }

    fn tail(&mut self, tail: &'p Tail, space: &mut Space<'_, 'p>) -> Result<Ref, TooLarge> {
        match tail {
            Tail::End(end, _) => space.ended(*end),
            Tail::Tree(tree, _) => {
                let policy = self.policy;
                self.chain(&policy.trees.get(tree.index()).ok_or(TooLarge)?.chain, space)
            }
            Tail::Match(arms) => self.match_(arms, space),
            Tail::Every(every) => self.every(every, space),
        }
    }

    fn match_(&mut self, arms: &'p Match, space: &mut Space<'_, 'p>) -> Result<Ref, TooLarge> {
        let mut parts = Vec::with_capacity(arms.arms.len() + 1);
        for arm in &arms.arms {
            let then = self.chain(&arm.chain, space)?;
            let guard = self.guard(&arm.guard, space)?;
            parts.push((space.regions.diagrams.mask(guard, then)?, arm.span));
        }
        parts.push((self.chain(&arms.otherwise, space)?, arms.otherwise_span));
        space.regions.first_match(&parts).map_err(|_| TooLarge)
    }

    fn guard(&mut self, guard: &'p Guard, space: &mut Space<'_, 'p>) -> Result<Ref, TooLarge> {
        if let Some(&known) = self.held.get(&std::ptr::from_ref(guard)) {
            return Ok(known);
        }
        let formula = self.guards.formula(guard).ok_or(TooLarge)?;
        let made = space.regions.guard(formula)?;
        self.held.insert(guard, made);
        Ok(made)
    }

    fn every(&mut self, every: &'p Every, space: &mut Space<'_, 'p>) -> Result<Ref, TooLarge> {
        let item = space.items.of_every(self.new, every);
        let mut ways = Vec::with_capacity(every.ways.len());
        for way in &every.ways {
            ways.push(self.chain(way, space)?);
        }
        space.together(&ways, &mut |fates, leaves| {
            let mut every =
                |of: fn(&Leaf) -> FateId| fates.make(Fate::Every(item, leaves.iter().map(of).collect()));
            Leaf { shown: every(|leaf| leaf.shown), real: every(|leaf| leaf.real) }
        })
    }

    fn stage(&mut self, stage: &'p Written, next: Ref, space: &mut Space<'_, 'p>) -> Result<Ref, TooLarge> {
        let item = space.items.of_stage(self.new, &stage.kind);
        let exits = stage.kind.exits();
        let mut ways = vec![next];
        for (_, exit) in &exits {
            ways.push(self.chain(&exit.chain, space)?);
        }
        let key = (item, ways);
        if let Some(&known) = self.stages.get(&key) {
            return Ok(known);
        }
        let names: Vec<&'static str> = exits.iter().map(|exit| exit.0).collect();
        let mut possible = Vec::with_capacity(key.1.len());
        for (&way, when) in key.1.iter().zip(self.possible(&stage.kind, space)?) {
            possible.push(space.where_possible(when, way)?);
        }
        let mut made =
            space.together(&possible, &mut |fates, leaves| passed(item, None, &names, fates, leaves))?;
        if item.kind == Kind::Pool {
            made = space.by_family(item, made)?;
        }
        self.stages.insert(key, made);
        Ok(made)
    }

    /// When a packet can go on, and when by each exit.
    fn possible(&mut self, kind: &'p StageKind, space: &mut Space<'_, 'p>) -> Result<Vec<Ref>, TooLarge> {
        let mut possible = vec![NOTHING; 1 + kind.exits().len()];
        let mut exits = 1..;
        let is = if self.new { &space.new_is } else { &space.is };
        for (outcome, when) in outcomes(kind, self.policy, is, &mut space.regions)? {
            let at = match outcome {
                Outcome::On | Outcome::Opens => 0,
                Outcome::Exit(..) => exits.next().unwrap_or(0),
                Outcome::Refused => continue,
            };
            if let Some(place) = possible.get_mut(at) {
                *place = space.regions.diagrams.over(*place, when)?;
            }
        }
        if space.has_synguards && !matches!(kind, StageKind::TranslateBack { .. }) {
            for place in &mut possible {
                *place = space.regions.diagrams.over(*place, space.is.opening)?;
            }
        }
        Ok(possible)
    }

    /// The arm that packets of these classes take: its number, that of `else` behind the last.
    pub fn arm(
        &mut self,
        arms: &'p Match,
        classes: &[u32],
        space: &mut Space<'_, 'p>,
    ) -> Result<usize, TooLarge> {
        let known = self.arms.get(&std::ptr::from_ref(arms)).copied();
        let root = match known {
            Some(root) => root,
            None => {
                let mut parts = Vec::with_capacity(arms.arms.len() + 1);
                for (number, arm) in (0..).zip(&arms.arms) {
                    let guard = self.guard(&arm.guard, space)?;
                    parts.push((space.regions.diagrams.mask(guard, leaf(number))?, arm.span));
                }
                parts.push((leaf(arms.arms.len() as u32), arms.otherwise_span));
                let root = space.regions.first_match(&parts).map_err(|_| TooLarge)?;
                self.arms.insert(arms, root);
                root
            }
        };
        let terminal = space.regions.diagrams.walk(root, classes);
        if terminal == NOTHING { Err(TooLarge) } else { Ok(leaf_number(terminal) as usize) }
    }

    /// What a packet of these classes meets from a place of a chain on, observing left out.
    pub fn fate(&self, chain: &Chain, place: usize, classes: &[u32], space: &Space<'_, 'p>) -> FateId {
        let places = self.chains.get(&std::ptr::from_ref(chain));
        let leaf = places
            .and_then(|places| space.leaves.at(space.regions.diagrams.walk(*places.get(place)?, classes)));
        leaf.map_or(NEVER, |leaf| space.fates.silent(leaf.real))
    }
}

/// The fate in front of a stage from those behind it: the way on, then its exits.
fn passed(item: Item, v6: Option<bool>, names: &[&'static str], fates: &mut Fates, ways: &[Leaf]) -> Leaf {
    let stage = |of: fn(&Leaf) -> FateId| {
        let mut ways = ways.iter().map(of);
        let next = ways.next().unwrap_or(NEVER);
        let exits: Vec<_> = names.iter().copied().zip(ways).collect();
        (next, exits)
    };
    let (next, exits) = stage(|leaf| leaf.shown);
    let shown = fates.make(Fate::Stage(Stage { item, v6, next, exits }));
    let (next, exits) = stage(|leaf| leaf.real);
    let mut possible = exits.iter().map(|exit| exit.1).filter(|&exit| exit != NEVER);
    let real = match (next, possible.next(), possible.next()) {
        // What can go nowhere is dropped by the stage itself.
        (NEVER, None, _) => fates.end(End::Drop),
        // A limit that does not count the packet.
        (next, None, _) if item.kind == Kind::Limit => next,
        // Left by the one exit there is, these have done nothing.
        (NEVER, Some(exit), None)
            if matches!(item.kind, Kind::Tracker | Kind::Pool | Kind::TranslateBack) =>
        {
            exit
        }
        _ => fates.make(Fate::Stage(Stage { item, v6, next, exits })),
    };
    Leaf { shown, real }
}

impl<'p> Space<'_, 'p> {
    /// The leaf of an end that refuses nothing.
    fn end(&mut self, end: End) -> Ref {
        let fate = self.fates.end(end);
        self.leaves.terminal(Leaf { shown: fate, real: fate })
    }

    fn ended(&mut self, end: End) -> Result<Ref, TooLarge> {
        let accepted = match end {
            End::Forward => self.is.sendable,
            End::ReplyEcho => self.is.answerable,
            End::Drop | End::Pass | End::Reject | End::ReplyRst => TRUE,
        };
        let (shown, dropped) = (self.fates.end(end), self.fates.end(End::Drop));
        let refused = self.leaves.terminal(Leaf { shown, real: dropped });
        let ended = self.end(end);
        let accepted = self.regions.diagrams.mask(accepted, ended)?;
        self.regions.diagrams.over(accepted, refused)
    }

    /// Elsewhere no packet comes by this way.
    fn where_possible(&mut self, when: Ref, way: Ref) -> Result<Ref, TooLarge> {
        if when == TRUE {
            return Ok(way);
        }
        let leaves = &mut self.leaves;
        self.regions.diagrams.zip(when, way, &mut |when, way| match leaves.at(way).copied() {
            Some(leaf) if when == NOTHING => leaves.terminal(Leaf { real: NEVER, ..leaf }),
            _ => way,
        })
    }

    /// What `join` makes of the leaves that several diagrams have for a packet.
    fn together(
        &mut self,
        ways: &[Ref],
        join: &mut impl FnMut(&mut Fates, &[Leaf]) -> Leaf,
    ) -> Result<Ref, TooLarge> {
        let mut lists: Numbers<Vec<Leaf>> = Numbers::new();
        let mut all = lists.terminal(Vec::new());
        for &way in ways {
            let leaves = &self.leaves;
            all = self.regions.diagrams.zip(all, way, &mut |list, way| {
                let mut list = lists.at(list).cloned().unwrap_or_default();
                list.extend(leaves.at(way));
                lists.terminal(list)
            })?;
        }
        let (leaves, fates) = (&mut self.leaves, &mut self.fates);
        self.regions.diagrams.zip(all, NOTHING, &mut |list, _| {
            let made = join(fates, lists.at(list).map(Vec::as_slice).unwrap_or_default());
            leaves.terminal(made)
        })
    }

    /// Tells the family of the packet to the pool's stage in front.
    fn by_family(&mut self, item: Item, made: Ref) -> Result<Ref, TooLarge> {
        let (leaves, fates) = (&mut self.leaves, &mut self.fates);
        self.regions.diagrams.zip(made, self.is.v4, &mut |at, v4| {
            let Some(leaf) = leaves.at(at).copied() else { return at };
            // Left by an exit, it may be another stage's.
            let Fate::Stage(stage) = fates.get(leaf.real).clone() else { return at };
            if stage.item != item {
                return at;
            }
            let real = Stage { v6: Some(v4 == NOTHING), ..stage };
            let real = fates.make(Fate::Stage(real));
            leaves.terminal(Leaf { real, ..leaf })
        })
    }
}
