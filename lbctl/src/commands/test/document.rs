//! Owns the JSON of `lbctl test`. Never what is in it.

use compiler::expect::{Finding, Report, Test};
use compiler::prove;
use policy_lang::source::Sources;
use serde_json::{Value, json};

use super::coverage::Coverage;
use super::lines::{others, written};
use crate::findings::places::Places;
use crate::policy_file::PolicyFile;
use crate::{findings, way};

/// The whole run. `compared` names what ran the packets besides the evaluator.
pub fn document(
    file: &PolicyFile,
    report: &Report,
    proofs: &prove::Report,
    coverage: Option<&Coverage>,
    compared: &[&str],
    places: &Places,
) -> Value {
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
        "compared": compared,
        "coverage": coverage.map(|coverage| coverage.document(places)),
        "tests": tests,
        "asserts": asserts.collect::<Vec<_>>(),
        "findings": findings::json(&file.sources, &file.findings),
    })
}

fn test_document(test: &Test, places: &Places, sources: &Sources) -> Value {
    let packets = test.packets.iter().map(|packet| {
        let place = places.start(packet.span);
        let by = |name: &str| others(&packet.finding).find(|(who, _)| *who == name).map(|(_, what)| what);
        json!({
            "file": places.file(packet.span).name,
            "line": place.line,
            "column": place.column,
            "packet": written(packet.span, places),
            "times": packet.times,
            "time": packet.time,
            "expected": packet.expected,
            "got": packet.got,
            "tables": by("tables"),
            "program": by("program"),
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
