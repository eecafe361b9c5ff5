//! Owns the step from inventories to the text of a whole policy, which is held against the checks of the language
//! before it is given. Never files or the clock.

use super::balancer::{self, Balancer};
use super::{balancer_items, flows, items, toml, yaml};
use crate::ast::Item;
use crate::diagnostic::{Diagnostic, Severity};
use crate::load::{self, Loaded};
use crate::policy::Policy;
use crate::report::Report;
use crate::source::{FileId, Loader, Source, Sources};
use crate::{names, typing};

/// What the files are written in, which says what they are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A certificate balancer's `lb_config.toml`.
    Toml,
    /// A flow balancer's settings and names, in one file or in several.
    Yaml,
}

/// What the files do not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP port of a certificate balancer.
    pub port: u16,
    /// Name of the policy.
    pub name: String,
    /// What `valid_until_days` counts from, in seconds since 1970.
    pub start: i64,
}

#[derive(Debug)]
pub struct Imported {
    /// Formatted, and without an error; None if there is an error in a file.
    pub text: Option<String>,
    /// What the text means.
    pub policy: Option<Policy>,
    pub sources: Sources,
    /// Placed in the imported files.
    pub diagnostics: Vec<Diagnostic>,
    /// The policy that was made has an error that no file has: a fault of this crate. The findings are about it.
    pub broken: bool,
}

/// Whether a policy that is made can have this name: the language takes it, and nothing else in it has it.
pub fn is_free(name: &str) -> bool {
    const TAKEN: &[&str] = &["A", "B", "uplink", "listen", "hello", "conns", "by_name"];
    let backend = |start: char| {
        name.strip_prefix(start).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    names::is_name(name)
        && !TAKEN.contains(&name)
        && !super::NAMES.contains(&name)
        && !name.starts_with("to_")
        && !backend('b')
        && !backend('t')
}

/// Makes a policy of the files, which have names to be shown to the user.
pub fn import(files: Vec<Source>, form: Form, options: &Options) -> Imported {
    let mut report = Report::default();
    let name = files.iter().map(|file| items::one_line(&file.name)).collect::<Vec<_>>().join(" and ");
    // The policy that is made is the root, and the files stand behind it as if it included them.
    let mut sources = Sources { files: vec![Source { name: "<imported>".to_owned(), text: String::new() }] };
    sources.files.extend(files);
    let made = make(&sources, form, &name, options, &mut report).filter(|_| !report.has_errors());
    let Some(made) = made else {
        return Imported::refused(sources, report.into_sorted());
    };
    let written = crate::format::format("<imported>", &made.text()).ok();
    let checked = crate::check("<imported>", written.clone().unwrap_or_else(|| made.text()), &NoFiles);
    if checked.policy.is_some() && written.is_some() {
        let diagnostics = report.into_sorted();
        if let (Some(root), Some(text)) = (sources.files.first_mut(), &written) {
            root.text.clone_from(text);
        }
        return Imported { text: written, policy: checked.policy, sources, diagnostics, broken: false };
    }
    // The same once more, now with words that are placed in the files.
    let (sources, diagnostics) = made.errors_in_files(&sources);
    if diagnostics.is_empty() {
        return Imported { broken: true, ..Imported::refused(checked.sources, checked.diagnostics) };
    }
    Imported::refused(sources, diagnostics)
}

impl Imported {
    fn refused(sources: Sources, diagnostics: Vec<Diagnostic>) -> Imported {
        Imported { text: None, policy: None, sources, diagnostics, broken: false }
    }
}

/// Nothing that is imported names a file.
struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _: &std::path::Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

/// A policy in its parts.
struct Made {
    /// Comments that open the text.
    head: String,
    items: Vec<Item>,
    /// What is said of the keys of an authority, in their order.
    notes: Vec<Option<String>>,
    /// Sides, policy and trees.
    tree: String,
}

impl Made {
    fn text(&self) -> String {
        let mut text = format!("lbp 1\n{}\n", self.head);
        for item in &self.items {
            let authority = matches!(item, Item::Declaration { kind, .. } if kind.text == "authority");
            items::print(item, |at| self.notes.get(at).filter(|_| authority).cloned().flatten(), &mut text);
        }
        text.push('\n');
        text.push_str(&self.tree);
        text
    }

    /// What is wrong with the items, where they are written in a file.
    fn errors_in_files(self, sources: &Sources) -> (Sources, Vec<Diagnostic>) {
        let mut report = Report::default();
        let root = format!("lbp 1\n{}", self.tree);
        let mut loaded: Loaded = load::load("<imported>", root, &NoFiles, &mut report);
        for file in sources.files.iter().skip(1) {
            loaded.add(file.name.clone(), Default::default(), file.text.clone());
        }
        loaded.items.splice(0..0, self.items);
        typing::policy(&mut loaded, &NoFiles, &mut report, &mut typing::Asked::default());
        let mut found = report.into_sorted();
        found.retain(|one| one.severity == Severity::Error && one.primary.0.file != FileId(0));
        (loaded.sources, found)
    }
}

fn make(sources: &Sources, form: Form, name: &str, options: &Options, report: &mut Report) -> Option<Made> {
    let mut roots = Vec::new();
    for (file, number) in sources.files.iter().zip(0..).skip(1) {
        let id = FileId(number);
        if !load::fits(id, &file.text, report) {
            continue;
        }
        roots.extend(match form {
            Form::Toml => toml::read(id, &file.text, report),
            Form::Yaml => yaml::read(id, &file.text, report),
        });
    }
    if roots.len() + 1 < sources.files.len() {
        return None;
    }
    match form {
        Form::Toml => of_balancer(balancer::read(roots.first()?, report)?, name, options, report),
        Form::Yaml => {
            let flows = flows::read(&roots, report)?;
            let head =
                format!("# Imported from {name}: DTLS clients are sent on by the name that they ask for.\n");
            Some(Made { head, items: flows.items(), notes: Vec::new(), tree: flows.tree(&options.name) })
        }
    }
}

fn of_balancer(balancer: Balancer, name: &str, options: &Options, report: &mut Report) -> Option<Made> {
    balancer.warn(report);
    if !balancer.enabled.value {
        report
            .warning("W0602", balancer.enabled.span, "the balancer is switched off")
            .because("with `enabled = false` every packet goes to this host, and the policy says so")
            .help("write `enabled = true`, and import again");
    }
    if balancer.require_certificates.value && balancer.certificates.is_empty() && balancer.enabled.value {
        report
            .error(
                "E0603",
                balancer.require_certificates.span,
                "nobody could be let in: there is no `[[certificates]]`",
            )
            .because("`require_cert_auth = true` asks each client for one of them")
            .help("add `[[certificates]]`, or write `require_cert_auth = false`");
    }
    if let Some(own) = &balancer.name {
        let names = [&balancer.pool_name(), &balancer.authority_name(), &balancer.track_name()];
        if ["A", "B"].contains(&own.value.as_str()) || names.contains(&&options.name) {
            report
                .error(
                    "E0608",
                    own.span,
                    format!("`{}` is another name in the policy that is made", own.value),
                )
                .help("choose another name");
        }
    }
    if report.has_errors() {
        return None;
    }
    let what = if !balancer.enabled.value {
        "a balancer of UDP clients that is switched off"
    } else if balancer.certified() {
        "UDP clients prove themselves by certificates, and each certificate keeps its backend"
    } else {
        "UDP clients are let in without certificates, and each flow keeps its backend"
    };
    let head = format!("# Imported from {name}: {what}.\n");
    let names = balancer.certificates.iter().map(|one| one.name.as_ref().map(|name| name.value.clone()));
    let notes = names.collect();
    let items = balancer_items::complete(&balancer, options.start);
    Some(Made { head, items, notes, tree: balancer.tree(&options.name, options.port) })
}
