//! Owns the command line: verbs, and the options that several of them share.
//! Never what a verb does.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{agent, apply, bench, check, compile, demo, detach, doctor, status, test};

/// Firewall and layer-4 load balancer for Linux in one declarative file.
///
/// A policy file (.lbp) is checked, compiled and put on network devices as one XDP program.
#[derive(Parser, Debug)]
#[command(name = "lbctl", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  lbctl check policy.lbp                        find mistakes
  lbctl test policy.lbp                         run its expect blocks
  sudo lbctl apply policy.lbp --device eth0     put it to work
  sudo lbctl status                             see what it does

Exit codes: 0 well, 1 findings, 2 usage, files or system.";

#[derive(Subcommand, Debug)]
pub enum Verb {
    Check(check::Args),
    Test(test::Args),
    Compile(compile::Args),
    Apply(apply::Args),
    Status(status::Args),
    Detach(detach::Args),
    Agent(agent::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
}

/// How findings are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// With the source underlined, why, and how to mend it.
    Human,
    /// One line each: file:line:column: severity[code]: message.
    Short,
    /// One document on standard output.
    Json,
}

/// Which instance of lbctl on this host.
#[derive(clap::Args, Debug)]
pub struct InstanceArgs {
    /// Name of the instance: its devices share one flow table and one agent.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub instance: String,
    /// Directory of pinned maps, locks and logs.
    #[arg(long, value_name = "DIR", default_value = "/run/lbctl")]
    pub run_dir: PathBuf,
}
