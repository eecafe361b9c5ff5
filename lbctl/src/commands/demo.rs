//! Owns `lbctl demo`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Show it all in network namespaces of its own, then clean up", after_help = EXAMPLES)]
pub struct Args {
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl demo";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("demo is not in this build yet"))
}
