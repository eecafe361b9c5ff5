//! Owns the messages about policies that do not fit. Never the bounds themselves.

use lb_abi::image::{Field, MAX_PICKED, MAX_POLICY_CERTIFICATES, MAX_STEPS, MAX_TRACKERS};
use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::policy::{Limit, Policy, TreeId};
use policy_lang::source::Span;

use super::axis::Axis;
use super::classes::MAX_CLASSES;
use super::rows::MAX_DECISION_WORDS;
use super::slots::MAX_TURNS;
use super::words::MAX_WORDS;
use crate::graph::Graph;

fn refusal(
    code: &'static str,
    message: String,
    place: (Span, &str),
    reason: &str,
    help: &str,
) -> Box<Diagnostic> {
    Box::new(Diagnostic {
        code,
        severity: Severity::Error,
        message,
        primary: (place.0, place.1.to_owned()),
        secondary: Vec::new(),
        reason: Some(reason.to_owned()),
        help: Some(help.to_owned()),
    })
}

pub fn cycle(policy: &Policy, tree: TreeId) -> Box<Diagnostic> {
    let tree = &policy.trees[tree.index()];
    refusal(
        "E0901",
        format!("tree `{}` leads back to itself", tree.name),
        (tree.span, ""),
        "a packet goes through the tree once and never back up",
        "end one of the chains instead",
    )
}

/// A packet's way is bounded.
pub fn too_many_steps(graph: &Graph<'_>) -> Result<(), Box<Diagnostic>> {
    let way = graph.longest_way();
    match way.get(MAX_STEPS) {
        Some(&beyond) => Err(steps(way.len(), graph.graph[beyond].span)),
        None => Ok(()),
    }
}

fn steps(steps: usize, place: Span) -> Box<Diagnostic> {
    refusal(
        "E0902",
        format!("a packet can take {steps} steps to its end, {MAX_STEPS} are allowed"),
        (place, "the first step too many"),
        "each region of guards, each stage and each end is a step, and the time of a packet is bounded by them",
        "join nested matches, or leave out stages on the longest way",
    )
}

pub fn classes(axis: Axis, place: Span) -> Box<Diagnostic> {
    refusal(
        "E0903",
        format!("the sets of this policy cut {} into too many parts", field_name(axis)),
        (place, "one of these sets"),
        &format!("a field has at most {MAX_CLASSES} classes of values that guards tell apart"),
        "join sets that are treated alike",
    )
}

/// The code of `outgrown`.
pub const DECISIONS: &str = "E0904";

pub fn outgrown(first: Span, last: Span) -> Box<Diagnostic> {
    let mut diagnostic = refusal(
        DECISIONS,
        "the decision table of these arms does not fit".to_owned(),
        (first, "from this arm"),
        &format!(
            "decision tables have {MAX_DECISION_WORDS} words in all; arms that cross many sets of sources with many sets of destinations or ports need more"
        ),
        "split the match by one field first, or join arms",
    );
    if first != last {
        diagnostic.secondary.push((last, "to this one".to_owned()));
    }
    diagnostic
}

pub fn words(place: Span) -> Box<Diagnostic> {
    refusal(
        "E0905",
        format!("the image does not fit into {} MiB", (MAX_WORDS * 4) >> 20),
        (place, "most of it is here"),
        "address tables take a row for each part of an address that prefixes tell apart; scattered IPv6 hosts take most",
        "aggregate the prefixes, or list fewer",
    )
}

pub fn slots(pool: &str, slots: u32, place: Span) -> Box<Diagnostic> {
    refusal(
        "E0906",
        format!("{slots} slots of pool `{pool}` are not a prime number"),
        (place, ""),
        "Maglev walks the slots in steps that reach all of them only if their number is prime",
        "65537 serves up to 655 backends, 4099 up to 40",
    )
}

pub fn trackers(count: usize, place: Span) -> Box<Diagnostic> {
    refusal(
        "E0909",
        format!("{count} trackers, {MAX_TRACKERS} are allowed"),
        (place, "the first one too many"),
        "whose flow a packet belongs to is one of few classes",
        "let services of like times share a tracker",
    )
}

pub fn certificates(count: usize, place: Span) -> Box<Diagnostic> {
    refusal(
        "E0910",
        format!("{count} certificates, {MAX_POLICY_CERTIFICATES} are allowed"),
        (place, "the first one too many"),
        "whose certificate a packet has is one of few classes, and those of the policy before keep their numbers",
        "remove the certificates that expired, or spread the authorities over several instances",
    )
}

pub fn picked(pool: &str, first: &str, place: Span) -> Box<Diagnostic> {
    refusal(
        "E0911",
        format!("pool `{pool}` has more than {MAX_PICKED} backends of one family that can be picked"),
        (place, &format!("`{first}` is the first one too many")),
        "where a backend is full or gone, the packet path looks for the next one, and its time is bounded",
        "share the backends out over several pools",
    )
}

pub fn weights(pool: &str, place: Span) -> Box<Diagnostic> {
    refusal(
        "E0907",
        format!("the weights of pool `{pool}` take more than {MAX_TURNS} turns"),
        (place, ""),
        "each backend takes turns as often as its weight, in lowest terms, and a round of turns must end",
        "use weights with a common divisor, such as 100 and 300",
    )
}

pub fn limit(limit: &Limit) -> Box<Diagnostic> {
    refusal(
        "E0908",
        format!("limit `{}` spans more than two years", limit.name),
        (limit.span, ""),
        "the burst divided by the rate is the time that the limit has to remember",
        "use a smaller burst or a higher rate",
    )
}

fn field_name(axis: Axis) -> &'static str {
    match axis {
        Axis::Of(Field::Src) => "the source address",
        Axis::Of(Field::Dst) => "the destination address",
        Axis::Of(Field::Dport) => "the destination port",
        Axis::Of(Field::Sport) => "the source port",
        Axis::Of(Field::Len) => "the length",
        Axis::Sni => "the server name",
        Axis::Payload => "the payload",
        _ => "a field",
    }
}
