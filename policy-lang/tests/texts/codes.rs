//! The pages of codes: one for each code, none too many, and what they show is true.

use crate::bad::{codes_written_in, is_compilers};
use policy_lang::codes::{Files, PAGES, Page, near, page};
use policy_lang::diagnostic::Severity;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let mut written = codes_written_in("policy-lang/src");
    written.extend(codes_written_in("compiler/src"));
    let pages: BTreeSet<String> = PAGES.iter().map(|page| page.code.to_owned()).collect();
    assert_eq!(pages.len(), PAGES.len(), "one page for each code");
    assert_eq!(written.difference(&pages).collect::<Vec<_>>(), Vec::<&String>::new(), "codes without a page");
    assert_eq!(pages.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new(), "pages without a code");
    assert!(PAGES.is_sorted_by_key(|page| page.code));
}

#[test]
fn a_page_says_what_why_and_how() {
    for page in PAGES {
        assert!(!page.title().is_empty() && !page.title().starts_with('#'), "{}", page.code);
        assert_eq!(page.meaning().split("\n\n").count(), 2, "{}: what and why", page.code);
        assert!(page.meaning().lines().all(|line| line.chars().count() <= 110), "{}", page.code);
        let heading =
            std::fs::read_to_string(crate::common::repository(&format!("docs/codes/{}.md", page.code)));
        assert!(heading.is_ok_and(|text| text.starts_with(&format!("# {}: ", page.code))), "{}", page.code);
    }
}

#[test]
fn every_example_earns_its_code() {
    // What the compiler tells is held by `tests/tests/bad.rs`.
    let is_compilers =
        |page: &&Page| page.example.is_some_and(|example| is_compilers(Path::new(example.path)));
    for page in PAGES.iter().filter(|page| !is_compilers(page)) {
        let Some(example) = page.example else {
            // What takes many thousand lines, which `tests/tests/bounds.rs` writes, and what the language refuses first.
            let large = ["E0116", "E0702", "E0903", "E0904", "E0905", "E0910", "E0911"];
            let refused_before = ["E0901", "E0906"];
            let is_known = large.contains(&page.code) || refused_before.contains(&page.code);
            assert!(is_known, "{} has no example", page.code);
            continue;
        };
        let checked = policy_lang::check(example.path, example.text.to_owned(), &Files);
        let checked = crate::common::with_validity(checked);
        let codes: BTreeSet<&str> = checked.diagnostics.iter().map(|finding| finding.code).collect();
        assert!(codes.contains(page.code), "{}: {codes:?}", example.path);
    }
}

#[test]
fn every_mended_example_is_green_and_formatted() {
    for page in PAGES {
        let text = page.mended();
        let checked = policy_lang::check("mended.lbp", text.to_owned(), page);
        let checked = crate::common::with_validity(checked);
        let shown = crate::common::render(&checked, |finding| finding.severity != Severity::Allowed);
        assert!(checked.policy.is_some() && shown.is_empty(), "{}: {shown}", page.code);
        assert_eq!(
            policy_lang::format::format("mended.lbp", text).ok().as_deref(),
            Some(text),
            "{}",
            page.code
        );
    }
    let mended = page("W0901").expect("a page").mended();
    let checked = policy_lang::check("mended.lbp", mended.to_owned(), &Files);
    assert!(checked.diagnostics.is_empty(), "all exits are written");
}

#[test]
fn codes_are_found_by_name_and_in_either_case() {
    assert_eq!(page("e0301").map(|page| page.code), Some("E0301"));
    assert_eq!(page("implicit-exit").map(|page| page.code), Some("W0901"));
    assert!(page("E9999").is_none() && page("").is_none());
    assert_eq!(near("e301"), Some("E0301"));
    assert_eq!(near("colour"), None);
}
