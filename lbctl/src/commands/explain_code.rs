//! Owns `lbctl explain-code`.

use std::io::Write;

use policy_lang::codes::{self, EXAMPLES_AT, Example, Files, PAGES, Page};
use policy_lang::diagnostic::Severity;
use serde_json::json;

use crate::console::{Console, Exit, Failure, Outcome};
use crate::policy_file::PolicyFile;
use crate::{findings, policy_file};

#[derive(clap::Args, Debug)]
#[command(about = "Say what the code of a finding means, with an example and how to mend it", after_help = EXAMPLES)]
pub struct Args {
    /// The code, such as E0301; without one, all codes are listed.
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
    /// Print the page, or the list, as one JSON document.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  lbctl explain-code E0301
  lbctl explain-code implicit-exit
  lbctl explain-code
  lbctl explain-code E0301 --json

E are errors, W warnings, N what this edition of lbctl cannot carry out yet.

Exit codes: 0 well, 2 there is no such code.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let Some(code) = &args.code else {
        if args.json {
            let codes = PAGES.iter().map(|page| json!({ "code": page.code, "title": page.title() }));
            console.json(&json!({ "version": 1, "codes": codes.collect::<Vec<_>>() }))?;
            return Ok(Exit::Well);
        }
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
    let wrong = page.example.map(|example| examined(page, example)).transpose()?;
    if args.json {
        let wrong = page.example.zip(wrong).map(|(example, file)| {
            json!({ "text": example.text, "findings": findings::json(&file.sources, &file.findings) })
        });
        console.json(&json!({
            "version": 1,
            "code": page.code,
            "title": page.title(),
            "meaning": page.meaning(),
            "wrong": wrong,
            "mended": { "text": page.mended(), "inventory.toml": page.mended_inventory() },
        }))?;
    } else {
        show(page, wrong, console)?;
    }
    Ok(Exit::Well)
}

/// Of a longer example only the lines that earn the code are shown.
const LONGEST: usize = 16;

/// The example with the findings that earn the code.
fn examined(page: &Page, example: Example) -> Result<PolicyFile, Failure> {
    let name = example.path.rsplit('/').next().unwrap_or(example.path);
    let deny = [page.code.to_owned()];
    let mut file =
        policy_file::examine(name.to_owned(), example.text.to_owned(), &Files, &deny, EXAMPLES_AT)?;
    file.prove();
    file.findings.retain(|finding| finding.code == page.code);
    // Denied, so that what is allowed unless it is denied is told too.
    let warnings = file.findings.iter_mut().filter(|finding| finding.code.starts_with('W'));
    warnings.for_each(|finding| finding.severity = Severity::Warning);
    Ok(file)
}

fn show(page: &Page, wrong: Option<PolicyFile>, console: &mut Console) -> Result<(), Failure> {
    writeln!(console, "{}: {}\n\n{}\n", page.code, page.title(), page.meaning())?;
    if let Some((example, file)) = page.example.zip(wrong) {
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
