//! Owns `lbctl status`: what the runtime reports, as a page or as JSON.
//! Never counts or adds anything up.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebpf_runtime::instance::Instance;
use ebpf_runtime::status::{BackendState, ReasonKind, SlowPath, Status, TallyKind};
use serde_json::json;

use crate::args::{JsonArgs, PlaceArgs};
use crate::console::{Console, Exit, Outcome};
use crate::privileges;
use crate::table::{bytes, columns, short, thousands};
use crate::watch::WatchArgs;

/// Characters of a guard on the page; `--json` has all of them, and the place tells where it stands.
const LONGEST_LABEL: usize = 60;

#[derive(clap::Args, Debug)]
#[command(
    about = "Show what runs: devices, what each arm of the policy has seen, drops, tables, backends",
    after_help = EXAMPLES
)]
pub struct Args {
    /// Only this instance; without it, all of the network namespace.
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    #[command(flatten)]
    pub form: JsonArgs,
    #[command(flatten)]
    pub watch: WatchArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl status
  sudo lbctl status --json | jq '.instances[].devices'
  sudo lbctl status --watch 5s
  sudo lbctl status --netns blue --instance edge

Exit codes: 0 all is as applied (or nothing is), 1 a device does not do what was asked for, 2 it cannot be read.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    privileges::require("status")?;
    args.watch.run(console, |console| once(args, console))
}

fn once(args: &Args, console: &mut Console) -> Outcome {
    let all = args.place.within(|run_dir| {
        let names = match &args.instance {
            Some(name) => vec![name.clone()],
            None => Instance::list(run_dir)?,
        };
        names.iter().map(|name| Instance::status(run_dir, name)).collect::<Result<Vec<Status>, _>>()
    })?;
    if args.form.json {
        console.json(&json!({ "version": 1, "instances": all }))?;
    } else if all.is_empty() {
        writeln!(console, "no policy is in place in this network namespace")?;
    } else {
        let pages: Vec<String> = all.iter().map(page).collect();
        console.write_all(pages.join("\n").as_bytes())?;
    }
    let well = all.iter().flat_map(|status| &status.devices).all(|device| device.problem.is_none());
    Ok(if well { Exit::Well } else { Exit::Findings })
}

/// All of one instance.
fn page(status: &Status) -> String {
    let mut page = String::new();
    let agent = status.agent.map_or("none".to_owned(), |pid| pid.to_string());
    let _ = writeln!(
        page,
        "instance {}: policy {}, generation {}",
        status.instance, status.policy, status.generation
    );
    let _ = writeln!(page, "id {}", status.id);
    let _ = writeln!(page, "applied {} ago; agent {agent}", age(status.applied));
    let verified = status.program.verified_instructions.map_or(String::new(), |count| {
        format!("{} instructions verified of 1,000,000, ", thousands(count.into()))
    });
    let _ =
        writeln!(page, "program {}: {verified}{} of memory", status.program.id, bytes(status.program.memory));
    section(&mut page, "devices", devices(status), &[]);
    for (title, kinds) in [
        ("arms", [TallyKind::Arm, TallyKind::Way].as_slice()),
        ("exits", &[TallyKind::Exit]),
        ("counters", &[TallyKind::Named]),
    ] {
        section(&mut page, title, tallies(status, kinds), &[0, 1]);
    }
    for (title, kind) in [
        ("drops outside of the tree", ReasonKind::Drop),
        ("events", ReasonKind::Event),
        ("faults of lbctl, please report", ReasonKind::Fault),
    ] {
        section(&mut page, title, reasons(status, kind), &[0]);
    }
    section(&mut page, "tables (two entries a flow)", tables(status), &[0]);
    section(&mut page, "limits", limits(status), &[1, 2]);
    section(
        &mut page,
        "sessions and signatures",
        status.slow_path.iter().flat_map(signatures).collect(),
        &[0],
    );
    section(&mut page, "backends", backends(status), &[3, 4, 5]);
    page
}

fn section(page: &mut String, title: &str, rows: Vec<Vec<String>>, right: &[usize]) {
    if !rows.is_empty() {
        let _ = write!(page, "\n{title}\n{}", columns(&rows, right, "  "));
    }
}

fn devices(status: &Status) -> Vec<Vec<String>> {
    let row = |device: &ebpf_runtime::status::Device| {
        let mode = device.mode.map_or("detached".to_owned(), |mode| mode.to_string());
        let program = device.program.map_or(String::new(), |id| format!("program {id}"));
        vec![device.name.clone(), mode, program, device.problem.clone().unwrap_or_default()]
    };
    status.devices.iter().map(row).collect()
}

fn tallies(status: &Status, kinds: &[TallyKind]) -> Vec<Vec<String>> {
    let row = |tally: &ebpf_runtime::status::Tally| {
        vec![
            thousands(tally.packets),
            bytes(tally.bytes),
            short(&tally.label, LONGEST_LABEL),
            tally.tree.clone(),
            format!("{}:{}", tally.file, tally.line),
        ]
    };
    status.tallies.iter().filter(|tally| kinds.contains(&tally.kind)).map(row).collect()
}

fn reasons(status: &Status, kind: ReasonKind) -> Vec<Vec<String>> {
    let row =
        |reason: &ebpf_runtime::status::Reason| vec![thousands(reason.packets), reason.reason.to_owned()];
    status.reasons.iter().filter(|reason| reason.kind == kind).map(row).collect()
}

fn tables(status: &Status) -> Vec<Vec<String>> {
    let fill = |name: &str, used: u64, of: u64, what: &str| {
        vec![thousands(used), format!("of {}", thousands(of)), name.to_owned(), what.to_owned()]
    };
    let tables = status.tables.iter().map(|table| fill(table.name, table.entries, table.capacity, ""));
    let what = match status.slow_path {
        Some(_) => "tracker, sessions or proven flows",
        None => "tracker, proven flows",
    };
    let trackers = status.trackers.iter().map(|tracker| {
        // It has one or the other.
        fill(&tracker.name, tracker.sessions + tracker.proven, tracker.max.into(), what)
    });
    tables.chain(trackers).collect()
}

fn limits(status: &Status) -> Vec<Vec<String>> {
    let row = |limit: &ebpf_runtime::status::Limit| {
        let keys = match limit.max {
            0 => ["one for all".to_owned(), String::new()],
            max => [
                format!("{} of {} keys", thousands(limit.keys), thousands(max.into())),
                format!("{} evicted", thousands(limit.evicted)),
            ],
        };
        let [keys, evicted] = keys;
        vec![limit.name.clone(), keys, evicted]
    };
    status.limits.iter().map(row).collect()
}

/// What became of packets with certificates; of what went wrong, only what did.
fn signatures(slow: &SlowPath) -> Vec<Vec<String>> {
    let always = [
        (slow.sessions, "sessions now"),
        (slow.sessions_begun, "sessions begun"),
        (slow.accepted, "signatures good"),
        (slow.invalid, "signatures wrong"),
    ];
    let where_any = [
        (slow.replayed, "signatures seen before"),
        (slow.in_order, "packets in session, kept in order behind others"),
        (slow.anew, "packets begun anew under another policy"),
        (slow.passed, "packets given to this host"),
        (slow.queue_full, "packets dropped: the queue was full"),
        (slow.too_old, "packets dropped: they had waited for too long"),
        (slow.replay_full, "packets dropped: no more signatures can be remembered"),
        (slow.send_failed, "packets that no device took"),
        (slow.faults, "faults of lbctl, please report"),
    ];
    let any = where_any.into_iter().filter(|(count, _)| *count > 0);
    always.into_iter().chain(any).map(|(count, what)| vec![thousands(count), what.to_owned()]).collect()
}

fn backends(status: &Status) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for pool in &status.pools {
        for backend in &pool.backends {
            let address = match (backend.port, backend.address.contains(':')) {
                (0, _) => backend.address.clone(),
                (port, true) => format!("[{}]:{port}", backend.address),
                (port, false) => format!("{}:{port}", backend.address),
            };
            let state = match backend.state {
                BackendState::Active => "active",
                BackendState::Draining => "draining",
                BackendState::Absent => "absent",
            };
            let way = match &backend.next_hop {
                Some(hop) => format!("by {} to {}", hop.device, hop.mac),
                None => "next hop not resolved".to_owned(),
            };
            let flows = format!("{} flows", thousands(backend.flows));
            // Where nothing goes by them, they are not counted.
            let counted = backend.connections.map(|live| {
                let requests = format!("{} packets", thousands(backend.requests));
                [format!("{} live", thousands(live)), format!("{requests}, {}", bytes(backend.bytes))]
            });
            let [live, sent] = counted.unwrap_or_default();
            let name = format!("{} {}", pool.name, backend.name);
            rows.push(vec![name, address, state.to_owned(), flows, live, sent, way]);
        }
    }
    rows
}

/// How long ago, in its two largest units.
fn age(since_1970: u64) -> String {
    let then = UNIX_EPOCH + Duration::from_secs(since_1970);
    let seconds = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
