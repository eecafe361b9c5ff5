//! Owns what a drawing of a policy shows: its chains as steps, ways and ends in words, what of them no packet reaches,
//! and long lists folded. Never a coordinate, a colour or a format of a file.

mod fold;
mod tables;
mod words;

use std::collections::HashSet;

use policy_lang::policy::{self, End, Guard, Match, Policy, Stage, TreeId};
use policy_lang::source::Span;

use crate::expect::end_word;
use crate::graph::every_label;

pub use fold::{MOST_PARTS, MOST_ROWS, MOST_WAYS};

/// A policy as it is drawn. Texts are single lines without control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Figure {
    /// Its name.
    pub policy: String,
    /// What happens before the tree, and the default: `default drop`, `neighbours pass`, ….
    pub settings: Vec<String>,
    pub root: Chain,
    /// In the order of the text.
    pub trees: Vec<Tree>,
    pub pools: Vec<Table>,
    /// Pools that are not shown, beyond `MOST_ROWS`.
    pub more_pools: usize,
    /// What guards name: vips, sides and sets, a table for each kind that there is.
    pub names: Vec<Table>,
}

/// A named tree; drawn once, however often it is led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    pub name: String,
    /// Some packet may come here, as far as `check` can tell.
    pub reached: bool,
    pub chain: Chain,
}

/// Steps in a row, and how they end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    pub reached: bool,
    pub steps: Vec<Step>,
    pub tail: Tail,
}

/// A stage, or a match that lets through what one guard says and drops the rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub kind: Kind,
    /// As written without exits: `limit calm`; of a filter its guard.
    pub title: String,
    /// The settings of what it names, a few words each.
    pub settings: Vec<String>,
    pub exits: Vec<Exit>,
}

/// What a step is to a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Looks and lets through or drops.
    Filter,
    /// Looks at flows or certificates, and may remember them.
    Scanner,
    /// Cuts what is too much.
    Limiter,
    /// Counts or logs.
    Counter,
    /// Changes the packet.
    Modifier,
}

/// Ways off a step that lead to the same, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    pub names: Vec<&'static str>,
    /// Else the policy's default is taken.
    pub written: bool,
    pub chain: Chain,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tail {
    End(End),
    /// Index into `Figure::trees`.
    Tree(usize),
    Select(Select),
    /// Parts that are not drawn.
    More,
}

/// `match` with its arms, or `every N` with its turns; exactly one way is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Select {
    /// `match`, `every 2 by flow`.
    pub title: String,
    /// In the order in which they are tried.
    pub ways: Vec<Way>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    pub label: Label,
    pub chain: Chain,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Label {
    /// An arm's, as written.
    Guard(String),
    Else,
    /// Of an `every`, from 1.
    Turn(u32),
    /// So many ways that are not drawn one by one.
    More(usize),
}

/// A pool: how it picks and sends, and its backends. Or all names of a kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    pub title: String,
    pub settings: Vec<String>,
    /// Name, addresses or what else it is, and what is special.
    pub rows: Vec<[String; 3]>,
}

/// What is to be drawn of a policy. `never` holds the places of arms, guards and comparisons that were found to match
/// no packet.
pub fn figure(policy: &Policy, never: &[Span]) -> Figure {
    let mut author = Author { policy, never: never.iter().copied().collect(), reached: HashSet::new() };
    author.reach(&policy.root);
    let chain = |chain, reached| author.chain(chain, reached);
    let trees = policy.trees.iter().zip(0..).map(|(tree, id)| {
        let reached = author.reached.contains(&TreeId(id));
        Tree { name: tree.name.clone(), reached, chain: chain(&tree.chain, reached) }
    });
    let mut figure = Figure {
        policy: policy.name.clone(),
        settings: words::before(policy),
        trees: trees.collect(),
        root: chain(&policy.root, true),
        pools: policy.pools.iter().take(MOST_ROWS).map(tables::pool).collect(),
        more_pools: policy.pools.len().saturating_sub(MOST_ROWS),
        names: tables::names(policy),
    };
    fold::within_bounds(&mut figure);
    figure
}

/// The word of an end, as the language has it.
pub fn end_label(end: End) -> &'static str {
    end_word(end)
}

struct Author<'p> {
    policy: &'p Policy,
    never: HashSet<Span>,
    reached: HashSet<TreeId>,
}

impl<'p> Author<'p> {
    /// Notes the trees that the chain leads to, but by arms that match nothing and exits that nothing takes.
    fn reach(&mut self, root: &'p policy::Chain) {
        let mut open = vec![root];
        while let Some(chain) = open.pop() {
            for stage in &chain.stages {
                let exits = stage.kind.exits().into_iter();
                let taken = exits.filter(|(name, _)| self.policy.can_leave(&stage.kind, name));
                open.extend(taken.map(|(_, exit)| &*exit.chain));
            }
            match &chain.tail {
                policy::Tail::End(..) => {}
                policy::Tail::Tree(id, _) => {
                    if self.reached.insert(*id) {
                        open.extend(self.policy.trees.get(id.index()).map(|tree| &tree.chain));
                    }
                }
                policy::Tail::Match(choice) => {
                    open.extend(choice.arms.iter().filter(|arm| !self.is_never(arm)).map(|arm| &arm.chain));
                    open.extend(Some(&*choice.otherwise).filter(|_| !self.is_idle(choice)));
                }
                policy::Tail::Every(every) => open.extend(&every.ways),
            }
        }
    }

    fn is_never(&self, arm: &policy::Arm) -> bool {
        !self.never.is_empty() && (self.never.contains(&arm.span) || self.is_false(&arm.guard))
    }

    /// Nothing comes to its `else`.
    fn is_idle(&self, choice: &Match) -> bool {
        self.never.contains(&choice.otherwise_span)
    }

    fn is_false(&self, guard: &Guard) -> bool {
        match guard {
            Guard::And(parts) => parts.iter().any(|part| self.is_false(part)),
            Guard::Or(parts) => parts.iter().all(|part| self.is_false(part)),
            Guard::Test(test) => self.never.contains(&test.span),
            Guard::Not(_) | Guard::From(..) | Guard::To(..) => false,
        }
    }

    fn chain(&self, chain: &policy::Chain, reached: bool) -> Chain {
        let mut steps: Vec<Step> = chain.stages.iter().map(|stage| self.step(stage, reached)).collect();
        let tail = match &chain.tail {
            policy::Tail::End(end, _) => Tail::End(*end),
            policy::Tail::Tree(id, _) => Tail::Tree(id.index()),
            policy::Tail::Match(choice) => match self.filtered(choice) {
                Some(arm) => {
                    let exit = Exit {
                        names: vec!["else"],
                        written: true,
                        chain: self.chain(&choice.otherwise, reached && !self.is_idle(choice)),
                    };
                    steps.push(Step {
                        kind: Kind::Filter,
                        title: words::line(&arm.text),
                        settings: Vec::new(),
                        exits: vec![exit],
                    });
                    let rest = self.chain(&arm.chain, reached);
                    steps.extend(rest.steps);
                    rest.tail
                }
                None => self.select(choice, reached),
            },
            policy::Tail::Every(every) => {
                let ways = every
                    .ways
                    .iter()
                    .zip(1..)
                    .map(|(way, turn)| Way { label: Label::Turn(turn), chain: self.chain(way, reached) });
                Tail::Select(Select { title: every_label(every), ways: fold::runs(ways.collect()) })
            }
        };
        Chain { reached, steps, tail }
    }

    /// The arm of a match that has but one, and drops the rest at once or counted.
    fn filtered(&self, choice: &'p Match) -> Option<&'p policy::Arm> {
        let [arm] = choice.arms.as_slice() else { return None };
        let is_drop = matches!(choice.otherwise.tail, policy::Tail::End(End::Drop, _));
        let is_plain = choice.otherwise.stages.iter().all(|stage| words::kind(&stage.kind) == Kind::Counter);
        (is_drop && is_plain && !self.is_never(arm)).then_some(arm)
    }

    fn select(&self, choice: &Match, reached: bool) -> Tail {
        let arms = choice.arms.iter().map(|arm| {
            let chain = self.chain(&arm.chain, reached && !self.is_never(arm));
            Way { label: Label::Guard(words::line(&arm.text)), chain }
        });
        let mut ways = fold::runs(arms.collect());
        let otherwise = self.chain(&choice.otherwise, reached && !self.is_idle(choice));
        ways.push(Way { label: Label::Else, chain: otherwise });
        Tail::Select(Select { title: "match".to_owned(), ways })
    }

    fn step(&self, stage: &Stage, reached: bool) -> Step {
        let mut exits: Vec<Exit> = Vec::new();
        for (name, exit) in stage.kind.exits() {
            let can_be_taken = self.policy.can_leave(&stage.kind, name);
            if !can_be_taken && !exit.written {
                continue;
            }
            let chain = self.chain(&exit.chain, reached && can_be_taken);
            match exits.iter_mut().find(|same| same.written == exit.written && same.chain == chain) {
                Some(same) => same.names.push(name),
                None => exits.push(Exit { names: vec![name], written: exit.written, chain }),
            }
        }
        Step {
            kind: words::kind(&stage.kind),
            title: words::line(&self.policy.stage_words(&stage.kind)),
            settings: words::settings(self.policy, &stage.kind),
            exits,
        }
    }
}

#[cfg(test)]
mod tests;
