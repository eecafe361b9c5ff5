//! Owns the step from YAML to a tree with places: plain values by the core schema of YAML 1.2 (chapter 10.3), aliases
//! and merge keys put in place. Never keys or their meaning.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::node::{Node, Value};
use crate::ast::Word;
use crate::report::Report;
use crate::source::{FileId, Span};

/// As deep as anything may nest.
const DEPTH: usize = 64;
/// Values in one file, those of an alias counted wherever it stands.
const VALUES: usize = 1 << 18;

/// The whole file as one value; None where it is not YAML or holds nothing, which is told.
pub(super) fn read(file: FileId, text: &str, report: &mut Report) -> Option<Node> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        places: Places::of(file, text),
        anchors: HashMap::new(),
        left: VALUES,
        repeated: Vec::new(),
    };
    let document = reader.document();
    for (key, again, first) in reader.repeated {
        report
            .error("E0606", again, format!("`{key}` is given twice"))
            .also(first, "given first")
            .help("keep one of the two");
    }
    match document {
        Ok(node) => Some(node),
        Err(Fault::Form(error)) => {
            let at = reader.places.at(*error.marker());
            report
                .error("E0601", Span { file, start: at, end: at }, "this is not YAML")
                .because(format!("the reader of YAML says: {}", error.info()))
                .help("keys end in `:` and a blank, what belongs together is indented by the same number of blanks");
            None
        }
        Err(Fault::Shape(place, message)) => {
            report.error("E0601", place, message);
            None
        }
    }
}

enum Fault {
    Form(ScanError),
    /// YAML, but nothing that is read here.
    Shape(Span, &'static str),
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    places: Places,
    /// Values by the number of their anchor, each with how many it holds.
    anchors: HashMap<usize, (Node, usize)>,
    left: usize,
    /// Keys that are there already, with the places of the second and the first.
    repeated: Vec<(String, Span, Span)>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.events.next_event() {
            Some(Ok((event, place))) => Ok((event, self.places.span(place))),
            Some(Err(error)) => Err(Fault::Form(error)),
            None => Ok((Event::StreamEnd, self.places.end())),
        }
    }

    fn document(&mut self) -> Result<Node, Fault> {
        let root = loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_), _) => {}
                (Event::StreamEnd | Event::DocumentEnd, place) => {
                    return Err(Fault::Shape(place, "the file holds nothing"));
                }
                (event, place) => break self.node(event, place, 0)?,
            }
        };
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), place) => {
                    return Err(Fault::Shape(place, "the file holds a second document"));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, place: Span, depth: usize) -> Result<Node, Fault> {
        let before = self.left;
        self.spend(1, place)?;
        if depth == DEPTH {
            return Err(Fault::Shape(place, "this nests deeper than 64"));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(text, style, tag)),
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd | Event::StreamEnd, _) => break,
                        (event, place) => list.push(self.node(event, place, depth + 1)?),
                    }
                }
                (anchor, Value::List(list))
            }
            Event::MappingStart(anchor, _) => (anchor, self.table(depth)?),
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::Shape(place, "this stands for a value that it is part of"));
                };
                self.spend(size, place)?;
                return Ok(Node { span: place, ..node });
            }
            _ => (0, Value::Other("nothing")),
        };
        // In block style a table has no sign of its own: its first key stands for it.
        let first = match &value {
            Value::Table(entries) if place.start == place.end => entries.first().map(|(key, _)| key.span),
            _ => None,
        };
        let node = Node { value, span: first.unwrap_or(place) };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), before - self.left));
        }
        Ok(node)
    }

    fn spend(&mut self, values: usize, place: Span) -> Result<(), Fault> {
        let left = self.left.checked_sub(values);
        self.left = left.ok_or(Fault::Shape(place, "the file holds too many values"))?;
        Ok(())
    }

    fn table(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries: Vec<(Word, Node)> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, place) = self.next()?;
            let key = match event {
                Event::MappingEnd | Event::StreamEnd => break,
                Event::Scalar(text, style, ..) => {
                    Word { text: text.into_owned(), span: place, quoted: style != ScalarStyle::Plain }
                }
                _ => return Err(Fault::Shape(place, "a key is a text here")),
            };
            let (event, place) = self.next()?;
            let value = self.node(event, place, depth + 1)?;
            if key.text == "<<" && !key.quoted {
                merged.push(value);
            } else if let Some(&first) = seen.get(&key.text) {
                self.repeated.push((key.text, key.span, first));
            } else {
                seen.insert(key.text.clone(), key.span);
                entries.push((key, value));
            }
        }
        // What is merged in gives way to what is written.
        for node in merged {
            let tables = match node.value {
                Value::List(tables) => tables,
                _ => vec![node],
            };
            for table in tables {
                let Value::Table(others) = table.value else {
                    return Err(Fault::Shape(table.span, "only a table can be merged into a table"));
                };
                for (key, value) in others {
                    if !seen.contains_key(&key.text) {
                        seen.insert(key.text.clone(), key.span);
                        entries.push((key, value));
                    }
                }
            }
        }
        Ok(Value::Table(entries))
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<Cow<'_, Tag>>) -> Value {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Value::Text(text.into_owned()),
        Some(tag) if !tag.is_yaml_core_schema() => Value::Other("a value with a tag"),
        Some(_) => plain(&text),
        None if style == ScalarStyle::Plain => plain(&text),
        None => Value::Text(text.into_owned()),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Other("nothing"),
        "true" | "True" | "TRUE" => return Value::Flag(true),
        "false" | "False" | "FALSE" => return Value::Flag(false),
        ".inf" | ".Inf" | ".INF" | "-.inf" | ".nan" | ".NaN" | ".NAN" => {
            return Value::Other("no finite number");
        }
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (digits, radix) = match (unsigned.strip_prefix("0x"), unsigned.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 8),
        _ => (unsigned, 10),
    };
    // 010 is eight in YAML 1.1 and ten in 1.2.
    let doubtful = radix == 10 && digits.len() > 1 && digits.starts_with('0');
    if !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)) {
        if doubtful {
            return Value::Other("a number with a zero in front");
        }
        let number = i128::from_str_radix(digits, radix).ok();
        return Value::Whole(number.map(|number| if text.starts_with('-') { -number } else { number }));
    }
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if numeric && text.parse::<f64>().is_ok() {
        return Value::Other("a number with a fraction");
    }
    Value::Text(text.to_owned())
}

/// From the parser's places, which count characters, to bytes.
struct Places {
    file: FileId,
    /// Of each character; empty where every character is one byte.
    offsets: Vec<u32>,
    length: u32,
}

impl Places {
    fn of(file: FileId, text: &str) -> Places {
        let byte = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let offsets =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| byte(at)).collect() };
        Places { file, offsets, length: byte(text.len()) }
    }

    fn at(&self, marker: Marker) -> u32 {
        if self.offsets.is_empty() {
            return u32::try_from(marker.index()).unwrap_or(u32::MAX).min(self.length);
        }
        self.offsets.get(marker.index()).copied().unwrap_or(self.length)
    }

    fn span(&self, place: saphyr_parser::Span) -> Span {
        let (start, end) = (self.at(place.start), self.at(place.end));
        Span { file: self.file, start, end: end.max(start) }
    }

    fn end(&self) -> Span {
        Span { file: self.file, start: self.length, end: self.length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String, String)> {
        let mut report = Report::default();
        let node = read(FileId(0), text, &mut report);
        assert!(!report.has_errors(), "{:?}", report.into_sorted());
        let Some(Node { value: Value::Table(entries), .. }) = node else { panic!("a table") };
        let placed = |span: Span| text[span.start as usize..span.end as usize].to_owned();
        entries
            .into_iter()
            .map(|(key, node)| (placed(key.span), format!("{:?}", node.value), placed(node.span)))
            .collect()
    }

    #[test]
    fn plain_values_are_those_of_the_core_schema() {
        for (text, kind) in [
            ("10", "Whole(Some(10))"),
            ("-1", "Whole(Some(-1))"),
            ("0x1f", "Whole(Some(31))"),
            ("0o17", "Whole(Some(15))"),
            ("0", "Whole(Some(0))"),
            ("010", "Other(\"a number with a zero in front\")"),
            ("9999999999999999999999999999999999999999", "Whole(None)"),
            ("1.5", "Other(\"a number with a fraction\")"),
            ("1e3", "Other(\"a number with a fraction\")"),
            ("true", "Flag(true)"),
            ("yes", "Text(\"yes\")"),
            ("~", "Other(\"nothing\")"),
            ("10.0.0.1", "Text(\"10.0.0.1\")"),
            ("\"10\"", "Text(\"10\")"),
            ("!!str 10", "Text(\"10\")"),
            ("!other 10", "Other(\"a value with a tag\")"),
        ] {
            assert_eq!(entries(&format!("k: {text}\n"))[0].1, kind, "{text}");
        }
    }

    #[test]
    fn places_are_bytes_behind_characters_of_several() {
        let found = entries("# é\r\nä: \"ö\"\r\nb: 7\r\n");
        assert_eq!(found[0], ("ä".to_owned(), "Text(\"ö\")".to_owned(), "\"ö\"".to_owned()));
        assert_eq!(found[1].2, "7");
    }

    #[test]
    fn aliases_stand_where_they_are_written_and_merged_keys_give_way() {
        let found = entries("a: &x 5\nb: *x\nc: &t {p: 1, q: 2}\n<<: *t\nq: 3\n");
        assert_eq!(found[1], ("b".to_owned(), "Whole(Some(5))".to_owned(), "*x".to_owned()));
        let keys: Vec<&str> = found.iter().map(|(key, ..)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c", "q", "p"]);
        assert_eq!(found[3].1, "Whole(Some(3))");
    }
}
