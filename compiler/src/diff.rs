//! Owns the difference in meaning between two policies: every class of packets whose fate changes, as guards with a
//! witness each. Never files, printing or the kernel.
//!
//! Both policies' guards cut the packets into the same classes, and each policy becomes one diagram over them whose
//! leaves are fates: the stages, ends and exits that a packet meets, in order. Where the two lead to the same fates the
//! policies are equal. Items are known by what they do and where they stand, never by name.

mod cover;
mod describe;
mod fate;
mod fields;
mod follow;
mod items;
mod joint;
mod lost;
mod pool_settings;
mod report;
mod same;
mod settings;
mod slots;
mod told;
mod trace;
mod uses;
mod values;
mod weight;
mod witness;
mod words;

use std::collections::HashMap;

use policy_lang::policy::{Before, Policy};
use policy_lang::source::Sources;

use crate::eval::Evaluator;
use crate::lower::diagram::{NOTHING, Ref, TooLarge, leaf};
use crate::lower::formula::{Classes, Sets};
use crate::lower::region::Regions;
use crate::prove::{Conditions, Guards};
use describe::Kinds;
use fate::{FateId, Fates};
use follow::{Follow, Leaf, Numbers, Space};
use items::{Item, Items, Kind};
use joint::Joint;
pub use report::{Change, ItemChange, Lost, Region, Report, Said, Setting, Why, Witness};
use same::{Cause, Same};
pub use slots::{Address, Moved, Share};
use told::Told;
use witness::Scene;
use words::Words;

/// The guards of both policies cut the packets into more parts than are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooDifferent;

/// Kinds of change that are told with their regions.
const MOST_CHANGES: usize = 200;
/// Regions that have a witness, over all changes.
const MOST_REGIONS: usize = 256;
/// Regions of one change that have a witness.
const MOST_OF_ONE: usize = 32;
/// Work that is allowed, in that of compiling one policy.
const WORK: usize = 4;

/// A policy as `policy_lang::check` gives it, without errors, and its texts.
pub type Side<'p> = (&'p Policy, &'p Sources);

/// In what the new policy differs from the old one.
///
/// # Errors
/// Both together are too large to be held against each other.
pub fn run(old: Side<'_>, new: Side<'_>) -> Result<Report, TooDifferent> {
    let joint = Joint::new(old.0, new.0);
    let [old_numbers, new_numbers] = joint.numberings.clone();
    let mut sets = Sets::new(old.0);
    sets.turn_to(old.0, old_numbers.clone());
    let mut guards = [Guards::read(old.0, &mut sets), Guards::default()];
    sets.turn_to(new.0, new_numbers);
    guards[1] = Guards::read(new.0, &mut sets);
    // Where both end fragments alike in front of the tree, there is nothing to tell of them.
    let [ended, alike] = [old.0, new.0].map(|policy| policy.before.fragments);
    let fragments = ended == Before::Match || ended != alike;
    let read = |sets: &mut Sets<'_>| Conditions::read(fragments, joint.trackers.len(), old.0.span, sets);
    let of_new = read(&mut sets);
    sets.turn_to(old.0, old_numbers);
    let of_old = read(&mut sets);
    let cut = sets.classes().map_err(|_| TooDifferent)?;
    let mut regions = Regions::new(&cut, &sets);
    regions.diagrams.allow(WORK);
    let is = of_old.diagrams(&mut regions).map_err(|TooLarge| TooDifferent)?;
    let new_is = of_new.diagrams(&mut regions).map_err(|TooLarge| TooDifferent)?;
    let has_synguards = [old.0, new.0].iter().any(|policy| !policy.synguards.is_empty());
    let mut space = Space {
        regions,
        is,
        new_is,
        has_synguards,
        fates: Fates::new(),
        items: Items::new(old.0, new.0),
        leaves: Numbers::new(),
    };
    let mut report =
        told(old, new, &joint, &guards, &sets, &cut, &mut space).map_err(|TooLarge| TooDifferent)?;
    report.settings = settings::changed(&old.0.before, &new.0.before);
    Ok(report)
}

fn told<'a, 'p: 'a>(
    old: Side<'p>,
    new: Side<'p>,
    joint: &'a Joint<'p>,
    guards: &[Guards; 2],
    sets: &Sets<'_>,
    cut: &'a Classes,
    space: &mut Space<'a, 'p>,
) -> Result<Report, TooLarge> {
    let mut follows = [Follow::new(old.0, false, &guards[0]), Follow::new(new.0, true, &guards[1])];
    let roots = [follows[0].whole(space)?, follows[1].whole(space)?];
    let mut pairs: Numbers<(Leaf, Leaf)> = Numbers::new();
    let leaves = &space.leaves;
    let both = space.regions.diagrams.zip(roots[0], roots[1], &mut |old, new| match (
        leaves.at(old),
        leaves.at(new),
    ) {
        (Some(old), Some(new)) => pairs.terminal((*old, *new)),
        _ => NOTHING,
    })?;
    let both = space.regions.diagrams.mask(space.is.universe, both)?;
    let mut met: Vec<Ref> = space.regions.diagrams.leaves(both).into_iter().map(leaf).collect();
    met.sort_unstable();
    let silent = |leaf: &Leaf| space.fates.silent(leaf.real);
    let silently: Vec<(FateId, FateId)> =
        met.iter().filter_map(|&at| pairs.at(at)).map(|(old, new)| (silent(old), silent(new))).collect();
    let mut same = Same::new(joint.pairs(), &silently, &space.fates, &space.items);
    let mut reasons = Reasons { numbers: Numbers::new(), of_pairs: HashMap::new() };
    for at in met {
        if let Some(&(old, new)) = pairs.at(at) {
            reasons.sort(at, (old, new), &mut same, space);
        }
    }
    let sorted = space
        .regions
        .diagrams
        .zip(both, NOTHING, &mut |at, _| reasons.of_pairs.get(&at).copied().unwrap_or(NOTHING))?;
    let lost = lost::lost(old, new, &same, &space.items);
    let words = Words::new([old.0, new.0], joint, cut, sets);
    let evaluators = [Evaluator::new(old.0), Evaluator::new(new.0)];
    let kinds = Kinds::new(&mut space.regions.diagrams, cut, space.is.universe)?;
    let scene = Scene { follows, evaluators, joint, cut, space, same: &mut same, roots };
    let mut report = Telling { kinds, scene, words, reasons, sorted, left: MOST_REGIONS }.report()?;
    report.lost = lost;
    Ok(report)
}

/// Why something is to be told of packets, or why nothing is although it reads so: none of them meets the difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Reason {
    about: About,
    is_met: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum About {
    Fate(Cause),
    /// Counters and logs of the old policy alone, and of the new one alone.
    Observed(Vec<String>, Vec<String>),
}

struct Reasons {
    numbers: Numbers<Reason>,
    /// By the terminal of a pair of leaves.
    of_pairs: HashMap<Ref, Ref>,
}

impl Reasons {
    fn sort(&mut self, at: Ref, (old, new): (Leaf, Leaf), same: &mut Same, space: &Space<'_, '_>) {
        let (fates, items) = (&space.fates, &space.items);
        let silent = |fate| fates.silent(fate);
        let is_met = !same.equal(silent(old.real), silent(new.real), fates, items);
        let about = if !is_met && !same.equal(old.real, new.real, fates, items) {
            let told = Told { fates, items, same };
            let [mut before, mut after] = [old.real, new.real].map(|fate| told.observers(fate));
            let both: Vec<String> = before.iter().filter(|one| after.contains(one)).cloned().collect();
            before.retain(|one| !both.contains(one));
            after.retain(|one| !both.contains(one));
            if before.is_empty() && after.is_empty() {
                return;
            }
            About::Observed(before, after)
        } else {
            match same.cause(silent(old.shown), silent(new.shown), fates, items) {
                Cause::None if is_met => About::Fate(Cause::Fates(silent(old.shown), silent(new.shown))),
                Cause::None => return,
                cause => About::Fate(cause),
            }
        };
        let is_met = is_met || matches!(about, About::Observed(..));
        self.of_pairs.insert(at, self.numbers.terminal(Reason { about, is_met }));
    }
}

/// On the way from sorted packets to a report.
struct Telling<'s, 'g, 'a, 'p> {
    scene: Scene<'s, 'g, 'a, 'p>,
    words: Words<'a>,
    kinds: Kinds,
    reasons: Reasons,
    /// Every packet by its reason.
    sorted: Ref,
    /// Regions that can still have a witness.
    left: usize,
}

impl Telling<'_, '_, '_, '_> {
    fn report(mut self) -> Result<Report, TooLarge> {
        let weights = weight::by_terminal(&self.scene.space.regions.diagrams, self.scene.cut, self.sorted);
        let mut found: Vec<(f64, Ref, Reason)> = weights
            .into_iter()
            .filter_map(|(at, weight)| Some((weight, at, self.reasons.numbers.at(at)?.clone())))
            .filter(|(_, _, reason)| reason.is_met)
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut report =
            Report { more_changes: found.len().saturating_sub(MOST_CHANGES), ..Report::default() };
        for (_, at, reason) in found.into_iter().take(MOST_CHANGES) {
            let change = self.change(at, &reason)?;
            match reason.about {
                About::Fate(_) => report.changes.push(change),
                About::Observed(..) => report.observed.push(change),
            }
        }
        Ok(report)
    }

    fn change(&mut self, at: Ref, reason: &Reason) -> Result<Change, TooLarge> {
        let space = &mut *self.scene.space;
        let lower = space.regions.diagrams.select(self.sorted, at)?;
        let mut upper = lower;
        let unmet = Reason { is_met: false, ..reason.clone() };
        if let Some(unmet) = self.reasons.numbers.known(&unmet) {
            let unmet = space.regions.diagrams.select(self.sorted, unmet)?;
            upper = space.regions.diagrams.over(upper, unmet)?;
        }
        let diagrams = &mut space.regions.diagrams;
        let covered = self.kinds.describe(diagrams, lower, upper)?;
        let is_whole = covered.is_some();
        let products = covered.unwrap_or_else(|| cover::first_ways(diagrams, lower, MOST_OF_ONE));
        let mut parts = Vec::with_capacity(products.len());
        for product in products {
            let holds = cover::holds(diagrams, &product)?;
            let region = diagrams.mask(holds, lower)?;
            let weight = weight::of(diagrams, self.scene.cut, region);
            if region != NOTHING {
                parts.push((weight, product, region));
            }
        }
        parts.sort_by(|a, b| b.0.total_cmp(&a.0));
        let told = parts.len().min(MOST_OF_ONE).min(self.left.max(1));
        self.left = self.left.saturating_sub(told);
        let mut regions = Vec::with_capacity(told);
        for (_, product, region) in parts.iter().take(told) {
            regions.push(Region { guard: self.words.guard(product), witness: self.scene.witness(*region)? });
        }
        Ok(Change { why: self.why(&reason.about), regions, more: is_whole.then(|| parts.len() - told) })
    }

    fn why(&mut self, about: &About) -> Why {
        let space = &*self.scene.space;
        match about {
            About::Fate(Cause::Items(changed)) => {
                let change = |&(old, new)| item_change(old, new, &space.items);
                Why::Items(changed.iter().map(change).collect())
            }
            About::Fate(Cause::Fates(old, new)) => {
                let mut told = Told { fates: &space.fates, items: &space.items, same: self.scene.same };
                let (before, after) = told.both(*old, *new);
                Why::Fate { before, after }
            }
            About::Fate(Cause::None) => Why::Items(Vec::new()),
            About::Observed(before, after) => Why::Observed { before: before.clone(), after: after.clone() },
        }
    }
}

fn item_change(old: Item, new: Item, items: &Items<'_>) -> ItemChange {
    let (before, after) = (items.settings(old), items.settings(new));
    let changed = before.into_iter().zip(after).filter(|(before, after)| before != after);
    let pools = items.pool(old).zip(items.pool(new)).filter(|_| old.kind == Kind::Pool);
    ItemChange {
        word: old.kind.word(),
        names: (items.title(old), items.title(new)),
        places: (items.span(old), items.span(new)),
        settings: changed.map(|((name, before), (_, after))| (name, before, after)).collect(),
        slots: pools
            .iter()
            .flat_map(|(old, new)| [false, true].map(|v6| slots::moved(old, new, v6)))
            .flatten()
            .collect(),
    }
}

#[cfg(test)]
mod tests;
