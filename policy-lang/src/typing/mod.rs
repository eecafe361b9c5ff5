//! Owns the step from the tree as written to the typed tree: every name resolved, every value typed, every local
//! rule held. Never rules that need more than one chain (`rules`).

mod assertion;
mod authority;
mod backend;
mod certificates;
mod chain;
mod endpoint;
mod expect;
mod guard;
mod health;
mod interface;
mod limit;
mod mapper;
mod numbers;
mod overlaps;
mod packet;
mod pool;
mod set;
mod settings;
mod side;
mod stage;
mod synguard;
mod tracker;
mod values;
mod vip;

pub(crate) use guard::is_field;
pub(crate) use interface::{DEVICE, is_device};
use std::collections::HashMap;

use std::path::PathBuf;

use crate::ast::Word;
use crate::load::Loaded;
use crate::names::{Declared, Kind, Names};
use crate::policy::{
    AddrSet, Authority, Before, BeforeTree, DefaultEnd, Interface, Limit, LimitId, Mapper, Policy, Pool,
    Rate, Set, SetId, Side, Step, Synguard, Tracker, Vip,
};
use crate::report::Report;
use crate::source::{Loader, Sources, Span};
use crate::value::Fault;
use crate::value::addr::{self, Loose};

/// What is known while a policy is typed. The vectors are filled kind by kind, in the order that their uses need.
pub(crate) struct Typing<'a> {
    report: &'a mut Report,
    names: Names,
    declared: &'a Declared<'a>,
    loader: &'a dyn Loader,
    sources: &'a mut Sources,
    directories: Vec<PathBuf>,
    sets: Vec<Set>,
    /// For each set, itself and the sets it is united from.
    set_origins: Vec<Vec<SetId>>,
    exceptions: Vec<set::Exception>,
    vips: Vec<Vip>,
    limits: Vec<Limit>,
    trackers: Vec<Tracker>,
    pools: Vec<Pool>,
    sides: Vec<Side>,
    default: DefaultEnd,
    interfaces: Vec<Interface>,
    authorities: Vec<Authority>,
    /// All certificates could be read.
    certificates_known: bool,
    synguards: Vec<Synguard>,
    mappers: Vec<Mapper>,
    /// The limit in whose exit `exceed` the chain stands that is being typed.
    exceeded: Option<LimitId>,
    /// The rate of each log, where it was first written.
    logs: HashMap<String, (Rate, Span)>,
}

/// Steps that somebody asks about, beside the policy.
#[derive(Default)]
pub(crate) struct Asked {
    pub written: Vec<crate::ast::Step>,
    /// Typed if the policy has no errors.
    pub steps: Vec<Step>,
    pub report: Report,
}

/// Types everything and holds the whole to the rules; None if there is no policy in the text, or where an error
/// would leave a stand-in in the tree.
pub(crate) fn policy(
    loaded: &mut Loaded,
    loader: &dyn Loader,
    report: &mut Report,
    asked: &mut Asked,
) -> Option<Policy> {
    let lost = std::mem::take(&mut loaded.lost);
    let (names, declared) = crate::names::declare(&loaded.items, lost, report);
    let mut typing = Typing {
        report,
        names,
        declared: &declared,
        loader,
        sources: &mut loaded.sources,
        directories: loaded.directories.clone(),
        sets: Vec::new(),
        set_origins: Vec::new(),
        exceptions: Vec::new(),
        vips: Vec::new(),
        limits: Vec::new(),
        trackers: Vec::new(),
        pools: Vec::new(),
        sides: Vec::new(),
        default: DefaultEnd::Drop,
        interfaces: Vec::new(),
        authorities: Vec::new(),
        certificates_known: true,
        synguards: Vec::new(),
        mappers: Vec::new(),
        exceeded: None,
        logs: HashMap::new(),
    };
    typing.constants();
    typing.type_interfaces();
    let before = typing.report.errors();
    typing.type_authorities();
    typing.certificates_known = typing.report.errors() == before && !typing.names.any_lost();
    typing.type_synguards();
    typing.type_mappers();
    typing.type_vips();
    typing.type_pools();
    typing.type_sets();
    typing.type_limits();
    typing.type_trackers();
    typing.type_sides();
    let before = typing.policy_settings();
    let trees = typing.type_trees();
    let root = declared.policy.map(|item| typing.chain(&item.chain));
    let expects = typing.type_expects();
    let asserts = typing.type_asserts();
    let Some((item, root)) = declared.policy.zip(root) else {
        let end = typing.sources.files.first().map_or(0, |file| file.text.len());
        let place = Span { start: end as u32, end: end as u32, ..Default::default() };
        // A file whose items could not be read may well have a policy.
        if !typing.report.has_errors() {
            typing
                .report
                .error("E0117", place, "there is no policy")
                .because("packets enter at the root, which is the item `policy`")
                .help("add `policy NAME { default drop } = …`");
        }
        return None;
    };
    if !typing.report.has_errors() {
        typing.names.report_unused(typing.report);
        std::mem::swap(typing.report, &mut asked.report);
        asked.steps = asked.written.iter().filter_map(|step| typing.asked(step)).collect();
        std::mem::swap(typing.report, &mut asked.report);
    }
    let policy = Policy {
        name: item.name.text.clone(),
        span: item.name.span,
        default: typing.default,
        before,
        root,
        trees,
        sets: std::mem::take(&mut typing.sets),
        vips: std::mem::take(&mut typing.vips),
        sides: std::mem::take(&mut typing.sides),
        limits: std::mem::take(&mut typing.limits),
        trackers: std::mem::take(&mut typing.trackers),
        pools: std::mem::take(&mut typing.pools),
        interfaces: std::mem::take(&mut typing.interfaces),
        authorities: std::mem::take(&mut typing.authorities),
        synguards: std::mem::take(&mut typing.synguards),
        mappers: std::mem::take(&mut typing.mappers),
        expects,
        asserts,
    };
    if typing.report.has_errors() {
        return None;
    }
    crate::rules::check(&policy, typing.report);
    Some(policy)
}

impl Typing<'_> {
    /// Reports a literal that cannot be read.
    fn fault(&mut self, word: &Word, fault: Fault) {
        self.fault_at(word.span, fault);
    }

    fn fault_at(&mut self, place: Span, fault: Fault) {
        let finding = self.report.error(fault.code, place, fault.message);
        if let Some(cure) = fault.help {
            finding.help(cure);
        }
    }

    /// Constants are words that stand for words; here only their references to each other are looked at.
    fn constants(&mut self) {
        for (name, values) in &self.declared.consts {
            if values.is_empty() {
                self.report.error("E0310", name.span, format!("const `{}` has no value", name.text));
            }
            for word in *values {
                if word.quoted {
                    let message = "a const is an address, a prefix, a number or a list of them";
                    self.report.error("E0310", word.span, message);
                } else if word.text == name.text {
                    self.report
                        .error("E0204", word.span, format!("const `{}` is made of itself", name.text))
                        .help("write the value");
                }
            }
        }
    }

    /// The words that a word stands for: those of a const (and of consts in it), else itself.
    fn expanded(&mut self, word: &Word) -> Vec<Word> {
        let mut out = Vec::new();
        let mut open = vec![(word.clone(), 0)];
        while let Some((word, depth)) = open.pop() {
            let symbol =
                self.names.look_up(&word.text).filter(|symbol| symbol.kind == Kind::Const && !word.quoted);
            let values = symbol.and_then(|symbol| self.declared.consts.get(symbol.index as usize));
            match values {
                Some(_) if depth == 16 || out.len() > 4_096 => {
                    self.report
                        .error(
                            "E0204",
                            word.span,
                            format!("const `{}` is made of too many others", word.text),
                        )
                        .because("consts stand for each other in a circle, or more than 16 deep");
                    return Vec::new();
                }
                // What is wrong with a value is said where it is used.
                Some((_, values)) => open.extend(
                    values.iter().rev().map(|value| (Word { span: word.span, ..value.clone() }, depth + 1)),
                ),
                None => out.push(word),
            }
        }
        out
    }

    /// Addresses as literals, consts, sets, vips or pools name them; with the sets among them.
    fn addresses(&mut self, words: &[Word]) -> Option<(AddrSet, Vec<SetId>)> {
        self.lint_addresses(words);
        let mut loose = Loose::default();
        let mut sets = Vec::new();
        let mut sound = true;
        for word in words.iter().flat_map(|word| self.expanded(word)).collect::<Vec<_>>() {
            if word.quoted {
                let finding =
                    self.report.error("E0307", word.span, "addresses and names stand without quotes");
                finding.help(format!("write `{}`", word.text));
                sound = false;
                continue;
            }
            if addr::looks_like(&word.text) || !word.text.starts_with(|c: char| c.is_ascii_alphabetic()) {
                match addr::range(&word.text) {
                    Ok(range) => loose.push(range),
                    Err(fault) => {
                        self.fault(&word, fault);
                        sound = false;
                    }
                }
                continue;
            }
            match self.names.look_up(&word.text) {
                Some(symbol) if symbol.kind == Kind::Set => {
                    if let Some(set) = self.sets.get(symbol.index as usize) {
                        loose.extend(&set.addrs);
                    }
                    sets.extend(self.set_origins.get(symbol.index as usize).into_iter().flatten());
                }
                Some(symbol) if symbol.kind == Kind::Vip => {
                    let vip = self.vips.get(symbol.index as usize);
                    loose.v4.extend(vip.and_then(|vip| vip.v4).map(|a| (a.into(), a.into())));
                    loose.v6.extend(vip.and_then(|vip| vip.v6).map(|a| (a.into(), a.into())));
                }
                Some(symbol) if symbol.kind == Kind::Pool => {
                    if let Some(pool) = self.pools.get(symbol.index as usize) {
                        loose.extend(&backends_of(pool));
                    }
                }
                Some(symbol) => {
                    let kind = symbol.kind.noun();
                    self.report
                        .error(
                            "E0213",
                            word.span,
                            format!("`{}` is {kind}, which has no addresses", word.text),
                        )
                        .also(symbol.span, "declared here")
                        .help("name a set, const, vip or pool");
                    sound = false;
                }
                None => {
                    self.names.unknown(&[Kind::Set, Kind::Const, Kind::Vip, Kind::Pool], &word, self.report);
                    sound = false;
                }
            }
        }
        sets.sort_unstable();
        sets.dedup();
        sound.then(|| (loose.merged(), sets))
    }

    fn policy_settings(&mut self) -> BeforeTree {
        let mut before = BeforeTree {
            neighbours: Before::Pass,
            unparsed: Before::Drop,
            other: Before::Drop,
            fragments: Before::Drop,
        };
        let Some(block) = self.declared.policy.and_then(|policy| policy.block.as_ref()) else {
            return before;
        };
        const KNOWN: &[&str] = &["default", "neighbours", "unparsed", "other", "fragments"];
        let owner =
            self.declared.policy.map_or(String::new(), |policy| format!("policy `{}`", policy.name.text));
        for setting in self.settings(block, &owner, KNOWN, &[]) {
            let Some(word) = self.one_word(setting) else { continue };
            let value = match word.text.as_str() {
                "drop" => Some(Before::Drop),
                "pass" => Some(Before::Pass),
                "match" => Some(Before::Match),
                _ => None,
            };
            let allowed = match (setting.name.text.as_str(), word.text.as_str(), value) {
                ("default", "drop", _) => {
                    self.default = DefaultEnd::Drop;
                    continue;
                }
                ("default", "reject", _) => {
                    self.default = DefaultEnd::Reject;
                    continue;
                }
                ("default", ..) => "`drop` or `reject`",
                ("fragments", _, Some(value)) => {
                    before.fragments = value;
                    continue;
                }
                ("fragments", ..) => "`drop`, `pass` or `match`",
                (name, _, Some(value)) if value != Before::Match => {
                    match name {
                        "neighbours" => before.neighbours = value,
                        "unparsed" => before.unparsed = value,
                        _ => before.other = value,
                    }
                    continue;
                }
                _ => "`drop` or `pass`",
            };
            self.report
                .error("E0310", word.span, format!("`{}` cannot be `{}`", setting.name.text, word.text))
                .help(format!("write {allowed}"));
        }
        before
    }
}

/// The backends' addresses, without ports.
pub(crate) fn backends_of(pool: &Pool) -> AddrSet {
    let mut loose = Loose::default();
    for backend in &pool.backends {
        loose.v4.extend(backend.v4.map(|(address, _)| (address.into(), address.into())));
        loose.v6.extend(backend.v6.map(|(address, _)| (address.into(), address.into())));
    }
    loose.merged()
}

#[cfg(test)]
mod tests;
