//! Owns the running of a policy's `expect` blocks, through the evaluator and through the compiled tables, and what is
//! to be said of each packet. Never how it is printed, nor the kernel.

mod given;
mod outcome;

pub(crate) use given::extended;
pub(crate) use outcome::{end_word, endpoint, evaluated, ip};

use lb_abi::bundle::Image;
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Expect, PacketSpec, Policy, SetId, Step};
use policy_lang::source::{Sources, Span};

use crate::eval::{Evaluator, PathStep, Run, State};
use crate::{compile, packet, tables};

/// Every test starts here, in ns (a whole number of ticks): so that no clock, age or bucket is at its zero.
pub(crate) const START: u64 = 1 << 50;

/// Secret of the hashes in tests, so that `by flow` and `pick source` turn out the same everywhere.
pub(crate) const KEY: lb_abi::hash::Key = [0; 2];

/// What became of every `expect` block, in the order written.
#[derive(Clone, Debug)]
pub struct Report {
    pub tests: Vec<Test>,
}

impl Report {
    pub fn passed(&self) -> bool {
        self.tests.iter().all(Test::passed)
    }
}

/// One `expect` block.
#[derive(Clone, Debug)]
pub struct Test {
    pub title: String,
    pub span: Span,
    /// One for each line with a packet.
    pub packets: Vec<Packet>,
    /// Why the policy with what was `given` does not compile; the packets behind met the evaluator alone.
    pub refused: Vec<Diagnostic>,
}

impl Test {
    pub fn passed(&self) -> bool {
        self.refused.is_empty() && self.packets.iter().all(|packet| packet.finding == Finding::Passed)
    }
}

/// One line with a packet. Of `* N` packets all are run, and the first that did not pass is told.
#[derive(Clone, Debug)]
pub struct Packet {
    pub span: Span,
    pub spec: PacketSpec,
    pub times: u32,
    /// Which of them is told, from 1; the last if all passed.
    pub time: u32,
    /// As in the policy: `forward a1`, `drop`.
    pub expected: String,
    /// What the evaluator made of it: `forward a2, 10.0.0.5:1000 to 10.0.1.12:8080`, `drop (TTL expired)`.
    pub got: String,
    pub finding: Finding,
    /// The evaluator's way through the tree, in order.
    pub path: Vec<PathStep>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    Passed,
    Failed,
    /// Evaluator and compiled tables are of two minds, whatever was expected: a bug of lbctl, not of the policy.
    Disagreed {
        /// What the tables made of the packet.
        tables: String,
    },
}

/// Runs every block, each against a fresh state. With the policy's own image each packet also meets the tables.
pub fn run(policy: &Policy, sources: &Sources, image: Option<&Image>) -> Report {
    let tests = policy.expects.iter().map(|expect| test(policy, sources, image, expect));
    Report { tests: tests.collect() }
}

/// The two states that one test drives through the same packets.
struct Sides {
    evaluator: State,
    tables: State,
}

impl Sides {
    fn both(&mut self, change: impl Fn(&mut State)) {
        change(&mut self.evaluator);
        change(&mut self.tables);
    }
}

fn test(policy: &Policy, sources: &Sources, image: Option<&Image>, expect: &Expect) -> Test {
    let mut test =
        Test { title: expect.title.clone(), span: expect.span, packets: Vec::new(), refused: Vec::new() };
    let fresh = State { clock: START, ..State::new(KEY) };
    let mut sides = Sides { evaluator: fresh.clone(), tables: fresh };

    // What is given to a set changes the policy from there on, and the tables with it.
    let mut changed: Option<(Policy, Option<Image>)> = None;
    let is_given = |step: &Step| matches!(step, Step::GivenMember { .. });
    for steps in expect.steps.chunk_by(|before, step| is_given(before) == is_given(step)) {
        let (policy_now, image_now) = match &changed {
            Some((policy, image)) => (policy, image.as_ref()),
            None => (policy, image),
        };
        if steps.iter().any(is_given) {
            let extended = given::extended(policy_now, &members(steps));
            let compiled = image_now.map(|_| compile(&extended, sources)).transpose();
            let extended_image = compiled.unwrap_or_else(|refused| {
                test.refused.extend(refused);
                None
            });
            changed = Some((extended, extended_image));
        } else {
            let stage = Stage { policy: policy_now, image: image_now, evaluator: Evaluator::new(policy_now) };
            test.packets.extend(steps.iter().filter_map(|step| stage.step(&mut sides, step)));
        }
    }
    test
}

fn members(steps: &[Step]) -> Vec<(SetId, &policy_lang::policy::AddrSet)> {
    let member = |step| match step {
        &Step::GivenMember { set, ref addrs, .. } => Some((set, addrs)),
        _ => None,
    };
    steps.iter().filter_map(member).collect()
}

/// A policy as it stands for some steps of a test.
struct Stage<'a> {
    policy: &'a Policy,
    image: Option<&'a Image>,
    evaluator: Evaluator<'a>,
}

impl Stage<'_> {
    fn step(&self, sides: &mut Sides, step: &Step) -> Option<Packet> {
        match step {
            Step::GivenClock(time) => {
                sides.both(|state| state.clock = START.saturating_add(nanoseconds(*time)));
            }
            Step::After(time) => {
                sides.both(|state| state.clock = state.clock.saturating_add(nanoseconds(*time)));
            }
            Step::GivenSeed(seed) => sides.both(|state| state.seed = *seed),
            Step::GivenMember { .. } | Step::GivenDate(_) => {}
            Step::Packet { packet, times, outcome, span } => {
                let frame = packet::build(packet);
                let mut told: Option<Packet> = None;
                for time in 1..=*times {
                    let run = self.evaluator.run(&mut sides.evaluator, &frame);
                    let is_met =
                        outcome.as_ref().is_none_or(|outcome| outcome::is_met(self.policy, outcome, &run));
                    let finding = match self.tables(sides, &frame, &run) {
                        Some(tables) => Finding::Disagreed { tables },
                        None if is_met => Finding::Passed,
                        None => Finding::Failed,
                    };
                    if told.as_ref().is_none_or(|told| told.finding == Finding::Passed) {
                        told = Some(Packet {
                            span: *span,
                            spec: packet.clone(),
                            times: *times,
                            time,
                            expected: outcome
                                .as_ref()
                                .map_or(String::new(), |outcome| outcome::expected(self.policy, outcome)),
                            got: outcome::evaluated(self.policy, &run),
                            finding,
                            path: run.path,
                        });
                    }
                }
                return told;
            }
        }
        None
    }

    /// What the tables made of the frame, if that is not what the evaluator did.
    fn tables(&self, sides: &mut Sides, frame: &[u8], evaluated: &Run) -> Option<String> {
        let image = self.image?;
        let run = tables::run(image, &mut sides.tables, frame);
        let is_same = run.verdict == evaluated.verdict
            && run.reason == evaluated.reason
            && run.counted == evaluated.counted
            && run.frame == evaluated.frame
            && outcome::backend_by_tables(image, &run) == outcome::backend(self.policy, evaluated);
        (!is_same).then(|| outcome::by_tables(image, &run))
    }
}

pub(crate) fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
