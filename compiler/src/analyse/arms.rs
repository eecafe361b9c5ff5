//! Owns arms that no packet takes: which they are, and what takes their packets. Never what an arm leads to.

use std::collections::HashSet;

use policy_lang::diagnostic::{Diagnostic, IDLE_ELSE, Severity};
use policy_lang::policy::{Arm, Guard, Match};
use policy_lang::source::Span;

use super::Flow;
use crate::graph::Nesting;
use crate::lower::diagram::{NOTHING, Ref, TooLarge};

/// Places named beside a finding.
const NAMED: usize = 6;
/// Findings of one policy for which the blockers are looked for.
const LOOKED_FOR: usize = 64;

/// An arm, with the arms that it lies within: match and number of the arm, from the outermost on. `else` has the number
/// behind the last arm's.
pub struct Never<'p> {
    pub arm: &'p Arm,
    way: Vec<(&'p Match, usize)>,
}

/// The arms of a region that lead to none of these leaves; of arms within each other the outer one.
/// With them the places of `else` that lead to none, though other arms of their match do.
pub fn never_taken<'p>(
    choice: &'p Match,
    nesting: &Nesting<'p>,
    reached: &HashSet<u32>,
) -> (Vec<Never<'p>>, Vec<Span>) {
    let mut walk = Walk { nesting, reached, leaves: 0, way: Vec::new(), found: Vec::new(), idle: Vec::new() };
    walk.arms(choice);
    (walk.found, walk.idle)
}

struct Walk<'w, 'p> {
    nesting: &'w Nesting<'p>,
    reached: &'w HashSet<u32>,
    /// As `graph` numbers them.
    leaves: u32,
    way: Vec<(&'p Match, usize)>,
    found: Vec<Never<'p>>,
    idle: Vec<Span>,
}

impl<'p> Walk<'_, 'p> {
    /// Whether some leaf below is reached.
    fn arms(&mut self, choice: &'p Match) -> bool {
        let mut any = false;
        for (number, arm) in choice.arms.iter().enumerate() {
            let (told, idle) = (self.found.len(), self.idle.len());
            self.way.push((choice, number));
            let is_reached = self.chain(&arm.chain);
            if !is_reached {
                self.found.truncate(told);
                self.idle.truncate(idle);
                self.found.push(Never { arm, way: self.way.clone() });
            }
            self.way.pop();
            any |= is_reached;
        }
        self.way.push((choice, choice.arms.len()));
        let idle = self.idle.len();
        let is_reached = self.chain(&choice.otherwise);
        if !is_reached && any {
            self.idle.truncate(idle);
            self.idle.push(choice.otherwise_span);
        }
        any |= is_reached;
        self.way.pop();
        any
    }

    fn chain(&mut self, chain: &'p policy_lang::policy::Chain) -> bool {
        if let Some(inner) = self.nesting.of(chain) {
            return self.arms(inner.region);
        }
        self.leaves += 1;
        self.reached.contains(&(self.leaves - 1))
    }
}

pub fn idle_else(place: Span) -> Diagnostic {
    Diagnostic {
        code: IDLE_ELSE,
        severity: Severity::Allowed,
        message: "no packet comes to this `else`".to_owned(),
        primary: (place, String::new()),
        secondary: Vec::new(),
        reason: Some("the arms above take every packet that gets here".to_owned()),
        help: Some("let the last arm be the `else`, if its guard is to be no more than a remark".to_owned()),
    }
}

/// What keeps packets from an arm.
enum Blocker {
    /// An earlier arm takes them.
    Earlier(Span),
    /// They are not among those that this arm lets in.
    Outside(Span),
    /// What stands before the match.
    Before,
}

impl<'p> Flow<'_, '_, 'p> {
    /// `before`: the packets that get to the region.
    pub(super) fn never_taken(&mut self, never: &Never<'p>, before: Ref) -> Diagnostic {
        let is_looked_for = self.found.len() < LOOKED_FOR;
        let blockers = match twin(never) {
            Some(twin) => vec![Blocker::Earlier(twin)],
            // Without them the finding stands all the same.
            None if is_looked_for => self.blockers(never, before).unwrap_or_default(),
            None => Vec::new(),
        };
        let earlier = |blocker: &Blocker| matches!(blocker, Blocker::Earlier(_));
        let is_shadowed = !blockers.is_empty() && blockers.iter().all(earlier);
        let is_one = blockers.len() == 1;
        let secondary = blockers.iter().filter_map(|blocker| match blocker {
            Blocker::Earlier(span) if is_one => Some((*span, "shadowed by this arm".to_owned())),
            Blocker::Earlier(span) => Some((*span, "takes a part of it".to_owned())),
            Blocker::Outside(span) => Some((*span, "only what this arm lets in gets here".to_owned())),
            Blocker::Before => None,
        });
        let secondary: Vec<(Span, String)> = secondary.take(NAMED).collect();
        let reason = match (is_shadowed, is_one, blockers.len()) {
            (true, true, _) => "an earlier arm takes every packet that it would match".to_owned(),
            (true, false, many) if many > NAMED => format!(
                "{many} arms above, taken together, take every packet that it would match; the first are marked"
            ),
            (true, false, _) => {
                "the arms above, taken together, take every packet that it would match".to_owned()
            }
            _ => "no packet that it asks for gets to this place".to_owned(),
        };
        let (code, label) = if is_shadowed { ("E0414", "shadowed") } else { ("E0415", "") };
        Diagnostic {
            code,
            severity: Severity::Error,
            message: "this arm is never taken".to_owned(),
            primary: (never.arm.span, label.to_owned()),
            secondary,
            reason: Some(reason),
            help: Some("remove it, or move it up".to_owned()),
        }
    }

    pub(super) fn guard(&mut self, guard: &Guard) -> Result<Ref, TooLarge> {
        let formula = self.guards.formula(guard).ok_or(TooLarge)?;
        self.regions.guard(formula)
    }

    /// From the nearest on, until nothing is left of what the arm asks for.
    fn blockers(&mut self, never: &Never<'p>, before: Ref) -> Result<Vec<Blocker>, TooLarge> {
        let asked = self.guard(&never.arm.guard)?;
        let asked = self.regions.diagrams.mask(self.conditions.universe, asked)?;
        if asked == NOTHING {
            return Ok(vec![Blocker::Before]);
        }
        let mut left = asked;
        let mut blockers = Vec::new();
        for (depth, &(choice, number)) in never.way.iter().enumerate().rev() {
            let is_inner = depth + 1 < never.way.len();
            if let Some(around) = choice.arms.get(number).filter(|_| is_inner) {
                let within = self.guard(&around.guard)?;
                let inside = self.regions.diagrams.mask(left, within)?;
                if inside != left {
                    blockers.push(Blocker::Outside(around.span));
                    left = inside;
                }
            }
            for earlier in choice.arms.iter().take(number) {
                if left == NOTHING {
                    return Ok(blockers);
                }
                let takes = self.guard(&earlier.guard)?;
                let others = self.regions.diagrams.not(takes)?;
                let rest = self.regions.diagrams.mask(left, others)?;
                if rest == left {
                    continue;
                }
                if self.regions.diagrams.mask(asked, others)? == NOTHING {
                    return Ok(vec![Blocker::Earlier(earlier.span)]);
                }
                blockers.push(Blocker::Earlier(earlier.span));
                left = rest;
            }
            if left == NOTHING {
                return Ok(blockers);
            }
        }
        let left = self.regions.diagrams.mask(left, before)?;
        if left == NOTHING {
            blockers.push(Blocker::Before);
        }
        Ok(blockers)
    }
}

/// An earlier arm with the same guard.
fn twin(never: &Never<'_>) -> Option<Span> {
    let &(choice, number) = never.way.last()?;
    let same = |earlier: &&Arm| !earlier.text.is_empty() && earlier.text == never.arm.text;
    choice.arms.iter().take(number).find(same).map(|earlier| earlier.span)
}
