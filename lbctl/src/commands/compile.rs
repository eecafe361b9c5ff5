//! Owns `lbctl compile`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Compile a policy into an image: words, map contents and mode flags", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: std::path::PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  lbctl compile policy.lbp";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("compile is not in this build yet"))
}
