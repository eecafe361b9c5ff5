//! Owns `lbctl agent`: signals, session and log of the agent's process.
//! Never the agent's work.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ebpf_runtime::agent::Options;
use nix::sys::signal::{SigSet, Signal};

use crate::agent_process::{self, Agent};
use crate::args::InstanceArgs;
use crate::console::{Console, Exit, Failure, Outcome};
use crate::privileges;

#[derive(clap::Args, Debug)]
#[command(
    about = "Age flows and keep the backends' next hops fresh; apply starts one where it is needed",
    after_help = EXAMPLES
)]
pub struct Args {
    /// Stay in the foreground and log to standard error, as under systemd; otherwise start and return.
    #[arg(long)]
    pub foreground: bool,
    /// Threads that check signatures [default: one less than there are CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: Option<u32>,
    /// What `apply` starts: already in the background, with its log as standard error.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    pub detached: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl agent
  sudo lbctl agent --foreground --instance edge

TERM and INT end the agent and leave the data path as it is: traffic goes on. The next agent takes over what it finds.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    privileges::require("agent")?;
    let name = &args.instance.instance;
    let place = &args.instance.place;
    if args.detached {
        // Fails only for the leader of a process group, which `apply` never makes of it.
        nix::unistd::setsid().map_err(|error| Failure::new(format!("can't leave the session: {error}")))?;
    }
    if args.foreground || args.detached {
        let stop = stop_on_signals()?;
        console.say(&format!("lbctl: agent {} of instance {name} starts\n", std::process::id()));
        let options = Options { workers: args.workers.map(|workers| workers as usize) };
        place.within(|run_dir| ebpf_runtime::agent::run(run_dir, name, &options, &stop))?;
        let why = if stop.load(Ordering::Relaxed) { "by a signal" } else { "with the instance" };
        console.say(&format!("lbctl: agent {} of instance {name} ends {why}\n", std::process::id()));
        return Ok(Exit::Well);
    }
    let started = place.within(|run_dir| Ok(agent_process::start(run_dir, name, place, args.workers)))??;
    writeln!(console, "{}", sentence(&started))?;
    Ok(Exit::Well)
}

/// What became of the agent, for people.
pub fn sentence(agent: &Agent) -> String {
    match agent {
        Agent::NotNeeded => "agent: not needed, the policy tracks nothing and has no backends".into(),
        Agent::NotWanted => {
            "agent: not started; flows of TCP do not age and next hops are not renewed".into()
        }
        Agent::Running { pid } => format!("agent: {pid} goes on serving"),
        Agent::Started { pid, log } => format!("agent: {pid} started, log in {}", log.display()),
    }
}

/// TERM and INT set the flag instead of killing; to be called while there is one thread.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().map_err(|error| Failure::new(format!("can't block signals: {error}")))?;
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    std::thread::spawn(move || {
        // Threads made before or after inherit the mask, so that the signal waits for this one.
        while signals.wait().is_err() {}
        set.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
