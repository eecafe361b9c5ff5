//! The formatter over the repository's texts and over what is left of them when their white space is thrown about.

use crate::common;
use policy_lang::format::{Refused, format};
use proptest::prelude::*;
use std::path::PathBuf;

/// The formatter refuses its own work where tree or comments would change, so that this holds them as well.
fn formatted(name: &str, text: &str) -> Option<String> {
    match format(name, text) {
        Ok(once) => {
            let twice =
                format(name, &once).unwrap_or_else(|_| panic!("{name}: the result is refused:\n{once}"));
            assert_eq!(once, twice, "{name}: twice is once");
            Some(once)
        }
        Err(Refused::Unread { diagnostics, .. }) => {
            assert!(!diagnostics.is_empty(), "{name}: refused without a reason");
            None
        }
        Err(Refused::Changed) => panic!("{name}: the formatter would change what this means:\n{text}"),
    }
}

fn policies() -> Vec<PathBuf> {
    let names = ["edge", "hero", "firewall-tree-demo", "firewall", "nat", "sessions", "common/bogons"];
    names.iter().map(|name| common::repository("policies").join(name).with_extension("lbp")).collect()
}

#[test]
fn the_policies_of_the_repository_are_fixed_points() {
    for path in policies() {
        let text = std::fs::read_to_string(&path).unwrap();
        let once = formatted(&path.display().to_string(), &text).expect("it parses");
        assert_eq!(once, text, "{}", path.display());
    }
}

#[test]
fn the_bad_examples_keep_their_findings() {
    let mut read = 0;
    for path in crate::bad::files(&common::repository("tests/cases"), "lbp") {
        let text = std::fs::read_to_string(&path).unwrap();
        let Some(once) = formatted(&path.display().to_string(), &text) else { continue };
        read += 1;
        let directory = || common::Directory(path.parent().unwrap().to_path_buf());
        let codes = |text: String| {
            let checked = policy_lang::check("t.lbp", text, &directory());
            let mut codes: Vec<&str> = checked.diagnostics.iter().map(|finding| finding.code).collect();
            codes.sort_unstable();
            codes
        };
        assert_eq!(codes(text), codes(once), "{}", path.display());
    }
    assert!(read > 40, "{read} of the bad examples parse");
}

/// The text with blanks and breaks added and taken where the language allows it: around signs and behind comments.
fn thrown_about(text: &str, choices: &[u8]) -> String {
    let mut choice = choices.iter().cycle().copied();
    let mut out = String::new();
    let mut quoted = false;
    for line in text.lines() {
        let (code, comment) = line.split_at(line.find('#').unwrap_or(line.len()));
        let item = code.starts_with(|first: char| first.is_ascii_alphabetic());
        let code = code.trim();
        if !item {
            out.push_str(&" ".repeat(1 + choice.next().unwrap_or(0) as usize % 7));
        }
        let mut blanks = 0;
        for c in code.chars() {
            quoted ^= c == '"';
            if c == ' ' && !quoted {
                blanks += 1;
                if blanks == 1 {
                    out.push_str(["  ", " ", " ", "\t", "     "][choice.next().unwrap_or(0) as usize % 5]);
                }
                continue;
            }
            blanks = 0;
            out.push(c);
            if !quoted && "{(,".contains(c) {
                out.push_str(["", "", " ", "   "][choice.next().unwrap_or(0) as usize % 4]);
            }
        }
        out.push_str(&" ".repeat(choice.next().unwrap_or(0) as usize % 9));
        out.push_str(comment);
        out.push_str(["\n", "\n", "\n", "\r\n", "\n\n", "\n\n\n"][choice.next().unwrap_or(0) as usize % 6]);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn white_space_may_be_anywhere(which in 0usize..6, choices in proptest::collection::vec(any::<u8>(), 1..200)) {
        let path = &policies()[which];
        let text = thrown_about(&std::fs::read_to_string(path).unwrap(), &choices);
        prop_assert!(formatted(&path.display().to_string(), &text).is_some(), "it parses:\n{}", text);
    }

    #[test]
    fn a_policy_with_a_hole_is_refused_or_formatted(which in 0usize..6, start in 0usize..6_000, length in 0usize..9) {
        let mut text = std::fs::read_to_string(&policies()[which]).unwrap();
        let start = start.min(text.len());
        let end = (start + length).min(text.len());
        prop_assume!(text.is_char_boundary(start) && text.is_char_boundary(end));
        text.replace_range(start..end, "");
        formatted("hole.lbp", &text);
    }

    #[test]
    fn any_text_is_refused_or_formatted(text in "\\PC{0,200}") {
        formatted("any.lbp", &format!("lbp 1\ntree t = {text}\n"));
    }
}
