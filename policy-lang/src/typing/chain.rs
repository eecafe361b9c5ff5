//! Owns chains, matches and turns, with every name resolved. Never rules that need more than one chain.

use super::Typing;
use crate::ast::{Arm as WrittenArm, Chain as Written, Link, Way, Word};
use crate::policy::{Arm, Chain, End, Every, EveryMode, Match, Stage, StageKind, Tail, Tree};
use crate::source::Span;
use crate::value::quantity;

/// Most turns that one `every` may have.
const TURNS: u64 = 256;

/// What one word of a chain turned out to be.
pub(super) enum Typed {
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
}
