//! Owns the running of a policy's `expect` blocks, through the evaluator, the compiled tables and whatever program it
//! is given, and what is to be said of each packet. Never how it is printed, nor the kernel.

mod given;
mod outcome;
mod program;

pub(crate) use given::{changes, date, extended, member};
pub(crate) use outcome::{around, end_word, endpoint, evaluated, ip, via};
pub use program::{Arrival, ByProgram, Program, Put};

use std::convert::Infallible;

use lb_abi::bundle::Image;
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Expect, PacketSpec, Policy, SetId, Step};
use policy_lang::source::{Sources, Span};

use crate::coverage::Reached;
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
    /// By all packets of all tests.
    pub reached: Reached,
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
    /// Those that ran the packet are of two minds, whatever was expected: a bug of lbctl, not of the policy.
    Disagreed {
        /// What the compiled tables made of the packet, if it is not what the evaluator did.
        tables: Option<String>,
        /// The same of the loaded program.
        program: Option<String>,
    },
}

/// Runs every block, each against a fresh state. With the policy's own image each packet also meets the tables.
pub fn run(policy: &Policy, sources: &Sources, image: Option<&Image>) -> Report {
    let mut no_program = |_: Arrival<'_>| Ok::<_, Infallible>(None);
    match run_with(policy, sources, image, &mut no_program) {
        Ok(report) => report,
        Err(never) => match never {},
    }
}

/// As `run`, with a program that each packet meets as well, as long as there is an image.
///
/// # Errors
/// The program's own; nothing is run after one.
pub fn run_with<E>(
    policy: &Policy,
    sources: &Sources,
    image: Option<&Image>,
    program: &mut Program<'_, E>,
) -> Result<Report, E> {
    let mut report = Report { tests: Vec::new(), reached: Reached::default() };
    for expect in &policy.expects {
        let test = test(policy, sources, image, expect, program, &mut report.reached)?;
        report.tests.push(test);
    }
    Ok(report)
}

/// What one test drives through the same packets.
struct Sides<'a, 'p, E> {
    evaluator: State,
    tables: State,
    program: &'a mut Program<'p, E>,
    met: Met,
    reached: &'a mut Reached,
}

/// What the program knows of the image in place.
enum Met {
    /// No packet of this test has come to it.
    Nothing,
    Former,
    Current,
}

impl<E> Sides<'_, '_, E> {
    fn both(&mut self, change: impl Fn(&mut State)) {
        change(&mut self.evaluator);
        change(&mut self.tables);
    }
}

fn test<E>(
    policy: &Policy,
    sources: &Sources,
    image: Option<&Image>,
    expect: &Expect,
    program: &mut Program<'_, E>,
    reached: &mut Reached,
) -> Result<Test, E> {
    let mut test =
        Test { title: expect.title.clone(), span: expect.span, packets: Vec::new(), refused: Vec::new() };
    let fresh = fresh(policy);
    let mut sides = Sides { evaluator: fresh.clone(), tables: fresh, program, met: Met::Nothing, reached };

    // What is given to a set changes the policy from there on, and the tables with it.
    let mut changed: Option<(Policy, Option<Image>)> = None;
    let is_given = |step: &Step| given::changes(policy, step);
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
            if matches!(sides.met, Met::Current) {
                sides.met = Met::Former;
            }
        } else {
            let stage = Stage { policy: policy_now, image: image_now, evaluator: Evaluator::new(policy_now) };
            for step in steps {
                test.packets.extend(stage.step(&mut sides, step)?);
            }
        }
    }
    Ok(test)
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
    fn step<E>(&self, sides: &mut Sides<'_, '_, E>, step: &Step) -> Result<Option<Packet>, E> {
        match step {
            Step::GivenClock(time) => {
                sides.both(|state| state.clock = START.saturating_add(nanoseconds(*time)));
            }
            Step::After(time) => {
                sides.both(|state| state.clock = state.clock.saturating_add(nanoseconds(*time)));
            }
            Step::GivenSeed(seed) => sides.both(|state| state.seed = *seed),
            Step::GivenDate(date) => sides.both(|state| given::date(state, *date)),
            Step::GivenMember { set, addrs, .. } => {
                sides.both(|state| given::member(self.policy, state, *set, addrs));
            }
            Step::Packet { packet, times, outcome, span } => {
                let frame = packet::build_in(self.policy, packet);
                let mut told: Option<Packet> = None;
                for time in 1..=*times {
                    let run = self.evaluator.run_from(&mut sides.evaluator, &frame, packet.iface);
                    let is_met =
                        outcome.as_ref().is_none_or(|outcome| outcome::is_met(self.policy, outcome, &run));
                    sides.reached.add(&run.path);
                    let tables = self.tables(&mut sides.tables, &frame, &run);
                    let finding = match (tables, self.program(sides, &frame, &run)?) {
                        (None, None) if is_met => Finding::Passed,
                        (None, None) => Finding::Failed,
                        (tables, program) => Finding::Disagreed { tables, program },
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
                return Ok(told);
            }
        }
        Ok(None)
    }

    /// What the tables made of the frame, if that is not what the evaluator did.
    fn tables(&self, state: &mut State, frame: &[u8], evaluated: &Run) -> Option<String> {
        let image = self.image?;
        let run = tables::run(image, state, frame);
        let is_same = run.verdict == evaluated.verdict
            && run.reason == evaluated.reason
            && run.counted == evaluated.counted
            && run.frame == evaluated.frame
            && outcome::backend_by_tables(image, &run) == outcome::backend(self.policy, evaluated);
        (!is_same).then(|| outcome::by_tables(image, &run))
    }

    /// What the program made of the frame, if that is not what the evaluator did.
    fn program<E>(
        &self,
        sides: &mut Sides<'_, '_, E>,
        frame: &[u8],
        evaluated: &Run,
    ) -> Result<Option<String>, E> {
        let Some(image) = self.image else { return Ok(None) };
        let State { clock, seed, key, .. } = sides.evaluator;
        let image = match sides.met {
            Met::Nothing => Put::Fresh(image),
            Met::Former => Put::Changed(image),
            Met::Current => Put::Same,
        };
        sides.met = Met::Current;
        let wall = sides.evaluator.wall();
        let met = (sides.program)(Arrival { image, key, clock, wall, seed, frame })?;
        Ok(met.and_then(|met| program::difference(&met, evaluated)))
    }
}

/// The image with the keys that stand in for its certificates' own in tests.
pub fn with_test_keys(image: &Image) -> Image {
    let mut image = image.clone();
    for certificate in &mut image.certificates {
        certificate.key = packet::test_public_key(&certificate.hash).try_into().ok();
    }
    image
}

/// What a test starts with. The date is that on which the youngest certificate begins to be valid.
pub(crate) fn fresh(policy: &Policy) -> State {
    let state = State { clock: START, date_at: START, test_keys: true, ..State::new(KEY) };
    let certificates = policy.authorities.iter().flat_map(|authority| &authority.certificates);
    let youngest = certificates.filter_map(|certificate| certificate.valid).map(|(from, _)| from).max();
    State { date: youngest.unwrap_or(state.date), ..state }
}

pub(crate) fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
