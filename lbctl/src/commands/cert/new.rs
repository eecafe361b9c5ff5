//! Owns `lbctl cert new`.

use std::io::Write;
use std::path::{Path, PathBuf};

use policy_lang::certificate;
use serde_json::json;

use super::{document, joined, validity};
use crate::args::JsonArgs;
use crate::commands::apply::hex;
use crate::console::{Console, Exit, Failure, Outcome};
use crate::table::columns;
use crate::{certificates, policy_file};

#[derive(clap::Args, Debug)]
#[command(about = "Make a private key, and the certificate or public key that belongs to it", after_help = EXAMPLES)]
pub struct Args {
    /// Beginning of the files' names: STEM.key, and STEM.pem or STEM.pub. Files that are there are not overwritten.
    #[arg(value_name = "STEM")]
    pub stem: PathBuf,
    /// Common name of the certificate's subject [default: the last part of STEM].
    #[arg(long, value_name = "NAME", value_parser = certificates::name, conflicts_with = "bare")]
    pub name: Option<String>,
    /// How many days the certificate is valid, from now.
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(i64).range(1..=36_500), conflicts_with = "bare")]
    pub days: i64,
    /// A bare public key instead of a certificate: it has no name and no end.
    #[arg(long)]
    pub bare: bool,
    /// The number by which packets and the policy name it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub id: u8,
    #[command(flatten)]
    pub form: JsonArgs,
}

const EXAMPLES: &str = "\
Examples:
  lbctl cert new certs/device-7 --id 7
  lbctl cert new certs/device-7 --name device-7.example --days 30
  lbctl cert new keys/device-8 --bare --id 8

STEM.key is for the client alone (mode 0600), the other file is for the policy.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let beside = |ending: &str| {
        let mut name = args.stem.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let (private, public) = (beside(".key"), beside(if args.bare { ".pub" } else { ".pem" }));
    let key = certificates::generate()?;
    let (text, identity) = if args.bare {
        (certificates::public_key(&key)?, certificates::bare(&key))
    } else {
        let now = policy_file::now();
        let text = certificates::issue(&key, &subject(args)?, now, now + args.days * 86_400)?;
        let identity = certificate::certificate(&text).map_err(|fault| Failure::new(fault.message))?;
        (text, identity)
    };
    // The public half first: it is the one that may fail without a key being left.
    certificates::create(&public, text.as_bytes(), 0o644)?;
    if let Err(failure) = certificates::create_key(&private, &key) {
        let _ = std::fs::remove_file(&public);
        return Err(failure);
    }
    let word = if args.bare { "key" } else { "certificate" };
    let line = format!("{word} {} file \"{}\"", args.id, public.display());
    let cert = if args.bare { String::new() } else { format!(" --cert {}", public.display()) };
    let send = format!("lbctl send --key {}{cert} --id {} --to HOST:PORT", private.display(), args.id);
    if args.form.json {
        let more = json!({ "version": 1, "id": args.id, "key": private, word: public, "policy": line });
        // A bare key's file and the private key's would have the same name.
        let more = if args.bare {
            json!({ "version": 1, "id": args.id, "key": private, "public_key": public, "policy": line })
        } else {
            more
        };
        console.json(&joined(more, document(&identity.hash, &identity.subject, identity.valid)))?;
        return Ok(Exit::Well);
    }
    let row = |what: &str, of: String| vec![what.to_owned(), of];
    let mut rows =
        vec![row("private key", format!("{} (mode 0600, for the client alone)", private.display()))];
    if !args.bare {
        rows.push(row("certificate", public.display().to_string()));
        rows.push(row("subject", identity.subject.clone()));
        rows.push(row("valid", validity(identity.valid)));
    } else {
        rows.push(row("public key", public.display().to_string()));
    }
    rows.push(row("hash", hex(&identity.hash)));
    rows.push(row("in a policy", line));
    rows.push(row("to try it", send));
    console.write_all(columns(&rows, &[], "").as_bytes())?;
    Ok(Exit::Well)
}

fn subject(args: &Args) -> Result<String, Failure> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let last = args.stem.file_name().unwrap_or(Path::new("").as_os_str()).to_string_lossy();
    certificates::name(&last)
        .map_err(|why| Failure::new(format!("{last}: {why}; give another one by --name")))
}
