//! Owns `lbctl cert show`.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::{document, joined, standing, validity};
use crate::args::JsonArgs;
use crate::certificates::{self, Kind};
use crate::commands::apply::hex;
use crate::console::{Console, Exit, Outcome};
use crate::table::columns;

#[derive(clap::Args, Debug)]
#[command(about = "Show the hash, subject and validity of a certificate or key", after_help = EXAMPLES)]
pub struct Args {
    /// A certificate, a public key, or a private key, of which only the public part is shown.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub form: JsonArgs,
}

const EXAMPLES: &str = "\
Examples:
  lbctl cert show certs/device-0.pem
  lbctl cert show device-7.key";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let (kind, identity) = certificates::read_identity(&args.file)?;
    let what = match kind {
        Kind::Certificate => "certificate",
        Kind::PublicKey => "public key",
        Kind::PrivateKey => "private key",
    };
    if args.form.json {
        let one = json!({ "version": 1, "file": args.file, "kind": what, "point": hex(&identity.key) });
        console.json(&joined(one, document(&identity.hash, &identity.subject, identity.valid)))?;
        return Ok(Exit::Well);
    }
    let row = |what: &str, of: String| vec![what.to_owned(), of];
    let mut rows = vec![row(what, args.file.display().to_string())];
    if !identity.subject.is_empty() {
        rows.push(row("subject", identity.subject.clone()));
    }
    if kind == Kind::Certificate {
        rows.push(row("valid", format!("{} ({} now)", validity(identity.valid), standing(identity.valid))));
    }
    rows.push(row("hash", hex(&identity.hash)));
    rows.push(row("point", hex(&identity.key)));
    if kind == Kind::PrivateKey {
        rows.push(row("", "the hash is that of the bare key; a certificate for it has another".to_owned()));
    }
    console.write_all(columns(&rows, &[], "").as_bytes())?;
    Ok(Exit::Well)
}
