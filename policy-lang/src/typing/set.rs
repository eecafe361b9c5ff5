//! Owns sets: from literals, from other sets, from a list file, filled at run time. Never what a guard does with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Typing;
use crate::ast::{Operand, SetBody, SetOp, Word};
use crate::list;
use crate::load::below;
use crate::names::Kind;
use crate::policy::{AddrSet, Dynamic, Set, SetId};
use crate::source::{FileId, Source, Span};
use crate::value::addr;
use crate::value::addr::{except_of, union_of};

/// Sets may be made of sets this deep.
const DEPTH: usize = 64;
/// Entries of a set that is not written out.
const LARGEST: u32 = 1 << 24;

/// What `except` takes away in a set.
pub(super) struct Exception {
    pub set: SetId,
    /// The sets that it takes from: those written before it, with what they are united from.
    pub from: Vec<SetId>,
    pub addrs: AddrSet,
    /// The sets among what it takes, with what they are united from.
    pub sets: Vec<SetId>,
}

/// Which sets are typed, which are being typed, and which wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Waits,
    Open,
    Done,
}

impl Typing<'_> {
    pub(super) fn type_sets(&mut self) {
        let declared = self.declared;
        for (name, ..) in &declared.sets {
            self.sets.push(Set {
                name: name.text.clone(),
                span: name.span,
                addrs: Arc::default(),
                from_file: false,
                dynamic: None,
                max: None,
            });
            self.set_origins.push(vec![SetId(self.set_origins.len() as u32)]);
        }
        let mut marks = vec![Mark::Waits; declared.sets.len()];
        for index in 0..declared.sets.len() {
            self.type_set(index, &mut marks, 0);
        }
    }

    fn type_set(&mut self, index: usize, marks: &mut [Mark], depth: usize) {
        let (Some((name, kind, body)), Some(mark)) = (self.declared.sets.get(index), marks.get_mut(index))
        else {
            return;
        };
        if *mark != Mark::Waits {
            return;
        }
        *mark = Mark::Open;
        if let Some(kind) = kind
            && !["net", "addr"].contains(&kind.text.as_str())
        {
            self.report
                .error("E0307", kind.span, format!("`{}` is no type of set", kind.text))
                .help("write `net` for prefixes and ranges, or `addr` for single addresses");
        }
        match body {
            SetBody::Expression { first, rest } => {
                let parts =
                    std::iter::once((SetOp::Union, first)).chain(rest.iter().map(|(op, part)| (*op, part)));
                let mut whole = AddrSet::default();
                let mut origins = vec![SetId(index as u32)];
                let single = kind.is_some_and(|kind| kind.text == "addr");
                for (op, part) in parts {
                    if single && op == SetOp::Union {
                        self.only_addresses(part);
                    }
                    let Some((addrs, sets)) = self.operand(name, part, marks, depth) else { continue };
                    match op {
                        SetOp::Union => {
                            whole = union_of(&whole, &addrs);
                            origins.extend(sets);
                        }
                        SetOp::Except => {
                            self.never_dynamic(part, &sets);
                            whole = except_of(&whole, &addrs);
                            let (set, from) = (SetId(index as u32), origins.clone());
                            self.exceptions.push(Exception { set, from, addrs, sets });
                        }
                    }
                }
                origins.sort_unstable();
                origins.dedup();
                if let (Some(set), Some(place)) = (self.sets.get_mut(index), self.set_origins.get_mut(index))
                {
                    // A set is opaque where any part of it is.
                    set.addrs = Arc::new(whole);
                    *place = origins;
                }
                let opaque = self.set_origins.get(index).is_some_and(|origins| {
                    origins.iter().any(|id| self.sets.get(id.index()).is_some_and(Set::is_opaque))
                });
                if let Some(set) = self.sets.get_mut(index) {
                    set.from_file = opaque;
                }
            }
            SetBody::Words(words) => {
                let single = kind.is_some_and(|kind| kind.text == "addr");
                self.set_from_words(index, name, single, words);
            }
        }
        if let Some(mark) = marks.get_mut(index) {
            *mark = Mark::Done;
        }
    }

    /// One operand; the sets it names are typed first.
    fn operand(
        &mut self,
        owner: &Word,
        operand: &Operand,
        marks: &mut [Mark],
        depth: usize,
    ) -> Option<(AddrSet, Vec<SetId>)> {
        for word in operand.words.iter().flat_map(|word| self.expanded(word)).collect::<Vec<_>>() {
            let Some(symbol) = self.names.look_up(&word.text).filter(|symbol| symbol.kind == Kind::Set)
            else {
                continue;
            };
            let index = symbol.index as usize;
            if marks.get(index) == Some(&Mark::Open) || depth == DEPTH {
                self.report
                    .error("E0204", word.span, format!("set `{}` is made of itself", owner.text))
                    .also(symbol.span, format!("`{}` is declared here", word.text))
                    .because(format!(
                        "sets are made of other sets, without a circle and at most {DEPTH} deep"
                    ));
                return None;
            }
            self.type_set(index, marks, depth + 1);
        }
        self.addresses(&operand.words)
    }

    /// A set of type `addr` is made of single addresses.
    fn only_addresses(&mut self, operand: &Operand) {
        for word in operand.words.iter().flat_map(|word| self.expanded(word)).collect::<Vec<_>>() {
            let named = self.names.look_up(&word.text).filter(|symbol| symbol.kind == Kind::Set);
            let other = named.and_then(|symbol| self.declared.sets.get(symbol.index as usize));
            let wide = match other {
                Some((_, kind, _)) => kind.is_some_and(|kind| kind.text == "net"),
                None => addr::range(&word.text).is_ok_and(|range| range.single().is_none()),
            };
            if wide {
                self.report
                    .error("E0307", word.span, format!("`{}` is no single address", word.text))
                    .because("a set of type `addr` holds single addresses")
                    .help("give the set the type `net`");
            }
        }
    }

    /// `from "FILE" max N` or `dynamic max N ttl T`.
    fn set_from_words(&mut self, index: usize, name: &Word, single: bool, words: &[Word]) {
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        if text.first() == Some(&"dynamic") {
            return self.dynamic_set(index, name, words);
        }
        let (path, max) = match words {
            [from, path] if from.text == "from" && path.quoted => (path, None),
            [from, path, word, max] if from.text == "from" && path.quoted && word.text == "max" => {
                (path, Some(max))
            }
            _ => {
                self.report
                    .error("E0310", name.span, format!("set `{}` is not written like this", name.text))
                    .help(
                        "write `set NAME : net = { … }`, `set NAME : net from \"FILE\" max N` or \
                         `set NAME : addr dynamic max N ttl 10m`",
                    );
                return;
            }
        };
        let Some(max) = max else {
            self.report
                .error("E0404", name.span, format!("set `{}` does not state `max`", name.text))
                .because("a list changes from day to day, and the table it fills has to have a size")
                .help("add `max 100_000` behind the file");
            return;
        };
        let Some(max) = self.count_in(max, 1, LARGEST) else { return };
        if let Some(addrs) = self.list_file(path, single, max)
            && let Some(set) = self.sets.get_mut(index)
        {
            (set.addrs, set.from_file, set.max) = (Arc::new(addrs), true, Some(max));
        }
    }

    /// `dynamic max N ttl T`, in any order behind the first word.
    fn dynamic_set(&mut self, index: usize, name: &Word, words: &[Word]) {
        let mut max = None;
        let mut dynamic = Dynamic { ttl: None };
        for pair in words.get(1..).unwrap_or(&[]).chunks(2) {
            match pair {
                [word, value] if word.text == "max" && max.is_none() => {
                    max = self.count_in(value, 1, LARGEST);
                    if max.is_none() {
                        return;
                    }
                }
                [word, value] if word.text == "ttl" && dynamic.ttl.is_none() => {
                    let Some(time) = self.time(value) else { return };
                    dynamic.ttl = Some(time);
                }
                other => {
                    let place = other.first().map_or(name.span, |word| word.span);
                    self.report
                        .error("E0310", place, format!("set `{}` is not written like this", name.text))
                        .help("write `set NAME : addr dynamic max 65_536 ttl 10m`");
                    return;
                }
            }
        }
        if max.is_none() {
            self.report
                .error("E0404", name.span, format!("set `{}` does not state `max`", name.text))
                .because("every table has a size; a full set takes in nobody, and counts it")
                .help("add `max 65_536` behind `dynamic`");
        }
        if let Some(set) = self.sets.get_mut(index) {
            (set.dynamic, set.max) = (Some(dynamic), max);
        }
    }

    /// What is in a dynamic set is not known when another set is made.
    fn never_dynamic(&mut self, operand: &Operand, sets: &[SetId]) {
        let dynamic =
            sets.iter().find_map(|id| self.sets.get(id.index()).filter(|set| set.dynamic.is_some()));
        let Some((name, declared)) = dynamic.map(|set| (set.name.clone(), set.span)) else { return };
        let place = operand.words.iter().map(|word| word.span).reduce(crate::ast::join).unwrap_or(declared);
        self.report
            .error("E0423", place, "what is filled at run time cannot be taken away")
            .also(declared, format!("`{name}` is such a set"))
            .because("`except` is worked out when the policy is checked")
            .help("ask for both in the guard: `src in A and src not in B`");
    }

    /// The file that a policy names, with its path from the root policy's directory; `what` stays below that.
    pub(super) fn file_beside(&mut self, path: &Word, what: &str) -> Option<(PathBuf, String)> {
        let root = PathBuf::new();
        let directory = self.directories.get(path.span.file.0 as usize).unwrap_or(&root);
        let Some(full) = below(directory, &path.text) else {
            self.report
                .error("E0208", path.span, format!("`{}` is outside of the policy's directory", path.text))
                .because(format!("{what} stay below the directory of the root policy"));
            return None;
        };
        match self.loader.load(&full) {
            Ok(text) => Some((full, text)),
            Err(why) => {
                self.report
                    .error("E0207", path.span, format!("`{}` cannot be read: {why}", full.display()))
                    .help("paths are relative to the file that names them");
                None
            }
        }
    }

    /// Makes a text one that findings point into.
    pub(super) fn add_source(&mut self, path: PathBuf, text: String) -> FileId {
        let file = FileId(u32::try_from(self.sources.files.len()).unwrap_or(u32::MAX));
        let name = self.sources.files.first().map(|root| Path::new(&root.name).with_file_name(&path));
        let name = name.unwrap_or(path).display().to_string();
        self.sources.files.push(Source { name, text });
        file
    }

    fn list_file(&mut self, path: &Word, single: bool, max: u32) -> Option<AddrSet> {
        let (full, text) = self.file_beside(path, "list files")?;
        if u32::try_from(text.len()).is_err() {
            self.report.error("E0116", path.span, "the list file is larger than 4 GiB");
            return None;
        }
        let read = list::read(text.as_bytes(), single);
        let file = self.add_source(full, text);
        for (start, end, fault) in &read.faults {
            let place = Span { file, start: *start as u32, end: *end as u32 };
            let finding = self
                .report
                .error("E0313", place, fault.message.clone())
                .also(path.span, "the list is named here");
            finding.help(
                fault.help.clone().unwrap_or_else(|| "write one prefix, address or range a line".to_owned()),
            );
        }
        if read.more_faults > 0 {
            let message = format!("{} more lines of this list cannot be read", read.more_faults);
            self.report.error("E0313", path.span, message);
        }
        let entries = read.addrs.v4.len() + read.addrs.v6.len();
        if entries > max as usize {
            self.report
                .error("E0314", path.span, format!("the list has {entries} entries, and `max` is {max}"))
                .because("ranges that touch count as one")
                .help("raise `max`");
        }
        let is_sound = read.faults.is_empty() && entries <= max as usize;
        if is_sound && entries == 0 {
            self.report
                .warning("W0412", path.span, "the list holds nothing")
                .because("no address is in the set until the file has a line and the policy is applied again")
                .help("see whether what fills the file has failed");
        }
        is_sound.then_some(read.addrs)
    }
}
