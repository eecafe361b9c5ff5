//! Owns the warning about values of one list that say the same thing twice, or that one prefix says together. Never
//! lists from files, which others write, nor what constants and sets stand for.

use std::cmp::Reverse;

use super::Typing;
use crate::ast::Word;
use crate::policy::Field;
use crate::source::Span;
use crate::value::addr::{self, Range};
use crate::value::{named, quantity};

/// So many are told of one list.
const TOLD: usize = 8;

/// Values of a list that are held against each other one by one.
const PAIRWISE: usize = 256;

/// A value of a list, as inclusive whole numbers.
#[derive(Clone, Copy)]
struct Item<'w> {
    /// Values of two kinds never meet.
    kind: u8,
    first: u128,
    last: u128,
    /// Written with a length, `10.0.0.0/8`.
    is_prefix: bool,
    word: &'w Word,
}

impl<'w> Item<'w> {
    fn number(range: (u32, u32), word: &'w Word) -> Item<'w> {
        Item { kind: 0, first: range.0.into(), last: range.1.into(), is_prefix: false, word }
    }

    fn address(range: Range, word: &'w Word) -> Item<'w> {
        let (kind, first, last) = match range {
            Range::V4(first, last) => (4, first.into(), last.into()),
            Range::V6(first, last) => (6, first, last),
        };
        Item { kind, first, last, is_prefix: word.text.contains('/'), word }
    }

    /// The prefix that this one and the next, of the same length, make together.
    fn with(&self, next: &Item<'_>) -> Option<String> {
        let size = self.last.checked_sub(self.first)?;
        let is_pair = self.is_prefix && next.is_prefix && self.kind == next.kind;
        let touches = self.last.checked_add(1) == Some(next.first) && next.last - next.first == size;
        // The first is the lower half: its bit of the length is 0.
        if !is_pair || !touches || self.first & size.checked_add(1)? != 0 {
            return None;
        }
        let host = (size + 1).trailing_zeros() + 1;
        Some(match self.kind {
            4 => format!("{}/{}", std::net::Ipv4Addr::from(u32::try_from(self.first).ok()?), 32 - host),
            _ => format!("{}/{}", std::net::Ipv6Addr::from(self.first), 128 - host),
        })
    }
}

impl Typing<'_> {
    pub(super) fn lint_addresses(&mut self, words: &[Word]) {
        let literals = words.iter().filter(|word| !word.quoted);
        let items = literals.filter_map(|word| Some(Item::address(addr::range(&word.text).ok()?, word)));
        self.lint_overlaps(items.collect());
    }

    pub(super) fn lint_numbers(&mut self, field: Field, high: u64, words: &[Word]) {
        let number = |text: &str| match field {
            Field::TcpFlags => named::flags(text).map(|flags| (flags, flags)),
            _ => match named::lookup(named::names(field), text) {
                Some(number) => Some((number, number)),
                None => quantity::range(text, high).ok(),
            },
        };
        let items = words.iter().filter_map(|word| Some(Item::number(number(&word.text)?, word)));
        self.lint_overlaps(items.collect());
    }

    /// As for addresses, of values that take each other in: each with its word, in the order of the text.
    pub(super) fn lint_within<T: PartialEq>(
        &mut self,
        values: &[(T, &Word)],
        takes_in: impl Fn(&T, &T) -> bool,
    ) {
        // Of long lists only the head: each value is held against each.
        let values = values.get(..PAIRWISE).unwrap_or(values);
        for (at, (value, word)) in values.iter().enumerate() {
            let others = values.iter().enumerate().filter(|(other, _)| *other != at);
            let found = others
                .map(|(other, (wide, by))| (other, wide, by))
                .find(|(other, wide, _)| takes_in(wide, value) && (*wide != value || *other < at));
            let Some((_, wide, by)) = found else { continue };
            let (message, label) = match wide == value {
                true => (format!("`{}` stands twice in this list", word.written()), "the first time"),
                false => (format!("`{}` is within `{}`", word.written(), by.written()), "this takes it in"),
            };
            self.report.warning("W0432", word.span, message).also(by.span, label).help("remove it");
        }
    }

    fn lint_overlaps(&mut self, mut items: Vec<Item<'_>>) {
        items.sort_by_key(|item| (item.kind, item.first, Reverse(item.last), item.word.span.start));
        let mut told = 0;
        let mut widest: Option<Item<'_>> = None;
        for item in items {
            let before = widest.filter(|before| before.kind == item.kind);
            if before.is_none_or(|before| before.last < item.last) {
                widest = Some(item);
            }
            let Some(before) = before else { continue };
            let found = if item.first > before.last {
                // Values on lines of their own may have meanings of their own.
                let whole =
                    before.with(&item).filter(|_| self.share_a_line(before.word.span, item.word.span));
                whole.map(|whole| {
                    let message = format!("`{}` and `{}` are one prefix", before.word.text, item.word.text);
                    (message, "the other half", format!("write `{whole}`"))
                })
            } else {
                let (outer, inner) = (&before.word.text, &item.word.text);
                Some(if (before.first, before.last) == (item.first, item.last) {
                    (
                        format!("`{inner}` stands twice in this list"),
                        "the first time",
                        "remove one".to_owned(),
                    )
                } else if item.last <= before.last {
                    (format!("`{inner}` is within `{outer}`"), "this takes it in", "remove it".to_owned())
                } else {
                    let cure = "let one end where the other begins".to_owned();
                    (format!("`{inner}` and `{outer}` overlap"), "the other one", cure)
                })
            };
            if let Some((message, label, cure)) = found {
                let finding = self.report.warning("W0432", item.word.span, message);
                finding.also(before.word.span, label).help(cure);
                told += 1;
            }
            if told == TOLD {
                return;
            }
        }
    }

    fn share_a_line(&self, a: Span, b: Span) -> bool {
        let (from, to) = (a.start.min(b.start) as usize, a.end.max(b.end) as usize);
        let text = &self.sources.file(a.file).text;
        a.file == b.file && text.get(from..to).is_some_and(|between| !between.contains('\n'))
    }
}
