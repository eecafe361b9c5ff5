//! Owns `lbctl demo`.

use crate::console::{Console, Outcome};
use crate::{demo, privileges};

#[derive(clap::Args, Debug)]
#[command(about = "Show it all in network namespaces of its own, with real traffic, in a few seconds", after_help = EXAMPLES)]
pub struct Args {
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl demo

Exit codes: 0 all went as the policies say, 1 something did not, 2 it could not run.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    privileges::require("demo")?;
    demo::run(args.json, console)
}
