//! Owns the one namespace: which name is declared where, as what, and whether anything uses it.
//! Never what a declaration holds.

use std::collections::{HashMap, HashSet};

use crate::ast::{Block, Chain, Claim, Item, PolicyItem, SetBody, SideRule, Step, Word};
use crate::report::{Report, suggestion};
use crate::source::Span;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    Const,
    Set,
    Side,
    Vip,
    Pool,
    Track,
    Limit,
    Tree,
    Policy,
    Interface,
    Authority,
    Synguard,
    Mapper,
}

impl Kind {
    /// The word in front of the name.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Const => "const",
            Kind::Set => "set",
            Kind::Side => "side",
            Kind::Vip => "vip",
            Kind::Pool => "pool",
            Kind::Track => "track",
            Kind::Limit => "limit",
            Kind::Tree => "tree",
            Kind::Policy => "policy",
            Kind::Interface => "interface",
            Kind::Authority => "authority",
            Kind::Synguard => "synguard",
            Kind::Mapper => "mapper",
        }
    }

    /// The word with its article.
    pub fn noun(self) -> String {
        let article = if matches!(self, Kind::Interface | Kind::Authority) { "an" } else { "a" };
        format!("{article} {}", self.word())
    }

    fn of(word: &str) -> Option<Kind> {
        Some(match word {
            "vip" => Kind::Vip,
            "pool" => Kind::Pool,
            "track" => Kind::Track,
            "limit" => Kind::Limit,
            "interface" => Kind::Interface,
            "authority" => Kind::Authority,
            "synguard" => Kind::Synguard,
            "mapper" => Kind::Mapper,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    pub kind: Kind,
    /// Among the declarations of its kind.
    pub index: u32,
    pub span: Span,
    used: bool,
}

/// How many names are compared with all the unknown ones of a policy, about.
const COMPARED: usize = 200_000;

#[derive(Default)]
pub(crate) struct Names {
    table: HashMap<String, Symbol>,
    /// Names of items that could not be read.
    lost: HashSet<String>,
}

/// Words that mean something of their own where a name could stand.
const RESERVED: &[&str] = &[
    "match",
    "every",
    "else",
    "and",
    "or",
    "not",
    "in",
    "from",
    "to",
    "flow",
    "union",
    "except",
    "when",
    "otherwise",
    "drop",
    "pass",
    "forward",
    "reject",
    "reply",
    "echo",
    "rst",
    "count",
    "log",
    "limit",
    "ban",
    "track",
    "verify",
    "map",
    "synguard",
    "translate",
    "back",
    "src",
    "dst",
    "sport",
    "dport",
    "proto",
    "len",
    "ttl",
    "dscp",
    "vlan",
    "iface",
    "frag",
    "payload",
    "sni",
    "reaches",
    "ends",
    "without",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "given",
    "after",
    "packet",
    "clock",
    "seed",
];

/// Whether a policy may declare this.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut parts = text.split('-');
    parts.next().is_some_and(|first| first.starts_with(|c: char| c.is_ascii_alphabetic()) && inner(first))
        && parts.all(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && inner(part))
        && !RESERVED.contains(&text)
}

impl Names {
    fn declare(&mut self, kind: Kind, name: &Word, index: usize, report: &mut Report) -> bool {
        if RESERVED.contains(&name.text.as_str()) {
            report
                .error("E0203", name.span, format!("`{}` cannot be the name of {}", name.text, kind.noun()))
                .label("a word of the language")
                .help("choose another name");
            return false;
        }
        if let Some(before) = self.table.get(&name.text) {
            report
                .error("E0202", name.span, format!("`{}` is declared twice", name.text))
                .label("declared again")
                .also(before.span, format!("declared first as {}", before.kind.noun()))
                .because("there is one namespace, and nothing in it may shadow anything")
                .help("rename one of the two");
            return false;
        }
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.table.insert(name.text.clone(), Symbol { kind, index, span: name.span, used: false });
        true
    }

    /// What the name stands for; from now on it counts as used.
    pub fn look_up(&mut self, name: &str) -> Option<Symbol> {
        let symbol = self.table.get_mut(name)?;
        symbol.used = true;
        Some(*symbol)
    }

    /// The index of a name that must be of one kind; says so where it is not.
    pub fn expect(&mut self, kind: Kind, word: &Word, report: &mut Report) -> Option<u32> {
        match self.look_up(&word.text) {
            Some(symbol) if symbol.kind == kind => Some(symbol.index),
            Some(symbol) => {
                let (is, wanted) = (symbol.kind.noun(), kind.noun());
                report
                    .error("E0213", word.span, format!("`{}` is {is}, not {wanted}", word.text))
                    .label(format!("{wanted} is due here"))
                    .also(symbol.span, "declared here");
                None
            }
            None => {
                self.unknown(&[kind], word, report);
                None
            }
        }
    }

    /// Whether an item of this name is there and could not be read, which has been told.
    pub fn is_lost(&self, name: &str) -> bool {
        self.lost.contains(name)
    }

    /// Whether any item is missing that way, and with it perhaps what it holds.
    pub fn any_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub fn unknown(&self, kinds: &[Kind], word: &Word, report: &mut Report) {
        if self.is_lost(&word.text) {
            return;
        }
        let what = kinds.first().map_or("name", |kind| kind.word());
        let known = self.of_kinds(kinds, report.count("E0201"));
        let cure = match known.is_empty() {
            true => format!("declare it: `{what} {} …`", word.text),
            false => suggestion(&word.text, known),
        };
        report
            .error("E0201", word.span, format!("there is no {what} named `{}`", word.text))
            .label("unknown name")
            .help(cure);
    }

    /// The names of some kinds, in order, to choose from for a name that is unknown; `told` of those were told already.
    /// None where to look for each of them among so many would take too long.
    pub fn of_kinds(&self, kinds: &[Kind], told: usize) -> Vec<&str> {
        if told.saturating_mul(self.table.len()) > COMPARED {
            return Vec::new();
        }
        let mut names: Vec<&str> = self
            .table
            .iter()
            .filter(|(_, symbol)| kinds.contains(&symbol.kind))
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    /// Warns of each declaration of the root file that nothing names; what is included may serve other policies.
    pub fn report_unused(&self, report: &mut Report) {
        for (name, symbol) in &self.table {
            // A side that is the rest of the others need not be named, and the policy never is.
            let included = symbol.span.file != crate::source::FileId(0);
            if symbol.used || included || matches!(symbol.kind, Kind::Policy | Kind::Side) {
                continue;
            }
            let kind = symbol.kind.word();
            report
                .warning("W0404", symbol.span, format!("{kind} `{name}` is never used"))
                .help("remove it, or use it");
        }
    }
}

/// The declarations of a policy by kind, in the order of the text; indices are those of `Symbol::index`.
#[derive(Default)]
pub(crate) struct Declared<'a> {
    pub consts: Vec<(&'a Word, &'a [Word])>,
    pub sets: Vec<(&'a Word, Option<&'a Word>, &'a SetBody)>,
    pub sides: Vec<(&'a Word, &'a SideRule)>,
    pub vips: Vec<(&'a Word, &'a Block)>,
    pub pools: Vec<(&'a Word, &'a Block)>,
    pub trackers: Vec<(&'a Word, &'a Block)>,
    pub limits: Vec<(&'a Word, &'a Block)>,
    pub interfaces: Vec<(&'a Word, &'a Block)>,
    pub authorities: Vec<(&'a Word, &'a Block)>,
    pub synguards: Vec<(&'a Word, &'a Block)>,
    pub mappers: Vec<(&'a Word, &'a Block)>,
    pub trees: Vec<(&'a Word, &'a Chain)>,
    pub policy: Option<&'a PolicyItem>,
    pub expects: Vec<(&'a Word, &'a [Step], Span)>,
    pub asserts: Vec<(&'a Word, &'a [Claim], Span)>,
}

pub(crate) fn declare<'a>(
    items: &'a [Item],
    lost: HashSet<String>,
    report: &mut Report,
) -> (Names, Declared<'a>) {
    let mut names = Names { table: HashMap::new(), lost };
    let mut all = Declared::default();
    for item in items {
        match item {
            Item::Include { .. } => {}
            Item::Const { name, values } => {
                if names.declare(Kind::Const, name, all.consts.len(), report) {
                    all.consts.push((name, values));
                }
            }
            Item::Set { name, kind, body } => {
                if names.declare(Kind::Set, name, all.sets.len(), report) {
                    all.sets.push((name, kind.as_ref(), body));
                }
            }
            Item::Side { name, rule } => {
                if names.declare(Kind::Side, name, all.sides.len(), report) {
                    all.sides.push((name, rule));
                }
            }
            Item::Declaration { kind, name, block } => {
                let Some(kind) = Kind::of(&kind.text) else { continue };
                let list = match kind {
                    Kind::Vip => &mut all.vips,
                    Kind::Pool => &mut all.pools,
                    Kind::Track => &mut all.trackers,
                    Kind::Limit => &mut all.limits,
                    Kind::Interface => &mut all.interfaces,
                    Kind::Authority => &mut all.authorities,
                    Kind::Synguard => &mut all.synguards,
                    Kind::Mapper => &mut all.mappers,
                    Kind::Const | Kind::Set | Kind::Side | Kind::Tree | Kind::Policy => continue,
                };
                if names.declare(kind, name, list.len(), report) {
                    list.push((name, block));
                }
            }
            Item::Tree { name, chain } => {
                if names.declare(Kind::Tree, name, all.trees.len(), report) {
                    all.trees.push((name, chain));
                }
            }
            Item::Policy(policy) => {
                if let Some(first) = all.policy {
                    report
                        .error("E0114", policy.name.span, "there is a second policy")
                        .also(first.name.span, "the first one")
                        .because("a packet enters at one root")
                        .help("make one of the two a `tree`");
                } else {
                    names.declare(Kind::Policy, &policy.name, 0, report);
                    all.policy = Some(policy);
                }
            }
            Item::Expect { title, steps, span } => all.expects.push((title, steps, *span)),
            Item::Assert { title, claims, span } => all.asserts.push((title, claims, *span)),
        }
    }
    (names, all)
}
