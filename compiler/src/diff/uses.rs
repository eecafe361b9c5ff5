//! Owns what items of a policy are used for, said without their names, so that items of two policies can be told to be one
//! under another name. Never their settings, and never which two are one.

use std::collections::{BTreeMap, HashMap};

use policy_lang::policy::{Chain, Field, Guard, Policy, Stage, StageKind, Tail, Test, Values};

use super::items::{Item, Items, Kind};
use crate::expect::end_word;

/// What stands for an item's own name, and for those of the others that are looked at.
const ITSELF: &str = "·";
const ANOTHER: &str = "?";

/// The places in which each item is named, and how often in equal ones.
pub struct Uses(HashMap<Item, BTreeMap<String, usize>>);

/// Of items of one policy and one kind.
pub fn uses(of: &[Item], items: &Items<'_>) -> Uses {
    let mut walk = Walk { names: Vec::new(), kind: Kind::Every, found: HashMap::new() };
    let Some(&first) = of.first() else { return Uses(walk.found) };
    walk.kind = first.kind;
    walk.names = of.iter().map(|&item| (item, items.name(item))).collect();
    let policy = items.policies[usize::from(first.new)];
    for side in &policy.sides {
        side.guard.iter().for_each(|guard| walk.guard(guard, &format!("side {}", side.name)));
    }
    let trees = policy.trees.iter().map(|tree| (&tree.chain, tree.name.as_str()));
    for (chain, name) in trees.chain([(&policy.root, "")]) {
        walk.chain(policy, chain, name);
    }
    Uses(walk.found)
}

impl Uses {
    /// How many uses of an item and of another one, of the other policy, are alike.
    pub fn shared(&self, item: Item, others: &Uses, other: Item) -> usize {
        let (Some(own), Some(theirs)) = (self.0.get(&item), others.0.get(&other)) else { return 0 };
        own.iter().map(|(place, &count)| theirs.get(place).map_or(0, |&there| count.min(there))).sum()
    }
}

struct Walk<'p> {
    names: Vec<(Item, &'p str)>,
    kind: Kind,
    found: HashMap<Item, BTreeMap<String, usize>>,
}

impl Walk<'_> {
    /// `around`: what leads to the chain.
    fn chain(&mut self, policy: &Policy, chain: &Chain, around: &str) {
        let words = words(policy, chain);
        for stage in &chain.stages {
            if let Some(index) = self.named_by(stage) {
                self.add(index, &format!("{around} -> {words} at {}", policy.stage_words(&stage.kind)));
            }
            for (name, exit) in stage.kind.exits().into_iter().filter(|(_, exit)| exit.written) {
                self.chain(policy, &exit.chain, &format!("{} ({name})", policy.stage_words(&stage.kind)));
            }
        }
        match &chain.tail {
            Tail::End(..) | Tail::Tree(..) => {}
            Tail::Every(every) => every.ways.iter().for_each(|way| self.chain(policy, way, "every")),
            Tail::Match(choice) => {
                for arm in &choice.arms {
                    let place = format!("{} -> {}", arm.text, self::words(policy, &arm.chain));
                    self.guard(&arm.guard, &place);
                    self.chain(policy, &arm.chain, &arm.text);
                }
                self.chain(policy, &choice.otherwise, "else");
            }
        }
    }

    fn named_by(&self, stage: &Stage) -> Option<u32> {
        match (&stage.kind, self.kind) {
            (StageKind::Ban { set }, Kind::DynamicSet) => Some(set.0),
            (StageKind::Track { tracker, .. }, Kind::Tracker) => Some(tracker.0),
            (StageKind::Verify { authority, .. }, Kind::Authority) => Some(authority.0),
            _ => None,
        }
    }

    fn guard(&mut self, guard: &Guard, place: &str) {
        match guard {
            Guard::And(parts) | Guard::Or(parts) => parts.iter().for_each(|part| self.guard(part, place)),
            Guard::Not(inner) => self.guard(inner, place),
            Guard::Test(test) => self.test(test, place),
            Guard::From(..) | Guard::To(..) => {}
        }
    }

    fn test(&mut self, test: &Test, place: &str) {
        match (&test.values, self.kind) {
            (Values::Tracker(tracker), Kind::Tracker) if test.field == Field::Flow => {
                self.add(tracker.0, place);
            }
            (_, Kind::DynamicSet) => test.sets.iter().for_each(|set| self.add(set.0, place)),
            _ => {}
        }
    }

    fn add(&mut self, index: u32, place: &str) {
        let Some(&(item, own)) = self.names.iter().find(|(item, _)| item.index == index) else { return };
        let mut masked = String::new();
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        for (at, word) in parts(place, is_name) {
            masked.push_str(match at {
                true if word == own => ITSELF,
                true if self.names.iter().any(|(_, name)| *name == word) => ANOTHER,
                _ => word,
            });
        }
        *self.found.entry(item).or_default().entry(masked).or_default() += 1;
    }
}

/// The text in pieces, each wholly inside or outside of names.
fn parts(text: &str, is_name: impl Fn(char) -> bool + Copy) -> impl Iterator<Item = (bool, &str)> {
    let mut left = text;
    std::iter::from_fn(move || {
        let inside = is_name(left.chars().next()?);
        let end = left.find(|c| is_name(c) != inside).unwrap_or(left.len());
        let (part, rest) = left.split_at_checked(end)?;
        left = rest;
        Some((inside, part))
    })
}

/// Stages and how the chain ends; what a `match` or `every` holds has words of its own.
fn words(policy: &Policy, chain: &Chain) -> String {
    let mut words: Vec<String> = chain.stages.iter().map(|stage| policy.stage_words(&stage.kind)).collect();
    words.push(match &chain.tail {
        Tail::End(end, _) => end_word(*end).to_owned(),
        Tail::Tree(..) => "tree".to_owned(),
        Tail::Match(_) => "match".to_owned(),
        Tail::Every(_) => "every".to_owned(),
    });
    words.join(" -> ")
}
