//! Owns the command line: verbs, and the options that several of them share.
//! Never what a verb does.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use ebpf_runtime::run_dir::RunDir;
use ebpf_runtime::{Error, netns};

use crate::commands::{
    agent, apply, bench, cert, check, compile, demo, detach, diff, doctor, explain, explain_code, fmt, graph,
    import, send, sessions, status, test,
};
use crate::console::Failure;

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
  lbctl explain policy.lbp 'packet …'           see what would happen to a packet
  lbctl graph policy.lbp -o policy.svg          draw it
  lbctl diff old.lbp new.lbp                    see what changes for which packets
  sudo lbctl apply policy.lbp --device eth0     put it to work
  sudo lbctl status                             see what it does

Exit codes: 0 well, 1 findings, 2 usage, files or system.";

#[derive(Subcommand, Debug)]
pub enum Verb {
    Check(check::Args),
    ExplainCode(explain_code::Args),
    Test(test::Args),
    Explain(explain::Args),
    Graph(graph::Args),
    Diff(diff::Args),
    Fmt(fmt::Args),
    Import(import::Args),
    Compile(compile::Args),
    Apply(apply::Args),
    Status(status::Args),
    Sessions(sessions::Args),
    Cert(cert::Args),
    Send(send::Args),
    Detach(detach::Args),
    Agent(agent::Args),
    Bench(bench::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
}

/// The value of an option that is a time.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    policy_lang::duration(text).ok_or_else(|| "write 500ms, 5s or 2m".to_owned())
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

/// `--format` and its short form for programs.
#[derive(clap::Args, Debug)]
pub struct FormatArgs {
    /// How findings are shown.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl FormatArgs {
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// For verbs that say one thing, to people or to programs.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct JsonArgs {
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
}

/// Which instance of lbctl on this host.
#[derive(clap::Args, Debug)]
pub struct InstanceArgs {
    /// Name of the instance: its devices share one flow table and one agent.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_INSTANCE)]
    pub instance: String,
    #[command(flatten)]
    pub place: PlaceArgs,
}

pub const DEFAULT_INSTANCE: &str = "default";

/// Where instances live.
#[derive(clap::Args, Debug)]
pub struct PlaceArgs {
    /// Network namespace, as `ip netns` knows it.
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,
    /// Directory of pinned maps, locks and logs [default: /run/lbctl].
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
}

impl PlaceArgs {
    pub fn run_dir(&self) -> RunDir {
        self.run_dir.as_ref().map_or_else(RunDir::system, RunDir::at)
    }

    /// Does the work in the network namespace that was named.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce(&RunDir) -> Result<T, Error> + Send,
    ) -> Result<T, Failure> {
        let run_dir = self.run_dir();
        let done = netns::within(self.netns.as_deref(), || work(&run_dir));
        done.and_then(|inside| inside).map_err(|error| Failure::new(error.to_string()))
    }
}
