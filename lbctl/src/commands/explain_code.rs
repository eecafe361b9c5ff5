//! Owns `lbctl explain-code`.

use std::io::Write;

use policy_lang::codes::{self, EXAMPLES_AT, Files, PAGES, Page};

use crate::console::{Console, Exit, Failure, Outcome};
use crate::{findings, policy_file};

#[derive(clap::Args, Debug)]
#[command(about = "Say what the code of a finding means, with an example and how to mend it", after_help = EXAMPLES)]
pub struct Args {
    /// The code, such as E0301; without one, all codes are listed.
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  lbctl explain-code E0301
  lbctl explain-code implicit-exit
  lbctl explain-code

E are errors, W warnings, N what this edition of lbctl cannot carry out yet.

Exit codes: 0 well, 2 there is no such code.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let Some(code) = &args.code else {
        for page in PAGES {
            writeln!(console, "{}  {}", page.code, page.title())?;
        }
        return Ok(Exit::Well);
    };
    let Some(page) = codes::page(code) else {
        let cure = codes::near(code).map_or_else(
            || "`lbctl explain-code` lists them all".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        return Err(Failure::new(format!("there is no code `{code}`; {cure}")));
    };
    show(page, console)?;
    Ok(Exit::Well)
}

/// Of a longer example only the lines that earn the code are shown.
const LONGEST: usize = 16;

fn show(page: &Page, console: &mut Console) -> Result<(), Failure> {
    writeln!(console, "{}: {}\n\n{}\n", page.code, page.title(), page.meaning())?;
    if let Some(example) = page.example {
        let name = example.path.rsplit('/').next().unwrap_or(example.path);
        let deny = [page.code.to_owned()];
        let mut file =
            policy_file::examine(name.to_owned(), example.text.to_owned(), &Files, &deny, EXAMPLES_AT)?;
        file.findings.retain(|finding| finding.code == page.code);
        let told = findings::human(&file.sources, &file.findings, console.colours());
        writeln!(console, "Wrong:\n")?;
        if example.text.lines().count() <= LONGEST {
            writeln!(console, "{}", indented(example.text))?;
        }
        writeln!(console, "{}\n", told.trim_end())?;
    }
    write!(console, "Mended:\n\n{}", indented(page.mended()))?;
    if let Some(inventory) = page.mended_inventory() {
        write!(console, "\ninventory.toml:\n\n{}", indented(inventory))?;
    }
    Ok(())
}

fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") };
    text.lines().map(line).collect()
}
