//! Owns the canonical look of a policy text: indentation, blanks between words, columns that stand below each other.
//! Never where a line breaks (the author's choice, but for settings that are too long), and never a meaning.

mod columns;
mod layout;
mod tokens;

pub(crate) use layout::one_line;

use crate::diagnostic::Diagnostic;
use crate::parse;
use crate::report::Report;
use crate::source::{FileId, Source, Sources};
use crate::text;

/// Why a text was not formatted.
#[derive(Debug)]
pub enum Refused {
    /// It does not parse; what is wrong with it. The one source is the text itself.
    Unread { sources: Sources, diagnostics: Vec<Diagnostic> },
    /// The formatted text would mean something else: a fault of the formatter, told and not hidden.
    Changed,
}

/// Formats one file. Names and types are not looked at, includes are not read.
///
/// Comments, blank lines between items (at most one in a row) and the breaks of lines stay; the result of a result
/// is the same text again. A result that would not parse to the same tree is refused.
pub fn format(name: &str, text: &str) -> Result<String, Refused> {
    let file = FileId(0);
    let mut report = Report::default();
    let pieces = text::split(file, text, &mut report);
    for &piece in pieces.iter().filter(|piece| piece.sound) {
        parse::item(file, text, piece, &mut report);
    }
    if report.has_errors() {
        let source = Source { name: name.to_owned(), text: text.to_owned() };
        let sources = Sources { files: vec![source] };
        return Err(Refused::Unread { sources, diagnostics: report.into_sorted() });
    }
    let mut lines = layout::lines(text);
    columns::align(&mut lines);
    let formatted = layout::print(&lines);
    if same_tree(text, &formatted) && comments(text) == comments(&formatted) {
        Ok(formatted)
    } else {
        Err(Refused::Changed)
    }
}

/// Both texts hold the same items, places and white space aside.
fn same_tree(a: &str, b: &str) -> bool {
    let mut report = Report::default();
    let (one, other) = (text::split(FileId(0), a, &mut report), text::split(FileId(0), b, &mut report));
    let mut pairs = one.iter().zip(&other);
    let same = one.len() == other.len()
        && pairs.all(|(&one, &other)| {
            let tree = parse::tree(a, one);
            tree.is_some() && tree == parse::tree(b, other)
        });
    same && !report.has_errors()
}

fn comments(text: &str) -> Vec<&str> {
    let lines = tokens::lines(text);
    lines.into_iter().filter_map(|line| line.comment.map(|comment| comment.text)).collect()
}

#[cfg(test)]
mod tests;
