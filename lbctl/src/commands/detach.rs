//! Owns `lbctl detach`.

use std::io::Write;

use ebpf_runtime::instance::Instance;
use serde_json::json;

use crate::args::InstanceArgs;
use crate::console::{Console, Exit, Outcome};
use crate::privileges;

#[derive(clap::Args, Debug)]
#[command(about = "Take the policy off its devices and forget its flows and counters", after_help = EXAMPLES)]
pub struct Args {
    /// One JSON document on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl detach
  sudo lbctl detach --instance edge --netns blue

To take it off one device of several, apply again with the devices that shall stay.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    privileges::require("detach")?;
    let name = &args.instance.instance;
    let detached = args.instance.place.within(|run_dir| Instance::open(run_dir, name)?.detach())?;
    if args.json {
        console.json(&json!({ "version": 1, "instance": name, "devices": detached.devices }))?;
    } else if detached.devices.is_empty() {
        writeln!(console, "instance {name}: detached; its devices were gone already")?;
    } else {
        writeln!(console, "instance {name}: detached from {}", detached.devices.join(", "))?;
    }
    Ok(Exit::Well)
}
