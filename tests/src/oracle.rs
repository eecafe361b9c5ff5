//! Owns running cases through the reference evaluator, and making them: traffic that looks at what it answers.
//! Never the compiled tables and never the kernel.

use std::collections::BTreeMap;

use compiler::eval::{Evaluator, PathStep, Run, State, StepKind};
use lb_abi::bundle::TallyKind;
use lb_abi::maps::{FLOW_IS_SESSION, Flow, FlowKey, TICK_SHIFT};
use lb_abi::reason::REASON_COUNT;
use lb_abi::seen::Seen;
use policy_lang::source::Span;

use crate::accepted::Accepted;
use crate::case::Case;
use crate::differential::{Count, Flows, Played, Sessions, Tallies, in_order};
use crate::traffic::{START, Step, Traffic};
use crate::vocabulary::Vocabulary;

/// One run of the evaluator over frames and times.
struct Play<'p> {
    evaluator: Evaluator<'p>,
    accepted: &'p Accepted,
    state: State,
    seen: Vec<Seen>,
    reasons: [u64; REASON_COUNT],
    tallies: Tallies,
    /// Of the arms taken so far.
    lines: BTreeMap<Span, u32>,
}

/// A case of `packets` frames of random traffic against the policy, and what the evaluator makes of it.
pub fn explore(case: &mut Case, accepted: &Accepted, traffic: u64, packets: usize) -> Played {
    let mut play = Play::new(case, accepted);
    let mut traffic = Traffic::new(traffic, Vocabulary::of(&accepted.policy));
    while play.seen.len() < packets {
        let step = traffic.next_step();
        let left = play.step(&step);
        traffic.observe(left.as_deref());
        case.steps.push(step);
    }
    play.finish()
}

/// What the evaluator makes of a case.
pub fn play(case: &Case, accepted: &Accepted) -> Played {
    let mut play = Play::new(case, accepted);
    for step in &case.steps {
        play.step(step);
    }
    play.finish()
}

/// The evaluator's own account of one frame, for people.
pub fn explain(case: &Case, accepted: &Accepted, frame: usize) -> String {
    let evaluator = Evaluator::new(&accepted.policy);
    let mut state = state(case);
    let mut number = 0;
    for step in &case.steps {
        match step {
            Step::Frame(bytes) => {
                let run = evaluator.run(&mut state, bytes);
                if number == frame {
                    let path: Vec<String> =
                        run.path.iter().map(|step| format!("  {:?} {}", step.kind, step.text)).collect();
                    return format!("{:?}, counted {:?}\n{}", run.verdict, run.counted, path.join("\n"));
                }
                number += 1;
            }
            between => set(&mut state, between),
        }
    }
    String::new()
}

/// Fresh state for a case.
pub fn state(case: &Case) -> State {
    let mut state = State::new(case.key);
    state.seed = case.seed;
    state.clock = START;
    (state.date, state.date_at) = (DATE, START);
    state.test_keys = true;
    state
}

/// The wall clock at `START`, in seconds since 1970: 2026-01-01.
const DATE: i64 = 1_767_225_600;

/// What is to be added to the clock to have the wall clock, in ns.
pub const WALL: i64 = DATE * 1_000_000_000 - START as i64;

/// The tick at which a case ends.
pub fn end(case: &Case) -> u32 {
    let clocks = case.steps.iter().rev().find_map(|step| match step {
        Step::Clock(ns) => Some(*ns),
        _ => None,
    });
    (clocks.unwrap_or(START) >> TICK_SHIFT) as u32
}

/// Does to the state what a step between frames does.
pub fn set(state: &mut State, step: &Step) {
    match step {
        Step::Clock(ns) => state.clock = *ns,
        Step::Backend { ordinal, there: true } => {
            state.absent.remove(ordinal);
        }
        Step::Backend { ordinal, there: false } => {
            state.absent.insert(*ordinal);
        }
        // The policy names every backend.
        Step::Apply { .. } => state.absent.clear(),
        Step::Frame(_) => {}
    }
}

impl<'p> Play<'p> {
    fn new(case: &Case, accepted: &'p Accepted) -> Play<'p> {
        Play {
            evaluator: Evaluator::new(&accepted.policy),
            accepted,
            state: state(case),
            seen: Vec::new(),
            reasons: [0; REASON_COUNT],
            tallies: BTreeMap::new(),
            lines: BTreeMap::new(),
        }
    }

    /// The frame as it left.
    fn step(&mut self, step: &Step) -> Option<Vec<u8>> {
        match step {
            Step::Frame(frame) => {
                let run = self.evaluator.run(&mut self.state, frame);
                for reason in &run.counted {
                    self.reasons[*reason as usize] += 1;
                }
                self.tally(&run, frame.len() as u64);
                self.seen.push(run.seen());
                run.frame
            }
            between => {
                set(&mut self.state, between);
                None
            }
        }
    }

    fn tally(&mut self, run: &Run, bytes: u64) {
        for step in &run.path {
            let key = match step.kind {
                StepKind::Arm => (TallyKind::Arm, step.text.clone(), self.line(step)),
                StepKind::Else => (TallyKind::Arm, "else".to_owned(), self.line(step)),
                StepKind::Turn(turn) => (TallyKind::Way, format!("{}: {turn}", step.text), 0),
                StepKind::Stage { exit: Some(exit) } => {
                    (TallyKind::Exit, format!("{} ({exit})", step.text), 0)
                }
                StepKind::Stage { exit: None } => match step.text.strip_prefix("count ") {
                    Some(name) => (TallyKind::Named, name.to_owned(), 0),
                    None => continue,
                },
                _ => continue,
            };
            let count: &mut Count = self.tallies.entry(key).or_default();
            count.packets += 1;
            count.bytes += bytes;
        }
    }

    /// The sources count lines from the top of the text, which is too slow to do for each packet.
    fn line(&mut self, step: &PathStep) -> u32 {
        let Some(span) = step.span else { return 0 };
        *self.lines.entry(span).or_insert_with(|| self.accepted.sources.place(span).line)
    }

    fn finish(self) -> Played {
        let played = Played {
            seen: self.seen,
            reasons: self.reasons,
            tallies: self.tallies,
            flows: flows(&self.state),
            proven: proven(&self.state, self.accepted.image.trackers.len()),
            sessions: sessions(&self.state),
        };
        played.identified(&self.accepted.image)
    }
}

/// Sessions that live now.
pub fn sessions(state: &State) -> Sessions {
    let live = state.sessions.iter().filter(|(_, one)| state.tick().wrapping_sub(one.last) <= one.timeout);
    live.map(|(key, one)| (*key, (one.last, one.timeout, one.backends.clone()))).collect()
}

/// Proven flows of each tracker.
pub fn proven(state: &State, trackers: usize) -> Vec<u64> {
    (0..trackers as u32).map(|tracker| state.proven.get(&tracker).copied().unwrap_or(0)).collect()
}

/// The flow tables of a state, with what it knows of each flow's certificate.
pub fn flows(state: &State) -> Flows {
    let entry = |(key, flow): (&FlowKey, &Flow)| {
        let learned = state.learned.get(key);
        let cert = learned.and_then(|learned| learned.certificate).map_or(0, |number| 1 + number as u16);
        let is_session = learned.is_some_and(|learned| learned.in_session);
        (*key, Flow { cert, flags: if is_session { FLOW_IS_SESSION } else { 0 }, ..*flow })
    };
    [&state.flows_new, &state.flows_answered, &state.flows_proven]
        .map(|table| in_order(table.iter().map(entry)))
}
