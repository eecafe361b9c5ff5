//! Owns `lbctl test`: which implementations run the expect blocks, what is told of it, and the summary.
//! Never runs a packet or proves a claim itself.

mod coverage;
mod document;
mod kernel;
mod lines;

use std::io::Write;
use std::path::PathBuf;

use compiler::coverage::Reached;
use compiler::expect::{self, Report};
use compiler::prove;

use crate::args::{Format, FormatArgs};
use crate::console::{Console, Exit, Failure, Outcome};
use crate::findings::places::Places;
use crate::{findings, policy_file, privileges};
use coverage::Coverage;

#[derive(clap::Args, Debug)]
#[command(
    about = "Run a policy's expect blocks through evaluator and compiled tables, and prove its assert blocks",
    after_help = EXAMPLES
)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Run each packet through the program in the kernel as well, which needs root. Nothing is attached to a device.
    #[arg(long)]
    pub kernel: bool,
    /// Tell how many arms, written exits and ways of `every` the packets reach, and list the others.
    #[arg(long)]
    pub coverage: bool,
    #[command(flatten)]
    pub format: FormatArgs,
}

const EXAMPLES: &str = "\
Examples:
  lbctl test policy.lbp
  lbctl test policy.lbp --coverage
  sudo lbctl test policy.lbp --kernel
  lbctl test policy.lbp --format short
  lbctl test policy.lbp --json | jq '.tests[] | select(.passed | not)'

Exit codes: 0 all passed, 1 a test failed or the policy has errors, 2 the file cannot be read or the program not be loaded.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let file = policy_file::load(&args.file, &[])?;
    let format = args.format.format();
    let tested = file.policy.as_ref().filter(|_| file.image.is_some() || file.is_only_not_yet());
    if tested.is_none() {
        file.tell(console, format);
    }
    let compared: &[&str] = match (&file.image, args.kernel) {
        (None, _) => &[],
        (Some(_), false) => &["tables"],
        (Some(_), true) => &["tables", "program"],
    };
    let report = match (tested, &file.image) {
        (None, _) => Report { tests: Vec::new(), reached: Reached::default() },
        (Some(_), None) if args.kernel => {
            return Err(Failure::new(format!("{}: cannot be loaded: {}", file.name, file.why_not())));
        }
        (Some(policy), Some(image)) if args.kernel => {
            privileges::require("test --kernel")?;
            kernel::run(policy, &file.sources, image)?
        }
        (Some(policy), image) => expect::run(policy, &file.sources, image.as_ref()),
    };
    let proofs = tested.map_or(prove::Report { asserts: Vec::new() }, prove::run);
    let coverage = tested.filter(|_| args.coverage).map(|policy| Coverage::of(policy, &report.reached));
    let titles = proofs.asserts.iter().map(|assert| assert.span);
    let missed = coverage.iter().flat_map(Coverage::spans);
    let places = Places::of(&file.sources, lines::spans(&report).chain(titles).chain(missed));
    match format {
        Format::Json => {
            let coverage = coverage.as_ref();
            console.json(&document::document(&file, &report, &proofs, coverage, compared, &places))?;
        }
        _ if tested.is_none() => console.say(&format!("{}: not tested: {}\n", file.name, file.why_not())),
        Format::Human => {
            for test in &report.tests {
                console.write_all(lines::human(test, &places, &file.sources).as_bytes())?;
            }
            for assert in &proofs.asserts {
                console.write_all(lines::human_proof(assert, &file.sources).as_bytes())?;
            }
            if let Some(coverage) = &coverage {
                console.write_all(coverage.human(&places).as_bytes())?;
            }
        }
        Format::Short => {
            for test in &report.tests {
                console.write_all(lines::short(test, &places, &file.sources).as_bytes())?;
            }
            console.write_all(findings::short(&file.sources, &proofs.diagnostics()).as_bytes())?;
            if let Some(coverage) = &coverage {
                console.write_all(coverage.short(&places).as_bytes())?;
                writeln!(console, "{}: {}", file.name, coverage.summary())?;
            }
        }
    }
    if format != Format::Json && tested.is_some() {
        if file.image.is_none() {
            console.say(&format!("{}: compiled tables not compared: {}\n", file.name, file.why_not()));
        }
        writeln!(console, "{}: {}", file.name, summary(&report, &proofs, compared))?;
    }
    Ok(if tested.is_some() && report.passed() && proofs.holds() { Exit::Well } else { Exit::Findings })
}

fn summary(report: &Report, proofs: &prove::Report, compared: &[&str]) -> String {
    let (tests, claims) = (tested(report, compared), proved(proofs));
    [tests, claims]
        .into_iter()
        .flatten()
        .reduce(|tests, claims| format!("{tests}; {claims}"))
        .unwrap_or_else(|| "no expect or assert blocks, nothing to test".to_owned())
}

fn proved(proofs: &prove::Report) -> Option<String> {
    let all: usize = proofs.asserts.iter().map(|assert| assert.claims.len()).sum();
    let failed = proofs.diagnostics().len();
    match (all, failed) {
        (0, _) => None,
        (1, 0) => Some("1 claim proved".to_owned()),
        (all, 0) => Some(format!("{all} claims proved")),
        (all, failed) => Some(format!("{failed} of {all} claims do not hold")),
    }
}

fn tested(report: &Report, compared: &[&str]) -> Option<String> {
    let failed = report.tests.iter().filter(|test| !test.passed()).count();
    let packets: u64 =
        report.tests.iter().flat_map(|test| &test.packets).map(|packet| u64::from(packet.times)).sum();
    let packets = if packets == 1 { "1 packet".to_owned() } else { format!("{packets} packets") };
    let by = match compared {
        [] => "through the evaluator alone",
        [_] => "through the evaluator and the compiled tables",
        _ => "through the evaluator, the compiled tables and the loaded program",
    };
    match (report.tests.len(), failed) {
        (0, _) => None,
        (1, 0) => Some(format!("1 test passed ({packets}, {by})")),
        (all, 0) => Some(format!("{all} tests passed ({packets}, {by})")),
        (all, failed) => Some(format!("{failed} of {all} tests failed")),
    }
}
