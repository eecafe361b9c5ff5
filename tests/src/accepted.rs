//! Owns the way from a policy's text to what the implementations run: typed tree and image. Never a file that the
//! policy does not name.

use std::ops::Range;
use std::path::{Path, PathBuf};

use lb_abi::bundle::Image;
use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::policy::Policy;
use policy_lang::source::{Loader, Sources};

use crate::policy_text::{certified_text, policy_text, with_other_guards};

/// A policy that language and compiler accept.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub policy: Policy,
    pub sources: Sources,
    pub image: Image,
}

/// Reads what a policy includes from the project's `policies/`.
struct FromPolicies;

impl Loader for FromPolicies {
    fn load(&self, name: &Path) -> Result<String, String> {
        std::fs::read_to_string(policies().join(name)).map_err(|error| error.to_string())
    }
}

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

impl Accepted {
    /// Checks and compiles a text; what it includes is found in the project's `policies/`. The error has a line for each
    /// finding.
    pub fn new(text: &str) -> Result<Accepted, String> {
        let checked = policy_lang::check("policy.lbp", text.to_owned(), &FromPolicies);
        let Some(policy) = checked.policy else {
            let errors = checked.diagnostics.iter().filter(|one| one.severity == Severity::Error);
            return Err(lines(errors));
        };
        match compiler::compile(&policy, &checked.sources) {
            Ok(image) => Ok(Accepted { policy, sources: checked.sources, image }),
            Err(refused) => Err(lines(refused.iter())),
        }
    }
}

/// A random policy that is accepted, once guards that can't be satisfied have given way to others; or why it is not. One
/// of three has certificates.
pub fn random(seed: u64) -> Result<(String, Accepted), String> {
    let mut text = if seed.is_multiple_of(3) { certified_text(seed) } else { policy_text(seed) };
    for round in 0..8 {
        let dead = dead_guards(&text);
        if dead.is_empty() {
            break;
        }
        text = with_other_guards(&text, &dead, seed ^ round << 32);
    }
    let accepted = Accepted::new(&text).map_err(|why| format!("{why}\n{text}"))?;
    Ok((text, accepted))
}

/// Places of guards that the language refuses because nothing gets through them.
fn dead_guards(text: &str) -> Vec<Range<usize>> {
    let checked = policy_lang::check("policy.lbp", text.to_owned(), &FromPolicies);
    let dead = checked.diagnostics.iter().filter(|one| matches!(one.code, "E0414" | "E0415"));
    dead.map(|one| one.primary.0.start as usize..one.primary.0.end as usize).collect()
}

fn lines<'a>(diagnostics: impl Iterator<Item = &'a Diagnostic>) -> String {
    diagnostics.map(|one| format!("{}: {}", one.code, one.message)).collect::<Vec<_>>().join("\n")
}

/// Text of a policy of the project's `policies/`.
pub fn written(name: &str) -> String {
    let path = policies().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
