//! Owns the list of findings while a text is checked, and the shape in which a finding is written down.
//! Never decides what is wrong.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Span;

/// Findings of one code that are kept: who mends a thousand checks again, and a text of a million slips costs no more
/// than one of a thousand.
const KEPT: usize = 1_000;
/// Bytes of one sentence: a word of a million letters is named by its beginning.
const SENTENCE: usize = 2_000;
/// Bytes of a word that may be meant by another.
const NEAR: usize = 200;
/// Bytes of a word that may be the beginning of another.
const BEGUN: usize = 4;

#[derive(Default)]
pub(crate) struct Report {
    found: Vec<Diagnostic>,
    errors: usize,
    codes: BTreeMap<&'static str, Found>,
}

/// How often a code was found.
#[derive(Default)]
struct Found {
    count: usize,
    /// The first that is not kept.
    beyond: Option<(Severity, Span)>,
}

impl Report {
    pub fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Finding<'_> {
        self.errors += 1;
        self.add(code, Severity::Error, span, message)
    }

    pub fn warning(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Finding<'_> {
        self.add(code, Severity::Warning, span, message)
    }

    /// Shown only to those who deny it.
    pub fn allowed(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Finding<'_> {
        self.add(code, Severity::Allowed, span, message)
    }

    fn add(
        &mut self,
        code: &'static str,
        severity: Severity,
        span: Span,
        message: impl Into<String>,
    ) -> Finding<'_> {
        let so_far = self.codes.entry(code).or_default();
        so_far.count += 1;
        if so_far.count > KEPT {
            so_far.beyond.get_or_insert((severity, span));
            return Finding(None);
        }
        self.found.push(finding(code, severity, span, sentence(message)));
        Finding(self.found.last_mut())
    }

    /// How often a code was found so far.
    pub fn count(&self, code: &str) -> usize {
        self.codes.get(code).map_or(0, |found| found.count)
    }

    /// Whether no more findings of a code are kept.
    pub fn is_full(&self, code: &str) -> bool {
        self.count(code) > KEPT
    }

    /// How many errors there are so far.
    pub fn errors(&self) -> usize {
        self.errors
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Every error has one of these codes.
    pub fn errors_are(&self, codes: &[&str]) -> bool {
        let mut errors = self.found.iter().filter(|finding| finding.severity == Severity::Error);
        errors.all(|finding| codes.contains(&finding.code))
    }

    /// In the order of the text; findings of one place stay in the order they were made. A code found too often has a
    /// last finding that says so.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        for (code, found) in self.codes {
            let Some((severity, span)) = found.beyond else { continue };
            let message = format!("{KEPT} findings of this kind are told, and there are more");
            self.found.push(finding(code, severity, span, message));
        }
        self.found.sort_by_key(|finding| (finding.primary.0.file, finding.primary.0.start));
        // What stands in a const is read wherever the const is used.
        self.found.dedup();
        self.found
    }
}

fn finding(code: &'static str, severity: Severity, span: Span, message: String) -> Diagnostic {
    Diagnostic {
        code,
        severity,
        message,
        primary: (span, String::new()),
        secondary: Vec::new(),
        reason: None,
        help: None,
    }
}

fn sentence(words: impl Into<String>) -> String {
    let mut text = words.into();
    if text.len() > SENTENCE {
        text.truncate(text.floor_char_boundary(SENTENCE));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// A finding that is being written; None if there are enough of its code.
pub(crate) struct Finding<'a>(Option<&'a mut Diagnostic>);

impl Finding<'_> {
    fn with(mut self, write: impl FnOnce(&mut Diagnostic)) -> Self {
        if let Some(finding) = &mut self.0 {
            write(finding);
        }
        self
    }

    pub fn label(self, words: impl Into<String>) -> Self {
        self.with(|finding| finding.primary.1 = sentence(words))
    }

    pub fn also(self, span: Span, words: impl Into<String>) -> Self {
        self.with(|finding| finding.secondary.push((span, sentence(words))))
    }

    pub fn because(self, reason: impl Into<String>) -> Self {
        self.with(|finding| finding.reason = Some(sentence(reason)))
    }

    pub fn help(self, cure: impl Into<String>) -> Self {
        self.with(|finding| finding.help = Some(sentence(cure)))
    }
}

/// The candidate that `word` was most likely meant to be, if one is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = if word.len() <= 3 { 1 } else { (word.len() / 3).min(3) };
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let near = candidates
        .iter()
        .copied()
        // No word becomes so much longer in so few steps, as a step changes four bytes at most. Nor is a word of a
        // million letters worth the million million steps that the distance to another costs.
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 4 * allowed && candidate.len() <= NEAR)
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate);
    near.or_else(|| {
        // `conn_ttl` for `conn_ttl_sec`.
        let mut begun = candidates.into_iter().filter(|candidate| candidate.starts_with(word));
        begun.next().filter(|_| word.len() >= BEGUN && begun.next().is_none())
    })
}

/// `did you mean …?`, or else what there is to choose from.
pub(crate) fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(word, all.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    all.sort_unstable();
    all.dedup();
    match all.len() {
        0 => "none is declared".to_owned(),
        1..=24 => format!("there is {}", listed(&all)),
        count => format!("there are {count}, among them {}", listed(&all[..8])),
    }
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn listed<S: AsRef<str>>(words: &[S]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
