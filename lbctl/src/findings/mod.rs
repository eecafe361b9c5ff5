//! Owns how what the language and the compiler have to say is shown: in full, in one line, or as JSON; and what
//! `--deny` makes of it. Never decides what is a finding.

mod excerpt;
pub mod places;

use std::fmt::Write;

use annotate_snippets::renderer::DEFAULT_TERM_WIDTH;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use policy_lang::diagnostic::{Diagnostic, NAMES, Severity};
use policy_lang::source::{Sources, Span};
use serde::Serialize;

use crate::console::Failure;
use places::Places;

/// Findings shown in full; the rest is counted. `short` and `json` show all.
const SHOWN: usize = 50;

/// What `--deny` names become errors; of the findings that only those who deny them hear, the others go. In the order
/// of the text, whoever found them.
pub fn judge(mut diagnostics: Vec<Diagnostic>, deny: &[String]) -> Result<Vec<Diagnostic>, Failure> {
    let mut denied = Vec::new();
    for asked in deny {
        match NAMES.iter().find(|(_, name)| name == asked) {
            Some((code, _)) => denied.push((*code).to_owned()),
            None if is_code(asked) => denied.push(asked.to_uppercase()),
            None => {
                let names: Vec<&str> = NAMES.iter().map(|&(_, name)| name).collect();
                return Err(Failure::new(format!(
                    "--deny {asked}: neither a code such as W0101 nor one of the names {}",
                    names.join(", ")
                )));
            }
        }
    }
    diagnostics.sort_by_key(|one| (one.primary.0.file, one.primary.0.start));
    let judged = diagnostics.into_iter().filter_map(|mut one| {
        if denied.iter().any(|code| code == one.code) {
            one.severity = Severity::Error;
        }
        (one.severity != Severity::Allowed).then_some(one)
    });
    Ok(judged.collect())
}

fn is_code(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic())
        && text.len() == 5
        && chars.all(|rest| rest.is_ascii_digit())
}

/// Errors among the findings.
pub fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|one| one.severity == Severity::Error).count()
}

/// `2 errors, 1 warning`; empty without findings.
pub fn tally(diagnostics: &[Diagnostic]) -> String {
    let errors = errors(diagnostics);
    let warnings = diagnostics.len() - errors;
    let of = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}{}", if n == 1 { "" } else { "s" }));
    let parts: Vec<String> = [of(errors, "error"), of(warnings, "warning")].into_iter().flatten().collect();
    parts.join(", ")
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Allowed => "note",
    }
}

/// Every place that the findings name.
fn spans(diagnostics: &[Diagnostic]) -> impl Iterator<Item = Span> {
    let places = diagnostics.iter().flat_map(|one| std::iter::once(&one.primary).chain(&one.secondary));
    places.map(|&(span, _)| span)
}

/// One line each: `file:line:column: severity[code]: message`.
pub fn short(sources: &Sources, diagnostics: &[Diagnostic]) -> String {
    let places = Places::of(sources, spans(diagnostics));
    let mut text = String::new();
    for one in diagnostics {
        let span = one.primary.0;
        let place = places.start(span);
        let (file, severity) = (&places.file(span).name, word(one.severity));
        let message = one_line(&one.message);
        let _ = writeln!(text, "{file}:{}:{}: {severity}[{}]: {message}", place.line, place.column, one.code);
    }
    text
}

/// Names from a policy may hold anything but must not make a second line or move the cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// With the source underlined, why, and how to mend it.
pub fn human(sources: &Sources, diagnostics: &[Diagnostic], colours: bool) -> String {
    let places = Places::of(sources, spans(diagnostics));
    let width = terminal_size::terminal_size().map_or(DEFAULT_TERM_WIDTH, |(width, _)| usize::from(width.0));
    let renderer = if colours { Renderer::styled() } else { Renderer::plain() }.term_width(width.max(60));
    let mut text = String::new();
    for one in diagnostics.iter().take(SHOWN) {
        text.push_str(&renderer.render(&[group(one, &places)]));
        text.push_str("\n\n");
    }
    if let Some(more) = diagnostics.len().checked_sub(SHOWN + 1) {
        let _ = writeln!(text, "… and {} more; --format short shows them all\n", more + 1);
    }
    text
}

fn group<'a>(one: &'a Diagnostic, places: &Places<'a>) -> Group<'a> {
    let level = match one.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Allowed => Level::NOTE,
    };
    let mut group = level.primary_title(&one.message).id(one.code).elements(Vec::<Origin>::new());
    for excerpt in excerpt::excerpts(one, places) {
        let file = &places.file(Span { file: excerpt.file, start: 0, end: 0 }).name;
        let mut snippet = Snippet::source(excerpt.text).line_start(excerpt.first_line);
        if excerpt.cut {
            let place = excerpt.place;
            let origin = Origin::path(file).line(place.line as usize).char_column(place.column as usize);
            group = group.element(origin);
        } else {
            snippet = snippet.path(file);
        }
        for mark in excerpt.marks {
            let kind = if mark.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let mut annotation = kind.span(mark.range);
            if !mark.label.is_empty() {
                annotation = annotation.label(mark.label);
            }
            snippet = snippet.annotation(annotation);
        }
        group = group.element(snippet);
    }
    if let Some(reason) = &one.reason {
        group = group.element(Level::NOTE.message(reason));
    }
    if let Some(help) = &one.help {
        group = group.element(Level::HELP.message(help));
    }
    group
}

/// A finding in JSON.
#[derive(Serialize)]
pub struct Finding<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    severity: &'static str,
    message: &'a str,
    #[serde(flatten)]
    place: Marked<'a>,
    related: Vec<Marked<'a>>,
    reason: Option<&'a str>,
    help: Option<&'a str>,
}

/// Lines and columns are 1-based and count characters; the end is exclusive.
#[derive(Serialize)]
struct Marked<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    end_line: u32,
    end_column: u32,
    label: &'a str,
}

pub fn json<'a>(sources: &'a Sources, diagnostics: &'a [Diagnostic]) -> Vec<Finding<'a>> {
    let places = Places::of(sources, spans(diagnostics));
    let marked = |(span, label): &'a (Span, String)| {
        let range = places.range(*span);
        let (start, end) = (places.place(span.file, range.start), places.place(span.file, range.end));
        Marked {
            file: &places.file(*span).name,
            line: start.line,
            column: start.column,
            end_line: end.line,
            end_column: end.column,
            label,
        }
    };
    diagnostics
        .iter()
        .map(|one| Finding {
            code: one.code,
            name: NAMES.iter().find(|(code, _)| *code == one.code).map(|&(_, name)| name),
            severity: word(one.severity),
            message: &one.message,
            place: marked(&one.primary),
            related: one.secondary.iter().map(marked).collect(),
            reason: one.reason.as_deref(),
            help: one.help.as_deref(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
