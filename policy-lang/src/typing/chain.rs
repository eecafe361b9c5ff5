//! Owns chains, matches, turns, stages, exits and ends, with every name resolved. Never rules that need more than
//! one chain.

use super::Typing;
use crate::ast::{
    Arm as WrittenArm, Chain as Written, Exit as WrittenExit, Link, Stage as WrittenStage, Way, Word,
};
use crate::diagnostic::IMPLICIT_EXIT;
use crate::names::Kind;
use crate::policy::{
    Arm, Chain, DefaultEnd, End, Every, EveryMode, Exit, LimitId, Match, PoolId, Stage, StageKind, Tail,
    TrackerId, Tree, TreeId,
};
use crate::report::suggestion;
use crate::source::Span;
use crate::value::quantity;

/// Most turns that one `every` may have.
const TURNS: u64 = 256;

/// What one word of a chain turned out to be.
enum Typed {
    Stage(StageKind),
    Tail(Tail),
    /// Reported; the chain goes on without it.
    Nothing {
        ends: bool,
    },
}

impl Typing<'_> {
    pub(super) fn type_trees(&mut self) -> Vec<Tree> {
        let declared = self.declared;
        declared
            .trees
            .iter()
            .map(|(name, chain)| Tree { name: name.text.clone(), span: name.span, chain: self.chain(chain) })
            .collect()
    }

    pub(super) fn chain(&mut self, chain: &Written) -> Chain {
        let mut stages = Vec::new();
        let mut tail: Option<(Tail, Span)> = None;
        let mut told = false;
        for link in &chain.links {
            if let Some((_, end)) = &tail
                && !told
            {
                self.report
                    .error("E0402", link.span(), "nothing can follow an end")
                    .label("never reached")
                    .also(*end, "the chain ends here")
                    .help("remove one of the two");
                told = true;
            }
            let typed = match link {
                Link::Match { arms, word, span } => Typed::Tail(Tail::Match(self.choice(arms, *word, *span))),
                Link::Every { words, ways, span } => Typed::Tail(Tail::Every(self.every(words, ways, *span))),
                Link::Stage(stage) => self.stage(stage),
            };
            match typed {
                Typed::Stage(kind) if tail.is_none() => stages.push(Stage { kind, span: link.span() }),
                Typed::Tail(found) if tail.is_none() => tail = Some((found, link.span())),
                Typed::Nothing { ends: true } if tail.is_none() => {
                    tail = Some((Tail::End(End::Drop, link.span()), link.span()));
                }
                _ => {}
            }
        }
        if tail.is_none() {
            let last = chain.links.last().map_or(chain.span, Link::span);
            self.report
                .error("E0401", last, "the chain has no end")
                .label("what then?")
                .because("every chain ends in exactly one end, `match`, `every` or tree")
                .help("add `-> drop`, `-> pass`, `-> forward` or `-> TREE`");
        }
        let stand_in = (Tail::End(End::Drop, chain.span), chain.span);
        Chain { stages, tail: tail.unwrap_or(stand_in).0, span: chain.span }
    }

    fn choice(&mut self, arms: &[WrittenArm], word: Span, span: Span) -> Match {
        let mut typed = Vec::new();
        let mut otherwise: Option<(Chain, Span)> = None;
        for arm in arms {
            if let Some((_, place)) = &otherwise {
                self.report
                    .error("E0113", arm.head, "no arm can stand behind `else`")
                    .label("never reached")
                    .also(*place, "this takes every packet that is left")
                    .help("move `else` to the end");
            }
            let chain = match &arm.chain {
                Some(chain) => Some(self.chain(chain)),
                None => {
                    self.report
                        .error("E0118", arm.head, "this arm leads nowhere")
                        .help("write `GUARD -> CHAIN`");
                    None
                }
            };
            match &arm.guard {
                Some(guard) => {
                    let guard = self.guard(guard);
                    if let Some((guard, chain)) = guard.zip(chain) {
                        typed.push(Arm { guard, text: arm.text.clone(), span: arm.head, chain });
                    }
                }
                None if otherwise.is_none() => {
                    let stand_in =
                        Chain { stages: Vec::new(), tail: Tail::End(End::Drop, arm.head), span: arm.head };
                    otherwise = Some((chain.unwrap_or(stand_in), arm.head));
                }
                None => {}
            }
        }
        if otherwise.is_none() {
            self.report
                .error("E0111", word, "this `match` has no `else`")
                .because("every packet takes exactly one way, so that one arm has to take what is left")
                .help("add `else -> drop` as the last arm");
        }
        let stand_in = (Chain { stages: Vec::new(), tail: Tail::End(End::Drop, span), span }, span);
        let (otherwise, otherwise_span) = otherwise.unwrap_or(stand_in);
        Match { arms: typed, otherwise: Box::new(otherwise), otherwise_span, span }
    }

    fn every(&mut self, words: &[Word], ways: &[Way], span: Span) -> Every {
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        let (number, mode) = match text.as_slice() {
            [number] => (*number, Some(EveryMode::Packet)),
            [number, "by", "flow"] => (*number, Some(EveryMode::Flow)),
            [number, "at", "random"] => (*number, Some(EveryMode::Random)),
            [number, ..] => (*number, None),
            [] => ("", None),
        };
        let head = words.first().map_or(span, |word| word.span);
        if mode.is_none() {
            self.report
                .error("E0318", head, "`every` is not written like this")
                .help("write `every 2 { … }`, `every 2 by flow { … }` or `every 2 at random { … }`");
        }
        let count = match quantity::count_in(number, 2, TURNS) {
            Ok(count) => Some(count),
            Err(fault) => {
                self.report.error(fault.code, head, fault.message);
                None
            }
        };
        let mut typed = Vec::new();
        for (way, turn) in ways.iter().zip(1u64..) {
            typed.push(self.chain(&way.chain));
            if quantity::count(&way.number.text) != Ok(turn) {
                self.report
                    .error(
                        "E0318",
                        way.number.span,
                        format!("turn {turn} is due here, not `{}`", way.number.text),
                    )
                    .because("the turns are written in order, each once")
                    .help(format!("write `{turn} -> …`"));
            }
        }
        if let Some(count) = count
            && count != ways.len() as u64
        {
            self.report
                .error("E0318", head, format!("`every {count}` has {} turns", ways.len()))
                .help(format!("write the turns 1 to {count}, each with its chain"));
        }
        Every { mode: mode.unwrap_or(EveryMode::Packet), ways: typed, span }
    }

    fn stage(&mut self, stage: &WrittenStage) -> Typed {
        let words: Vec<&str> = stage.words.iter().map(|word| word.text.as_str()).collect();
        let end = |end: End| Typed::Tail(Tail::End(end, stage.span));
        match (stage.verb.text.as_str(), words.as_slice()) {
            ("drop", []) => self.end(stage, end(End::Drop)),
            ("pass", []) => self.end(stage, end(End::Pass)),
            ("forward", []) => self.end(stage, end(End::Forward)),
            ("reply", ["echo"]) => self.end(stage, end(End::ReplyEcho)),
            ("reply", ["rst"]) => {
                self.no_exits(stage);
                self.not_yet("N0514", stage.span, "answering with a reset (`reply rst`)", "`drop` for now");
                Typed::Nothing { ends: true }
            }
            ("reject", []) => {
                self.no_exits(stage);
                self.not_yet("N0513", stage.span, "answering with an error (`reject`)", "`drop` for now");
                Typed::Nothing { ends: true }
            }
            ("count", [_]) => self.count(stage),
            ("limit", [_]) => self.limit_stage(stage),
            ("track", [_]) => self.track_stage(stage),
            ("translate", ["back"]) => {
                let mut exits = self.exits(stage, &["invalid"]);
                Typed::Stage(StageKind::TranslateBack { invalid: self.exit(&mut exits, "invalid", stage) })
            }
            ("translate", [_]) => self.translate_stage(stage),
            ("log", [_, ..]) => {
                self.refused_stage(stage, "N0512", "writing packets to a log (`log`)", None, &[])
            }
            ("ban", [_]) => {
                let what = "filling a set from the tree (`ban`)";
                self.refused_stage(stage, "N0511", what, Some(Kind::Set), &[])
            }
            ("verify", [_]) => {
                let what = "checking certificates (`verify`)";
                let exits = ["missing", "invalid", "expired", "revoked", "bad"];
                self.refused_stage(stage, "N0509", what, Some(Kind::Authority), &exits)
            }
            ("map", [_]) => {
                let what = "steering by server name (`map`)";
                self.refused_stage(stage, "N0510", what, Some(Kind::Mapper), &["missing", "invalid", "bad"])
            }
            ("synguard", [_]) => {
                let what = "answering SYNs with cookies (`synguard`)";
                self.refused_stage(stage, "N0522", what, Some(Kind::Synguard), &["bad"])
            }
            (verb, words) => self.tree_or_unknown(stage, verb, words),
        }
    }

    fn end(&mut self, stage: &WrittenStage, end: Typed) -> Typed {
        self.no_exits(stage);
        end
    }

    fn no_exits(&mut self, stage: &WrittenStage) {
        self.exits(stage, &[]);
    }

    /// A word that is no verb in its right form: a tree's name, or a slip.
    fn tree_or_unknown(&mut self, stage: &WrittenStage, verb: &str, words: &[&str]) -> Typed {
        const FORMS: &[(&str, &str)] = &[
            ("drop", "`drop`"),
            ("pass", "`pass`"),
            ("forward", "`forward`"),
            ("reject", "`reject`"),
            ("reply", "`reply echo` or `reply rst`"),
            ("count", "`count NAME`"),
            ("limit", "`limit NAME (exceed -> …)`"),
            ("track", "`track NAME (full -> …, invalid -> …)`"),
            ("translate", "`translate POOL (empty -> …)` or `translate back`"),
            ("log", "`log NAME 10 pkt/s`"),
            ("ban", "`ban SET`"),
            ("verify", "`verify AUTHORITY (…)`"),
            ("map", "`map MAPPER (…)`"),
            ("synguard", "`synguard NAME (bad -> …)`"),
        ];
        for exit in &stage.exits {
            self.chain(&exit.chain);
        }
        if let Some((_, form)) = FORMS.iter().find(|(known, _)| *known == verb) {
            self.report
                .error("E0319", stage.span, format!("`{verb}` is not written like this"))
                .help(format!("write {form}"));
            return Typed::Nothing { ends: matches!(verb, "drop" | "pass" | "forward" | "reject" | "reply") };
        }
        match self.names.look_up(verb) {
            Some(symbol) if symbol.kind == Kind::Tree => {
                if !words.is_empty() || !stage.exits.is_empty() {
                    self.report
                        .error("E0319", stage.span, format!("tree `{verb}` takes no words and has no exits"))
                        .help(format!("write `{verb}`"));
                }
                Typed::Tail(Tail::Tree(TreeId(symbol.index), stage.span))
            }
            Some(symbol) => {
                let kind = symbol.kind.word();
                let stage_of = match symbol.kind {
                    Kind::Pool => Some(format!("translate {verb}")),
                    Kind::Limit => Some(format!("limit {verb} (exceed -> drop)")),
                    Kind::Track => Some(format!("track {verb}")),
                    _ => None,
                };
                let finding = self
                    .report
                    .error(
                        "E0213",
                        stage.verb.span,
                        format!("`{verb}` is a {kind}, which no packet can go to"),
                    )
                    .also(symbol.span, "declared here");
                if let Some(cure) = stage_of {
                    finding.help(format!("write `{cure}`"));
                }
                Typed::Nothing { ends: true }
            }
            None if self.names.is_lost(verb) => Typed::Nothing { ends: true },
            None => {
                let trees = self.names.of_kinds(&[Kind::Tree]);
                let known: Vec<&str> = FORMS.iter().map(|(verb, _)| *verb).chain(trees).collect();
                self.report
                    .error("E0211", stage.verb.span, format!("`{verb}` is neither a stage nor a tree"))
                    .label("unknown stage")
                    .help(suggestion(verb, known));
                // It may have been meant as either; say nothing of a missing end, nor of what follows.
                Typed::Nothing { ends: words.is_empty() && stage.exits.is_empty() }
            }
        }
    }

    fn count(&mut self, stage: &WrittenStage) -> Typed {
        self.no_exits(stage);
        let Some(name) = stage.words.first() else { return Typed::Nothing { ends: false } };
        let sound = name.text.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            && name.text.len() <= 64;
        if name.quoted || !sound {
            self.report
                .error("E0319", name.span, format!("`{}` cannot be the name of a counter", name.text))
                .help("write letters, digits and `_`, 64 at most, a letter first");
            return Typed::Nothing { ends: false };
        }
        Typed::Stage(StageKind::Count { name: name.text.clone() })
    }

    fn limit_stage(&mut self, stage: &WrittenStage) -> Typed {
        let mut exits = self.exits(stage, &["exceed"]);
        let Some(name) = stage.words.first() else { return Typed::Nothing { ends: false } };
        let limit = self.names.expect(Kind::Limit, name, self.report);
        if !stage.exits.iter().any(|exit| exit.name.text == "exceed") {
            self.report
                .error("E0403", stage.span, "this limit does not say what happens beyond it")
                .because("`limit` has to name its exit `exceed`")
                .help(format!("write `limit {} (exceed -> drop)`", name.text));
            return Typed::Nothing { ends: false };
        }
        let exceed = self.exit(&mut exits, "exceed", stage);
        match limit {
            Some(index) => Typed::Stage(StageKind::Limit { limit: LimitId(index), exceed }),
            None => Typed::Nothing { ends: false },
        }
    }

    fn track_stage(&mut self, stage: &WrittenStage) -> Typed {
        let mut exits = self.exits(stage, &["full", "invalid"]);
        let tracker = stage.words.first().and_then(|name| self.names.expect(Kind::Track, name, self.report));
        let Some(index) = tracker else { return Typed::Nothing { ends: false } };
        Typed::Stage(StageKind::Track {
            tracker: TrackerId(index),
            full: self.exit(&mut exits, "full", stage),
            invalid: self.exit(&mut exits, "invalid", stage),
        })
    }

    fn translate_stage(&mut self, stage: &WrittenStage) -> Typed {
        let mut exits = self.exits(stage, &["empty", "ports"]);
        let pool = stage.words.first().and_then(|name| self.names.expect(Kind::Pool, name, self.report));
        let Some(index) = pool else { return Typed::Nothing { ends: false } };
        Typed::Stage(StageKind::Translate {
            pool: PoolId(index),
            empty: self.exit(&mut exits, "empty", stage),
            ports: self.exit(&mut exits, "ports", stage),
        })
    }

    /// A stage that is read and resolved, and refused.
    fn refused_stage(
        &mut self,
        stage: &WrittenStage,
        code: &'static str,
        what: &str,
        kind: Option<Kind>,
        exits: &[&str],
    ) -> Typed {
        if let Some((kind, name)) = kind.zip(stage.words.first()) {
            self.names.expect(kind, name, self.report);
        }
        let words =
            stage.words.last().map_or(stage.verb.span, |word| crate::ast::join(stage.verb.span, word.span));
        self.not_yet(code, words, what, "leave the stage out for now");
        self.exits(stage, exits);
        Typed::Nothing { ends: false }
    }

    /// The written exits of a stage, by name; all chains in them are typed.
    fn exits(&mut self, stage: &WrittenStage, known: &[&str]) -> Vec<(String, Exit)> {
        let mut out: Vec<(String, Exit)> = Vec::new();
        for WrittenExit { name, chain } in &stage.exits {
            let chain = Box::new(self.chain(chain));
            if !known.contains(&name.text.as_str()) {
                let verb = &stage.verb.text;
                let cure = match known.is_empty() {
                    true => format!("`{verb}` has no exits: remove the brackets"),
                    false => suggestion(&name.text, known.iter().copied()),
                };
                self.report
                    .error("E0212", name.span, format!("`{verb}` has no exit `{}`", name.text))
                    .help(cure);
            } else if let Some((_, first)) = out.iter().find(|(written, _)| *written == name.text) {
                let place = first.span;
                self.report
                    .error("E0309", name.span, format!("exit `{}` is written twice", name.text))
                    .also(place, "written here first");
            } else {
                out.push((name.text.clone(), Exit { chain, written: true, span: name.span }));
            }
        }
        out
    }

    /// One exit out of the written ones, or what the policy's default makes of it.
    fn exit(&mut self, written: &mut Vec<(String, Exit)>, name: &str, stage: &WrittenStage) -> Exit {
        if let Some(at) = written.iter().position(|(written, _)| written == name) {
            return written.swap_remove(at).1;
        }
        let (end, word) = match self.default {
            DefaultEnd::Drop => (End::Drop, "drop"),
            DefaultEnd::Reject => (End::Reject, "reject"),
        };
        if self.default == DefaultEnd::Reject {
            let what = format!("answering with an error from the unwritten exit `{name}`");
            self.not_yet(
                "N0517",
                stage.span,
                &what,
                "write the exit with `drop`, or let the policy's default be `drop`",
            );
        }
        self.report
            .allowed(IMPLICIT_EXIT, stage.span, format!("exit `{name}` is not written: it takes `{word}`"))
            .because("an unwritten exit takes the policy's `default`")
            .help(format!("write `({name} -> {word})`"));
        let chain = Chain { stages: Vec::new(), tail: Tail::End(end, stage.span), span: stage.span };
        Exit { chain: Box::new(chain), written: false, span: stage.span }
    }
}
