//! Owns `lbctl cert`: what its verbs share. Never keys or certificates themselves.

mod list;
mod new;
mod revoke;
mod show;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::commands::apply::hex;
use crate::console::{Console, Outcome};
use crate::policy_file;

#[derive(clap::Args, Debug)]
#[command(about = "Make, show, list and revoke certificates and keys of clients", after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    New(new::Args),
    Show(show::Args),
    List(list::Args),
    Revoke(revoke::Args),
}

const EXAMPLES: &str = "\
Examples:
  lbctl cert new device-7 --id 7
  lbctl cert show device-7.pem
  lbctl cert list policy.lbp
  sudo lbctl cert revoke device-7.pem --list revoked.txt

Private keys belong on the devices that sign with them: the balancer needs certificates or public keys only.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    match &args.verb {
        Verb::New(args) => new::run(args, console),
        Verb::Show(args) => show::run(args, console),
        Verb::List(args) => list::run(args, console),
        Verb::Revoke(args) => revoke::run(args, console),
    }
}

/// `2027-01-31T12:00:00Z`.
fn moment(seconds: i64) -> String {
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", policy_lang::day(seconds))
}

/// From when to when; a bare key is always valid.
fn validity(valid: Option<(i64, i64)>) -> String {
    match valid {
        None => "always".to_owned(),
        Some((0, until)) => format!("until {}", moment(until)),
        Some((from, until)) => format!("{} to {}", moment(from), moment(until)),
    }
}

/// `valid`, `expired`, `not yet valid`: as of now.
fn standing(valid: Option<(i64, i64)>) -> &'static str {
    let now = policy_file::now();
    match valid {
        Some((from, _)) if now < from => "not yet valid",
        Some((_, until)) if now > until => "expired",
        _ => "valid",
    }
}

/// What every verb's document says of a certificate or key.
fn document(hash: &[u8; 32], subject: &str, valid: Option<(i64, i64)>) -> Value {
    json!({
        "hash": hex(hash),
        "subject": (!subject.is_empty()).then_some(subject),
        "valid_from": valid.map(|(from, _)| moment(from)),
        "valid_until": valid.map(|(_, until)| moment(until)),
        "standing": standing(valid),
    })
}

/// The fields of `more` behind those of `one`.
fn joined(mut one: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut one, more) {
        all.extend(more);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc() {
        assert_eq!(moment(1_801_396_801), "2027-01-31T12:00:01Z");
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(validity(Some((0, 86_400))), "until 1970-01-02T00:00:00Z");
    }
}
