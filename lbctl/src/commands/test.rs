//! Owns `lbctl test`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Run a policy's expect blocks through the reference evaluator and the compiled tables", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: std::path::PathBuf,
    /// How findings are shown.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

const EXAMPLES: &str = "\
Examples:
  lbctl test policy.lbp
  lbctl test policy.lbp --format json";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("test is not in this build yet"))
}
