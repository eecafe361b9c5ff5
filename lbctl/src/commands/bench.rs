//! Owns `lbctl bench`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Measure a policy: nanoseconds per packet above XDP_PASS over named packet mixes", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: std::path::PathBuf,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl bench policy.lbp";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("bench is not in this build yet"))
}
