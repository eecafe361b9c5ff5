//! Owns how items are made of words that are placed in an inventory, and how such items read as a text.
//! Never which items there are.

use std::fmt::Write;
use std::net::IpAddr;

use crate::ast::{Block, Item, Setting, Word};
use crate::source::Span;

pub(super) fn word(text: &str, span: Span) -> Word {
    Word { text: text.to_owned(), span, quoted: false }
}

pub(super) fn setting(name: &str, span: Span, groups: Vec<Vec<Word>>) -> Setting {
    Setting { name: word(name, span), groups, block: None, equals: None, span }
}

pub(super) fn declaration(kind: &str, name: Word, settings: Vec<Setting>) -> Item {
    let span = name.span;
    Item::Declaration { kind: word(kind, span), name, block: Block { settings, span } }
}

/// A setting with one word.
pub(super) fn one(name: &str, text: &str, span: Span) -> Setting {
    setting(name, span, vec![vec![word(text, span)]])
}

/// Settings that there may be many of, each on a line of its own.
const LISTED: &[&str] = &["backend", "certificate", "key"];

/// Writes a declaration as the language has it; `note` is what is said above a setting on a line of its own.
pub(super) fn print(item: &Item, note: impl Fn(usize) -> Option<String>, out: &mut String) {
    let Item::Declaration { kind, name, block } = item else { return };
    let listed =
        |setting: &Setting| LISTED.contains(&setting.name.text.as_str()) && setting.groups.concat().len() > 1;
    let short: Vec<String> = block.settings.iter().filter(|setting| !listed(setting)).map(written).collect();
    let long: Vec<&Setting> = block.settings.iter().filter(|setting| listed(setting)).collect();
    if long.is_empty() {
        let _ = writeln!(out, "{} {} {{ {} }}", kind.text, name.text, short.join("; "));
        return;
    }
    let _ = writeln!(out, "{} {} {{", kind.text, name.text);
    if !short.is_empty() {
        let _ = writeln!(out, "  {}", short.join("; "));
    }
    for (at, setting) in long.into_iter().enumerate() {
        if let Some(note) = note(at) {
            let _ = writeln!(out, "  # {}", one_line(&note));
        }
        let _ = writeln!(out, "  {}", written(setting));
    }
    out.push_str("}\n");
}

fn written(setting: &Setting) -> String {
    let words = |group: &Vec<Word>| {
        let each = group.iter().map(|word| if word.quoted { quoted(&word.text) } else { word.text.clone() });
        each.collect::<Vec<_>>().join(" ")
    };
    let groups: Vec<String> = setting.groups.iter().map(words).collect();
    format!("{} {}", setting.name.text, groups.join(", "))
}

/// As a string of the language; what cannot stand in one never comes here.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// What a comment says must not end it.
pub(super) fn one_line(text: &str) -> String {
    let fold = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c };
    text.chars().map(fold).collect::<String>().trim().to_owned()
}

/// Addresses that are nobody's, for tests (RFC 5737 and RFC 3849).
pub(super) fn strangers(v4: bool) -> impl Iterator<Item = IpAddr> {
    (1..=254).map(move |host| match v4 {
        true => IpAddr::from([198, 51, 100, host]),
        false => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]),
    })
}
