//! Owns `lbctl test`: what became of the expect and assert blocks, as text or as JSON.
//! Never runs a packet or proves a claim itself.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use compiler::eval::PathStep;
use compiler::expect::{self, Finding, Packet, Report, Test};
use compiler::prove::{self, Asserted};
use policy_lang::source::{Sources, Span};
use serde_json::{Value, json};

use crate::args::{Format, FormatArgs};
use crate::console::{Console, Exit, Outcome};
use crate::findings::places::Places;
use crate::policy_file::PolicyFile;
use crate::table::columns;
use crate::way::{self, at};
use crate::{findings, policy_file};

#[derive(clap::Args, Debug)]
#[command(
    about = "Run a policy's expect blocks through evaluator and compiled tables, and prove its assert blocks",
    after_help = EXAMPLES
)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub format: FormatArgs,
}

const EXAMPLES: &str = "\
Examples:
  lbctl test policy.lbp
  lbctl test policy.lbp --format short
  lbctl test policy.lbp --json | jq '.tests[] | select(.passed | not)'

Exit codes: 0 all passed, 1 a test failed or the policy has errors, 2 the file cannot be read.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let file = policy_file::load(&args.file, &[])?;
    let format = args.format.format();
    let errors = findings::errors(&file.findings);
    if errors > 0 {
        file.tell(console, format);
    }
    let (report, proofs) = match (&file.policy, &file.image) {
        (Some(policy), Some(image)) => (expect::run(policy, &file.sources, Some(image)), prove::run(policy)),
        _ => (Report { tests: Vec::new() }, prove::Report { asserts: Vec::new() }),
    };
    let titles = proofs.asserts.iter().map(|assert| assert.span);
    let places = Places::of(&file.sources, spans(&report).chain(titles));
    match format {
        Format::Json => console.json(&document(&file, &report, &proofs, &places))?,
        _ if errors > 0 => console.say(&format!("{}: not tested: {}\n", file.name, file.why_not())),
        Format::Human => {
            for test in &report.tests {
                console.write_all(human(test, &places, &file.sources).as_bytes())?;
            }
            for assert in &proofs.asserts {
                console.write_all(human_proof(assert, &file.sources).as_bytes())?;
            }
        }
        Format::Short => {
            for test in &report.tests {
                console.write_all(short(test, &places, &file.sources).as_bytes())?;
            }
            console.write_all(findings::short(&file.sources, &proofs.diagnostics()).as_bytes())?;
        }
    }
    if format != Format::Json && errors == 0 {
        writeln!(console, "{}: {}", file.name, summary(&report, &proofs))?;
    }
    Ok(if errors == 0 && report.passed() && proofs.holds() { Exit::Well } else { Exit::Findings })
}

fn summary(report: &Report, proofs: &prove::Report) -> String {
    let (tests, claims) = (tested(report), proved(proofs));
    [tests, claims]
        .into_iter()
        .flatten()
        .reduce(|tests, claims| format!("{tests}; {claims}"))
        .unwrap_or_else(|| "no expect or assert blocks, nothing to test".to_owned())
}

fn proved(proofs: &prove::Report) -> Option<String> {
    let all: usize = proofs.asserts.iter().map(|assert| assert.claims.len()).sum();
    let failed = proofs.diagnostics().len();
    match (all, failed) {
        (0, _) => None,
        (1, 0) => Some("1 claim proved".to_owned()),
        (all, 0) => Some(format!("{all} claims proved")),
        (all, failed) => Some(format!("{failed} of {all} claims do not hold")),
    }
}

fn tested(report: &Report) -> Option<String> {
    let failed = report.tests.iter().filter(|test| !test.passed()).count();
    let packets: u64 =
        report.tests.iter().flat_map(|test| &test.packets).map(|packet| u64::from(packet.times)).sum();
    let by = "through the evaluator and the compiled tables";
    match (report.tests.len(), failed) {
        (0, _) => None,
        (1, 0) => Some(format!("1 test passed ({packets} packets, {by})")),
        (all, 0) => Some(format!("{all} tests passed ({packets} packets, {by})")),
        (all, failed) => Some(format!("{failed} of {all} tests failed")),
    }
}

/// Every place that the report names.
fn spans(report: &Report) -> impl Iterator<Item = Span> {
    report.tests.iter().flat_map(|test| {
        let steps = test.packets.iter().flat_map(|packet| packet.path.iter().filter_map(|step| step.span));
        std::iter::once(test.span).chain(test.packets.iter().map(|packet| packet.span)).chain(steps)
    })
}

fn written<'a>(span: Span, places: &Places<'a>) -> &'a str {
    places.file(span).text.get(places.range(span)).unwrap_or_default().trim()
}

fn human(test: &Test, places: &Places, sources: &Sources) -> String {
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
        if let Finding::Disagreed { tables } = &packet.finding {
            let _ = writeln!(text, "    tables    {tables}");
            let _ = writeln!(
                text,
                "    evaluator and compiled tables differ: this is a bug of lbctl, please report it"
            );
        }
        let _ = writeln!(text, "    its way");
        text.push_str(&columns(&way(packet, places), &[], "      "));
    }
    text
}

fn human_proof(assert: &Asserted, sources: &Sources) -> String {
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

fn short(test: &Test, places: &Places, sources: &Sources) -> String {
    let mut text = findings::short(sources, &test.refused);
    for packet in test.packets.iter().filter(|packet| packet.finding != Finding::Passed) {
        let tables = match &packet.finding {
            Finding::Disagreed { tables } => format!(", the tables {tables}"),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "{}: failed: {}: expected {}, got {}{tables}",
            at(packet.span, places),
            test.title,
            packet.expected,
            packet.got
        );
    }
    text
}

fn document(file: &PolicyFile, report: &Report, proofs: &prove::Report, places: &Places) -> Value {
    let failed = report.tests.iter().filter(|test| !test.passed()).count();
    let tests: Vec<Value> =
        report.tests.iter().map(|test| test_document(test, places, &file.sources)).collect();
    let asserts = proofs.asserts.iter().map(|assert| {
        json!({
            "title": assert.title,
            "file": places.file(assert.span).name,
            "line": places.start(assert.span).line,
            "holds": assert.holds(),
            "findings": findings::json(&file.sources, &assert.diagnostics()),
        })
    });
    json!({
        "version": 1,
        "file": file.name,
        "policy": file.policy.as_ref().map(|policy| &policy.name),
        "passed": report.tests.len() - failed,
        "failed": failed,
        "tests": tests,
        "asserts": asserts.collect::<Vec<_>>(),
        "findings": findings::json(&file.sources, &file.findings),
    })
}

fn test_document(test: &Test, places: &Places, sources: &Sources) -> Value {
    let packets = test.packets.iter().map(|packet| {
        let place = places.start(packet.span);
        let tables = match &packet.finding {
            Finding::Disagreed { tables } => Some(tables),
            _ => None,
        };
        json!({
            "file": places.file(packet.span).name,
            "line": place.line,
            "column": place.column,
            "packet": written(packet.span, places),
            "times": packet.times,
            "time": packet.time,
            "expected": packet.expected,
            "got": packet.got,
            "tables": tables,
            "passed": packet.finding == Finding::Passed,
            "path": packet.path.iter().map(|step| way::document(step, places)).collect::<Vec<_>>(),
        })
    });
    json!({
        "title": test.title,
        "file": places.file(test.span).name,
        "line": places.start(test.span).line,
        "passed": test.passed(),
        "packets": packets.collect::<Vec<_>>(),
        "refused": findings::json(sources, &test.refused),
    })
}
