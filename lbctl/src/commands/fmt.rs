//! Owns `lbctl fmt`.

use std::io::Write;
use std::path::{Path, PathBuf};

use policy_lang::format::{Refused, format};

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
}

const EXAMPLES: &str = "\
Examples:
  lbctl fmt policy.lbp common/*.lbp
  lbctl fmt --check policy.lbp
  lbctl fmt - < policy.lbp

Comments, line breaks and single blank lines stay. Names and types are not looked at, so that a policy under work \
can be formatted as well.

Exit codes: 0 well, 1 a file would change (--check) or cannot be parsed, 2 a file cannot be read or written.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let mut exit = Exit::Well;
    for path in &args.files {
        let one = match file(path, args.check, console) {
            Ok(one) => one,
            // The other files are formatted all the same.
            Err(failure) => {
                console.error(&failure.to_string());
                Exit::Failed
            }
        };
        if one as u8 > exit as u8 {
            exit = one;
        }
    }
    Ok(exit)
}

fn file(path: &Path, check: bool, console: &mut Console) -> Outcome {
    let files::Policy { name, text, .. } = files::read_policy(path)?;
    let formatted = match format(&name, &text) {
        Ok(formatted) => formatted,
        Err(Refused::Unread { sources, diagnostics }) => {
            let colours = console.err_colours();
            console.say(&findings::human(&sources, &diagnostics, colours));
            return Ok(Exit::Findings);
        }
        Err(Refused::Changed) => {
            return Err(Failure::new(format!(
                "{name}: formatted, it would mean something else; this is a fault of lbctl, and nothing is written"
            )));
        }
    };
    let stdin = path == Path::new("-");
    if check {
        if formatted != text {
            writeln!(console, "{name}")?;
            return Ok(Exit::Findings);
        }
    } else if stdin {
        console.write_all(formatted.as_bytes())?;
    } else if formatted != text {
        files::replace(path, formatted.as_bytes())?;
        writeln!(console, "{name}: formatted")?;
    }
    Ok(Exit::Well)
}
