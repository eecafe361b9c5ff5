//! Owns `lbctl import`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use policy_lang::inventory::{self, Form, Imported, Options};
use policy_lang::source::Source;
use serde_json::json;

use crate::console::{Console, Exit, Failure, Outcome};
use crate::{files, findings, policy_file};

#[derive(clap::Args, Debug)]
#[command(about = "Make a policy of another balancer's configuration", after_help = EXAMPLES)]
pub struct Args {
    /// The configuration; - reads standard input. One of YAML may be in several files.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What the files are written in [default: as their names end].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// UDP port that clients send to; one of TOML does not say.
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Name of the policy.
    #[arg(long, value_name = "NAME", default_value = "balancer", value_parser = name)]
    pub name: String,
    /// Day that valid_until_days counts from, such as 2027-01-31 [default: today].
    #[arg(long, value_name = "DATE", value_parser = policy_file::date)]
    pub start: Option<i64>,
    /// Print policy and findings as one JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// A certificate balancer: [load_balancer], [[backends]], [[certificates]].
    Toml,
    /// A flow balancer: port, addr, interface, conn_ttl_sec, sniMappings.
    Yaml,
}

const EXAMPLES: &str = "\
Examples:
  lbctl import lb_config.toml > balancer.lbp
  lbctl import lb_config.toml --port 9000 | lbctl check -
  lbctl import lb_config.toml | sudo lbctl apply - --device eth0
  lbctl import conf.yaml mappings.yaml --name flows

The policy is written to standard output, formatted and checked; what is wrong with the files is said with its place.

Exit codes: 0 well, 1 errors in a file, 2 a file cannot be read.";

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    let form = form(args)?;
    if form == Form::Toml && args.files.len() > 1 {
        return Err(Failure::new("a configuration of TOML is one file; import them one by one"));
    }
    let mut sources = Vec::new();
    for path in &args.files {
        let files::Policy { name, text, .. } = files::read_policy(path)?;
        sources.push(Source { name, text });
    }
    let names = sources.iter().map(|source| source.name.clone()).collect::<Vec<_>>().join(", ");
    let start = args.start.unwrap_or_else(policy_file::now);
    let options = Options { port: args.port, name: args.name.clone(), start };
    let Imported { text, policy, sources, diagnostics, mut broken } =
        inventory::import(sources, form, &options);
    let found = findings::judge(diagnostics, &[])?;
    if let Some(policy) = &policy {
        broken |= !compiler::prove::run(policy).diagnostics().is_empty();
        broken |= !compiler::expect::run(policy, &sources, None).passed();
    }
    if !args.json {
        let colours = console.err_colours();
        console.say(&findings::human(&sources, &found, colours));
    }
    if broken {
        return Err(Failure::new(format!(
            "{names}: the policy that was made does not check; this is a fault of lbctl, and nothing is written"
        )));
    }
    if args.json {
        let errors = findings::errors(&found);
        console.json(&json!({
            "version": 1,
            "files": args.files,
            "policy": text,
            "errors": errors,
            "warnings": found.len() - errors,
            "findings": findings::json(&sources, &found),
        }))?;
    } else if let Some(text) = &text {
        console.write_all(text.as_bytes())?;
    } else {
        console.say(&format!("{names}: {}\n", findings::tally(&found)));
    }
    Ok(if text.is_some() { Exit::Well } else { Exit::Findings })
}

fn form(args: &Args) -> Result<Form, Failure> {
    if let Some(format) = args.format {
        return Ok(match format {
            Format::Toml => Form::Toml,
            Format::Yaml => Form::Yaml,
        });
    }
    let mut forms = args.files.iter().map(|path| match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => Ok(Form::Toml),
        Some("yaml" | "yml") => Ok(Form::Yaml),
        _ if path == Path::new("-") => {
            Err(Failure::new("standard input has no name to tell by: add --format toml or --format yaml"))
        }
        _ => Err(Failure::new(format!(
            "{}: is it TOML or YAML? add --format toml or --format yaml",
            path.display()
        ))),
    });
    let first = forms.next().unwrap_or(Ok(Form::Toml))?;
    for form in forms {
        if form? != first {
            return Err(Failure::new("the files are of one balancer, and so all of TOML or all of YAML"));
        }
    }
    Ok(first)
}

fn name(text: &str) -> Result<String, String> {
    match inventory::is_free(text) {
        true => Ok(text.to_owned()),
        false => Err("it is no name, or that of something else in the policy".to_owned()),
    }
}
