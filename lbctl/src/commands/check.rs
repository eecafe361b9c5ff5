//! Owns `lbctl check`.

use std::io::Write;
use std::path::PathBuf;

use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::Policy;

use crate::args::{Format, FormatArgs};
use crate::console::{Console, Exit, Outcome};
use crate::{findings, policy_file};

#[derive(clap::Args, Debug)]
#[command(about = "Find mistakes in a policy: names, types, what can never be reached, claims that are false", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub format: FormatArgs,
    /// Make this warning (by code or name) an error; may be repeated.
    #[arg(long, value_name = "CODE")]
    pub deny: Vec<String>,
    /// Look at certificates as on this date (2027-01-31, or 2027-01-31T12:00:00Z) instead of now.
    #[arg(long, value_name = "DATE", value_parser = policy_file::date)]
    pub at: Option<i64>,
    /// Also warn of arms that could as well not be there, and of an `else` that no packet comes to.
    #[arg(long)]
    pub pedantic: bool,
}

const EXAMPLES: &str = "\
Examples:
  lbctl check policy.lbp
  lbctl check policy.lbp --deny implicit-exit
  lbctl check policy.lbp --at 2027-01-31 --deny W0437
  lbctl check policy.lbp --pedantic
  lbctl check - --format short < policy.lbp

Exit codes: 0 no errors (warnings do not count), 1 errors, 2 the file cannot be read.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let mut file = policy_file::load_at(&args.file, &args.deny, args.at.unwrap_or_else(policy_file::now))?;
    let to_come = file.set_aside_to_come();
    file.prove();
    if args.pedantic {
        // What is denied is told as an error.
        let is_told = |one: &Diagnostic| file.findings.iter().any(|told| told.code == one.code);
        file.pedantic.retain(|one| !is_told(one));
        file.findings.append(&mut file.pedantic);
        file.findings.sort_by_key(|one| (one.primary.0.file, one.primary.0.start));
    }
    let errors = findings::errors(&file.findings);
    file.tell(console, args.format.format());
    if args.format.format() == Format::Json {
        console.json(&file.document(&to_come))?;
    } else if let Some(policy) = file.policy.as_ref().filter(|_| errors == 0) {
        let warnings = match file.findings.len() {
            0 => String::new(),
            _ => format!("; {}", findings::tally(&file.findings)),
        };
        writeln!(console, "{}: policy {} is well ({}){warnings}", file.name, policy.name, contents(policy))?;
        if !to_come.is_empty() {
            let codes: Vec<&str> = to_come.into_iter().collect();
            writeln!(console, "{}: it cannot be compiled yet ({})", file.name, codes.join(", "))?;
        }
    }
    if let (Format::Human, Some(first)) = (args.format.format(), file.findings.first()) {
        console.say(&format!("what a code means: lbctl explain-code {}\n", first.code));
    }
    Ok(if errors == 0 { Exit::Well } else { Exit::Findings })
}

/// `3 trees, 1 pool`: what the policy is made of.
fn contents(policy: &Policy) -> String {
    let parts = [
        (policy.trees.len() + 1, "tree"),
        (policy.sets.len(), "set"),
        (policy.vips.len(), "vip"),
        (policy.interfaces.len(), "interface"),
        (policy.limits.len(), "limit"),
        (policy.synguards.len(), "synguard"),
        (policy.authorities.len(), "authority"),
        (policy.mappers.len(), "mapper"),
        (policy.trackers.len(), "tracker"),
        (policy.pools.len(), "pool"),
        (policy.expects.len(), "expect block"),
        (policy.asserts.iter().map(|assert| assert.claims.len()).sum(), "proved claim"),
    ];
    let said = parts.iter().filter(|(count, _)| *count > 0);
    let said: Vec<String> = said
        .map(|(count, what)| match (count, what.strip_suffix('y')) {
            (1, _) => format!("1 {what}"),
            (_, Some(stem)) => format!("{count} {stem}ies"),
            (_, None) => format!("{count} {what}s"),
        })
        .collect();
    said.join(", ")
}
