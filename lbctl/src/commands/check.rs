//! Owns `lbctl check`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Find mistakes in a policy: names, types, what can never be reached", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: std::path::PathBuf,
    /// How findings are shown.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Treat this warning (code or name) as an error; may be repeated.
    #[arg(long, value_name = "CODE")]
    pub deny: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  lbctl check policy.lbp
  lbctl check policy.lbp --deny implicit-exit
  lbctl check - --format short < policy.lbp";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("check is not in this build yet"))
}
