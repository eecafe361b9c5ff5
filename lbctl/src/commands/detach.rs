//! Owns `lbctl detach`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Take the policy off its devices", after_help = EXAMPLES)]
pub struct Args {
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl detach --device eth1";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("detach is not in this build yet"))
}
