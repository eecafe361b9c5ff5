//! Owns the proof of a policy's `assert` blocks over all packets that can exist and reach its tree, by decision
//! diagrams over classes of their fields. Never files, printing or the kernel.
//!
//! What depends on state (limits, `every`, exits of stages, whether a packet's flow is known) may turn out either way;
//! what no state can bring about (a fragment that `translate` lets through) does not count.

pub(crate) mod conditions;
pub(crate) mod guards;
pub(crate) mod outcomes;
mod ways;
pub(crate) mod witness;

use std::collections::HashMap;
use std::net::IpAddr;

use lb_abi::image::Field;
use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::policy::{Before, Claim, PacketSpec, Policy};
use policy_lang::source::Span;

use crate::eval::{Evaluator, PathStep, State, StepKind};
use crate::lower::diagram::{NOTHING, TooLarge};
use crate::lower::formula::Sets;
use crate::lower::region::Regions;
use crate::packet;
pub(crate) use conditions::Conditions;
pub(crate) use guards::Guards;
pub(crate) use outcomes::{Outcome, outcomes};
use ways::Search;
pub use witness::Written;

/// What became of every `assert` block, in the order written.
#[derive(Clone, Debug)]
pub struct Report {
    pub asserts: Vec<Asserted>,
}

#[derive(Clone, Debug)]
pub struct Asserted {
    pub title: String,
    pub span: Span,
    /// One for each claim.
    pub claims: Vec<Proof>,
}

#[derive(Clone, Debug)]
pub struct Proof {
    pub span: Span,
    pub finding: Finding,
}

#[derive(Clone, Debug)]
pub enum Finding {
    /// For every packet, whatever the state.
    Holds,
    False(Box<Witness>),
    /// The diagrams outgrew their bounds.
    TooLarge,
}

/// A packet that the claim excludes and the policy does not.
#[derive(Clone, Debug)]
pub struct Witness {
    pub packet: PacketSpec,
    /// The packet as an `expect` writes it, up to its outcome.
    pub text: String,
    /// The tracker, by name, that must know the packet's flow.
    pub flow: Option<String>,
    /// Addresses that sets must hold at run time, with the sets' names.
    pub held: Vec<(IpAddr, String)>,
    /// The arms, stages and ends up to what is excluded.
    pub way: Vec<PathStep>,
    /// The evaluator goes this way with a fresh state but for what sets hold; else the way takes more of a state.
    pub at_once: bool,
}

impl Report {
    pub fn holds(&self) -> bool {
        self.asserts.iter().all(Asserted::holds)
    }

    /// One error for each claim that does not hold or could not be proved.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.asserts.iter().flat_map(Asserted::diagnostics).collect()
    }
}

impl Asserted {
    pub fn holds(&self) -> bool {
        self.claims.iter().all(|claim| matches!(claim.finding, Finding::Holds))
    }

    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.claims.iter().filter_map(|claim| claim.diagnostic(&self.title)).collect()
    }
}

impl Proof {
    fn diagnostic(&self, title: &str) -> Option<Diagnostic> {
        let error = |code, message| Diagnostic {
            code,
            severity: Severity::Error,
            message,
            primary: (self.span, String::new()),
            secondary: Vec::new(),
            reason: None,
            help: None,
        };
        match &self.finding {
            Finding::Holds => None,
            Finding::TooLarge => Some(Diagnostic {
                reason: Some(
                    "its guards and those of the policy cut the packets into too many parts".to_owned(),
                ),
                help: Some("claim less at once, or join guards that are treated alike".to_owned()),
                ..error("E0702", format!("the claim in \"{title}\" could not be proved"))
            }),
            Finding::False(witness) => {
                let packet = &witness.text;
                let given = witness.held.iter().map(|(address, set)| format!("'given {address} in {set}' "));
                let given: String = given.collect();
                let places = witness.way.iter().filter_map(|step| Some((step.span?, told(step))));
                Some(Diagnostic {
                    secondary: places.collect(),
                    reason: Some(witness.needs()),
                    help: witness.at_once.then(|| {
                        format!("`lbctl explain FILE {given}'{packet}'` shows each guard on its way")
                    }),
                    ..error("E0701", format!("the claim in \"{title}\" is false for `{packet}`"))
                })
            }
        }
    }
}

impl Witness {
    /// What has to come together for the way, in a sentence without a full stop.
    fn needs(&self) -> String {
        let held: Vec<String> =
            self.held.iter().map(|(address, set)| format!("`{set}` holds {address}")).collect();
        if self.at_once {
            return match held.as_slice() {
                [] => "the packet goes this way as the first one, with nothing known before it".to_owned(),
                all => format!("the packet goes this way as the first one, where {}", all.join(" and ")),
            };
        }
        let mut needs = Vec::new();
        needs.extend(self.flow.iter().map(|tracker| format!("its flow is known to `{tracker}`")));
        needs.extend(held);
        for step in &self.way {
            match step.kind {
                StepKind::Stage { exit: Some(exit) } => {
                    needs.push(format!("`{}` is left by `{exit}`", step.text));
                }
                StepKind::Turn(way) => needs.push(format!("`{}` takes way {way}", step.text)),
                StepKind::Refused => needs.push(format!("`{}` drops it", step.text)),
                _ => {}
            }
        }
        if needs.is_empty() {
            needs.push("the stages on it let the packet go on".to_owned());
        }
        format!("the packet goes this way when {}", needs.join(" and "))
    }
}

fn told(step: &PathStep) -> String {
    match step.kind {
        StepKind::Tree => "to this tree".to_owned(),
        StepKind::Turn(way) => format!("way {way}"),
        StepKind::Stage { exit: Some(exit) } => format!("left by {exit}"),
        StepKind::Stage { exit: None } => "reached".to_owned(),
        StepKind::Refused => "dropped here".to_owned(),
        StepKind::End => "ends here".to_owned(),
        _ => "taken".to_owned(),
    }
}

/// Proves every claim of a policy, or finds a packet against it.
pub fn run<'p>(policy: &'p Policy) -> Report {
    if policy.asserts.is_empty() {
        return Report { asserts: Vec::new() };
    }
    let mut sets = Sets::new(policy);
    let guards = Guards::read(policy, &mut sets);
    let fragments = policy.before.fragments == Before::Match;
    let conditions = Conditions::read(fragments, policy.trackers.len(), policy.span, &mut sets);
    let cut = sets.classes().ok();
    let mut prover = cut.as_ref().and_then(|cut| {
        let mut regions = Regions::new(cut, &sets);
        let conditions = conditions.diagrams(&mut regions).ok()?;
        Some((cut, regions, conditions, HashMap::new()))
    });
    let mut prove = |claim: &'p Claim| -> Result<Finding, TooLarge> {
        let (cut, regions, conditions, held) = prover.as_mut().ok_or(TooLarge)?;
        let trees = HashMap::new();
        let mut search = Search { policy, claim, guards: &guards, regions, conditions, held, trees };
        let found = search.counterexamples()?;
        if found == NOTHING {
            return Ok(Finding::Holds);
        }
        let classes = witness::classes(&search.regions.diagrams, cut, found);
        let way = search.way(&classes)?;
        Ok(Finding::False(Box::new(seen(policy, witness::packet(policy, cut, &classes), way))))
    };
    let mut proof = |claim: &'p Claim| {
        let finding = prove(claim).unwrap_or(Finding::TooLarge);
        Proof { span: claim.span, finding }
    };
    let asserts = policy.asserts.iter().map(|assert| Asserted {
        title: assert.title.clone(),
        span: assert.span,
        claims: assert.claims.iter().map(&mut proof).collect(),
    });
    Report { asserts: asserts.collect() }
}

/// Holds the way against the evaluator's own.
fn seen(policy: &Policy, chosen: witness::Chosen, way: Vec<PathStep>) -> Witness {
    let mut state = State { clock: 1 << 50, test_keys: true, ..State::new([0; 2]) };
    let held = chosen.held.iter().map(|(field, set)| {
        let address = if *field == Field::Src { chosen.spec.src } else { chosen.spec.dst };
        (address, set.clone())
    });
    let held: Vec<(IpAddr, String)> = held.collect();
    for (address, set) in &held {
        let address = packet::addr(*address);
        if let Some((id, _)) = (0..).zip(&policy.sets).find(|(_, one)| one.name == *set) {
            state.add_member(id, (address, address), None, u32::MAX);
        }
    }
    let frame = packet::build_in(policy, &chosen.spec);
    let run = Evaluator::new(policy).run_from(&mut state, &frame, chosen.spec.iface);
    let mut steps = run.path.iter().filter(|step| !matches!(step.kind, StepKind::Guard { .. }));
    // A stage that is the goal may be left in any way.
    let mut is_same = |step: &PathStep, is_last: bool| {
        let is_goal = is_last && matches!(step.kind, StepKind::Stage { .. });
        steps.next().is_some_and(|run| run.span == step.span && (is_goal || run.kind == step.kind))
    };
    let goes = way.iter().enumerate().all(|(at, step)| is_same(step, at + 1 == way.len()));
    let is_end = way.last().is_some_and(|step| step.kind == StepKind::End);
    let at_once = goes && !(is_end && run.path.last().is_some_and(|step| step.kind == StepKind::Refused));
    let tracker = chosen.flow.checked_sub(1).and_then(|tracker| policy.trackers.get(tracker as usize));
    let text = Written(policy, &chosen.spec).to_string();
    let flow = tracker.map(|tracker| tracker.name.clone());
    Witness { packet: chosen.spec, text, flow, held, way, at_once }
}

#[cfg(test)]
mod tests;
