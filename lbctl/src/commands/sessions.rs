//! Owns `lbctl sessions`: certificates that are in session, as a page or as JSON, and ending such a session.
//! Never begins one.

use std::io::Write;

use clap::Subcommand;
use ebpf_runtime::instance::Instance;
use ebpf_runtime::sessions::{Dropped, Session};
use serde_json::{Value, json};

use crate::args::{InstanceArgs, PlaceArgs};
use crate::console::{Console, Exit, Failure, Outcome};
use crate::privileges;
use crate::table::{bytes, columns, thousands};
use crate::watch::WatchArgs;

/// Digits of a hash that tell it from others, on the page and at least when one is named.
const DIGITS: usize = 16;
const FEWEST: usize = 8;

#[derive(clap::Args, Debug)]
#[command(
    about = "Show which certificates are in session: from where, with which backend, since when",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only this instance; without it, all of the network namespace.
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// One JSON document on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Drop(DropArgs),
}

#[derive(clap::Args, Debug)]
#[command(about = "End a certificate's sessions; its next packet is checked anew", after_help = DROP_EXAMPLES)]
struct DropArgs {
    /// The certificate's hash, or its first digits, eight at least.
    #[arg(value_name = "HASH", value_parser = prefix)]
    hash: String,
    /// One JSON document on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
}

const EXAMPLES: &str = "\
Examples:
  sudo lbctl sessions
  sudo lbctl sessions --watch 5s
  sudo lbctl sessions --json | jq '.instances[].sessions[] | .certificate, .clients'
  sudo lbctl sessions drop 9f1cb70a54a38014";

const DROP_EXAMPLES: &str = "\
Examples:
  sudo lbctl sessions drop 9f1cb70a54a38014

The certificate stays good, and its holder may begin another session at once: `lbctl cert revoke` is for good.

Exit codes: 0 it had a session, 1 it had none, 2 no such certificate is accepted here.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    privileges::require("sessions")?;
    match &args.verb {
        None => args.watch.run(console, |console| list(args, console)),
        Some(Verb::Drop(args)) => drop_session(args, console),
    }
}

fn list(args: &Args, console: &mut Console) -> Outcome {
    let all = args.place.within(|run_dir| {
        let names = match &args.instance {
            Some(name) => vec![name.clone()],
            None => Instance::list(run_dir)?,
        };
        let sessions = |name: String| Ok((Instance::sessions(run_dir, &name)?, name));
        names.into_iter().map(sessions).collect::<Result<Vec<(Vec<Session>, String)>, ebpf_runtime::Error>>()
    })?;
    if args.json {
        let each = all.iter().map(|(sessions, name)| json!({ "instance": name, "sessions": sessions }));
        console.json(&json!({ "version": 1, "instances": each.collect::<Vec<Value>>() }))?;
    } else if all.is_empty() {
        writeln!(console, "no policy is in place in this network namespace")?;
    }
    for (sessions, name) in all.iter().filter(|_| !args.json) {
        let count = match sessions.len() {
            0 => "no sessions".to_owned(),
            1 => "1 session".to_owned(),
            more => format!("{} sessions", thousands(more as u64)),
        };
        writeln!(console, "instance {name}: {count}")?;
        console.write_all(page(sessions).as_bytes())?;
    }
    Ok(Exit::Well)
}

/// As a table.
pub fn page(sessions: &[Session]) -> String {
    if sessions.is_empty() {
        return String::new();
    }
    let head = ["certificate", "name", "id", "clients", "backend", "age", "idle", "packets", "bytes"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(sessions.iter().map(row));
    columns(&rows, &[2, 5, 6, 7, 8], "  ")
}

fn row(session: &Session) -> Vec<String> {
    let clients = match session.clients.as_slice() {
        [] => "–".to_owned(),
        [one] => one.to_string(),
        [first, more @ ..] => format!("{first} +{}", more.len()),
    };
    let backends: Vec<&str> = session.backends.iter().map(|backend| backend.backend.as_str()).collect();
    vec![
        session.certificate.get(..DIGITS).unwrap_or(&session.certificate).to_owned(),
        if session.name.is_empty() { "–".to_owned() } else { session.name.clone() },
        session.id.to_string(),
        clients,
        backends.join(" "),
        seconds(session.age),
        seconds(session.idle),
        thousands(session.packets),
        bytes(session.bytes),
    ]
}

fn seconds(time: f64) -> String {
    match time {
        ..60.0 => format!("{time:.0} s"),
        ..7_200.0 => format!("{:.0} min", time / 60.0),
        _ => format!("{:.0} h", time / 3_600.0),
    }
}

fn drop_session(args: &DropArgs, console: &mut Console) -> Outcome {
    let name = &args.instance.instance;
    let dropped = args
        .instance
        .place
        .within(|run_dir| Instance::open_existing(run_dir, name)?.drop_session(&args.hash))?;
    if args.json {
        let Value::Object(mut document) = serde_json::to_value(&dropped)? else {
            return Err(Failure::new("what was dropped has no fields"));
        };
        document.insert("version".to_owned(), 1.into());
        document.insert("instance".to_owned(), name.as_str().into());
        console.json(&document)?;
    } else {
        writeln!(console, "instance {name}, certificate {}: {}", dropped.certificate, taken(&dropped))?;
    }
    Ok(if dropped.sessions > 0 { Exit::Well } else { Exit::Findings })
}

/// `1 session and 2 flows ended`.
pub fn taken(dropped: &Dropped) -> String {
    let of = |count: u64, what: &str| match count {
        1 => format!("1 {what}"),
        more => format!("{} {what}s", thousands(more)),
    };
    match (dropped.sessions, dropped.flows) {
        (0, 0) => "it had no session".to_owned(),
        (sessions, flows) => format!("{} and {} ended", of(sessions, "session"), of(flows, "flow")),
    }
}

/// Colons are as openssl prints a fingerprint.
fn prefix(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let sound = (FEWEST..=64).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
    sound.then_some(digits).ok_or_else(|| format!("write {FEWEST} to 64 hexadecimal digits of a hash"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_named_by_its_first_digits() {
        assert_eq!(prefix("9F:1C:B7:0A"), Ok("9F1CB70A".to_owned()));
        assert!(
            prefix("9f1cb70").is_err() && prefix(&"a".repeat(65)).is_err() && prefix("9f1cb70g").is_err()
        );
    }

    #[test]
    fn what_was_taken_is_counted() {
        let dropped = |sessions, flows| Dropped { certificate: String::new(), sessions, flows };
        assert_eq!(taken(&dropped(1, 2)), "1 session and 2 flows ended");
        assert_eq!(taken(&dropped(0, 0)), "it had no session");
    }
}
