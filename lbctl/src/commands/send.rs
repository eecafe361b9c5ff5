//! Owns `lbctl send`: what is to be sent, and what is shown of what comes back. Never the sending itself.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use compiler::packet::{Signer, trailer};
use p256::ecdsa::SigningKey;
use policy_lang::certificate;
use serde_json::json;

use crate::args::JsonArgs;
use crate::certificates::{self, Kind};
use crate::client::{self, Event, Payload, Plan};
use crate::console::{Console, Exit, Failure, Outcome};
use crate::table::{short, thousands};
use crate::{args, files};

/// Of more packets each reply is counted, and not shown.
const SHOWN: u64 = 20;
/// Lost packets that are named.
const NAMED: usize = 10;
const LONGEST_TEXT: usize = 60;

#[derive(clap::Args, Debug)]
#[command(about = "Send signed UDP packets and show the replies, as a client of a certificate balancer", after_help = EXAMPLES)]
pub struct Args {
    /// The private key that signs.
    #[arg(long, value_name = "FILE", required_unless_present = "no_trailer")]
    pub key: Option<PathBuf>,
    /// The key's certificate, if the balancer knows the key by one.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The number of the certificate or key in the policy.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub id: u8,
    /// Where to, as an address or a name.
    #[arg(long, value_name = "HOST:PORT")]
    pub to: String,
    /// Where from, as ADDRESS or ADDRESS:PORT.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = source)]
    pub from: Option<SocketAddr>,
    /// How many packets.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub count: u64,
    /// Packets a second.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// How long to wait for replies behind the last packet.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = args::duration)]
    pub timeout: Duration,
    /// What the payload says in front of its number.
    #[arg(long, value_name = "TEXT", default_value = "lbctl")]
    pub payload: String,
    /// Bytes of the payload, without the trailer's 104; below 16 its number is cut short.
    #[arg(long, value_name = "N", conflicts_with = "payload", value_parser = clap::value_parser!(u32).range(..=65_403))]
    pub size: Option<u32>,
    /// For trying: spoil the signatures.
    #[arg(long, requires = "key")]
    pub forge: bool,
    /// For trying: name another hash in the trailer.
    #[arg(long, value_name = "HEX", value_parser = hash, requires = "key")]
    pub hash: Option<[u8; 32]>,
    /// For trying: send no trailer.
    #[arg(long, conflicts_with = "key")]
    pub no_trailer: bool,
    /// For trying: send the first packet again and again.
    #[arg(long)]
    pub replay: bool,
    #[command(flatten)]
    pub form: JsonArgs,
}

const EXAMPLES: &str = "\
Examples:
  lbctl send --key device-7.key --cert device-7.pem --id 7 --to 203.0.113.10:8080
  lbctl send --key device-8.key --id 8 --to game.example:8080 --rate 100 --count 1000
  lbctl send --key device-7.key --cert device-7.pem --id 7 --to 203.0.113.10:8080 --forge

Each payload has a number of its own, so that no signature comes twice. A reply that repeats the payload is one to that \
packet, any other is taken for one to the latest packet without a reply. Nothing is sent twice.

Exit codes: 0 there was a reply, 1 there was none, 2 it could not be sent.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let plan = plan(args)?;
    let shown = plan.count <= SHOWN && !args.form.json;
    let mut written = Ok(());
    let outcome = client::run(&plan, |event| {
        if shown && written.is_ok() {
            written = show(&event, console);
        }
    });
    written?;
    let outcome = outcome.map_err(|error| {
        let from = plan.from.map_or(String::new(), |from| format!(" from {from}"));
        Failure::new(format!("can't send to {}{from}: {}", plan.to, files::said(&error)))
    })?;
    let lost: Vec<u64> = outcome.lost().map(|number| number + 1).collect();
    if args.form.json {
        let micros = |took: Duration| took.as_micros() as u64;
        let times = outcome.times();
        let rtt = times.map(|[least, middle, most]| json!({ "min": micros(least), "median": micros(middle), "max": micros(most) }));
        console.json(&json!({
            "version": 1,
            "to": plan.to,
            "sent": outcome.took.len(),
            "answered": outcome.answered(),
            "lost": lost,
            "repeated_replies": outcome.repeated,
            "refused": outcome.refused,
            "rtt_micros": rtt,
        }))?;
    } else {
        writeln!(console, "{}", summary(&outcome, &lost))?;
    }
    Ok(if outcome.answered() > 0 { Exit::Well } else { Exit::Findings })
}

fn plan(args: &Args) -> Result<Plan, Failure> {
    let to = target(&args.to, args.from)?;
    let signer = match &args.key {
        None => None,
        Some(path) => {
            let key = certificates::read_key(path)?;
            let identity = match &args.cert {
                None => certificates::bare(&key),
                Some(file) => {
                    let (kind, identity) = certificates::read_identity(file)?;
                    if kind != Kind::Certificate {
                        let cure = "leave --cert out where the policy has `key`";
                        return Err(Failure::new(format!("{}: is no certificate; {cure}", file.display())));
                    }
                    if identity.key != certificates::bare(&key).key {
                        let why = format!("{} is not the key of {}", path.display(), file.display());
                        return Err(Failure::new(why));
                    }
                    identity
                }
            };
            Some(Signer {
                key: SigningKey::from(&key),
                hash: args.hash.unwrap_or(identity.hash),
                id: args.id,
            })
        }
    };
    Ok(Plan {
        to,
        from: args.from,
        signer,
        payload: args
            .size
            .map_or_else(|| Payload::Text(args.payload.clone()), |size| Payload::Size(size as usize)),
        count: args.count,
        interval: Duration::from_secs(1) / args.rate,
        timeout: args.timeout,
        forge: args.forge,
        replay: args.replay,
    })
}

/// The first address of the family that it is to be sent from.
fn target(text: &str, from: Option<SocketAddr>) -> Result<SocketAddr, Failure> {
    let failed = |why: String| Failure::new(format!("--to {text}: {why}"));
    let found = text.to_socket_addrs().map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => failed("write HOST:PORT, or [ADDRESS]:PORT for IPv6".to_owned()),
        _ => failed(files::said(&error)),
    })?;
    let mut fit = found.filter(|to| from.is_none_or(|from| from.is_ipv4() == to.is_ipv4()));
    fit.next().ok_or_else(|| failed("it has no address of the family of --from".to_owned()))
}

fn source(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    text.parse().or_else(|_| alone()).map_err(|_| "write ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT".to_owned())
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    certificate::hash(text).map_err(|fault| fault.message)
}

fn show(event: &Event<'_>, console: &mut Console) -> Result<(), Failure> {
    match event {
        Event::Refused => writeln!(console, "refused: an ICMP error came back")?,
        Event::Reply { number, took, bytes } => {
            let (payload, trailer) = match trailer(bytes) {
                Some((payload, _)) => (payload, " and a trailer"),
                None => (*bytes, ""),
            };
            let text = short(&printable(payload), LONGEST_TEXT);
            let which =
                number.map_or("one more reply".to_owned(), |number| format!("reply to {}", number + 1));
            let took = took.map_or(String::new(), |took| format!(" in {}", millis(took)));
            writeln!(console, "{which}{took}, {} bytes: {text}{trailer}", bytes.len())?;
        }
    }
    // Each reply is seen when it comes.
    console.flush()
}

fn summary(outcome: &client::Outcome, lost: &[u64]) -> String {
    let sent = outcome.took.len() as u64;
    let mut text = format!("{} sent, {} answered", thousands(sent), thousands(outcome.answered()));
    if let Some([least, middle, most]) = outcome.times() {
        text.push_str(&format!(
            " in {} / {} / {} (least, median, most)",
            millis(least),
            millis(middle),
            millis(most)
        ));
    }
    if !lost.is_empty() {
        let named: Vec<String> = lost.iter().take(NAMED).map(|number| thousands(*number)).collect();
        let more = if lost.len() > NAMED { ", …" } else { "" };
        let share = 100.0 * lost.len() as f64 / sent as f64;
        text.push_str(&format!(
            "; {} lost ({share:.1} %): {}{more}",
            thousands(lost.len() as u64),
            named.join(" ")
        ));
    }
    if outcome.repeated > 0 {
        text.push_str(&format!("; {} more replies", thousands(outcome.repeated)));
    }
    if outcome.refused > 0 {
        text.push_str(&format!("; {} ICMP errors", thousands(outcome.refused)));
    }
    text
}

fn millis(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1e3)
}

/// What a server says must not move the cursor.
fn printable(bytes: &[u8]) -> String {
    let shown = |c: char| if c.is_control() || c == '\u{fffd}' { '·' } else { c };
    String::from_utf8_lossy(bytes).trim_end().chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_have_a_port() {
        assert_eq!(source("192.0.2.1"), Ok("192.0.2.1:0".parse().unwrap()));
        assert_eq!(source("[2001:db8::1]:9"), Ok("[2001:db8::1]:9".parse().unwrap()));
        assert_eq!(source("2001:db8::1"), Ok("[2001:db8::1]:0".parse().unwrap()));
        assert!(source("host").is_err());
    }

    #[test]
    fn a_reply_is_one_line() {
        assert_eq!(printable(b"b1\x1b[2J\r\n sees\xff you\n"), "b1·[2J·· sees· you");
    }
}
