//! Owns what the language has to say about a text: code, place, reason, cure. Never colours or terminals.

use crate::source::Span;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    Error,
    /// Shown, and an error to those who deny it.
    Warning,
    /// Said only to those who deny it (`check --deny implicit-exit`).
    Allowed,
}

/// Codes of warnings and allowed findings that have a name, which `--deny` takes as well.
pub const NAMES: &[(&str, &str)] =
    &[(IMPLICIT_EXIT, "implicit-exit"), (REDUNDANT, "redundant-arm"), (IDLE_ELSE, "idle-else")];

/// An exit that is not written and takes the policy's default.
pub const IMPLICIT_EXIT: &str = "W0901";

/// What no packet matches, and arms that are never taken. The policy means something all the same.
pub const NEVER: &[&str] = &["E0414", "E0415", IDLE_ELSE];

/// The places of arms, guards and comparisons that were found to match no packet.
pub fn never(found: &[Diagnostic]) -> Vec<Span> {
    found.iter().filter(|one| NEVER.contains(&one.code)).map(|one| one.primary.0).collect()
}

/// An arm whose packets would meet the same fate without it.
pub const REDUNDANT: &str = "W0902";

/// An `else` that the arms above leave no packet.
pub const IDLE_ELSE: &str = "W0903";

/// What `check --pedantic` tells as warnings.
pub const PEDANTIC: &[&str] = &[REDUNDANT, IDLE_ELSE];

/// One finding. `code` is stable, such as `E0301` or `W0107`; "not yet" refusals are `N….`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    pub code: &'static str,
    pub severity: Severity,
    /// One sentence without a full stop.
    pub message: String,
    /// What is underlined, with a word on it (may be empty).
    pub primary: (Span, String),
    /// Other places that matter ("shadowed by this arm").
    pub secondary: Vec<(Span, String)>,
    /// Why.
    pub reason: Option<String>,
    /// How to mend it.
    pub help: Option<String>,
}
