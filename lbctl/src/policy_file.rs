//! Owns the way from a file name to a checked policy and its image, with what was found told on the way.
//! Never what is right or wrong in a policy.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::time::SystemTime;

use lb_abi::bundle::Image;
use policy_lang::diagnostic::{Diagnostic, NEVER, PEDANTIC, Severity, never};
use policy_lang::policy::Policy;
use policy_lang::source::{Loader, Sources, Span};

use crate::args::Format;
use crate::console::{Console, Failure};
use crate::files;
use crate::findings;

/// A policy file after reading, checking and compiling.
pub struct PolicyFile {
    /// As shown in messages.
    pub name: String,
    pub sources: Sources,
    /// Of the language and, for a policy without errors, of the compiler; judged by `--deny`.
    pub findings: Vec<Diagnostic>,
    /// What only those hear who ask for it, as warnings.
    pub pedantic: Vec<Diagnostic>,
    /// None if the language found errors.
    pub policy: Option<Policy>,
    /// None if there are errors.
    pub image: Option<Image>,
}

/// Reads, checks and compiles, with certificates as they are now; what is found is not told yet.
pub fn load(path: &Path, deny: &[String]) -> Result<PolicyFile, Failure> {
    load_at(path, deny, now())
}

/// As `load`, with certificates as they are at a time in seconds since 1970.
pub fn load_at(path: &Path, deny: &[String], at: i64) -> Result<PolicyFile, Failure> {
    // First, so that a mistyped `--deny` is told before a long check.
    findings::judge(Vec::new(), deny)?;
    let files::Policy { name, text, directory } = files::read_policy(path)?;
    if path.extension().is_some_and(|ending| ["toml", "yaml", "yml"].map(OsStr::new).contains(&ending)) {
        let cure = format!("`lbctl import {name}` makes a policy of another balancer's configuration");
        return Err(Failure::new(format!("{name}: is no policy; {cure}")));
    }
    examine(name, text, &directory, deny, at)
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

/// The value of an option that is a date.
pub fn date(text: &str) -> Result<i64, String> {
    policy_lang::date(text).ok_or_else(|| "write 2027-01-31, or 2027-01-31T12:00:00Z".to_owned())
}

/// As `load_at`, for a text that is at hand.
pub fn examine(
    name: String,
    text: String,
    loader: &dyn Loader,
    deny: &[String],
    at: i64,
) -> Result<PolicyFile, Failure> {
    let checked = policy_lang::check(&name, text, loader);
    let mut found = checked.diagnostics;
    let typed = checked.policy.as_ref().or(checked.partly_reached.as_ref());
    found.extend(typed.iter().flat_map(|policy| policy_lang::validity(policy, at)));
    found.extend(analysed(typed, &found));
    let pedantic = found.iter().filter(|one| PEDANTIC.contains(&one.code));
    let pedantic = pedantic.map(|one| Diagnostic { severity: Severity::Warning, ..one.clone() }).collect();
    // What cannot be compiled for such an error would be told twice.
    let sound = checked.policy.as_ref().filter(|_| findings::errors(&found) == 0);
    let compiled = sound.map(|policy| compiler::compile(policy, &checked.sources));
    let image = compiled.and_then(|result| result.map_err(|refused| found.extend(refused)).ok());
    let findings = findings::judge(found, deny)?;
    let image = image.filter(|_| findings::errors(&findings) == 0);
    Ok(PolicyFile { name, sources: checked.sources, findings, pedantic, policy: checked.policy, image })
}

/// What the compiler finds in a policy, or in one whose only errors are parts that no packet reaches; `told` is what the
/// language has found.
pub fn analysed(policy: Option<&Policy>, told: &[Diagnostic]) -> Vec<Diagnostic> {
    let never = never(told);
    let mut found = policy.map(compiler::analyse).unwrap_or_default();
    // An arm need not be told that holds a comparison that never matches.
    found.retain(|one| {
        let place = one.primary.0;
        let is_told =
            |told: &Span| told.file == place.file && told.start < place.end && place.start < told.end;
        !(NEVER.contains(&one.code) && never.iter().any(is_told))
    });
    found
}

impl PolicyFile {
    /// Holds the claims of a policy without errors: one with errors may not mean what its claims speak of.
    pub fn prove(&mut self) {
        if let (Some(policy), 0) = (&self.policy, findings::errors(&self.findings)) {
            self.findings.extend(compiler::prove::run(policy).diagnostics());
        }
    }

    /// For verbs that go on with the image: tells what was found on standard error, and gives nothing where there
    /// are errors.
    pub fn compiled(mut self, console: &mut Console) -> Option<(Policy, Image)> {
        self.tell(console, Format::Human);
        Some((self.policy.take()?, self.image.take()?))
    }

    /// What was found, as `--json` tells it; `not_yet` are the codes that were set aside.
    pub fn document(&self, not_yet: &BTreeSet<&'static str>) -> serde_json::Value {
        let errors = findings::errors(&self.findings);
        serde_json::json!({
            "version": 1,
            "file": self.name,
            "policy": self.policy.as_ref().map(|policy| &policy.name),
            "errors": errors,
            "warnings": self.findings.len() - errors,
            "findings": findings::json(&self.sources, &self.findings),
            "not_yet": not_yet,
        })
    }

    /// The findings on standard error, and how many there are; nothing for `Format::Json`.
    pub fn tell(&self, console: &mut Console, format: Format) {
        let text = match format {
            Format::Human => findings::human(&self.sources, &self.findings, console.err_colours()),
            Format::Short => findings::short(&self.sources, &self.findings),
            Format::Json => return,
        };
        console.say(&text);
        if findings::errors(&self.findings) > 0 {
            console.say(&format!("{}: {}\n", self.name, findings::tally(&self.findings)));
        }
    }

    /// Whether the only errors are uses of what this edition cannot carry out: such a policy has a meaning, and no image.
    pub fn is_only_not_yet(&self) -> bool {
        let mut errors = self.findings.iter().filter(|one| one.severity == Severity::Error);
        errors.all(|one| one.code.starts_with('N'))
    }

    /// Takes what the compiler refuses as not yet possible out of the findings; gives its codes. For verbs that need no
    /// image.
    pub fn set_aside_to_come(&mut self) -> BTreeSet<&'static str> {
        if self.policy.is_none() {
            return BTreeSet::new();
        }
        let to_come = self.findings.extract_if(.., |one| one.code.starts_with('N'));
        to_come.map(|one| one.code).collect()
    }

    /// Why a policy with errors cannot be run.
    pub fn why_not(&self) -> String {
        let codes: BTreeSet<&str> =
            self.findings.iter().map(|one| one.code).filter(|code| code.starts_with('N')).collect();
        if !self.is_only_not_yet() {
            return "the policy has errors".to_owned();
        }
        let codes: Vec<&str> = codes.into_iter().collect();
        format!("the policy uses what this edition of lbctl cannot carry out yet ({})", codes.join(", "))
    }
}
