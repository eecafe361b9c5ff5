//! Owns `lbctl doctor`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Examine kernel, privileges and devices; name what is missing and the command that mends it", after_help = EXAMPLES)]
pub struct Args {
    /// Device to examine; may be repeated. Without one: every device that is up.
    #[arg(long = "device", value_name = "DEVICE")]
    pub devices: Vec<String>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl doctor --device eth0";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("doctor is not in this build yet"))
}
