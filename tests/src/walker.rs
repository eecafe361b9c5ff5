//! Owns running cases through the walker of the compiled tables, its counters included.
//! Never the typed tree and never the kernel.

use compiler::eval::{Run, StepKind};
use lb_abi::bundle::Image;
use lb_abi::image::N_COUNTER;
use lb_abi::reason::REASON_COUNT;

use crate::case::Case;
use crate::differential::{Played, named};
use crate::oracle;
use crate::traffic::Step;

/// What the tables make of a case.
pub fn play(case: &Case, image: &Image) -> Played {
    let mut state = oracle::state(case);
    let mut counters = vec![(0, 0); image.counters.len()];
    let mut seen = Vec::new();
    let mut reasons = [0; REASON_COUNT];
    for step in &case.steps {
        match step {
            Step::Frame(frame) => {
                let run = compiler::tables::run(image, &mut state, frame);
                run.counted.iter().for_each(|reason| reasons[*reason as usize] += 1);
                count(image, &run, frame.len() as u64, &mut counters);
                seen.push(run.seen());
            }
            between => oracle::set(&mut state, between),
        }
    }
    let mut tallies = vec![(0, 0); image.tallies.len()];
    for (counter, count) in image.counters.iter().zip(counters) {
        for tally in &counter.tallies {
            let sum = &mut tallies[*tally as usize];
            *sum = (sum.0 + count.0, sum.1 + count.1);
        }
    }
    Played {
        seen,
        reasons,
        tallies: named(image, tallies.into_iter()),
        flows: oracle::flows(&state),
        proven: oracle::proven(&state, image.trackers.len()),
        sessions: oracle::sessions(&state),
    }
}

/// Each node's counter is bumped on entry.
fn count(image: &Image, run: &Run, bytes: u64, counters: &mut [(u64, u64)]) {
    for step in &run.path {
        let StepKind::Node(offset) = step.kind else { continue };
        let counter = image.words[offset as usize + N_COUNTER];
        if let Some(place) = counter.checked_sub(1) {
            let count = &mut counters[place as usize];
            *count = (count.0 + 1, count.1 + bytes);
        }
    }
}
