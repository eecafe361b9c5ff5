//! Owns `assert`: claims over all packets, with every name resolved. Never their proof.

use super::Typing;
use crate::ast::{Claim as Written, Word};
use crate::names::Kind;
use crate::policy::{Assert, Claim, Goal, PoolId, TreeId};

/// What a claim can be about.
const STAGES: &[Kind] = &[
    Kind::Pool,
    Kind::Tree,
    Kind::Limit,
    Kind::Track,
    Kind::Authority,
    Kind::Mapper,
    Kind::Synguard,
    // Filled at run time, by `ban`.
    Kind::Set,
];
const NAMES: &str = "name a pool, a tree, or what a stage names: a limit, tracker, synguard, authority, mapper, or the set of a `ban`";

impl Typing<'_> {
    pub(super) fn type_asserts(&mut self) -> Vec<Assert> {
        let declared = self.declared;
        declared
            .asserts
            .iter()
            .map(|(title, claims, span)| {
                let claims = claims.iter().filter_map(|claim| self.claim(claim)).collect();
                Assert { title: title.text.clone(), span: *span, claims }
            })
            .collect()
    }

    fn claim(&mut self, claim: &Written) -> Option<Claim> {
        let never = claim.quantifier.text == "never";
        let guard = self.guard(&claim.guard);
        let at = claim.words.iter().position(|word| word.text == "without").unwrap_or(claim.words.len());
        let (goal, without) = claim.words.split_at(at);
        let goal = self.goal(claim, never, goal);
        let mut names = Vec::new();
        for word in without.iter().skip(1) {
            self.stage_named(word)?;
            names.push(word.text.clone());
        }
        if without.len() == 1 {
            self.report.error("E0323", claim.span, "`without` names no stage").help("write `without STAGE`");
        }
        let (guard, goal) = guard.zip(goal)?;
        Some(Claim { never, guard, goal, without: names, span: claim.span })
    }

    fn goal(&mut self, claim: &Written, never: bool, words: &[Word]) -> Option<Goal> {
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        if claim.goal.text == "ends" {
            let end = self.end_named(&text);
            if end.is_none() {
                self.report
                    .error("E0323", claim.goal.span, format!("`{}` is no end", text.join(" ")))
                    .help("write `ends drop`, `ends pass`, `ends forward` or `ends reply echo`");
            }
            return end.map(Goal::Ends);
        }
        if !never {
            self.report
                .error("E0323", claim.goal.span, "`always` speaks of ends only")
                .help("write `always GUARD ends END`, or `never GUARD reaches NAME`");
            return None;
        }
        let [word] = words else {
            self.report.error("E0323", claim.goal.span, "`reaches` takes one name").help(NAMES);
            return None;
        };
        let (kind, index) = self.stage_named(word)?;
        Some(match kind {
            Kind::Pool => Goal::ReachesPool(PoolId(index)),
            Kind::Tree => Goal::ReachesTree(TreeId(index)),
            _ => Goal::ReachesStage(word.text.clone()),
        })
    }

    fn stage_named(&mut self, word: &Word) -> Option<(Kind, u32)> {
        let is_listed = |index: u32| self.sets.get(index as usize).is_some_and(|set| set.dynamic.is_none());
        match self.names.look_up(&word.text) {
            Some(symbol) if symbol.kind == Kind::Set && is_listed(symbol.index) => {
                self.report
                    .error("E0213", word.span, format!("`{}` is a set that no `ban` fills", word.text))
                    .also(symbol.span, "declared here")
                    .help(NAMES);
                None
            }
            Some(symbol) if STAGES.contains(&symbol.kind) => Some((symbol.kind, symbol.index)),
            Some(symbol) => {
                let kind = symbol.kind.noun();
                self.report
                    .error("E0213", word.span, format!("`{}` is {kind}, not a stage", word.text))
                    .also(symbol.span, "declared here")
                    .help(NAMES);
                None
            }
            None => {
                self.names.unknown(STAGES, word, self.report);
                None
            }
        }
    }
}
