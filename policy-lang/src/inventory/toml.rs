//! Owns the step from TOML to a tree with places. Never keys or their meaning.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::FORM_FAULTS;
use super::node::{Node, Value};
use crate::ast::Word;
use crate::report::Report;
use crate::source::{FileId, Span};

/// What the reader says of a key that a table has already.
const TWICE: &str = "duplicate key";

/// The whole file as a table; None where it is not TOML, which is told.
pub(super) fn read(file: FileId, text: &str, report: &mut Report) -> Option<Node> {
    let (table, faults) = DeTable::parse_recoverable(text);
    for fault in faults.iter().take(FORM_FAULTS) {
        let place = fault.span().unwrap_or(text.len()..text.len());
        if fault.message() == TWICE {
            report.error("E0606", span(file, place), "this key is given twice").help("keep one of the two");
            continue;
        }
        report
            .error("E0601", span(file, place), "this is not TOML")
            .because(format!("the reader of TOML says: {}", fault.message()))
            .help("texts stand in quotes, tables are headed `[name]`, and those of a list `[[name]]`");
    }
    if let Some(more) = faults.len().checked_sub(FORM_FAULTS + 1) {
        let end = span(file, text.len()..text.len());
        report.error("E0601", end, format!("and {} more places that are not TOML", more + 1));
    }
    faults
        .is_empty()
        .then(|| Node { value: table_of(file, table.get_ref()), span: Span { file, start: 0, end: 0 } })
}

fn table_of(file: FileId, table: &DeTable<'_>) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let name = Word { text: key.get_ref().to_string(), span: span(file, key.span()), quoted: false };
        (name, node(file, value))
    });
    let mut entries: Vec<(Word, Node)> = entries.collect();
    entries.sort_by_key(|(name, _)| name.span);
    Value::Table(entries)
}

// As deep as the reader lets anything nest, which is 80.
fn node(file: FileId, value: &Spanned<DeValue<'_>>) -> Node {
    let of = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Whole(i128::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(list) => Value::List(list.iter().map(|value| node(file, value)).collect()),
        DeValue::Table(table) => table_of(file, table),
    };
    Node { value: of, span: span(file, value.span()) }
}

/// Texts of more than 4 GiB never come here.
fn span(file: FileId, place: std::ops::Range<usize>) -> Span {
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span { file, start: offset(place.start), end: offset(place.end.max(place.start)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_headers_have_their_places() {
        let text =
            "[load_balancer]\nname = \"é\"\n[[backends]]\nid = 0x1_0\nmore = [1.5, {a = 1979-05-27}]\n";
        let mut report = Report::default();
        let Some(Node { value: Value::Table(root), .. }) = read(FileId(0), text, &mut report) else {
            panic!("a table")
        };
        let placed = |span: Span| &text[span.start as usize..span.end as usize];
        assert_eq!(placed(root[0].1.span), "[load_balancer]");
        let Value::Table(settings) = &root[0].1.value else { panic!("a table") };
        assert_eq!((placed(settings[0].0.span), placed(settings[0].1.span)), ("name", "\"é\""));
        let Value::List(backends) = &root[1].1.value else { panic!("a list") };
        assert_eq!(placed(backends[0].span), "[[backends]]");
        let Value::Table(backend) = &backends[0].value else { panic!("a table") };
        assert!(matches!(backend[0].1.value, Value::Whole(Some(16))));
        let Value::List(more) = &backend[1].1.value else { panic!("a list") };
        assert_eq!((more[0].value.kind(), placed(more[0].span)), ("a number with a fraction", "1.5"));
    }

    #[test]
    fn a_key_that_is_given_twice_is_told_as_such() {
        for text in ["a = 1\na = 2\n", "[a]\n[a]\n", "[[a]]\n[a]\n"] {
            let mut report = Report::default();
            assert!(read(FileId(0), text, &mut report).is_none());
            let codes: Vec<&str> = report.into_sorted().iter().map(|one| one.code).collect();
            assert_eq!(codes, ["E0606"], "{text}");
        }
    }

    #[test]
    fn every_slip_is_told_up_to_a_number() {
        let mut report = Report::default();
        assert!(read(FileId(0), &"a = = 1\n".repeat(100), &mut report).is_none());
        assert_eq!(report.errors(), FORM_FAULTS + 1);
    }
}
