//! Owns what must hold whatever the text of a policy: findings have places, what checks can be drawn, compiled, proved,
//! run and explained, it is equal to itself in meaning, and the formatter changes nothing. Never which texts are tried.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use compiler::explain::{Question, explain};
use compiler::figure::figure;
use compiler::{diff, expect, prove};
use policy_lang::diagnostic::{Diagnostic, Severity, never};
use policy_lang::format;
use policy_lang::inventory::{Form, Options, import};
use policy_lang::policy::{Policy, Step};
use policy_lang::source::{Loader, Source, Sources, Span};

/// Texts by name, without a disk.
#[derive(Clone, Debug, Default)]
pub struct Texts(pub BTreeMap<PathBuf, String>);

impl Loader for Texts {
    fn load(&self, name: &Path) -> Result<String, String> {
        self.0.get(name).cloned().ok_or_else(|| "no such file".to_owned())
    }
}

/// How far a text came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Came {
    Refused,
    Checked,
    Compiled,
}

/// Does with a text all that can be done without a kernel.
///
/// # Panics
/// Where anything does not hold; the message says what.
pub fn examine(text: &str, files: &Texts) -> Came {
    let checked = policy_lang::check("p.lbp", text.to_owned(), files);
    placed(&checked.sources, &checked.diagnostics);
    let has_error = checked.diagnostics.iter().any(|one| one.severity == Severity::Error);
    assert_eq!(checked.policy.is_none(), has_error, "a policy comes out if and only if there is no error");
    let formatted = formatted(text);
    if let Some(policy) = checked.policy.as_ref().or(checked.partly_reached.as_ref()) {
        figure(policy, &never(&checked.diagnostics));
    }
    match &checked.policy {
        None => Came::Refused,
        Some(policy) => {
            equal((policy, &checked.sources), (policy, &checked.sources));
            if let Some(formatted) = formatted {
                let again = policy_lang::check("p.lbp", formatted, files);
                let other = again.policy.as_ref().expect("formatted, it checks as before");
                equal((policy, &checked.sources), (other, &again.sources));
            }
            meant(policy, &checked.sources)
        }
    }
}

/// Two texts of one meaning have no difference.
fn equal(old: diff::Side<'_>, new: diff::Side<'_>) {
    let report = diff::run(old, new).unwrap_or_else(|_| panic!("too large to be held against itself"));
    let is_silent = report.is_equal() && report.observed.is_empty() && report.lost.is_empty();
    assert!(is_silent, "equal in meaning, and yet: {report:#?}");
}

/// Does with a text what is done with a TOML inventory that a policy includes.
///
/// # Panics
/// As `examine`.
pub fn examine_included(text: &str) -> Came {
    let files = Texts(BTreeMap::from([("p.toml".into(), text.to_owned())]));
    examine("lbp 1\ninclude \"p.toml\"\npolicy p { default drop } = drop\n", &files)
}

/// Imports a text in both forms; what comes of it is a policy.
///
/// # Panics
/// Where anything does not hold; the message says what.
pub fn examine_import(text: &str) -> Came {
    [Form::Toml, Form::Yaml].into_iter().map(|form| imported(text, form)).max().unwrap_or(Came::Refused)
}

fn imported(text: &str, form: Form) -> Came {
    let options = Options { port: 8080, name: "imported".to_owned(), start: 1_800_000_000 };
    let file = Source { name: "inventory".to_owned(), text: text.to_owned() };
    let imported = import(vec![file], form, &options);
    placed(&imported.sources, &imported.diagnostics);
    assert!(!imported.broken, "the policy that was made has an error: {:#?}", imported.diagnostics);
    match imported.text {
        Some(text) => {
            let came = examine(&text, &Texts::default());
            assert_ne!(came, Came::Refused, "what was imported does not check:\n{text}");
            came
        }
        None => {
            let has_error = imported.diagnostics.iter().any(|one| one.severity == Severity::Error);
            assert!(has_error, "refused without a reason");
            Came::Refused
        }
    }
}

fn meant(policy: &Policy, sources: &Sources) -> Came {
    let compiled = compiler::compile(policy, sources);
    if let Err(refused) = &compiled {
        assert!(!refused.is_empty(), "refused without a reason");
        placed(sources, refused);
    }
    placed(sources, &compiler::analyse(policy));
    placed(sources, &prove::run(policy).diagnostics());
    figure(policy, &[]);
    let report = expect::run(policy, sources, compiled.as_ref().ok());
    for packet in report.tests.iter().flat_map(|test| &test.packets) {
        let is_agreed = !matches!(packet.finding, expect::Finding::Disagreed { .. });
        assert!(is_agreed, "evaluator and tables disagree: {packet:#?}");
    }
    for place in compiler::coverage::places(policy, &report.reached) {
        within(sources, place.span);
    }
    for block in &policy.expects {
        let steps =
            block.steps.iter().filter(|step| !matches!(step, Step::Packet { times, .. } if *times > 1_000));
        let questions: Vec<Question> = steps.cloned().map(Question::Step).collect();
        for step in explain(policy, &questions).iter().flat_map(|answer| &answer.way) {
            step.step.span.into_iter().for_each(|span| within(sources, span));
        }
    }
    if compiled.is_ok() { Came::Compiled } else { Came::Checked }
}

/// The formatter refuses a text, or gives one that it leaves alone.
fn formatted(text: &str) -> Option<String> {
    match format::format("p.lbp", text) {
        Ok(once) => match format::format("p.lbp", &once) {
            Ok(twice) => {
                assert_eq!(once, twice, "formatted twice is formatted once");
                Some(once)
            }
            Err(_) => panic!("what the formatter made is refused:\n{once}"),
        },
        Err(format::Refused::Unread { diagnostics, .. }) => {
            assert!(!diagnostics.is_empty(), "refused to format without a reason");
            None
        }
        Err(format::Refused::Changed) => panic!("the formatter would change the meaning"),
    }
}

/// Every finding has words, and places within the texts.
fn placed(sources: &Sources, findings: &[Diagnostic]) {
    for finding in findings {
        assert!(!finding.message.is_empty(), "{} says nothing", finding.code);
        within(sources, finding.primary.0);
        finding.secondary.iter().for_each(|(span, _)| within(sources, *span));
    }
}

fn within(sources: &Sources, span: Span) {
    let source = sources.file(span.file);
    let text = source.text.get(span.start as usize..span.end as usize);
    assert!(text.is_some(), "{span:?} does not lie within {}, on the borders of characters", source.name);
    let place = sources.place(span);
    assert!(place.line > 0 && place.column > 0, "{place:?}");
}
