//! Owns `lbctl bench`.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::args::JsonArgs;
use crate::bench::{self, Report, builtin};
use crate::commands::apply::hex;
use crate::console::{Console, Exit, Failure, Outcome};
use crate::table::{columns, thousands};
use crate::{policy_file, privileges};

#[derive(clap::Args, Debug)]
#[command(
    about = "Measure a policy: nanoseconds per packet above XDP_PASS over named packet mixes",
    after_help = EXAMPLES
)]
pub struct Args {
    /// The policy; - reads standard input. Without one: the built-in policy behind the budgets, with a block list of
    /// a million prefixes.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Rounds of each mix; each round also measures the floor.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    #[command(flatten)]
    pub form: JsonArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl bench
  sudo lbctl bench policy.lbp --rounds 500 --json

Packets are run through the loaded program by the kernel (BPF_PROG_TEST_RUN) in a network namespace of its own; \
no device carries them. They are found in the policy: its expect blocks, vips and sets. The floor is the same program \
made to pass each packet at once.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let file = match &args.file {
        Some(path) => policy_file::load(path, &[])?,
        None => policy_file::examine(
            builtin::NAME.to_owned(),
            builtin::POLICY.to_owned(),
            &builtin::Lists,
            &[],
            policy_file::now(),
        )?,
    };
    let sources = file.sources.clone();
    let Some((policy, image)) = file.compiled(console) else { return Ok(Exit::Findings) };
    privileges::require("bench")?;
    let report = bench::run(&policy, &sources, &image, args.rounds)?;
    let id = hex(&compiler::image::id(&image));
    if args.form.json {
        let release = nix::sys::utsname::uname()
            .map_err(|error| Failure::new(format!("can't ask for the kernel's version: {error}")))?;
        console.json(&json!({
            "version": 1,
            "policy": policy.name,
            "id": id,
            "kernel": release.release().to_string_lossy(),
            "rounds": args.rounds,
            "verified_instructions": report.verified_instructions,
            "mixes": report.rows,
            "missing": report.missing,
        }))?;
    } else {
        writeln!(console, "policy {}, id {id}", policy.name)?;
        let verified = thousands(report.verified_instructions.into());
        writeln!(console, "{verified} instructions verified of 1,000,000; {} rounds a mix\n", args.rounds)?;
        console.write_all(table(&report).as_bytes())?;
    }
    Ok(Exit::Well)
}

fn table(report: &Report) -> String {
    let head =
        ["ns per packet above the floor", "packets", "ends", "minimum", "median", "budget", "", "floor"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for row in &report.rows {
        let figures = &row.figures;
        rows.push(vec![
            row.mix.to_owned(),
            thousands(row.packets as u64),
            row.ends.join(", "),
            figures.min_ns.to_string(),
            figures.median_ns.to_string(),
            row.budget_ns.map_or(String::new(), |budget| budget.to_string()),
            if row.over_budget { "over".to_owned() } else { String::new() },
            figures.floor_min_ns.to_string(),
        ]);
    }
    let mut text = columns(&rows, &[1, 3, 4, 5, 7], "");
    for missing in &report.missing {
        text.push_str(&format!("not measured: {} ({})\n", missing.mix, missing.why));
    }
    text
}
