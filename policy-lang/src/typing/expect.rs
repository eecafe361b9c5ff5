//! Owns `expect`: its steps, the packets they send and the outcomes they name. Never what a policy does to them.

use std::net::IpAddr;

use super::Typing;
use crate::ast::{Step as Written, Word};
use crate::names::Kind;
use crate::policy::{AddrSet, End, Expect, Outcome, PoolId, SetId, Step};
use crate::report::suggestion;
use crate::source::Span;
use crate::value::{addr, date, quantity};

/// Most packets of one line.
const TIMES: u64 = 1_000_000;

/// What may stand behind `=>`, destinations left out.
const OUTCOMES: &[&str] = &["drop", "pass", "forward", "reject", "reply echo", "reply rst", "reply cookie"];

impl Typing<'_> {
    pub(super) fn type_expects(&mut self) -> Vec<Expect> {
        let declared = self.declared;
        let mut out: Vec<Expect> = Vec::new();
        for (title, steps, span) in &declared.expects {
            if let Some(first) = out.iter().find(|expect| expect.title == title.text) {
                self.report
                    .error("E0202", title.span, format!("there are two expectations \"{}\"", title.text))
                    .also(first.span, "the first one")
                    .help("give each a title of its own, so that a report can name it");
            }
            let steps: Vec<Step> = steps.iter().filter_map(|step| self.expected(step)).collect();
            if !steps.iter().any(|step| matches!(step, Step::Packet { .. })) && !self.report.has_errors() {
                self.report
                    .warning("W0409", title.span, "this expectation sends no packet")
                    .help("add `packet … => END`");
            }
            out.push(Expect { title: title.text.clone(), span: *span, steps });
        }
        out
    }

    /// A step of an `expect`, where each packet has an outcome.
    fn expected(&mut self, step: &Written) -> Option<Step> {
        let typed = self.step(step)?;
        if let Step::Packet { outcome: None, span, .. } = typed {
            self.report
                .error("E0321", span, "this packet has no outcome")
                .help("add `=> drop`, `=> pass`, `=> forward POOL` or another end");
            return None;
        }
        Some(typed)
    }

    /// A step that asks what becomes of a packet, and so says nothing of its outcome.
    pub(super) fn asked(&mut self, step: &Written) -> Option<Step> {
        if let Some(outcome) = &step.outcome {
            let place = outcome.first().map_or(step.span, |word| word.span);
            self.report
                .error("E0321", place, "what becomes of the packet is the answer, not the question")
                .help("leave out `=> …`");
            return None;
        }
        self.step(step)
    }

    fn step(&mut self, step: &Written) -> Option<Step> {
        let text: Vec<&str> = step.words.iter().map(|word| word.text.as_str()).collect();
        if matches!(text.first(), Some(&("given" | "after")))
            && let Some(outcome) = &step.outcome
        {
            let place = outcome.first().map_or(step.span, |word| word.span);
            self.report.error("E0321", place, "only a packet has an outcome").help("write `packet … => END`");
            return None;
        }
        match (text.as_slice(), step.words.as_slice()) {
            (["packet", ..], [_, words @ ..]) => self.packet_step(step, words),
            (["after", _], [_, time]) => self.duration_of(time).map(Step::After),
            (["given", "clock", _], [_, _, time]) => self.duration_of(time).map(Step::GivenClock),
            (["given", "seed", _], [_, _, seed]) => match quantity::count(&seed.text) {
                Ok(seed) => Some(Step::GivenSeed(seed)),
                Err(fault) => {
                    self.fault(seed, fault);
                    None
                }
            },
            (["given", "date", _], [_, _, day]) => match date::date(&day.text) {
                Ok(seconds) => Some(Step::GivenDate(seconds)),
                Err(fault) => {
                    self.fault(day, fault);
                    None
                }
            },
            (["given", _, "in", _], [_, member, _, set]) => {
                let id = self.names.expect(Kind::Set, set, self.report);
                let addrs = self.member(member);
                let (id, addrs) = id.zip(addrs)?;
                self.only_adds(set, SetId(id), member, &addrs);
                Some(Step::GivenMember { set: SetId(id), addrs, span: step.span })
            }
            ([first, ..], [word, ..]) => {
                let known = ["packet", "given", "after"];
                let (message, cure) = match *first {
                    "given" => (
                        "`given` is not written like this".to_owned(),
                        "write `given clock 5s`, `given date 2027-01-31`, `given seed 7` or `given ADDRESS in SET`".to_owned(),
                    ),
                    "after" => ("`after` takes one duration".to_owned(), "write `after 2s`".to_owned()),
                    other => (format!("`{other}` is no step of an expectation"), suggestion(other, known)),
                };
                let place = if known.contains(first) { step.span } else { word.span };
                self.report.error("E0320", place, message).help(cure);
                None
            }
            _ => None,
        }
    }

    fn duration_of(&mut self, word: &Word) -> Option<std::time::Duration> {
        match quantity::duration(&word.text) {
            Ok(time) => Some(time),
            Err(fault) => {
                self.fault(word, fault);
                None
            }
        }
    }

    fn member(&mut self, word: &Word) -> Option<AddrSet> {
        self.addresses(std::slice::from_ref(word)).map(|(addrs, _)| addrs)
    }

    /// A new member is added wherever its set is united; it can't be where an `except` would take something away.
    fn only_adds(&mut self, set: &Word, id: SetId, member: &Word, addrs: &AddrSet) {
        let name = |id: SetId| self.sets.get(id.index()).map_or("", |set| set.name.as_str());
        let found = self.exceptions.iter().find_map(|except| {
            let whole = name(except.set);
            if except.sets.contains(&id) {
                Some(format!("`{whole}` is made by taking `{}` away", set.text))
            } else if except.from.contains(&id)
                && !addr::is_empty(&addr::intersection_of(&except.addrs, addrs))
            {
                Some(format!("`{whole}` takes in `{}`, but not this address", set.text))
            } else {
                None
            }
        });
        if let Some(why) = found {
            let message = format!("`{}` can't be added to `{}` for a test", member.text, set.text);
            let finding = self.report.error("E0324", set.span, message);
            finding.because(why).help("test with an address that is in the set, or name both sets in the guard: `src in A and src not in B`");
        }
    }

    fn packet_step(&mut self, step: &Written, words: &[Word]) -> Option<Step> {
        let packet = self.packet(step, words);
        let times = match &step.times {
            Some(word) => match quantity::count_in(&word.text, 1, TIMES) {
                Ok(times) => u32::try_from(times).unwrap_or(1),
                Err(fault) => {
                    self.fault(word, fault);
                    1
                }
            },
            None => 1,
        };
        let outcome = match &step.outcome {
            Some(words) => Some(self.outcome(step.span, words)?),
            None => None,
        };
        let packet = packet?;
        Some(Step::Packet { packet, times, outcome, span: step.span })
    }

    fn outcome(&mut self, place: Span, words: &[Word]) -> Option<Outcome> {
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match text.as_slice() {
            ["forward", _] => {
                let word = words.last()?;
                self.destination(word)
            }
            ["reply", "cookie"] => Some(Outcome::ReplyCookie),
            words_of => {
                let end = self.end_named(words_of);
                if end.is_none() {
                    let place = words.first().map_or(place, |first| {
                        words.last().map_or(first.span, |last| crate::ast::join(first.span, last.span))
                    });
                    let whole = words_of.join(" ");
                    let near = suggestion(&whole, OUTCOMES.iter().copied());
                    self.report
                        .error("E0321", place, format!("`{whole}` is no outcome of a packet"))
                        .help(near);
                }
                end.map(Outcome::End)
            }
        }
    }

    /// An end by its words.
    pub(super) fn end_named(&self, words: &[&str]) -> Option<End> {
        Some(match words {
            ["drop"] => End::Drop,
            ["pass"] => End::Pass,
            ["forward"] => End::Forward,
            ["reply", "echo"] => End::ReplyEcho,
            ["reply", "rst"] => End::ReplyRst,
            ["reject"] => End::Reject,
            _ => return None,
        })
    }

    /// `forward POOL`, `forward BACKEND` or `forward ADDRESS[:PORT]`.
    fn destination(&mut self, word: &Word) -> Option<Outcome> {
        if let Some(pool) = self.pool_named(&word.text) {
            return Some(Outcome::ForwardPool(PoolId(pool)));
        }
        match self.backends_named(&word.text).as_slice() {
            [(pool, backend)] => return Some(Outcome::ForwardBackend(PoolId(*pool), *backend)),
            [] => {}
            _ => {
                self.report
                    .error("E0321", word.span, format!("several pools have a backend `{}`", word.text))
                    .help("name the backend's address");
                return None;
            }
        }
        let (host, port) = match addr::host_port_of_packet(&word.text) {
            Ok(parts) => parts,
            Err(fault) => {
                self.fault(word, fault);
                return None;
            }
        };
        let host = Word { text: host.to_owned(), ..word.clone() };
        let named = self.names.look_up(&host.text).map(|symbol| symbol.kind);
        if !addr::looks_like(&host.text) && !matches!(named, Some(Kind::Const | Kind::Vip)) {
            // A backend may stand in a pool that could not be read.
            if !self.names.any_lost() {
                self.names.unknown(&[Kind::Pool], word, self.report);
            }
            return None;
        }
        let found: Vec<IpAddr> =
            self.literal_addresses(&host).into_iter().map(|(_, address)| address).collect();
        match found.as_slice() {
            [address] => Some(Outcome::ForwardTo(*address, port)),
            [] => None,
            _ => {
                self.report
                    .error("E0312", word.span, format!("`{}` has more than one address", host.text))
                    .help("write the address that is meant");
                None
            }
        }
    }
}
