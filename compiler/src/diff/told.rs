//! Owns how fates read: as chains of the language, exits only where they matter. Never where a fate is met.

use policy_lang::policy::End;

use super::fate::{Fate, FateId, Fates};
use super::items::{Items, Kind};
use super::same::Same;
use crate::expect::end_word;

/// Exits within exits that are told.
const DEEPEST: usize = 4;

pub struct Told<'s, 'p> {
    pub fates: &'s Fates,
    pub items: &'s Items<'p>,
    pub same: &'s mut Same,
}

impl Told<'_, '_> {
    /// Both fates; what they share has its exits only where these differ.
    pub fn both(&mut self, old: FateId, new: FateId) -> (String, String) {
        self.both_to(old, new, DEEPEST)
    }

    fn both_to(&mut self, old: FateId, new: FateId, deep: usize) -> (String, String) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (old, new);
        while let (Fate::Stage(a), Fate::Stage(b)) = (self.fates.get(old), self.fates.get(new)) {
            if !self.same.are_one(a.item, b.item) || a.exits.len() != b.exits.len() {
                break;
            }
            let (mut exits, mut others) = (Vec::new(), Vec::new());
            for (a, b) in a.exits.iter().zip(&b.exits) {
                if !self.same.equal(a.1, b.1, self.fates, self.items) {
                    let (here, there) = self.both_to(a.1, b.1, deep.saturating_sub(1));
                    exits.push(format!("{} -> {here}", a.0));
                    others.push(format!("{} -> {there}", b.0));
                }
            }
            before.push(with_exits(self.items.words(a.item), &exits));
            after.push(with_exits(self.items.words(b.item), &others));
            (old, new) = (a.next, b.next);
        }
        before.push(self.one(old, deep));
        after.push(self.one(new, deep));
        (before.join(" -> "), after.join(" -> "))
    }

    /// A fate by itself; exits that drop are left out.
    fn one(&self, fate: FateId, deep: usize) -> String {
        let Some(below) = deep.checked_sub(1) else { return "…".to_owned() };
        let mut parts = Vec::new();
        let mut fate = fate;
        loop {
            match self.fates.get(fate) {
                Fate::Never => parts.push("nothing".to_owned()),
                Fate::End(end) => parts.push(end_word(*end).to_owned()),
                Fate::Every(item, ways) => {
                    let ways =
                        (1..).zip(ways).map(|(turn, &way)| format!("{turn} -> {}", self.one(way, below)));
                    let ways: Vec<String> = ways.collect();
                    parts.push(format!("{} {{ {} }}", self.items.words(*item), ways.join("; ")));
                }
                Fate::Stage(stage) => {
                    let told = stage.exits.iter().filter(|exit| !self.drops(exit.1));
                    let exits: Vec<String> =
                        told.map(|&(name, exit)| format!("{name} -> {}", self.one(exit, below))).collect();
                    parts.push(with_exits(self.items.words(stage.item), &exits));
                    fate = stage.next;
                    continue;
                }
            }
            return parts.join(" -> ");
        }
    }

    fn drops(&self, fate: FateId) -> bool {
        matches!(self.fates.get(fate), Fate::End(End::Drop) | Fate::Never)
    }

    /// Counters and logs of a fate, as stages.
    pub fn observers(&self, fate: FateId) -> Vec<String> {
        let (mut found, mut open) = (Vec::new(), vec![fate]);
        let mut seen = std::collections::HashSet::new();
        while let Some(fate) = open.pop() {
            if !seen.insert(fate) {
                continue;
            }
            match self.fates.get(fate) {
                Fate::Never | Fate::End(_) => {}
                Fate::Every(_, ways) => open.extend(ways),
                Fate::Stage(stage) => {
                    if stage.item.kind.only_observes() {
                        let rate =
                            self.items.settings(stage.item).into_iter().map(|(_, rate)| format!(" {rate}"));
                        let rate: String = rate.filter(|_| stage.item.kind == Kind::Log).collect();
                        found.push(self.items.words(stage.item) + &rate);
                    }
                    open.push(stage.next);
                    open.extend(stage.exits.iter().map(|exit| exit.1));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

fn with_exits(words: String, exits: &[String]) -> String {
    if exits.is_empty() { words } else { format!("{words} ({})", exits.join(", ")) }
}
