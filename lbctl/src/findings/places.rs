//! Owns the way from a span to line and column, in time that does not grow with the number of findings.
//! Never how a place is shown.

use std::collections::HashMap;
use std::ops::Range;

use policy_lang::source::{FileId, Place, Source, Sources, Span};

/// Line starts of the texts that have findings.
pub struct Places<'a> {
    sources: &'a Sources,
    starts: HashMap<FileId, Vec<usize>>,
}

impl<'a> Places<'a> {
    /// For spans in the files of these.
    pub fn of(sources: &'a Sources, spans: impl IntoIterator<Item = Span>) -> Places<'a> {
        let mut starts = HashMap::new();
        for span in spans {
            starts.entry(span.file).or_insert_with(|| {
                let text = sources.file(span.file).text.as_bytes();
                let newlines = text.iter().enumerate().filter(|&(_, &byte)| byte == b'\n');
                std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect()
            });
        }
        Places { sources, starts }
    }

    pub fn file(&self, span: Span) -> &'a Source {
        self.sources.file(span.file)
    }

    /// The span within its text and on character boundaries, whatever it says.
    pub fn range(&self, span: Span) -> Range<usize> {
        let text = &self.file(span).text;
        let start = text.floor_char_boundary((span.start as usize).min(text.len()));
        let end = text.ceil_char_boundary((span.end as usize).min(text.len()));
        start..end.max(start)
    }

    /// 0-based line of an offset.
    pub fn line(&self, file: FileId, at: usize) -> usize {
        self.starts
            .get(&file)
            .map_or(0, |starts| starts.partition_point(|&start| start <= at).saturating_sub(1))
    }

    /// Bytes of a 0-based line, its newline excluded.
    pub fn line_range(&self, file: FileId, line: usize) -> Range<usize> {
        let text = &self.sources.file(file).text;
        let starts = self.starts.get(&file).map(Vec::as_slice).unwrap_or_default();
        let start = starts.get(line).copied().unwrap_or(text.len());
        let end = starts.get(line + 1).map_or(text.len(), |next| next - 1);
        start..end.max(start)
    }

    /// Where a span begins.
    pub fn start(&self, span: Span) -> Place {
        self.place(span.file, self.range(span).start)
    }

    /// Place of an offset.
    pub fn place(&self, file: FileId, at: usize) -> Place {
        let line = self.line(file, at);
        let start = self.line_range(file, line).start;
        let column = self.sources.file(file).text.get(start..at).map_or(0, |before| before.chars().count());
        Place { line: line as u32 + 1, column: column as u32 + 1 }
    }
}
