//! Owns `lbctl demo`.

use clap::ValueEnum;

use crate::args::JsonArgs;
use crate::console::{Console, Outcome};
use crate::{demo, privileges};

#[derive(clap::Args, Debug)]
#[command(about = "Show it all in network namespaces of its own, with real traffic, in a few seconds", after_help = EXAMPLES)]
pub struct Args {
    /// What to show.
    #[arg(value_enum, default_value_t = Show::Policies)]
    pub show: Show,
    #[command(flatten)]
    pub form: JsonArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Show {
    /// A firewall tree and NAT, every packet compared with what the policy says; three seconds.
    Policies,
    /// Clients with certificates: an honest one, a forger, one whose certificate has expired; twelve seconds.
    Certificates,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl demo
  sudo lbctl demo certificates

Exit codes: 0 all went as the policies say, 1 something did not, 2 it could not run.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    privileges::require("demo")?;
    match args.show {
        Show::Policies => demo::run(args.form.json, console),
        Show::Certificates => demo::certificates::run(args.form.json, console),
    }
}
