//! Owns `lbctl status`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Show what runs: devices, counters of the arms by name, drops, tables, backends", after_help = EXAMPLES)]
pub struct Args {
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl status";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("status is not in this build yet"))
}
