//! Owns arms that could as well not be there: their packets would meet the same fate without them. Never arms that no
//! packet takes, which are errors.

use std::collections::HashMap;

use petgraph::graph::NodeIndex;
use policy_lang::diagnostic::{Diagnostic, REDUNDANT, Severity};
use policy_lang::policy::{Chain, Match};
use policy_lang::source::Span;

use lb_abi::bundle::TallyKind;

use super::Flow;
use crate::graph::Way;
use crate::lower::diagram::{NOTHING, Ref, TooLarge, leaf};

/// Matches of more arms are not looked at: each arm is held against all behind it.
const MOST_ARMS: usize = 1_000;

/// Where a leaf leads, but for the counting of the arms themselves: its node, and the names that are counted.
type Fate = (NodeIndex, Vec<usize>);

impl<'p> Flow<'_, '_, 'p> {
    /// Of the region's own match; arms that hold a further match are left alone.
    pub(super) fn redundant(
        &mut self,
        node: NodeIndex,
        choice: &'p Match,
        before: Ref,
    ) -> Result<(), TooLarge> {
        let graph = self.graph;
        let is_plain = |chain: &'p Chain| graph.nesting.of(chain).is_none();
        let chains = choice.arms.iter().map(|arm| &arm.chain);
        if choice.arms.len() > MOST_ARMS || !chains.chain([&*choice.otherwise]).all(is_plain) {
            return Ok(());
        }
        let mut numbers: HashMap<Fate, u32> = HashMap::new();
        let mut fates: Vec<Ref> = Vec::new();
        for (edge, target) in graph.ways(node) {
            let Way::Leaf(_) = edge.way else { continue };
            let is_named = |tally: &&usize| {
                graph.tallies.get(**tally).is_some_and(|tally| tally.kind == TallyKind::Named)
            };
            let named = edge.tallies.iter().filter(is_named).copied().collect();
            let next = numbers.len() as u32;
            fates.push(leaf(*numbers.entry((target, named)).or_insert(next)));
        }
        let Some((&last, arms)) = fates.split_last() else { return Ok(()) };
        let mut guards = Vec::with_capacity(choice.arms.len());
        for arm in &choice.arms {
            guards.push(self.guard(&arm.guard)?);
        }
        // Before each arm, what those above have left.
        let mut left = before;
        let mut lefts = Vec::with_capacity(guards.len());
        for &guard in &guards {
            lefts.push(left);
            let others = self.regions.diagrams.not(guard)?;
            left = self.regions.diagrams.mask(left, others)?;
        }
        let mut behind = last;
        let mut found: Vec<(Span, Option<Span>)> = Vec::new();
        for (at, arm) in choice.arms.iter().enumerate().rev() {
            let (Some(&guard), Some(&left), Some(&fate)) = (guards.get(at), lefts.get(at), arms.get(at))
            else {
                continue;
            };
            let taken = self.regions.diagrams.mask(left, guard)?;
            let without = self.regions.diagrams.mask(taken, behind)?;
            let with = self.regions.diagrams.mask(taken, fate)?;
            if without == with && taken != NOTHING {
                let next = choice.arms.get(at + 1).map_or(choice.otherwise_span, |arm| arm.span);
                found.push((arm.span, Some(next)));
                // Without it the arms above are held against what is left.
                continue;
            }
            let part = self.regions.diagrams.mask(guard, fate)?;
            behind = self.regions.diagrams.over(part, behind)?;
        }
        for (arm, next) in found {
            self.found.push(Diagnostic {
                code: REDUNDANT,
                severity: Severity::Allowed,
                message: "this arm could as well not be there".to_owned(),
                primary: (arm, String::new()),
                secondary: next
                    .map(|next| (next, "its packets go the same way from here on".to_owned()))
                    .into_iter()
                    .collect(),
                reason: Some("the arms behind it lead its packets to the same end".to_owned()),
                help: Some("remove it, or say in a comment what it is kept for".to_owned()),
            });
        }
        Ok(())
    }
}
