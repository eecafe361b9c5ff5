//! Owns `lbctl apply`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Put a policy on network devices, without losing a packet or a flow", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: std::path::PathBuf,
    /// Network device; may be repeated.
    #[arg(long = "device", value_name = "DEVICE", required = true)]
    pub devices: Vec<String>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl apply policy.lbp --device eth0";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("apply is not in this build yet"))
}
