//! Owns what the tests of this crate share: texts from the repository's directories, and findings as plain text.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use policy_lang::Checked;
use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::source::{Loader, Sources, Span};

pub struct Directory(pub PathBuf);

impl Loader for Directory {
    fn load(&self, name: &Path) -> Result<String, String> {
        std::fs::read_to_string(self.0.join(name)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// A path below the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

pub fn check(path: &Path) -> Checked {
    let text = std::fs::read_to_string(path).expect("the case can be read");
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    let directory = path.parent().expect("a directory").to_path_buf();
    with_validity(policy_lang::check(&name, text, &Directory(directory)))
}

/// With what is said of certificates on the day of the examples.
pub fn with_validity(mut checked: Checked) -> Checked {
    let policy = checked.policy.iter();
    let told = policy.flat_map(|policy| policy_lang::validity(policy, policy_lang::codes::EXAMPLES_AT));
    checked.diagnostics.extend(told);
    checked
}

/// Code, place, underlined text, message, other places, reason and cure of each finding.
pub fn render(checked: &Checked, shown: impl Fn(&Diagnostic) -> bool) -> String {
    let mut out = String::new();
    for finding in checked.diagnostics.iter().filter(|finding| shown(finding)) {
        let kind = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Allowed => "allowed",
        };
        let (span, label) = &finding.primary;
        writeln!(out, "{kind} {}: {}", finding.code, finding.message).unwrap();
        writeln!(out, "  {} {label}", place(&checked.sources, *span)).unwrap();
        for (span, label) in &finding.secondary {
            writeln!(out, "  {} {label}", place(&checked.sources, *span)).unwrap();
        }
        if let Some(reason) = &finding.reason {
            writeln!(out, "  why: {reason}").unwrap();
        }
        if let Some(cure) = &finding.help {
            writeln!(out, "  help: {cure}").unwrap();
        }
    }
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn place(sources: &Sources, span: Span) -> String {
    let place = sources.place(span);
    let text = sources.file(span.file).text.get(span.start as usize..span.end as usize);
    let text = text.expect("a span lies within its text, on the borders of characters");
    format!("{}:{}:{} [{text}]", sources.file(span.file).name, place.line, place.column)
}
