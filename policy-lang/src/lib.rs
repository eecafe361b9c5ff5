//! The lbp language: text to typed tree, with diagnostics. Owns text, names, types and what is said about them.
//! Never files (it is given a `Loader`), the clock, maps or BPF.
#![forbid(unsafe_code)]

mod ast;
pub mod codes;
pub mod diagnostic;
pub mod format;
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
mod value;

/// What a text turned out to be.
#[derive(Debug)]
pub struct Checked {
    /// None if there is any error.
    pub policy: Option<policy::Policy>,
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
    let mut report = report::Report::default();
    let mut loaded = load::load(root_name, text, loader, &mut report);
    let policy = typing::policy(&mut loaded, loader, &mut report);
    let policy = policy.filter(|_| !report.has_errors());
    Checked { policy, sources: loaded.sources, diagnostics: report.into_sorted() }
}
