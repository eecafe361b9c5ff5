//! Owns what is told of packets that somebody asks about: the way of each through the policy, what decided there, and
//! what it leaves as. Never how that is printed, and no meaning of its own: the evaluator's runs are all it has.

mod words;

use std::time::Duration;

use lb_abi::image::FRAG_NONE;
use lb_abi::maps::Flow;
use policy_lang::policy::{AddrSet, InterfaceId, Policy, SetId, Step, Via};
use policy_lang::source::Span;

use crate::eval::{Evaluator, PathStep, Run, State, StepKind, Verdict};
use crate::expect::{self, START, nanoseconds};
use crate::packet::{self, Fields};

/// What may stand in a sequence that is asked about.
#[derive(Clone, Debug)]
pub enum Question {
    /// A packet as an `expect` writes it, or what is given.
    Step(Step),
    /// A whole Ethernet frame, and the time since the first packet at which it came. A clock that stands later stays.
    Frame { frame: Vec<u8>, at: Option<Duration> },
}

/// What became of one packet, or of several in a row that met the same.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Where the packet is written; `None` for a frame.
    pub span: Option<Span>,
    /// Number of the first and the last packet that this is the answer to, from 1.
    pub first: u64,
    pub last: u64,
    /// Since the first packet.
    pub at: Duration,
    /// The packet in one line: `tcp syn 192.0.2.1:40000 to 203.0.113.1:80, ttl 64, 40 bytes`.
    pub packet: String,
    pub way: Vec<WayStep>,
    /// As `lbctl test` says it: `forward a1, 10.0.0.5:1000 to 10.0.1.12:8080`, `drop (TTL expired)`.
    pub end: String,
    pub verdict: Verdict,
    /// What is not on the wire as it came: field, value that came, value that leaves.
    pub changes: Vec<Change>,
}

/// A step of the way, and the value or setting that decided it (may be empty).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WayStep {
    pub step: PathStep,
    pub because: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub field: &'static str,
    pub came: String,
    pub leaves: String,
}

/// Answers in order, against one fresh state that every packet changes for those behind it. As in tests, the state's
/// random draws are all 0 until a seed is given.
pub fn explain(policy: &Policy, questions: &[Question]) -> Vec<Answer> {
    let mut state = expect::fresh(policy);
    let mut answers = Vec::new();
    let mut number = 0;
    // What is given to a set changes the policy from there on.
    let mut changed: Option<Policy> = None;
    let given = |question: &Question| match question {
        Question::Step(step) => expect::changes(policy, step),
        Question::Frame { .. } => false,
    };
    for some in questions.chunk_by(|before, next| given(before) == given(next)) {
        let members: Vec<(SetId, &AddrSet)> =
            some.iter().filter(|one| given(one)).filter_map(member).collect();
        if !members.is_empty() {
            changed = Some(expect::extended(changed.as_ref().unwrap_or(policy), &members));
            continue;
        }
        let policy = changed.as_ref().unwrap_or(policy);
        let evaluator = Evaluator::new(policy);
        for question in some {
            let (frame, times, span, iface) = match question {
                Question::Frame { frame, at } => {
                    let came = at.map_or(0, |at| START.saturating_add(nanoseconds(at)));
                    state.clock = state.clock.max(came);
                    // What somebody captured was signed by the certificates' own keys.
                    state.test_keys = false;
                    (frame.clone(), 1, None, None)
                }
                Question::Step(Step::Packet { packet, times, span, .. }) => {
                    state.test_keys = true;
                    (packet::build_in(policy, packet), *times, Some(*span), packet.iface)
                }
                Question::Step(step) => {
                    set(policy, &mut state, step);
                    continue;
                }
            };
            let before = answers.len();
            for _ in 0..times {
                number += 1;
                let answer =
                    Asked { policy, evaluator: &evaluator, span, iface }.answer(&mut state, &frame, number);
                match answers.get_mut(before..).and_then(|of_this| of_this.last_mut()) {
                    Some(last) if is_same(last, &answer) => last.last = number,
                    _ => answers.push(answer),
                }
            }
        }
    }
    answers
}

fn member(question: &Question) -> Option<(SetId, &AddrSet)> {
    match question {
        Question::Step(Step::GivenMember { set, addrs, .. }) => Some((*set, addrs)),
        _ => None,
    }
}

fn set(policy: &Policy, state: &mut State, step: &Step) {
    match step {
        Step::GivenClock(time) => state.clock = START.saturating_add(nanoseconds(*time)),
        Step::After(time) => state.clock = state.clock.saturating_add(nanoseconds(*time)),
        Step::GivenSeed(seed) => state.seed = *seed,
        Step::GivenDate(date) => expect::date(state, *date),
        Step::GivenMember { set, addrs, .. } => expect::member(policy, state, *set, addrs),
        Step::Packet { .. } => {}
    }
}

fn is_same(one: &Answer, other: &Answer) -> bool {
    one.way == other.way && one.end == other.end && one.changes == other.changes && one.packet == other.packet
}

/// Where the packet is written, what it came in by, and whom it is asked of.
struct Asked<'a> {
    policy: &'a Policy,
    evaluator: &'a Evaluator<'a>,
    span: Option<Span>,
    iface: Option<InterfaceId>,
}

impl Asked<'_> {
    fn answer(&self, state: &mut State, frame: &[u8], number: u64) -> Answer {
        let parsed = packet::parse(frame);
        let came = parsed.as_ref().ok();
        let flow = came.and_then(|fields| crate::eval::stages::live_flow(state, fields)).copied();
        let run = self.evaluator.run_from(state, frame, self.iface);
        Answer {
            span: self.span,
            first: number,
            last: number,
            at: Duration::from_nanos(state.clock.saturating_sub(START)),
            packet: match &parsed {
                Ok(fields) => words::packet(fields),
                Err(_) => format!("a frame of {} bytes", frame.len()),
            },
            way: way(self.policy, &run, came, flow.as_ref()),
            end: expect::evaluated(self.policy, &run),
            verdict: run.verdict,
            changes: changes(came, run.frame.as_deref(), expect::via(self.policy, &run)),
        }
    }
}

fn way(policy: &Policy, run: &Run, came: Option<&Fields>, flow: Option<&Flow>) -> Vec<WayStep> {
    let mut way = Vec::new();
    let is_let_in = run.path.first().is_some_and(|step| step.kind != StepKind::Before);
    if came.is_some_and(|fields| fields.frag != FRAG_NONE) && is_let_in {
        let span = Some(policy.span);
        let step = PathStep::new(StepKind::Before, span, "fragment");
        way.push(WayStep { step, because: "`fragments match`: the tree decides".to_owned() });
    }
    for (index, step) in run.path.iter().enumerate() {
        let because = match (&step.kind, came) {
            (StepKind::Before, _) => words::before(policy, run.reason),
            (StepKind::Guard { .. }, Some(fields)) => {
                let seen = step.fields.iter().filter_map(|&field| words::seen(policy, fields, flow, field));
                let told = (!step.seen.is_empty()).then(|| step.seen.clone());
                seen.chain(told).collect::<Vec<_>>().join(", ")
            }
            (StepKind::Stage { .. }, _) if !step.seen.is_empty() => step.seen.clone(),
            (StepKind::Stage { exit }, Some(fields)) => words::stage(policy, step, *exit, fields, flow),
            (StepKind::End, _) => {
                // An unwritten exit has the place of its stage, and so has the end it leads to.
                let behind = index.checked_sub(1).and_then(|before| run.path.get(before));
                let is_unwritten = behind.is_some_and(|stage| {
                    matches!(stage.kind, StepKind::Stage { exit: Some(_) }) && stage.span == step.span
                });
                if is_unwritten { "not written: the policy's default".to_owned() } else { String::new() }
            }
            _ => String::new(),
        };
        way.push(WayStep { step: step.clone(), because });
    }
    way
}

/// What of a packet is otherwise as it leaves, and what is around it; nothing if it leaves not at all.
fn changes(came: Option<&Fields>, leaves: Option<&[u8]>, via: Option<Via>) -> Vec<Change> {
    let within = leaves.zip(via).and_then(|(frame, via)| packet::unwrapped(frame, via));
    let around = match (leaves, via, &within) {
        (Some(frame), Some(via), Some(_)) => {
            Some(Change { field: "around", came: "nothing".to_owned(), leaves: expect::around(frame, via) })
        }
        _ => None,
    };
    let parsed = within.as_deref().or(leaves).and_then(|frame| packet::parse(frame).ok());
    let Some((came, leaves)) = came.zip(parsed.as_ref()) else { return Vec::new() };
    let pairs = words::told(came).into_iter().zip(words::told(leaves));
    pairs
        .filter(|((_, came), (_, leaves))| came != leaves)
        .map(|((field, came), (_, leaves))| Change { field, came, leaves })
        .chain(around)
        .collect()
}

#[cfg(test)]
mod tests;
