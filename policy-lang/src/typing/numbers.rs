//! Owns the single values of settings: counts, ranges, durations, rates and others, written out or by a const.
//! Never which of them a setting takes.

use std::time::Duration;

use super::Typing;
use crate::ast::{Setting, Word};
use crate::names::Kind;
use crate::source::Span;
use crate::value::{Fault, quantity};

impl Typing<'_> {
    /// The one word that a word stands for: a const's, else itself.
    pub(super) fn value(&mut self, word: &Word) -> Option<Word> {
        let named =
            self.names.look_up(&word.text).filter(|symbol| symbol.kind == Kind::Const && !word.quoted);
        let Some(symbol) = named else { return Some(word.clone()) };
        let mut words = self.expanded(word);
        if words.len() > 1 {
            self.report
                .error("E0317", word.span, format!("`{}` is more than one value", word.text))
                .also(symbol.span, "declared here")
                .help("name a const of one value");
            return None;
        }
        words.pop()
    }

    pub(super) fn read<T>(
        &mut self,
        word: &Word,
        literal: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let word = self.value(word)?;
        match literal(&word.text) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(&word, fault);
                None
            }
        }
    }

    /// A count from `low` to `high`, ends included.
    pub(super) fn count_in(&mut self, word: &Word, low: u32, high: u32) -> Option<u32> {
        let value = self.read(word, |text| quantity::count_in(text, low.into(), high.into()))?;
        u32::try_from(value).ok()
    }

    /// A setting that is one such count.
    pub(super) fn number_setting(&mut self, setting: &Setting, low: u32, high: u32) -> Option<u32> {
        let word = self.one_word(setting)?;
        self.count_in(word, low, high)
    }

    /// `max 65_536`: entries of a table.
    pub(super) fn table_max(&mut self, setting: &Setting) -> Option<u32> {
        self.number_setting(setting, 1, 1 << 26)
    }

    /// A port, or the first and the last of several.
    pub(super) fn port_range(&mut self, word: &Word) -> Option<(u16, u16)> {
        let (first, last) = self.read(word, |text| quantity::range(text, 65_535))?;
        u16::try_from(first).ok().zip(u16::try_from(last).ok())
    }

    /// A duration of more than nothing.
    pub(super) fn time(&mut self, word: &Word) -> Option<Duration> {
        self.read(word, |text| match quantity::duration(text) {
            Ok(time) if time.is_zero() => Err(Fault::new("E0302", "no time at all is too short")),
            other => other,
        })
    }

    /// A setting that is one such duration.
    pub(super) fn time_setting(&mut self, setting: &Setting) -> Option<Duration> {
        let word = self.one_word(setting)?;
        self.time(word)
    }

    /// `50 conn/s`, in one word or two.
    pub(super) fn rate(&mut self, words: &[Word], place: Span) -> Option<quantity::Rate> {
        let words = words.iter().map(|word| self.value(word)).collect::<Option<Vec<Word>>>()?;
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match quantity::rate(&text) {
            Ok(rate) => Some(rate),
            Err(fault) => {
                self.fault_at(place, fault);
                None
            }
        }
    }

    /// As `rate`, of a burst in the rate's unit.
    pub(super) fn burst(&mut self, words: &[Word], rate: quantity::Rate, place: Span) -> Option<u64> {
        let words = words.iter().map(|word| self.value(word)).collect::<Option<Vec<Word>>>()?;
        let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        match quantity::burst(&text, rate.unit) {
            Ok(burst) => Some(burst),
            Err(fault) => {
                self.fault_at(place, fault);
                None
            }
        }
    }
}
