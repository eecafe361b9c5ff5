//! Owns the way from the text of one item to its tree as written, and the words for a text that fits no rule.
//! Never names, types or other items.

mod chain;
mod guard;
mod item;
mod unexpected;

use pest::Parser;
use pest::iterators::{Pair, Pairs};

use crate::ast::{Item, Step, Word};
use crate::format;
use crate::report::Report;
use crate::source::{FileId, Span};
use crate::text::Piece;

#[derive(pest_derive::Parser)]
#[grammar = "grammar.pest"]
struct Grammar;

/// Reads one item; a text that fits no rule is reported and gives nothing.
pub(crate) fn item(file: FileId, text: &str, piece: Piece, report: &mut Report) -> Option<Item> {
    let slice = text.get(piece.start..piece.end)?;
    let reader = Reader { file, base: piece.start, placed: true };
    match Grammar::parse(Rule::item, slice) {
        Ok(mut pairs) => reader.item(pairs.next()?),
        Err(error) => {
            unexpected::report(file, text, piece, &error, report);
            None
        }
    }
}

/// Reads one item without places and without the white space of its guards: equal for texts that say the same.
pub(crate) fn tree(text: &str, piece: Piece) -> Option<Item> {
    let slice = text.get(piece.start..piece.end).filter(|_| piece.sound)?;
    let reader = Reader { file: FileId(0), base: 0, placed: false };
    reader.item(Grammar::parse(Rule::item, slice).ok()?.next()?)
}

/// Reads the steps of an `expect` that stand alone; what fits no rule is reported and gives none.
pub(crate) fn steps(file: FileId, text: &str, report: &mut Report) -> Vec<Step> {
    let reader = Reader { file, base: 0, placed: true };
    match Grammar::parse(Rule::steps, text) {
        Ok(pairs) => {
            pairs.filter(|pair| pair.as_rule() == Rule::step).map(|pair| reader.step(pair)).collect()
        }
        Err(error) => {
            unexpected::report(file, text, Piece { start: 0, end: text.len(), sound: true }, &error, report);
            Vec::new()
        }
    }
}

/// Turns pairs of the grammar into the tree. `None` cannot happen where the grammar's rules hold.
#[derive(Clone, Copy)]
struct Reader {
    file: FileId,
    base: usize,
    /// Spans and texts are those of the source.
    placed: bool,
}

impl Reader {
    fn span(self, pair: &Pair<'_, Rule>) -> Span {
        if !self.placed {
            return Span::default();
        }
        let place = pair.as_span();
        let end = place.start() + trimmed(pair.as_str()).len();
        Span { file: self.file, start: (self.base + place.start()) as u32, end: (self.base + end) as u32 }
    }

    /// An atom, a name, a keyword or a string.
    fn word(self, pair: &Pair<'_, Rule>) -> Word {
        let text = pair.as_str();
        let quoted = pair.as_rule() == Rule::string;
        let text = if quoted { text.trim_matches('"') } else { text };
        Word { text: text.to_owned(), span: self.span(pair), quoted }
    }

    /// The pair's text on one line, as the formatter spaces it: an arm keeps its counter when its file is formatted.
    fn folded(self, pair: &Pair<'_, Rule>) -> String {
        let line = format::one_line(pair.as_str());
        if self.placed { line } else { line.split_ascii_whitespace().collect() }
    }

    fn words<'i>(self, pairs: impl IntoIterator<Item = Pair<'i, Rule>>) -> Vec<Word> {
        pairs
            .into_iter()
            .filter(|pair| matches!(pair.as_rule(), Rule::atom | Rule::string | Rule::name))
            .map(|pair| self.word(&pair))
            .collect()
    }
}

/// A rule that ends in optional parts also takes the white space and comments in front of what did not follow.
fn trimmed(text: &str) -> &str {
    let mut text = text.trim_end();
    loop {
        let line = text.rfind('\n').map_or(0, |newline| newline + 1);
        let mut quoted = false;
        let comment = text.bytes().enumerate().skip(line).find(|&(_, byte)| {
            quoted ^= byte == b'"';
            byte == b'#' && !quoted
        });
        match comment.and_then(|(at, _)| text.get(..at)) {
            Some(code) => text = code.trim_end(),
            None => return text,
        }
    }
}

/// The first pair of a rule among siblings.
fn first<'i>(pairs: Pairs<'i, Rule>, rule: Rule) -> Option<Pair<'i, Rule>> {
    pairs.into_iter().find(|pair| pair.as_rule() == rule)
}
