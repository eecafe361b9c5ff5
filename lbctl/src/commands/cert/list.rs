//! Owns `lbctl cert list`.

use std::io::Write;
use std::path::PathBuf;

use policy_lang::policy::{Authority, Certificate};
use serde_json::{Value, json};

use super::{document, joined, standing, validity};
use crate::args::{Format, JsonArgs};
use crate::console::{Console, Exit, Outcome};
use crate::table::columns;
use crate::{findings, policy_file};

#[derive(clap::Args, Debug)]
#[command(about = "List the certificates and keys that a policy accepts", after_help = EXAMPLES)]
pub struct Args {
    /// The policy; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub form: JsonArgs,
}

const EXAMPLES: &str = "\
Examples:
  lbctl cert list policy.lbp
  lbctl cert list policy.lbp --json | jq '.authorities[].certificates[] | select(.revoked)'";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let mut file = policy_file::load(&args.file, &[])?;
    // What cannot be compiled yet can be listed.
    file.set_aside_to_come();
    let Some(policy) = file.policy.as_ref().filter(|_| findings::errors(&file.findings) == 0) else {
        file.tell(console, Format::Human);
        return Ok(Exit::Findings);
    };
    if args.form.json {
        let authorities: Vec<Value> = policy.authorities.iter().map(authority).collect();
        console.json(&json!({ "version": 1, "file": file.name, "authorities": authorities }))?;
        return Ok(Exit::Well);
    }
    if policy.authorities.is_empty() {
        writeln!(console, "{}: the policy has no authority, and asks for no certificate", file.name)?;
    }
    for (number, authority) in policy.authorities.iter().enumerate() {
        let gap = if number > 0 { "\n" } else { "" };
        writeln!(console, "{gap}authority {}", authority.name)?;
        let mut rows = vec![["id", "hash", "subject", "valid", "now"].map(str::to_owned).to_vec()];
        rows.extend(authority.certificates.iter().map(|one| row(authority, one)));
        console.write_all(columns(&rows, &[0], "  ").as_bytes())?;
        let beside = authority
            .revoked
            .iter()
            .filter(|hash| !authority.certificates.iter().any(|one| one.hash == **hash));
        match beside.count() {
            0 => {}
            1 => writeln!(console, "  and 1 revoked hash of no certificate here")?,
            more => writeln!(console, "  and {more} revoked hashes of no certificate here")?,
        }
    }
    Ok(Exit::Well)
}

fn is_revoked(authority: &Authority, one: &Certificate) -> bool {
    authority.revoked.binary_search(&one.hash).is_ok()
}

fn now(authority: &Authority, one: &Certificate) -> &'static str {
    if is_revoked(authority, one) { "revoked" } else { standing(one.valid) }
}

fn row(authority: &Authority, one: &Certificate) -> Vec<String> {
    let hash = match one.key {
        Some(_) => one.hash_text(),
        None => "generated when the agent starts".to_owned(),
    };
    vec![
        one.id.to_string(),
        hash,
        if one.subject.is_empty() { "–".to_owned() } else { one.subject.clone() },
        validity(one.valid),
        now(authority, one).to_owned(),
    ]
}

fn authority(authority: &Authority) -> Value {
    let each = authority.certificates.iter().map(|one| {
        let document = document(&one.hash, &one.subject, one.valid);
        let mut document = joined(
            json!({ "id": one.id, "generated": one.key.is_none(), "revoked": is_revoked(authority, one) }),
            document,
        );
        if let (None, Some(hash)) = (&one.key, document.get_mut("hash")) {
            // Until an agent makes the key, something else stands in.
            *hash = Value::Null;
        }
        document
    });
    let revoked: Vec<String> =
        authority.revoked.iter().map(|hash| crate::commands::apply::hex(hash)).collect();
    json!({ "name": authority.name, "certificates": each.collect::<Vec<_>>(), "revoked": revoked })
}
