//! Owns the way from a policy's text to what the implementations run: typed tree and image. Never a file that the
//! policy does not name.

use std::path::{Path, PathBuf};

use lb_abi::bundle::Image;
use policy_lang::diagnostic::{Diagnostic, Severity};
use policy_lang::policy::Policy;
use policy_lang::source::{Loader, Sources};

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

fn lines<'a>(diagnostics: impl Iterator<Item = &'a Diagnostic>) -> String {
    diagnostics.map(|one| format!("{}: {}", one.code, one.message)).collect::<Vec<_>>().join("\n")
}

/// Text of a policy of the project's `policies/`.
pub fn written(name: &str) -> String {
    let path = policies().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
