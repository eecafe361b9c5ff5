//! Owns `lbctl fmt`.

use std::io::Write;
use std::path::{Path, PathBuf};

use policy_lang::diagnostic::Diagnostic;
use policy_lang::format::{Refused, format};
use policy_lang::source::Sources;
use serde_json::{Value, json};

use crate::console::{Console, Exit, Failure, Outcome};
use crate::{files, findings};

#[derive(clap::Args, Debug)]
#[command(about = "Format policies: indentation, blanks, columns that stand level", after_help = EXAMPLES)]
pub struct Args {
    /// The policies, rewritten where they change; - reads standard input and writes standard output.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Change nothing; name the files that would change.
    #[arg(long)]
    pub check: bool,
    /// Print one JSON document: of each file whether it changes, and what it is refused for.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  lbctl fmt policy.lbp common/*.lbp
  lbctl fmt --check policy.lbp
  lbctl fmt --check --json policy.lbp
  lbctl fmt - < policy.lbp

Comments, line breaks and single blank lines stay. Names and types are not looked at, so that a policy under work \
can be formatted as well.

Exit codes: 0 well, 1 a file would change (--check) or cannot be parsed, 2 a file cannot be read or written.";

/// What has become of one file.
enum Done {
    Same,
    /// It is written, or would be with `--check`.
    Changed,
    /// From standard input to standard output, without `--check`.
    Text(String),
    Unread(Sources, Vec<Diagnostic>),
}

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let mut exit = Exit::Well;
    let mut documents = Vec::new();
    for path in &args.files {
        let (name, done) = formatted(path, args.check);
        let one = match &done {
            Ok(Done::Same | Done::Text(_)) => Exit::Well,
            Ok(Done::Changed) if args.check => Exit::Findings,
            Ok(Done::Changed) => Exit::Well,
            Ok(Done::Unread(..)) => Exit::Findings,
            // The other files are formatted all the same.
            Err(_) => Exit::Failed,
        };
        if one as u8 > exit as u8 {
            exit = one;
        }
        if args.json {
            documents.push(document(&name, &done));
        } else {
            tell(&name, &done, args.check, console)?;
        }
    }
    if args.json {
        console.json(&json!({ "version": 1, "check": args.check, "files": documents }))?;
    }
    Ok(exit)
}

/// The file's name and what has become of it.
fn formatted(path: &Path, check: bool) -> (String, Result<Done, Failure>) {
    let files::Policy { name, text, .. } = match files::read_policy(path) {
        Ok(read) => read,
        Err(failure) => return (path.display().to_string(), Err(failure)),
    };
    let done = match format(&name, &text) {
        Ok(formatted) if path == Path::new("-") && !check => Ok(Done::Text(formatted)),
        Ok(formatted) if formatted == text => Ok(Done::Same),
        Ok(_) if check => Ok(Done::Changed),
        Ok(formatted) => files::replace(path, formatted.as_bytes()).map(|()| Done::Changed),
        Err(Refused::Unread { sources, diagnostics }) => Ok(Done::Unread(sources, diagnostics)),
        Err(Refused::Changed) => Err(Failure::new(format!(
            "{name}: formatted, it would mean something else; this is a fault of lbctl, and nothing is written"
        ))),
    };
    (name, done)
}

fn tell(name: &str, done: &Result<Done, Failure>, check: bool, console: &mut Console) -> Result<(), Failure> {
    match done {
        Ok(Done::Same) => {}
        Ok(Done::Changed) if check => writeln!(console, "{name}")?,
        Ok(Done::Changed) => writeln!(console, "{name}: formatted")?,
        Ok(Done::Text(text)) => console.write_all(text.as_bytes())?,
        Ok(Done::Unread(sources, diagnostics)) => {
            let colours = console.err_colours();
            console.say(&findings::human(sources, diagnostics, colours));
        }
        Err(failure) => console.error(&failure.to_string()),
    }
    Ok(())
}

fn document(name: &str, done: &Result<Done, Failure>) -> Value {
    let (text, found) = match done {
        Ok(Done::Text(text)) => (Some(text), Vec::new()),
        Ok(Done::Unread(sources, diagnostics)) => (None, findings::json(sources, diagnostics)),
        _ => (None, Vec::new()),
    };
    json!({
        "file": name,
        "changed": matches!(done, Ok(Done::Changed)),
        "text": text,
        "findings": found,
        "error": done.as_ref().err().map(ToString::to_string),
    })
}
