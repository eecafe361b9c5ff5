//! Owns `lbctl cert revoke`: a list of revoked hashes as a file, and telling the instance that runs.

use std::io::Write;
use std::path::{Path, PathBuf};

use ebpf_runtime::Error;
use ebpf_runtime::instance::Instance;
use ebpf_runtime::sessions::Dropped;
use policy_lang::certificate;
use serde_json::json;

use crate::args::{InstanceArgs, JsonArgs};
use crate::certificates::{self, Kind};
use crate::commands::apply::hex;
use crate::commands::sessions;
use crate::console::{Console, Exit, Failure, Outcome};
use crate::{files, policy_file, privileges};

#[derive(clap::Args, Debug)]
#[command(about = "Accept a certificate or key no longer", after_help = EXAMPLES)]
pub struct Args {
    /// The certificate or public key as a file, or its hash in hexadecimal digits.
    #[arg(value_name = "HASH|FILE")]
    pub which: String,
    /// The policy's list (`revoked file "PATH"`); made if missing. What stands in it stays.
    #[arg(long, value_name = "FILE")]
    pub list: PathBuf,
    #[command(flatten)]
    pub form: JsonArgs,
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// What an instance that runs had to do with it.
enum Told {
    /// It knew the certificate, and ended its sessions.
    Revoked(Dropped),
    /// It accepts no such certificate.
    Unknown,
    /// None runs under this name.
    None,
    /// This process may not talk to instances.
    Forbidden,
}

const EXAMPLES: &str = "\
Examples:
  lbctl cert revoke certs/device-7.pem --list revoked.txt
  lbctl cert revoke 06910a5e058a384af05f2cf922732a73079e4927ed0184ccda6a134756153446 --list revoked.txt

Where the instance runs, it accepts the certificate no longer from this moment on, and its sessions end; the list keeps it \
so over the next apply.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let (hash, name) = which(&args.which)?;
    let text = read_list(&args.list)?;
    let there = text.lines().any(|line| entry(line).is_some_and(|one| certificate::hash(one) == Ok(hash)));
    if !there {
        let mut text = text;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let name = if name.is_empty() { String::new() } else { format!("{name}, ") };
        text.push_str(&format!(
            "{}    # {name}revoked {}\n",
            hex(&hash),
            policy_lang::day(policy_file::now())
        ));
        files::replace(&args.list, text.as_bytes())?;
    }
    let told = tell(args, &hex(&hash))?;
    if args.form.json {
        let dropped = if let Told::Revoked(dropped) = &told { Some(dropped) } else { None };
        console.json(&json!({
            "version": 1,
            "hash": hex(&hash),
            "list": args.list,
            "added": !there,
            "instance": args.instance.instance,
            "revoked_now": dropped,
        }))?;
        return Ok(Exit::Well);
    }
    let list = args.list.display();
    match there {
        true => writeln!(console, "{list}: {} stands there already", hex(&hash))?,
        false => writeln!(console, "{list}: {} added", hex(&hash))?,
    }
    let instance = &args.instance.instance;
    match told {
        Told::Revoked(dropped) => {
            writeln!(console, "instance {instance}: revoked at once; {}", sessions::taken(&dropped))?;
        }
        Told::Unknown => {
            writeln!(console, "instance {instance}: it does not accept this certificate anyway")?
        }
        Told::None => writeln!(console, "no instance {instance} runs here; the next apply goes by the list")?,
        Told::Forbidden => {
            writeln!(console, "the next apply goes by the list; as root it would be revoked at once")?;
        }
    }
    Ok(Exit::Well)
}

fn tell(args: &Args, hash: &str) -> Result<Told, Failure> {
    if !privileges::missing().is_empty() {
        return Ok(Told::Forbidden);
    }
    args.instance.place.within(|run_dir| {
        let told = Instance::open_existing(run_dir, &args.instance.instance)
            .and_then(|mut instance| instance.revoke(hash));
        match told {
            Ok(dropped) => Ok(Told::Revoked(dropped)),
            Err(Error::NoCertificate(_)) => Ok(Told::Unknown),
            Err(Error::NothingApplied(_)) => Ok(Told::None),
            Err(error) => Err(error),
        }
    })
}

/// The hash, and a word for people to know it by.
fn which(text: &str) -> Result<([u8; 32], String), Failure> {
    if let Ok(hash) = certificate::hash(text) {
        return Ok((hash, String::new()));
    }
    let path = Path::new(text);
    if !path.exists() && text.chars().all(|c| c.is_ascii_hexdigit() || c == ':') {
        return Err(Failure::new(format!("{text}: is neither a file nor a hash, which has 64 digits")));
    }
    let (kind, identity) = certificates::read_identity(path)?;
    if kind == Kind::PrivateKey {
        return Err(Failure::new(format!(
            "{text}: is a private key; name its certificate or its public key, as the policy does"
        )));
    }
    Ok((identity.hash, identity.subject))
}

/// What stands on a line of a list besides a comment.
fn entry(line: &str) -> Option<&str> {
    let code = line.split('#').next().unwrap_or("").trim();
    (!code.is_empty()).then_some(code)
}

/// The list as it is; a file that is no list is not made one.
fn read_list(path: &Path) -> Result<String, Failure> {
    if !path.exists() {
        return Ok(String::new());
    }
    let name = path.display();
    let text = files::read_file(path).map_err(|why| Failure::new(format!("{name}: {why}")))?;
    for (number, line) in text.lines().enumerate() {
        if let Some(Err(fault)) = entry(line).map(certificate::hash) {
            return Err(Failure::new(format!(
                "{name}:{}: {}; nothing is changed",
                number + 1,
                fault.message
            )));
        }
    }
    Ok(text)
}
