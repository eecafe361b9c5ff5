//! Owns `lbctl apply`.

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use ebpf_runtime::apply::{Applied, ApplyOptions, Mode, Swap};
use ebpf_runtime::instance::Instance;
use lb_abi::bundle::Image;
use serde_json::json;

use crate::agent_process::{self, Agent};
use crate::args::{InstanceArgs, JsonArgs};
use crate::commands::agent;
use crate::console::{Console, Exit, Outcome};
use crate::{policy_file, privileges, source_ports};

#[derive(clap::Args, Debug)]
#[command(about = "Put a policy on network devices, without losing a packet or a flow", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Network device; may be repeated. Devices the instance had before and that are not named are let go.
    #[arg(long = "device", value_name = "DEVICE", required = true)]
    pub devices: Vec<String>,
    /// Where the program runs: in the driver, or in the network stack (any device, slower).
    #[arg(long, value_enum, default_value_t = AttachMode::Native)]
    pub mode: AttachMode,
    /// File of the secret hash key, shared by all nodes of a set; made if missing [default: /var/lib/lbctl/hash.key].
    #[arg(long, value_name = "FILE")]
    pub hash_key: Option<PathBuf>,
    /// Give up flows and counters that another version of lbctl left behind.
    #[arg(long)]
    pub fresh_state: bool,
    /// Hand packets whose signature is to be checked to the agent by AF_XDP sockets, where the queues of a device take
    /// them, and not by the ring buffer that serves any device.
    #[arg(long)]
    pub af_xdp: bool,
    /// Do not start the agent.
    #[arg(long)]
    pub no_agent: bool,
    #[command(flatten)]
    pub form: JsonArgs,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum AttachMode {
    Native,
    Generic,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl apply policy.lbp --device eth0
  sudo lbctl apply policy.lbp --device eth0 --device eth1
  sudo lbctl apply policy.lbp --device veth0 --netns blue --mode generic
  lbctl import lb_config.toml | sudo lbctl apply - --device eth0

Exit codes: 0 applied, 1 errors in the policy, 2 it could not be applied; then what ran before runs on.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let Some((policy, image)) = policy_file::load(&args.file, &[])?.compiled(console) else {
        return Ok(Exit::Findings);
    };
    privileges::require("apply")?;
    let id = compiler::image::id(&image);
    let mut options = ApplyOptions::new(id, args.devices.clone());
    options.mode = match args.mode {
        AttachMode::Native => Mode::Native,
        AttachMode::Generic => Mode::Generic,
    };
    options.fresh_state = args.fresh_state;
    options.af_xdp = args.af_xdp;
    if let Some(path) = &args.hash_key {
        options.hash_key.clone_from(path);
    }
    let (name, place) = (&args.instance.instance, &args.instance.place);
    let (mut applied, conflicts) = place.within(|run_dir| {
        options.refuse_unknown_devices()?;
        let applied = Instance::open(run_dir, name)?.apply(&image, &options)?;
        Ok((applied, source_ports::conflicts(&policy)))
    })?;
    applied.warnings.extend(conflicts.iter().map(ToString::to_string));
    for warning in &applied.warnings {
        console.warning(warning);
    }
    let agent = if image.trackers.is_empty() && image.pools.is_empty() && image.authorities.is_empty() {
        Ok(Agent::NotNeeded)
    } else if args.no_agent {
        Ok(Agent::NotWanted)
    } else {
        place.within(|run_dir| Ok(agent_process::start(run_dir, name, place, None)))?
    };
    show(args, &image, &options, &applied, agent.as_ref().ok(), console)?;
    // The policy is in place and traffic flows; that nobody ages its flows is still a failure.
    agent.map(|_| Exit::Well)
}

fn show(
    args: &Args,
    image: &Image,
    options: &ApplyOptions,
    applied: &Applied,
    agent: Option<&Agent>,
    console: &mut Console,
) -> Outcome {
    let id = hex(&options.id);
    if args.form.json {
        let mut document = json!({
            "version": 1,
            "instance": args.instance.instance,
            "policy": image.name,
            "id": id,
            "mode": options.mode,
            "agent": agent,
        });
        if let (Some(all), serde_json::Value::Object(more)) =
            (document.as_object_mut(), serde_json::to_value(applied)?)
        {
            all.extend(more);
        }
        console.json(&document)?;
        return Ok(Exit::Well);
    }
    writeln!(console, "policy {} is on {} ({})", image.name, applied.devices.join(", "), options.mode)?;
    writeln!(
        console,
        "instance {}, generation {}: {}",
        args.instance.instance,
        applied.generation,
        how(applied.swap)
    )?;
    writeln!(console, "id {id}")?;
    if !applied.detached.is_empty() {
        writeln!(console, "let go: {}", applied.detached.join(", "))?;
    }
    if let Some(agent) = agent {
        writeln!(console, "{}", agent::sentence(agent))?;
    }
    Ok(Exit::Well)
}

fn how(swap: Swap) -> &'static str {
    match swap {
        Swap::First => "the first one here",
        Swap::Half => "swapped by one store, flows and counters kept",
        Swap::Program => "swapped by a new program, flows and counters kept",
        Swap::Fresh => "swapped by a new program, with empty state as asked for",
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
