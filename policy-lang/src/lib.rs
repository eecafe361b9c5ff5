//! The lbp language: text to typed tree, with diagnostics. Owns text, names, types and what is said about them.
//! Never files (it is given a `Loader`), the clock, maps or BPF.
#![forbid(unsafe_code)]

mod ast;
pub mod codes;
pub mod diagnostic;
pub mod format;
pub mod inventory;
mod list;
mod load;
mod names;
mod parse;
pub mod policy;
mod report;
mod rules;
pub mod source;
mod text;
mod typing;
mod validity;
mod value;

pub use validity::validity;
pub use value::quantity::grouped;

/// Certificates and keys as their files hold them, for those who make and show them.
pub mod certificate {
    pub use crate::value::Fault;
    pub use crate::value::certificate::{Identity, bare, certificate, hash, kind, public_key};
}

/// What a text turned out to be.
#[derive(Debug)]
pub struct Checked {
    /// None if there is any error.
    pub policy: Option<policy::Policy>,
    /// The tree of a policy whose only errors are parts that no packet reaches (`diagnostic::never`): it can be drawn, and
    /// must not be run.
    pub partly_reached: Option<policy::Policy>,
    /// Every text that took part; spans point into them.
    pub sources: source::Sources,
    /// In the order of the text.
    pub diagnostics: Vec<diagnostic::Diagnostic>,
}

/// Reads a policy with all it includes, and says everything that is wrong with it.
///
/// `root_name` is shown to the user as the name of `text`; `loader` gives the texts of includes and lists. No input
/// makes this panic.
pub fn check(root_name: &str, text: String, loader: &dyn source::Loader) -> Checked {
    check_asked(root_name, text, loader, &[]).0
}

/// Steps of an `expect`, but written beside the policy and without outcomes.
#[derive(Debug)]
pub struct Asked {
    /// In order; those that could be read, and none if the policy has an error.
    pub steps: Vec<policy::Step>,
    /// What is wrong with the steps; their texts are the sources named `packet 1`, `packet 2`, ….
    pub diagnostics: Vec<diagnostic::Diagnostic>,
}

/// As `check`, and reads what is asked about the policy: each text holds steps of an `expect` (`packet …`,
/// `given …`, `after …`) without outcomes, divided by newlines or `;`.
pub fn check_asked(
    root_name: &str,
    text: String,
    loader: &dyn source::Loader,
    texts: &[String],
) -> (Checked, Asked) {
    let mut report = report::Report::default();
    let mut loaded = load::load(root_name, text, loader, &mut report);
    let mut asked = typing::Asked::default();
    for (number, text) in (1..).zip(texts) {
        let file = loaded.add(format!("packet {number}"), Default::default(), text.clone());
        asked.written.extend(parse::steps(file, text, &mut asked.report));
    }
    let policy = typing::policy(&mut loaded, loader, &mut report, &mut asked);
    let (policy, partly_reached) = match report.has_errors() {
        false => (policy, None),
        true => (None, policy.filter(|_| report.errors_are(diagnostic::NEVER))),
    };
    let checked =
        Checked { policy, partly_reached, sources: loaded.sources, diagnostics: report.into_sorted() };
    (checked, Asked { steps: asked.steps, diagnostics: asked.report.into_sorted() })
}

/// `2027-01-31` or `2027-01-31T12:00:00Z`, in seconds since 1970; None for any other text.
pub fn date(text: &str) -> Option<i64> {
    value::date::date(text).ok()
}

/// The day of a moment in seconds since 1970: `2027-01-31`, in UTC.
pub fn day(seconds: i64) -> String {
    value::date::written(seconds)
}

/// `500ms`, `5s`, `2m`; None for any other text.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    value::quantity::duration(text).ok()
}
