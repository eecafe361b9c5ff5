//! Owns fates: what a packet meets from some place on, in order, as hash-consed terms, so that equal fates are one
//! number. Never which packets meet them, nor which items of two policies are the same.

use std::collections::HashMap;

use policy_lang::policy::End;

use super::items::Item;

/// Number of a fate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FateId(u32);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// No packet comes here, whatever the state.
    Never,
    End(End),
    Stage(Stage),
    /// By the item of the `every`, and its ways.
    Every(Item, Vec<FateId>),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Stage {
    pub item: Item,
    /// For a pool: only its backends of one family matter, IPv6 or else IPv4.
    pub v6: Option<bool>,
    pub next: FateId,
    pub exits: Vec<(&'static str, FateId)>,
}

/// How a packet leaves a stage or an `every`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    On,
    /// By its place among the exits.
    Exit(usize),
    /// Way of an `every`, 0-based.
    Way(usize),
}

/// Every fate met so far.
pub struct Fates {
    list: Vec<Fate>,
    /// By fate: the same without what only observes.
    silent: Vec<FateId>,
    known: HashMap<Fate, FateId>,
}

pub const NEVER: FateId = FateId(0);

impl Fates {
    pub fn new() -> Fates {
        Fates { list: vec![Fate::Never], silent: vec![NEVER], known: HashMap::from([(Fate::Never, NEVER)]) }
    }

    pub fn get(&self, id: FateId) -> &Fate {
        self.list.get(id.0 as usize).unwrap_or(&Fate::Never)
    }

    /// Without counting and logging.
    pub fn silent(&self, id: FateId) -> FateId {
        self.silent.get(id.0 as usize).copied().unwrap_or(NEVER)
    }

    pub fn end(&mut self, end: End) -> FateId {
        self.make(Fate::End(end))
    }

    pub fn make(&mut self, fate: Fate) -> FateId {
        if let Some(&known) = self.known.get(&fate) {
            return known;
        }
        let silent = match &fate {
            Fate::Never | Fate::End(_) => None,
            Fate::Stage(stage) if stage.item.kind.only_observes() => Some(self.silent(stage.next)),
            Fate::Stage(stage) => {
                let exits = stage.exits.iter().map(|&(name, exit)| (name, self.silent(exit))).collect();
                let silent = Fate::Stage(Stage { next: self.silent(stage.next), exits, ..stage.clone() });
                (silent != fate).then(|| self.make(silent))
            }
            Fate::Every(item, ways) => {
                let ways: Vec<FateId> = ways.iter().map(|&way| self.silent(way)).collect();
                match ways.first() {
                    // Whose turn it is makes no difference.
                    Some(&first) if ways.iter().all(|&way| way == first) => Some(first),
                    _ => {
                        let silent = Fate::Every(*item, ways);
                        (silent != fate).then(|| self.make(silent))
                    }
                }
            }
        };
        self.push(fate, silent)
    }

    fn push(&mut self, fate: Fate, silent: Option<FateId>) -> FateId {
        let id = FateId(self.list.len() as u32);
        self.list.push(fate.clone());
        self.silent.push(silent.unwrap_or(id));
        self.known.insert(fate, id);
        id
    }
}
