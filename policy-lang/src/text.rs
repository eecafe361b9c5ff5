//! Owns the cutting of a text into items at the keywords in column 1, and the balance of brackets in each.
//! Never what stands inside of an item.

use crate::report::{Report, suggestion};
use crate::source::{FileId, Span};

/// Brackets may nest this deep.
pub(crate) const NESTING: usize = 64;

pub(crate) const KEYWORDS: &[&str] = &[
    "include",
    "const",
    "set",
    "side",
    "interface",
    "vip",
    "pool",
    "track",
    "limit",
    "authority",
    "synguard",
    "mapper",
    "tree",
    "policy",
    "expect",
    "assert",
];

/// Words that go on with an item although they stand in column 1.
const INNER: &[&str] = &["match", "every", "else", "and", "or", "not", "union", "except", "when"];

/// Byte range of one item in its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub start: usize,
    pub end: usize,
    /// Its brackets balance and its keyword is known; what is not sound has been reported.
    pub sound: bool,
}

impl Piece {
    /// The word behind the keyword: the name of most items.
    pub fn name(self, text: &str) -> Option<&str> {
        let line = text.get(self.start..self.end)?.lines().next()?;
        let word = line.split_ascii_whitespace().nth(1)?;
        word.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).next()
    }
}

/// Checks the edition and cuts the rest into items. Items whose brackets do not balance are reported and marked.
pub(crate) fn split(file: FileId, text: &str, report: &mut Report) -> Vec<Piece> {
    let body = edition(file, text, report);
    let mut scan = Scan {
        file,
        text,
        report,
        pieces: Vec::new(),
        open: Vec::new(),
        deeper: 0,
        start: None,
        sound: true,
        last: 0,
    };
    scan.run(body);
    scan.finish(text.len());
    scan.pieces
}

fn span(file: FileId, start: usize, end: usize) -> Span {
    Span { file, start: start as u32, end: end as u32 }
}

/// Reads `lbp 1`; returns where the rest starts.
fn edition(file: FileId, text: &str, report: &mut Report) -> usize {
    let mut at = if text.starts_with('\u{feff}') { 3 } else { 0 };
    // Empty lines in one go: a file may hold millions.
    let blank = text.as_bytes().get(at..).unwrap_or(&[]);
    let blank = blank.iter().position(|byte| !byte.is_ascii_whitespace()).and_then(|end| blank.get(..end));
    at += blank
        .and_then(|blank| blank.iter().rposition(|&byte| byte == b'\n'))
        .map_or(0, |newline| newline + 1);
    for line in text.get(at..).unwrap_or("").split_inclusive('\n') {
        let code = line.split('#').next().unwrap_or("").trim();
        let start = at + line.len() - line.trim_start().len();
        if code.is_empty() {
            at += line.len();
            continue;
        }
        let place = span(file, start, start + code.len());
        let mut words = code.split_ascii_whitespace();
        if words.next() != Some("lbp") {
            report
                .error("E0101", place, "the first line does not name the edition")
                .label("not an edition")
                .because("every file says which edition of the language it is written in")
                .help("let the file start with `lbp 1`");
            return at;
        }
        let number = words.next();
        if number != Some("1") || words.next().is_some() {
            report
                .error("E0102", place, format!("`{code}` is no edition that this lbctl reads"))
                .label("unknown edition")
                .help("write `lbp 1`");
        }
        return at + line.len();
    }
    report
        .error("E0101", span(file, text.len().min(at), text.len().min(at)), "the file is empty")
        .because("every file says which edition of the language it is written in")
        .help("let the file start with `lbp 1`");
    text.len()
}

struct Scan<'a> {
    file: FileId,
    text: &'a str,
    report: &'a mut Report,
    pieces: Vec<Piece>,
    /// Brackets that are open, and where.
    open: Vec<(u8, usize)>,
    /// How many are open beyond the deepest level, which are not remembered: a file of brackets is no reason for a GiB.
    deeper: usize,
    start: Option<usize>,
    sound: bool,
    /// The last byte that is neither blank nor comment.
    last: u8,
}

impl Scan<'_> {
    fn run(&mut self, body: usize) {
        let mut at = body;
        for line in self.text.get(body..).unwrap_or("").split_inclusive('\n') {
            self.head(at, line);
            // No policy has so many lines that start no item; what follows is not looked at.
            if self.report.is_full("E0103") {
                break;
            }
            self.brackets(at, line.as_bytes());
            at += line.len();
        }
    }

    /// Decides whether an item starts with this line.
    fn head(&mut self, at: usize, line: &str) {
        if !line.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return self.stray_start(at, line);
        }
        let length = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(line.len());
        let word = line.get(..length).unwrap_or("");
        if KEYWORDS.contains(&word) {
            self.finish(at);
            self.start = Some(at);
            return;
        }
        let goes_on = self.start.is_some()
            && (!self.open.is_empty() || INNER.contains(&word) || matches!(self.last, b'=' | b'>' | b','));
        if !goes_on {
            self.finish(at);
            self.start = Some(at);
            self.sound = false;
            let cure = suggestion(word, KEYWORDS.iter().copied());
            self.report
                .error("E0103", span(self.file, at, at + length), format!("unknown item `{word}`"))
                .label("no item starts with this word")
                .because("a word in column 1 starts an item")
                .help(cure);
        }
    }

    /// Text in front of the first item that does not stand in column 1, or is no word at all.
    fn stray_start(&mut self, at: usize, line: &str) {
        let code = line.split('#').next().unwrap_or("");
        if self.start.is_some() || code.trim().is_empty() {
            return;
        }
        let start = at + code.len() - code.trim_start().len();
        self.start = Some(at);
        self.sound = false;
        self.report
            .error("E0103", span(self.file, start, start + code.trim().len()), "this line belongs to no item")
            .because("an item starts with its keyword in column 1")
            .help("let the item's keyword stand at the very start of the line");
    }

    fn brackets(&mut self, at: usize, line: &[u8]) {
        let mut index = 0;
        while let Some(&byte) = line.get(index) {
            match byte {
                b'#' => break,
                b'"' => {
                    let rest = line.get(index + 1..).unwrap_or(&[]);
                    let Some(length) = rest.iter().position(|&byte| byte == b'"') else {
                        let end = at + line.trim_ascii_end().len();
                        self.fault("E0106", at + index, end, "this string is not closed")
                            .because("a string ends on its line")
                            .help("add the closing `\"`");
                        return;
                    };
                    index += length + 1;
                }
                b'{' | b'(' => {
                    if self.open.len() == NESTING && self.sound {
                        self.fault("E0107", at + index, at + index + 1, "brackets nest too deep")
                            .label("the 65th level")
                            .because(format!("at most {NESTING} levels are read"))
                            .help("give the inner part a name of its own with `tree`");
                    }
                    match self.open.len() {
                        0..NESTING => self.open.push((byte, at + index)),
                        _ => self.deeper += 1,
                    }
                }
                b'}' | b')' => self.close(byte, at + index),
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                self.last = byte;
            }
            index += 1;
        }
    }

    fn close(&mut self, byte: u8, at: usize) {
        let opener = if byte == b'}' { b'{' } else { b'(' };
        match self.open.last().copied() {
            _ if self.deeper > 0 => self.deeper -= 1,
            Some((open, _)) if open == opener => {
                self.open.pop();
            }
            // One finding for an item whose brackets are broken: what follows from the first is no news.
            _ if !self.sound => {}
            Some((open, place)) => {
                let file = self.file;
                let wanted = if open == b'{' { '}' } else { ')' };
                self.fault("E0105", at, at + 1, format!("`{}` closes no bracket", byte as char))
                    .label(format!("a `{wanted}` is due first"))
                    .also(span(file, place, place + 1), "open since here");
            }
            None => {
                self.fault("E0105", at, at + 1, format!("`{}` closes no bracket", byte as char))
                    .help("remove it, or open the bracket it belongs to");
            }
        }
    }

    fn fault(
        &mut self,
        code: &'static str,
        start: usize,
        end: usize,
        message: impl Into<String>,
    ) -> crate::report::Finding<'_> {
        self.sound = false;
        self.report.error(code, span(self.file, start, end), message)
    }

    fn finish(&mut self, end: usize) {
        if let Some(&(byte, at)) = self.open.first()
            && self.sound
        {
            let innermost = self.open.last().map_or(at, |&(_, at)| at);
            let file = self.file;
            let finding = self
                .fault("E0104", at, at + 1, format!("`{}` is never closed", byte as char))
                .label("opened here")
                .because("the item ends at the next keyword in column 1, or with the file")
                .help("close it, or indent the line that starts the next item by mistake");
            if innermost != at {
                finding.also(span(file, innermost, innermost + 1), "the last one that is open");
            }
        }
        if let Some(start) = self.start.take() {
            self.pieces.push(Piece { start, end, sound: self.sound });
        }
        self.open.clear();
        self.deeper = 0;
        self.sound = true;
    }
}
