//! Owns `lbctl doctor`.

use std::io::Write;
use std::path::{Path, PathBuf};

use ebpf_runtime::apply::HASH_KEY_PATH;
use serde::Serialize;

use crate::args::{JsonArgs, PlaceArgs};
use crate::console::{Console, Exit, Failure, Outcome};
use crate::doctor::{self, Finding, Level, Scope};
use crate::files;
use crate::table::wrapped;

#[derive(clap::Args, Debug)]
#[command(
    about = "Examine kernel, privileges and devices; name what is missing and the command that mends it",
    after_help = EXAMPLES
)]
pub struct Args {
    /// Device to examine; may be repeated. Without one: every device that is up.
    #[arg(long = "device", value_name = "DEVICE")]
    pub devices: Vec<String>,
    /// Also examine the source ports of this policy's pools.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// File of the secret hash key [default: /var/lib/lbctl/hash.key].
    #[arg(long, value_name = "FILE")]
    pub hash_key: Option<PathBuf>,
    #[command(flatten)]
    pub form: JsonArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl doctor --device eth0
  sudo lbctl doctor --device eth0 --policy policy.lbp

Exit codes: 0 nothing fails, 1 something does, 2 usage, files or system.";

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    findings: &'a [Finding],
}

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let policy = match &args.policy {
        None => None,
        Some(path) => Some(checked(path)?),
    };
    let hash_key = args.hash_key.as_deref().unwrap_or(Path::new(HASH_KEY_PATH));
    let scope = Scope { hash_key, devices: &args.devices, policy: policy.as_ref() };
    let findings = args.place.within(|run_dir| doctor::examine(run_dir, &scope))?;
    if args.form.json {
        console.json(&Report { version: 1, findings: &findings })?;
    } else {
        show(&findings, console)?;
    }
    let fails = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if fails { Exit::Findings } else { Exit::Well })
}

fn checked(path: &Path) -> Result<policy_lang::policy::Policy, Failure> {
    let files::Policy { name, text, directory } = files::read_policy(path)?;
    let checked = policy_lang::check(&name, text, &directory);
    checked.policy.ok_or_else(|| Failure::new(format!("{name} has errors: run lbctl check {name}")))
}

/// Columns for what was found.
const WIDTH: usize = 71;

fn show(findings: &[Finding], console: &mut Console) -> Result<(), Failure> {
    let colours = console.colours();
    for finding in findings {
        let (word, colour) = match finding.level {
            Level::Ok => ("ok", "\x1b[32m"),
            Level::Warn => ("warn", "\x1b[1;33m"),
            Level::Fail => ("FAIL", "\x1b[1;31m"),
        };
        let word = if colours { format!("{colour}{word:<4}\x1b[0m") } else { format!("{word:<4}") };
        let subject = match &finding.of {
            Some(of) => format!("{of}: {}", finding.check),
            None => finding.check.to_owned(),
        };
        let mut lines = wrapped(&finding.found, WIDTH).into_iter();
        writeln!(console, "{word}  {subject:<22} {}", lines.next().unwrap_or_default())?;
        for line in lines {
            writeln!(console, "{:29}{line}", "")?;
        }
        if let Some(mend) = &finding.mend {
            // A command stays on one line, to be copied.
            writeln!(console, "{:29}mend: {mend}", "")?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (warnings, failures) = (count(Level::Warn), count(Level::Fail));
    writeln!(
        console,
        "\n{} looked at: {}, {}",
        findings.len(),
        if failures == 0 { "nothing fails".to_owned() } else { format!("{failures} fail") },
        match warnings {
            0 => "no warning".to_owned(),
            1 => "1 warning".to_owned(),
            more => format!("{more} warnings"),
        }
    )?;
    Ok(())
}
