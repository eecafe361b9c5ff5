//! Owns `lbctl agent`.

#[allow(unused_imports)]
use crate::args::{Format, InstanceArgs};
use crate::console::{Console, Failure, Outcome};

#[derive(clap::Args, Debug)]
#[command(about = "Age flows and keep the backends' next hops fresh; apply starts one where it is needed", after_help = EXAMPLES)]
pub struct Args {
    /// Stay in the foreground and write the log to standard error.
    #[arg(long)]
    pub foreground: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl agent --foreground";

pub fn run(_args: &Args, _console: &mut Console) -> Outcome {
    Err(Failure::new("agent is not in this build yet"))
}
