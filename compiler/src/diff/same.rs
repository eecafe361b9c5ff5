//! Owns which items of two policies are one and the same, and so which fates are equal. Never names as a matter of
//! meaning: an item is known by what it does and where it stands, so that a renamed one is still itself.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::fate::{Fate, FateId, Fates, Turn};
use super::items::{Item, Items, Kind, Setting};
use super::pool_settings;
use super::slots;

/// Old items and the new ones that they go on as.
pub struct Same {
    onward: HashMap<Item, Item>,
    alike: HashMap<(Item, Item, Option<bool>), bool>,
    equal: HashMap<(FateId, FateId), bool>,
}

/// Why two fates are not the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    None,
    /// The same stages, but these items have other settings or backends.
    Items(Vec<(Item, Item)>),
    /// Other stages or ends.
    Fates(FateId, FateId),
}

impl Same {
    /// `fixed`: items known to be the same beforehand. `met`: fates of the old and the new policy that a packet meets.
    pub fn new(
        fixed: impl IntoIterator<Item = (Item, Item)>,
        met: &[(FateId, FateId)],
        fates: &Fates,
        items: &Items<'_>,
    ) -> Same {
        let mut same = Same { onward: HashMap::new(), alike: HashMap::new(), equal: HashMap::new() };
        let mut taken = HashSet::new();
        for (old, new) in fixed {
            same.onward.insert(old, new);
            taken.insert(new);
        }
        let votes = Votes::of(met, fates);
        let names =
            |new: bool| votes.items(new).map(|item| (item.kind, items.name(item))).collect::<HashSet<_>>();
        let (olds, news) = (names(false), names(true));
        let mut candidates: Vec<_> = votes
            .votes
            .iter()
            .map(|(&(old, new), &votes)| {
                let is_named = items.name(old) == items.name(new);
                (!same.alike(old, new, None, items), std::cmp::Reverse(votes), !is_named, old, new)
            })
            .collect();
        candidates.sort_unstable();
        for (differ, _, renamed, old, new) in candidates {
            // With another name and other settings it is another item, unless its name is gone.
            let stays =
                news.contains(&(old.kind, items.name(old))) || olds.contains(&(new.kind, items.name(new)));
            if (differ && renamed && stays) || same.onward.contains_key(&old) || taken.contains(&new) {
                continue;
            }
            same.onward.insert(old, new);
            taken.insert(new);
        }
        let mut left: HashMap<(Kind, &str), Item> = HashMap::new();
        for item in votes.items(true).filter(|item| !taken.contains(item) && item.kind != Kind::Every) {
            left.insert((item.kind, items.name(item)), item);
        }
        for old in votes.items(false) {
            if let Some(&new) = left.get(&(old.kind, items.name(old))) {
                same.onward.entry(old).or_insert(new);
            }
        }
        same
    }

    /// Old items and what they go on as, in order.
    pub fn pairs(&self) -> Vec<(Item, Item)> {
        let mut pairs: Vec<_> = self.onward.iter().map(|(&old, &new)| (old, new)).collect();
        pairs.sort_unstable();
        pairs
    }

    /// Whether the one goes on as the other, whatever its settings.
    pub fn are_one(&self, old: Item, new: Item) -> bool {
        old == new || self.onward.get(&old) == Some(&new)
    }

    /// Whether packets, of one family if only that matters, meet the same at both.
    fn alike(&mut self, old: Item, new: Item, v6: Option<bool>, items: &Items<'_>) -> bool {
        if old == new {
            return true;
        }
        *self.alike.entry((old, new, v6)).or_insert_with(|| {
            if old.kind != new.kind {
                return false;
            }
            let matters = |setting: &Setting| v6.is_none_or(|v6| pool_settings::matters(setting, v6));
            let settings = |item| items.settings(item).into_iter().filter(matters);
            let families = v6.map_or(vec![false, true], |v6| vec![v6]);
            let pools = items.pool(old).zip(items.pool(new));
            let mut pools = pools.filter(|_| old.kind == Kind::Pool).into_iter();
            settings(old).eq(settings(new))
                && pools.all(|(old, new)| families.iter().all(|&v6| slots::are_alike(old, new, v6)))
        })
    }

    /// Whether two fates are equal in meaning; both silent.
    pub fn equal(&mut self, old: FateId, new: FateId, fates: &Fates, items: &Items<'_>) -> bool {
        if let Some(&known) = self.equal.get(&(old, new)) {
            return known;
        }
        let equal = match (fates.get(old), fates.get(new)) {
            (Fate::Stage(a), Fate::Stage(b)) => {
                self.are_one(a.item, b.item)
                    && self.alike(a.item, b.item, a.v6, items)
                    && a.exits.len() == b.exits.len()
                    && a.exits.iter().zip(&b.exits).all(|(a, b)| self.equal(a.1, b.1, fates, items))
                    && self.equal(a.next, b.next, fates, items)
            }
            (Fate::Every(a, ways), Fate::Every(b, others)) => {
                self.are_one(*a, *b)
                    && self.alike(*a, *b, None, items)
                    && ways.len() == others.len()
                    && ways.iter().zip(others).all(|(&a, &b)| self.equal(a, b, fates, items))
            }
            (old, new) => old == new,
        };
        self.equal.insert((old, new), equal);
        equal
    }

    /// Why two fates differ.
    pub fn cause(&mut self, old: FateId, new: FateId, fates: &Fates, items: &Items<'_>) -> Cause {
        let mut differing = BTreeSet::new();
        if !self.same_stages(old, new, fates, items, &mut HashSet::new(), &mut differing) {
            return Cause::Fates(old, new);
        }
        if differing.is_empty() { Cause::None } else { Cause::Items(differing.into_iter().collect()) }
    }

    fn same_stages(
        &mut self,
        old: FateId,
        new: FateId,
        fates: &Fates,
        items: &Items<'_>,
        seen: &mut HashSet<(FateId, FateId)>,
        differing: &mut BTreeSet<(Item, Item)>,
    ) -> bool {
        if !seen.insert((old, new)) {
            return true;
        }
        let (old, new) = (fates.get(old), fates.get(new));
        let Some((a, b, v6, ways)) = side_by_side(old, new) else { return old == new };
        if !self.are_one(a, b) {
            return false;
        }
        if !self.alike(a, b, v6, items) {
            differing.insert((a, b));
        }
        ways.is_some_and(|ways| {
            ways.into_iter().all(|(_, old, new)| self.same_stages(old, new, fates, items, seen, differing))
        })
    }

    /// The way from the first stage to where two fates first differ, going on where that can be.
    pub fn way_apart(
        &mut self,
        old: FateId,
        new: FateId,
        fates: &Fates,
        items: &Items<'_>,
    ) -> (Vec<Turn>, FateId, FateId) {
        let (mut way, mut old, mut new) = (Vec::new(), old, new);
        loop {
            let next = match side_by_side(fates.get(old), fates.get(new)) {
                Some((a, b, v6, Some(ways))) if self.are_one(a, b) && self.alike(a, b, v6, items) => {
                    ways.into_iter().find(|&(_, old, new)| !self.equal(old, new, fates, items))
                }
                _ => None,
            };
            let Some((turn, further_old, further_new)) = next else { return (way, old, new) };
            way.push(turn);
            (old, new) = (further_old, further_new);
        }
    }
}

type Ways = Vec<(Turn, FateId, FateId)>;

/// Two stages of a kind or two `every`, and their ways side by side if there are as many.
fn side_by_side(old: &Fate, new: &Fate) -> Option<(Item, Item, Option<bool>, Option<Ways>)> {
    match (old, new) {
        (Fate::Stage(a), Fate::Stage(b)) if a.item.kind == b.item.kind => {
            let exits = a.exits.iter().zip(&b.exits).enumerate();
            let exits = exits.map(|(at, (a, b))| (Turn::Exit(at), a.1, b.1));
            let ways = std::iter::once((Turn::On, a.next, b.next)).chain(exits).collect();
            Some((a.item, b.item, a.v6, (a.exits.len() == b.exits.len()).then_some(ways)))
        }
        (Fate::Every(a, ways), Fate::Every(b, others)) => {
            let pairs = ways.iter().zip(others).enumerate();
            let pairs = pairs.map(|(at, (&a, &b))| (Turn::Way(at), a, b)).collect();
            Some((*a, *b, None, (ways.len() == others.len()).then_some(pairs)))
        }
        _ => None,
    }
}

/// How often an old and a new item stand at the same place of fates that a packet meets.
struct Votes {
    votes: HashMap<(Item, Item), usize>,
    all: BTreeSet<Item>,
}

impl Votes {
    fn of(met: &[(FateId, FateId)], fates: &Fates) -> Votes {
        let mut votes = Votes { votes: HashMap::new(), all: BTreeSet::new() };
        let mut seen: HashSet<(FateId, FateId)> = met.iter().copied().collect();
        let mut open = met.to_vec();
        while let Some((old, new)) = open.pop() {
            let Some((a, b, _, ways)) = side_by_side(fates.get(old), fates.get(new)) else { continue };
            if a != b {
                *votes.votes.entry((a, b)).or_default() += 1;
            }
            open.extend(
                ways.into_iter().flatten().map(|(_, old, new)| (old, new)).filter(|&pair| seen.insert(pair)),
            );
        }
        let mut named = HashSet::new();
        for fate in met.iter().flat_map(|&(old, new)| [old, new]) {
            votes.name(fate, fates, &mut named);
        }
        votes
    }

    /// Every item of a fate.
    fn name(&mut self, fate: FateId, fates: &Fates, named: &mut HashSet<FateId>) {
        let mut open = vec![fate];
        while let Some(fate) = open.pop() {
            if !named.insert(fate) {
                continue;
            }
            match fates.get(fate) {
                Fate::Never | Fate::End(_) => {}
                Fate::Stage(stage) => {
                    self.all.insert(stage.item);
                    open.push(stage.next);
                    open.extend(stage.exits.iter().map(|exit| exit.1));
                }
                Fate::Every(item, ways) => {
                    self.all.insert(*item);
                    open.extend(ways);
                }
            }
        }
    }

    fn items(&self, new: bool) -> impl Iterator<Item = Item> + '_ {
        self.all.iter().copied().filter(move |item| item.new == new)
    }
}
