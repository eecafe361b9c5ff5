//! Owns what became of each test and claim, as lines for people. Never the coverage, nor the summary.

use std::fmt::Write as _;

use compiler::eval::PathStep;
use compiler::expect::{Finding, Packet, Report, Test};
use compiler::prove::Asserted;
use policy_lang::source::{Sources, Span};

use crate::findings;
use crate::findings::places::Places;
use crate::table::columns;
use crate::way::{self, at};

const OUR_BUG: &str = "they differ from the evaluator: this is a bug of lbctl, please report it";

/// Those that did otherwise than the evaluator, and what they did.
pub fn others(finding: &Finding) -> impl Iterator<Item = (&'static str, &String)> {
    let (tables, program) = match finding {
        Finding::Disagreed { tables, program } => (tables.as_ref(), program.as_ref()),
        Finding::Passed | Finding::Failed => (None, None),
    };
    [("tables", tables), ("program", program)].into_iter().filter_map(|(who, what)| Some((who, what?)))
}

/// Every place that the report names.
pub fn spans(report: &Report) -> impl Iterator<Item = Span> {
    report.tests.iter().flat_map(|test| {
        let steps = test.packets.iter().flat_map(|packet| packet.path.iter().filter_map(|step| step.span));
        std::iter::once(test.span).chain(test.packets.iter().map(|packet| packet.span)).chain(steps)
    })
}

pub fn written<'a>(span: Span, places: &Places<'a>) -> &'a str {
    places.file(span).text.get(places.range(span)).unwrap_or_default().trim()
}

pub fn human(test: &Test, places: &Places, sources: &Sources) -> String {
    if test.passed() {
        return format!("ok      {}\n", test.title);
    }
    let mut text = format!("FAILED  {}\n", test.title);
    if !test.refused.is_empty() {
        let _ = writeln!(text, "  with what is given, the policy does not compile:");
        text.push_str(&findings::short(sources, &test.refused));
    }
    for packet in test.packets.iter().filter(|packet| packet.finding != Finding::Passed) {
        let _ = writeln!(text, "  {}: {}", at(packet.span, places), written(packet.span, places));
        let which = if packet.times > 1 {
            format!(" by packet {} of {}", packet.time, packet.times)
        } else {
            String::new()
        };
        let _ = writeln!(text, "    expected  {}", packet.expected);
        let _ = writeln!(text, "    got       {}{which}", packet.got);
        for (who, what) in others(&packet.finding) {
            let _ = writeln!(text, "    {who:<8}  {what}");
        }
        if let Finding::Disagreed { .. } = packet.finding {
            let _ = writeln!(text, "    {}", OUR_BUG);
        }
        let _ = writeln!(text, "    its way");
        text.push_str(&columns(&way(packet, places), &[], "      "));
    }
    text
}

pub fn human_proof(assert: &Asserted, sources: &Sources) -> String {
    if assert.holds() {
        return format!("proved  {}\n", assert.title);
    }
    format!("FALSE   {}\n{}", assert.title, findings::human(sources, &assert.diagnostics(), false))
}

/// Place, answer and text of each step.
fn way(packet: &Packet, places: &Places) -> Vec<Vec<String>> {
    let steps = packet.path.iter().enumerate();
    let shown = steps.filter(|&(index, step)| !way::is_said_next(step, packet.path.get(index + 1)));
    let row = |step: &PathStep| {
        let place = step.span.map_or(String::new(), |span| at(span, places));
        let (answer, text) = way::told(step);
        vec![place, answer.to_owned(), text]
    };
    shown.map(|(_, step)| row(step)).collect()
}

pub fn short(test: &Test, places: &Places, sources: &Sources) -> String {
    let mut text = findings::short(sources, &test.refused);
    for packet in test.packets.iter().filter(|packet| packet.finding != Finding::Passed) {
        let others: String =
            others(&packet.finding).map(|(who, what)| format!(", the {who} {what}")).collect();
        let _ = writeln!(
            text,
            "{}: failed: {}: expected {}, got {}{others}",
            at(packet.span, places),
            test.title,
            packet.expected,
            packet.got
        );
    }
    text
}
