//! Owns the shape that settings share: which names a block knows, that each is written once, and how many values
//! it takes. Never what one setting means.

use std::collections::HashMap;

use super::Typing;
use crate::ast::{Block, Setting, Word};
use crate::report::{nearest, suggestion};
use crate::source::Span;

/// Whether the block has this setting, be it with a slip in its name (which has been told).
pub(super) fn written(block: &Block, name: &str) -> bool {
    block.settings.iter().any(|setting| nearest(&setting.name.text, [name]).is_some())
}

impl Typing<'_> {
    /// The settings of a block that are known and written once (those in `many`: as often as you like).
    pub(super) fn settings<'b>(
        &mut self,
        block: &'b Block,
        owner: &str,
        known: &[&str],
        many: &[&str],
    ) -> Vec<&'b Setting> {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let mut out = Vec::new();
        for setting in &block.settings {
            let name = setting.name.text.as_str();
            if !known.contains(&name) {
                self.report
                    .error("E0210", setting.name.span, format!("unknown setting `{name}` in {owner}"))
                    .help(suggestion(name, known.iter().copied()));
                continue;
            }
            if let Some(&first) = seen.get(name).filter(|_| !many.contains(&name)) {
                self.report
                    .error("E0309", setting.name.span, format!("`{name}` is set twice in {owner}"))
                    .also(first, "set here first")
                    .help("keep one of the two");
                continue;
            }
            seen.insert(name, setting.name.span);
            if let Some(place) = setting.equals {
                self.report
                    .error("E0310", place, "settings are written without `=`")
                    .help(format!("write `{name} VALUE`"));
                continue;
            }
            if let Some(inner) = &setting.block
                && name != "health"
            {
                self.report.error("E0310", inner.span, format!("`{name}` takes no block"));
                continue;
            }
            out.push(setting);
        }
        out
    }

    /// The setting's only value.
    pub(super) fn one_word<'b>(&mut self, setting: &'b Setting) -> Option<&'b Word> {
        match setting.groups.as_slice() {
            [group] if group.len() == 1 => group.first(),
            _ => {
                let name = &setting.name.text;
                self.report
                    .error("E0310", setting.span, format!("`{name}` takes one value"))
                    .help(format!("write `{name} VALUE`"));
                None
            }
        }
    }

    /// The values of a list with commas, one word each.
    pub(super) fn word_list<'b>(&mut self, setting: &'b Setting) -> Option<Vec<&'b Word>> {
        let words: Option<Vec<&Word>> =
            setting.groups.iter().map(|group| if group.len() == 1 { group.first() } else { None }).collect();
        let words = words.filter(|words| !words.is_empty());
        if words.is_none() {
            let name = &setting.name.text;
            self.report
                .error("E0310", setting.span, format!("`{name}` takes values with commas between them"))
                .help(format!("write `{name} A, B`"));
        }
        words
    }

    /// The words of a setting without commas.
    pub(super) fn one_group<'b>(&mut self, setting: &'b Setting, form: &str) -> Option<&'b [Word]> {
        match setting.groups.as_slice() {
            [group] => Some(group),
            _ => {
                self.shape(setting, form);
                None
            }
        }
    }

    /// A setting whose words do not have the form they should.
    pub(super) fn shape(&mut self, setting: &Setting, form: &str) {
        let name = &setting.name.text;
        self.report
            .error("E0310", setting.span, format!("`{name}` is not written like this"))
            .help(format!("write {form}"));
    }

    /// A setting that an item cannot do without.
    pub(super) fn missing(&mut self, owner: &Word, kind: &str, setting: &str, why: &str, form: &str) {
        self.report
            .error("E0308", owner.span, format!("{kind} `{}` has no `{setting}`", owner.text))
            .because(why)
            .help(format!("add {form}"));
    }
}
