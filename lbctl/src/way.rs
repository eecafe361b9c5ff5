//! Owns the words for the steps of a packet's way through a policy, and for their places.
//! Never the way itself.

use compiler::eval::{PathStep, StepKind};
use policy_lang::source::Span;
use serde_json::{Value, json};

use crate::findings::places::Places;

/// A step in the words of a user: what was answered, and to what.
pub fn told(step: &PathStep) -> (&'static str, String) {
    let text = &step.text;
    match step.kind {
        StepKind::Guard { held: false } => ("no", text.clone()),
        StepKind::Guard { held: true } => ("yes", text.clone()),
        StepKind::Arm | StepKind::Else => ("taken", text.clone()),
        StepKind::Turn(way) => ("taken", format!("{text}, way {way}")),
        StepKind::Before => ("", format!("before the tree: {text}")),
        StepKind::Tree => ("", format!("tree {text}")),
        StepKind::Stage { exit: None } | StepKind::End => ("", text.clone()),
        StepKind::Stage { exit: Some(exit) } => ("", format!("{text}, left by {exit}")),
        StepKind::Refused => ("", format!("dropped here: {text}")),
        StepKind::Node(offset) => ("", format!("node {offset} {text}")),
    }
}

/// A guard of one comparison is the arm itself, which comes next.
pub fn is_said_next(step: &PathStep, next: Option<&PathStep>) -> bool {
    step.kind == StepKind::Guard { held: true }
        && next.is_some_and(|next| next.kind == StepKind::Arm && next.span == step.span)
}

/// `file:line:column`.
pub fn at(span: Span, places: &Places) -> String {
    let place = places.start(span);
    format!("{}:{}:{}", places.file(span).name, place.line, place.column)
}

fn kind(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Guard { .. } => "guard",
        StepKind::Arm => "arm",
        StepKind::Else => "else",
        StepKind::Turn(_) => "way",
        StepKind::Before => "before the tree",
        StepKind::Tree => "tree",
        StepKind::Stage { .. } => "stage",
        StepKind::End => "end",
        StepKind::Refused => "refused",
        StepKind::Node(_) => "node",
    }
}

/// A step in JSON.
pub fn document(step: &PathStep, places: &Places) -> Value {
    let (answer, text) = told(step);
    let place = step.span.map(|span| places.start(span));
    let exit = match step.kind {
        StepKind::Stage { exit } => exit,
        _ => None,
    };
    json!({
        "kind": kind(step.kind),
        "file": step.span.map(|span| &places.file(span).name),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "exit": exit,
        "answer": (!answer.is_empty()).then_some(answer),
        "text": text,
    })
}
