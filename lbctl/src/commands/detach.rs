//! Owns `lbctl detach`.

use std::io::Write;

use ebpf_runtime::instance::Instance;
use serde_json::json;

use crate::args::{InstanceArgs, JsonArgs};
use crate::console::{Console, Exit, Outcome};
use crate::privileges;

#[derive(clap::Args, Debug)]
#[command(about = "Take the policy off its devices and forget its flows and counters, or off some devices only", after_help = EXAMPLES)]
pub struct Args {
    /// Take it off this device only, and let it run on the others; may be repeated.
    #[arg(long = "device", value_name = "DEVICE")]
    pub devices: Vec<String>,
    #[command(flatten)]
    pub form: JsonArgs,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl detach
  sudo lbctl detach --device eth1
  sudo lbctl detach --instance edge --netns blue

With --device, flows and counters stay for the devices that are left; the last one goes without --device only.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    privileges::require("detach")?;
    let name = &args.instance.instance;
    let detached = args.instance.place.within(|run_dir| {
        let mut instance = Instance::open_existing(run_dir, name)?;
        if args.devices.is_empty() { instance.detach() } else { instance.detach_devices(&args.devices) }
    })?;
    if args.form.json {
        console.json(&json!({ "version": 1, "instance": name, "devices": detached.devices }))?;
    } else if detached.devices.is_empty() {
        writeln!(console, "instance {name}: detached; its devices were gone already")?;
    } else {
        writeln!(console, "instance {name}: detached from {}", detached.devices.join(", "))?;
    }
    Ok(Exit::Well)
}
