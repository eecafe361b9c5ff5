//! Owns `lbctl diff`: two policies, and in what they differ, as text. Never finds a difference itself.

mod document;

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use compiler::diff::{self, Change, ItemChange, Moved, Region, Report, Why, Witness};
use compiler::prove::Written;
use policy_lang::diagnostic::Severity;
use policy_lang::policy::Policy;
use policy_lang::source::{Sources, Span};

use crate::args::{Format, FormatArgs};
use crate::console::{Console, Exit, Failure, Outcome};
use crate::findings::places::Places;
use crate::table::{columns, short, thousands};
use crate::way::at;
use crate::{files, findings};

#[derive(clap::Args, Debug)]
#[command(about = "Tell for which packets a new policy means something else", long_about = LONG, after_help = EXAMPLES)]
pub struct Args {
    /// The policy as it was; - reads standard input.
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The policy as it is to be.
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    #[command(flatten)]
    pub format: FormatArgs,
}

const LONG: &str = "\
Tell for which packets a new policy means something else.

All packets are looked at, not samples. What changes is told as guards of the language, each with a packet that lbctl \
explain takes. Form, order and names do not count, only what becomes of packets; what a new name costs in state is told \
beside it. The exception is a pool's backends: their order and names decide which flow goes to which, so that sorting \
the list or renaming a backend moves flows.";

const EXAMPLES: &str = "\
Examples:
  lbctl diff old.lbp new.lbp
  git show HEAD:edge.lbp | lbctl diff - edge.lbp
  lbctl diff old.lbp new.lbp --json | jq -r '.changes[].regions[].guard'

Exit codes: 0 equal in meaning, 1 not, 2 a file cannot be read or has errors (a false assert, E0701, hinders no comparison).";

/// Regions of a change that are shown to people.
const SHOWN: usize = 6;
const SHOWN_OBSERVED: usize = 2;
/// Characters of a fate that are shown beside the other one.
const BESIDE: usize = 44;

struct Side {
    name: String,
    policy: Policy,
    sources: Sources,
}

pub fn run(args: &Args, console: &mut Console) -> Outcome {
    if args.old == Path::new("-") && args.new == Path::new("-") {
        return Err(Failure::new("only one of the two policies can come from standard input"));
    }
    let old = load(&args.old, console)?;
    let new = load(&args.new, console)?;
    let report = diff::run((&old.policy, &old.sources), (&new.policy, &new.sources)).map_err(|_| {
        Failure::new(format!(
            "{} and {}: their guards cut the packets into too many parts to compare",
            old.name, new.name
        ))
    })?;
    let (olds, news) = spans(&report);
    let shown = Shown {
        old: &old,
        new: &new,
        olds: Places::of(&old.sources, olds),
        news: Places::of(&new.sources, news),
    };
    match args.format.format() {
        Format::Json => console.json(&shown.document(&report))?,
        Format::Human => write!(console, "{}", shown.human(&report))?,
        Format::Short => write!(console, "{}", shown.short(&report))?,
    }
    Ok(if report.is_equal() { Exit::Well } else { Exit::Findings })
}

/// A policy without errors; with them there is no meaning to compare.
fn load(path: &Path, console: &mut Console) -> Result<Side, Failure> {
    let files::Policy { name, text, directory } = files::read_policy(path)?;
    let checked = policy_lang::check(&name, text, &directory);
    let found = findings::judge(checked.diagnostics, &[])?;
    let errors = findings::errors(&found);
    match checked.policy.filter(|_| errors == 0) {
        Some(policy) => Ok(Side { name, policy, sources: checked.sources }),
        None => {
            let errors: Vec<_> = found.into_iter().filter(|one| one.severity == Severity::Error).collect();
            console.say(&findings::human(&checked.sources, &errors, console.err_colours()));
            Err(Failure::new(format!("{name}: not compared: the policy has errors")))
        }
    }
}

/// Every place of a report, in the old policy and in the new one.
fn spans(report: &Report) -> (Vec<Span>, Vec<Span>) {
    let (mut olds, mut news) = (Vec::new(), Vec::new());
    for change in report.changes.iter().chain(&report.observed) {
        for region in &change.regions {
            olds.extend(region.witness.ways.0.iter().filter_map(|step| step.span));
            news.extend(region.witness.ways.1.iter().filter_map(|step| step.span));
        }
        if let Why::Items(items) = &change.why {
            olds.extend(items.iter().filter_map(|item| item.places.0));
            news.extend(items.iter().filter_map(|item| item.places.1));
        }
    }
    (olds, news)
}

/// A report on its way to a reader.
struct Shown<'a> {
    old: &'a Side,
    new: &'a Side,
    olds: Places<'a>,
    news: Places<'a>,
}

impl Shown<'_> {
    fn human(&self, report: &Report) -> String {
        let mut text = String::new();
        for setting in &report.settings {
            let hex: String = setting.frame.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "{}: {} → {}", setting.packets, setting.before, setting.after);
            let _ = writeln!(text, "   the setting `{}`; for example --hex {hex}\n", setting.name);
        }
        for (number, change) in (1..).zip(&report.changes) {
            let _ = writeln!(text, "{number}. {}", why(&change.why, "   "));
            self.regions(change, SHOWN, &mut text);
            text.push('\n');
        }
        if report.more_changes > 0 {
            let _ = writeln!(text, "… and {} kinds of change more\n", report.more_changes);
        }
        if !report.observed.is_empty() {
            text.push_str("Only counted or logged otherwise:\n\n");
            for change in &report.observed {
                let _ = writeln!(text, "*  {}", why(&change.why, "   "));
                self.regions(change, SHOWN_OBSERVED, &mut text);
                text.push('\n');
            }
        }
        if !report.lost.is_empty() {
            text.push_str("State that does not go on, because it goes by names:\n");
            let rows: Vec<Vec<String>> =
                report.lost.iter().map(|lost| vec![lost_words(lost), lost.loses.clone()]).collect();
            text.push_str(&columns(&rows, &[], "   "));
            text.push('\n');
        }
        let _ = writeln!(text, "{}", self.summary(report));
        text
    }

    fn regions(&self, change: &Change, most: usize, text: &mut String) {
        let is_observed = matches!(change.why, Why::Observed { .. });
        for region in change.regions.iter().take(most) {
            let _ = writeln!(text, "   {}", region.guard.short);
            let (old, new) = self.decided(region);
            let mut rows = vec![vec!["decided at".to_owned(), format!("{old} → {new}")]];
            rows.push(vec!["for example".to_owned(), self.packet(&region.witness)]);
            let seen = match &region.witness.at_once {
                Some((before, after)) => vec!["as the first".to_owned(), format!("{before} → {after}")],
                None if region.witness.takes.is_empty() => {
                    vec!["seen when".to_owned(), "the stages on its way have state to tell".to_owned()]
                }
                None => vec!["seen when".to_owned(), region.witness.takes.join(" and ")],
            };
            rows.extend(Some(seen).filter(|_| !is_observed));
            text.push_str(&columns(&rows, &[], "      "));
        }
        let hidden = change.regions.len().saturating_sub(most);
        match change.more.map(|more| more + hidden) {
            Some(0) => {}
            Some(1) => text.push_str("   … and 1 region more\n"),
            Some(more) => {
                let _ = writeln!(text, "   … and {} regions more", thousands(more as u64));
            }
            None => text.push_str("   … and too many regions more to be counted\n"),
        }
    }

    fn short(&self, report: &Report) -> String {
        let mut text = String::new();
        for setting in &report.settings {
            let _ = writeln!(
                text,
                "{}: {} => {}: {}",
                setting.name, setting.before, setting.after, setting.packets
            );
        }
        for change in &report.changes {
            let why = why(&change.why, "").replace('\n', "; ");
            for region in &change.regions {
                let (old, new) = self.decided(region);
                let _ = writeln!(text, "{old}: {new}: {why}: {}", region.guard.short);
            }
        }
        let _ = writeln!(text, "{}", self.summary(report));
        text
    }

    /// As `explain` takes it; with the words of the old policy where only that one has them.
    fn packet(&self, witness: &Witness) -> String {
        let (before, after) = &witness.packets;
        let is_known = after.iface.is_some() >= before.iface.is_some()
            && after.signed.is_some() >= before.signed.is_some();
        match is_known {
            true => Written(&self.new.policy, after).to_string(),
            false => Written(&self.old.policy, before).to_string(),
        }
    }

    /// Where both policies' deciding arms stand.
    fn decided(&self, region: &Region) -> (String, String) {
        let (old, new) = region.witness.decided();
        let place = |span: Option<Span>, places: &Places<'_>, side: &Side| {
            span.map_or_else(|| side.name.clone(), |span| at(span, places))
        };
        (place(old, &self.olds, self.old), place(new, &self.news, self.new))
    }

    fn summary(&self, report: &Report) -> String {
        let (old, new) = (&self.old.name, &self.new.name);
        if report.is_equal() {
            return format!("{old} and {new} are equal in meaning");
        }
        let plural = |count: usize, one: &str| {
            format!("{} {one}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
        };
        let changes = report.settings.len() + report.changes.len() + report.more_changes;
        let regions: usize =
            report.changes.iter().map(|change| change.regions.len() + change.more.unwrap_or(0)).sum();
        let regions = report.settings.len() + regions;
        let at_least = report.more_changes > 0 || report.changes.iter().any(|change| change.more.is_none());
        let at_least = if at_least { "at least " } else { "" };
        format!("{old} → {new}: {} in {at_least}{}", plural(changes, "change"), plural(regions, "region"))
    }
}

fn endpoint((address, port): diff::Address) -> String {
    match port {
        0 => address.to_string(),
        port => std::net::SocketAddr::new(address, port).to_string(),
    }
}

fn lost_words(lost: &diff::Lost) -> String {
    match lost.after.as_str() {
        "" => lost.before.clone(),
        after => format!("{} {} → {after}", lost.word, lost.before),
    }
}

/// What changes, in a line or, where it is long, several.
fn why(why: &Why, indent: &str) -> String {
    match why {
        Why::Fate { before, after } if before.chars().count() + after.chars().count() <= 2 * BESIDE => {
            format!("{before}  →  {after}")
        }
        Why::Fate { before, after } => format!("{before}\n{indent}→ {after}"),
        Why::Observed { before, after } => {
            let words = |list: &[String]| match list {
                [] => "nothing".to_owned(),
                all => short(&all.join(", "), 2 * BESIDE),
            };
            format!("{}  →  {}", words(before), words(after))
        }
        Why::Items(items) => items.iter().map(item_words).collect::<Vec<_>>().join(&format!("\n{indent}")),
    }
}

/// `limit calm: rate 10 pkt/s → 20 pkt/s`.
fn item_words(item: &ItemChange) -> String {
    let (before, after) = &item.names;
    let name = if before == after { after.clone() } else { format!("{before} → {after}") };
    let named = if item.word == "every" { name } else { format!("{} {name}", item.word) };
    let or_none = |value: &String| if value.is_empty() { "none".to_owned() } else { short(value, BESIDE) };
    let mut parts: Vec<String> = item
        .settings
        .iter()
        .map(|(name, before, after)| format!("{name} {} → {}", or_none(before), or_none(after)))
        .collect();
    parts.extend(item.slots.iter().map(slot_words));
    if parts.is_empty() {
        parts.push("other backends".to_owned());
    }
    format!("{named}: {}", parts.join("; "))
}

fn slot_words(moved: &Moved) -> String {
    let family = if moved.v6 { "IPv6" } else { "IPv4" };
    let (before, after) = (thousands(moved.slots.0 as u64), thousands(moved.slots.1 as u64));
    let Some(count) = moved.moved else { return format!("{before} → {after} slots over {family}") };
    let changed = moved.backends.iter().filter(|share| share.gained + share.lost > 0);
    let shares: Vec<String> = changed
        .map(|share| {
            let (before, after) = (thousands(share.before as u64), thousands(share.after as u64));
            let flow = match (share.gained, share.lost) {
                (gained, 0) => format!("+{}", thousands(gained as u64)),
                (0, lost) => format!("-{}", thousands(lost as u64)),
                (gained, lost) => format!("+{} -{}", thousands(gained as u64), thousands(lost as u64)),
            };
            format!("{} {before} → {after} ({flow})", share.name)
        })
        .collect();
    if shares.is_empty() {
        return format!("no slot over {family} moves");
    }
    let count = thousands(count as u64);
    format!("{count} of {after} slots over {family} move: {}", shares.join(", "))
}
