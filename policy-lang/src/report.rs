//! Owns the list of findings while a text is checked, and the shape in which a finding is written down.
//! Never decides what is wrong.

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Span;

#[derive(Default)]
pub(crate) struct Report {
    found: Vec<Diagnostic>,
}

impl Report {
    pub fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Finding<'_> {
        self.add(code, Severity::Error, span, message.into())
    }

    pub fn warning(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Finding<'_> {
        self.add(code, Severity::Warning, span, message.into())
    }

    /// Shown only to those who deny it.
    pub fn allowed(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Finding<'_> {
        self.add(code, Severity::Allowed, span, message.into())
    }

    fn add(&mut self, code: &'static str, severity: Severity, span: Span, message: String) -> Finding<'_> {
        self.found.push(Diagnostic {
            code,
            severity,
            message,
            primary: (span, String::new()),
            secondary: Vec::new(),
            reason: None,
            help: None,
        });
        let last = self.found.len() - 1;
        Finding(&mut self.found[last])
    }

    /// How many errors there are so far.
    pub fn errors(&self) -> usize {
        self.found.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Every error has one of these codes.
    pub fn errors_are(&self, codes: &[&str]) -> bool {
        let mut errors = self.found.iter().filter(|finding| finding.severity == Severity::Error);
        errors.all(|finding| codes.contains(&finding.code))
    }

    /// In the order of the text; findings of one place stay in the order they were made.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|finding| (finding.primary.0.file, finding.primary.0.start));
        // What stands in a const is read wherever the const is used.
        self.found.dedup();
        self.found
    }
}

/// A finding that is being written.
pub(crate) struct Finding<'a>(&'a mut Diagnostic);

impl Finding<'_> {
    pub fn label(self, words: impl Into<String>) -> Self {
        self.0.primary.1 = words.into();
        self
    }

    pub fn also(self, span: Span, words: impl Into<String>) -> Self {
        self.0.secondary.push((span, words.into()));
        self
    }

    pub fn because(self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    pub fn help(self, cure: impl Into<String>) -> Self {
        self.0.help = Some(cure.into());
        self
    }
}

/// The candidate that `word` was most likely meant to be, if one is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = if word.len() <= 3 { 1 } else { (word.len() / 3).min(3) };
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
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
