//! Owns which lines of a source are shown around a finding, and cuts them so that a text of a million lines or a line
//! of a million bytes costs no more than a short one. Never colours.

use std::ops::Range;

use policy_lang::diagnostic::Diagnostic;
use policy_lang::source::{FileId, Place, Span};

use super::places::Places;

/// Lines apart within which two places are shown in one piece.
const TOGETHER: usize = 40;
/// Lines of a span that are shown; a longer one is underlined in its first line only.
const SPAN_LINES: usize = 12;
/// Bytes of a line that is shown whole, and what is kept on each side of a place in a longer one.
const LINE_BYTES: usize = 600;
const AROUND: usize = 60;

/// Some lines of one file, with the places marked in them.
pub struct Excerpt {
    pub file: FileId,
    /// 1-based.
    pub first_line: usize,
    pub text: String,
    pub marks: Vec<Mark>,
    /// Place of its first mark in the whole text.
    pub place: Place,
    /// Whether some of its lines are not whole, so that columns in it are not those of the text.
    pub cut: bool,
}

pub struct Mark {
    /// In bytes of the excerpt's text.
    pub range: Range<usize>,
    pub primary: bool,
    pub label: String,
}

/// Lines and bytes of one place.
struct Spot<'a> {
    file: FileId,
    lines: Range<usize>,
    bytes: Range<usize>,
    primary: bool,
    label: &'a str,
}

/// The excerpts of a finding, that of the primary place first.
pub fn excerpts(diagnostic: &Diagnostic, places: &Places) -> Vec<Excerpt> {
    let mut groups: Vec<Vec<Spot>> = Vec::new();
    let secondary = diagnostic.secondary.iter().map(|place| (place, false));
    for ((span, label), primary) in std::iter::once((&diagnostic.primary, true)).chain(secondary) {
        let spot = spot(*span, label, primary, places);
        let near = |other: &Spot| {
            // 0 where they overlap.
            let gap =
                spot.lines.start.max(other.lines.start).saturating_sub(spot.lines.end.min(other.lines.end));
            other.file == spot.file && gap <= TOGETHER
        };
        match groups.iter_mut().find(|group| group.iter().any(near)) {
            Some(group) => group.push(spot),
            None => groups.push(vec![spot]),
        }
    }
    groups.iter().map(|group| excerpt(group, places)).collect()
}

fn spot<'a>(span: Span, label: &'a str, primary: bool, places: &Places) -> Spot<'a> {
    let mut bytes = places.range(span);
    let first = places.line(span.file, bytes.start);
    let mut last = places.line(span.file, bytes.end.saturating_sub(1).max(bytes.start));
    if last - first >= SPAN_LINES {
        last = first;
        bytes.end = places.line_range(span.file, first).end.max(bytes.start);
    }
    Spot { file: span.file, lines: first..last + 1, bytes, primary, label }
}

fn excerpt(group: &[Spot], places: &Places) -> Excerpt {
    let file = group.first().map(|spot| spot.file).unwrap_or_default();
    let first = group.iter().map(|spot| spot.lines.start).min().unwrap_or(0);
    let end = group.iter().map(|spot| spot.lines.end).max().unwrap_or(0);
    let source = &places.file(Span { file, start: 0, end: 0 }).text;
    let (mut text, mut cut) = (String::new(), false);
    let mut marks: Vec<Mark> = group
        .iter()
        .map(|spot| Mark { range: NOWHERE, primary: spot.primary, label: spot.label.to_owned() })
        .collect();
    for line in first..end {
        let whole = places.line_range(file, line);
        let here = |spot: &&Spot| spot.lines.contains(&line);
        let kept = kept(source, whole.clone(), group.iter().filter(here).map(|spot| spot.bytes.clone()));
        cut |= kept != whole;
        if kept.start > whole.start {
            text.push('…');
        }
        let shift = text.len();
        text.push_str(source.get(kept.clone()).unwrap_or_default().trim_end_matches('\r'));
        let there = |at: usize| (shift + at.clamp(kept.start, kept.end) - kept.start).min(text.len());
        for (spot, mark) in group.iter().zip(&mut marks) {
            if spot.lines.contains(&line) {
                mark.range.start = mark.range.start.min(there(spot.bytes.start));
                mark.range.end = there(spot.bytes.end).max(mark.range.start);
            }
        }
        if kept.end < whole.end {
            text.push('…');
        }
        text.push('\n');
    }
    let place = places.place(file, group.first().map_or(0, |spot| spot.bytes.start));
    Excerpt { file, first_line: first + 1, text, marks, place, cut }
}

/// Before the first line of a mark is reached: any place makes it begin earlier and end later.
const NOWHERE: Range<usize> = Range { start: usize::MAX, end: 0 };

/// The part of a line that is shown: all of it, or what stands around the places in it.
fn kept(source: &str, whole: Range<usize>, marked: impl Iterator<Item = Range<usize>>) -> Range<usize> {
    if whole.len() <= LINE_BYTES {
        return whole;
    }
    let (start, end) = marked.fold((usize::MAX, 0), |(start, end), bytes| {
        (start.min(bytes.start.max(whole.start)), end.max(bytes.end.min(whole.end)))
    });
    let start = if start == usize::MAX { whole.start } else { start.saturating_sub(AROUND).max(whole.start) };
    let end = (end + AROUND).clamp(start, whole.end).min(start + LINE_BYTES);
    source.floor_char_boundary(start)..source.floor_char_boundary(end)
}
