//! Owns the way of a packet as the evaluator tells it: in words, and as the counters it must have bumped.
//! Never a packet or a counter's value.

use std::fmt;

use compiler::eval::{PathStep, StepKind};
use ebpf_runtime::status::TallyKind;

/// How the counter of a step is labelled.
pub enum Label<'a> {
    Whole(&'a str),
    /// `every 2: 1`, with the form of the `every` between.
    Way(&'a str, u32),
    /// `track conns (full)`.
    Exit(&'a str),
}

impl Label<'_> {
    pub fn matches(&self, label: &str) -> bool {
        match self {
            Label::Whole(text) => label == *text,
            Label::Way(every, way) => label
                .strip_prefix(every)
                .is_some_and(|rest| rest.starts_with([' ', ':']) && rest.ends_with(&format!(": {way}"))),
            Label::Exit(exit) => label.ends_with(&format!("({exit})")),
        }
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Whole(text) => write!(f, "`{text}`"),
            Label::Way(every, way) => write!(f, "way {way} of `{every}`"),
            Label::Exit(exit) => write!(f, "the exit `{exit}`"),
        }
    }
}

/// The counter of a step, where it has one.
pub fn tally_of(step: &PathStep) -> Option<(TallyKind, Label<'_>)> {
    match step.kind {
        StepKind::Arm | StepKind::Else => Some((TallyKind::Arm, Label::Whole(&step.text))),
        StepKind::Turn(way) => Some((TallyKind::Way, Label::Way(&step.text, way))),
        StepKind::Stage { exit: Some(exit) } => Some((TallyKind::Exit, Label::Exit(exit))),
        _ => None,
    }
}

/// The way as a console shows it.
pub fn words(path: &[PathStep]) -> Vec<String> {
    let word = |step: &PathStep| match step.kind {
        StepKind::Guard { .. } | StepKind::Node(_) => None,
        StepKind::Turn(way) => Some(format!("{}, way {way}", step.text)),
        StepKind::Stage { exit: Some(exit) } => Some(format!("{} ({exit})", step.text)),
        StepKind::Refused => Some(format!("dropped: {}", step.text)),
        _ => Some(step.text.clone()),
    };
    path.iter().filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: StepKind, text: &str) -> PathStep {
        PathStep::new(kind, None, text)
    }

    #[test]
    fn a_way_is_told_without_the_arms_not_taken() {
        let path = [
            step(StepKind::Guard { held: false }, "src in app"),
            step(StepKind::Else, "else"),
            step(StepKind::Tree, "clients"),
            step(StepKind::Turn(2), "every 2"),
            step(StepKind::Stage { exit: None }, "track conns"),
            step(StepKind::Stage { exit: Some("empty") }, "translate app"),
            step(StepKind::End, "drop"),
        ];
        let told = ["else", "clients", "every 2, way 2", "track conns", "translate app (empty)", "drop"];
        assert_eq!(words(&path), told);
    }

    #[test]
    fn counters_are_known_by_their_labels() {
        let turn = step(StepKind::Turn(2), "every 12");
        let (kind, label) = tally_of(&turn).unwrap();
        assert_eq!(kind, TallyKind::Way);
        assert!(label.matches("every 12: 2") && label.matches("every 12 by flow: 2"));
        assert!(!label.matches("every 12: 12") && !label.matches("every 120: 2"));
        let exit = step(StepKind::Stage { exit: Some("full") }, "track conns");
        assert!(tally_of(&exit).unwrap().1.matches("track conns (full)"));
        let stage = step(StepKind::Stage { exit: None }, "track conns");
        assert!(tally_of(&stage).is_none());
    }
}
