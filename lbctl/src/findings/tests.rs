use policy_lang::source::{FileId, Source, Span};

use super::*;

fn sources(text: &str) -> Sources {
    Sources { files: vec![Source { name: "policy.lbp".into(), text: text.into() }] }
}

fn span(start: usize, end: usize) -> Span {
    Span { file: FileId(0), start: start as u32, end: end as u32 }
}

fn finding(primary: Span) -> Diagnostic {
    Diagnostic {
        code: "E0301",
        severity: Severity::Error,
        message: "no such tree".into(),
        primary: (primary, "not found".into()),
        secondary: Vec::new(),
        reason: None,
        help: None,
    }
}

#[test]
fn a_finding_shows_source_reason_and_help() {
    let text = "lbp 1\npolicy p { default drop } =\n  match { src in bad -> drop\n else -> webb }\n";
    let at = text.find("webb").unwrap();
    let mut one = finding(span(at, at + 4));
    one.secondary.push((span(6, 14), "in this policy".into()));
    one.reason = Some("a chain ends in an end or a tree".into());
    one.help = Some("did you mean `web`?".into());
    insta::assert_snapshot!(human(&sources(text), &[one], false), @r#"
    error[E0301]: no such tree
     --> policy.lbp:4:10
      |
    2 | policy p { default drop } =
      | -------- in this policy
    3 |   match { src in bad -> drop
    4 |  else -> webb }
      |          ^^^^ not found
      |
      = note: a chain ends in an end or a tree
      = help: did you mean `web`?
    "#);
}

#[test]
fn places_far_apart_in_a_long_list_are_shown_apart() {
    let mut text = String::new();
    for n in 0..1_000_000 {
        text.push_str(&format!("192.{}.{}.{}\n", n >> 16, n >> 8 & 255, n & 255));
    }
    let at = text.len() - 13;
    let mut one = finding(span(at, at + 12));
    one.secondary.push((span(0, 9), "and here".into()));
    let started = std::time::Instant::now();
    insta::assert_snapshot!(human(&sources(&text), &[one], false), @r#"
    error[E0301]: no such tree
           --> policy.lbp:1000000:1
            |
    1000000 | 192.15.66.63
            | ^^^^^^^^^^^^ not found
            |
           ::: policy.lbp:1:1
            |
          1 | 192.0.0.0
            | --------- and here
    "#);
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn a_line_of_a_million_bytes_is_cut_around_the_place() {
    let text = "1, ".repeat(300_000) + "bad, " + &"2, ".repeat(300_000);
    let one = finding(span(900_000, 900_003));
    insta::assert_snapshot!(human(&sources(&text), &[one], false), @r#"
    error[E0301]: no such tree
     --> policy.lbp:1:900001
      |
     ::: 
    1 | …1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, bad, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2…
      |                                                              ^^^ not found
    "#);
}

#[test]
fn spans_that_no_text_has_do_not_panic() {
    for text in ["", "é", "a\n", "a\r\nb", "\n\n"] {
        for (start, end) in [(0, 0), (1, 1), (0, 9), (9, 9), (1, 0), (1, 2)] {
            let all = [finding(span(start, end))];
            let source = sources(text);
            assert!(human(&source, &all, true).contains("no such tree"));
            assert!(short(&source, &all).starts_with("policy.lbp:"));
            assert_eq!(json(&source, &all).len(), 1);
        }
    }
}

#[test]
fn a_span_of_many_lines_is_underlined_in_its_first() {
    let text = "policy p =\n".to_owned() + &"  src in a -> drop\n".repeat(50);
    insta::assert_snapshot!(human(&sources(&text), &[finding(span(0, text.len()))], false), @r#"
    error[E0301]: no such tree
     --> policy.lbp:1:1
      |
    1 | policy p =
      | ^^^^^^^^^^ not found
    "#);
}

#[test]
fn short_is_one_line_whatever_a_name_holds() {
    let mut one = finding(span(0, 1));
    one.message = "no tree `a\nb\x1b[2J`".into();
    insta::assert_snapshot!(short(&sources("x"), &[one]), @"policy.lbp:1:1: error[E0301]: no tree `a�b�[2J`");
}

#[test]
fn deny_takes_codes_and_names() {
    let warning = || Diagnostic { severity: Severity::Warning, code: "W0107", ..finding(span(0, 0)) };
    let allowed = || Diagnostic {
        severity: Severity::Allowed,
        code: policy_lang::diagnostic::IMPLICIT_EXIT,
        ..finding(span(0, 0))
    };
    let severities = |deny: &[&str]| -> Vec<Severity> {
        let deny: Vec<String> = deny.iter().map(|&one| one.to_owned()).collect();
        judge(vec![warning(), allowed()], &deny).unwrap().iter().map(|one| one.severity).collect()
    };
    assert_eq!(severities(&[]), [Severity::Warning]);
    assert_eq!(severities(&["w0107"]), [Severity::Error]);
    assert_eq!(severities(&["implicit-exit"]), [Severity::Warning, Severity::Error]);
    assert!(judge(vec![], &["nonsense".to_owned()]).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_and_no_span_makes_rendering_panic(
        text in "(\\PC{1,30}|[a-z ]{60}|[\t\r\n\u{0}-\u{1f}\u{200b}]){0,60}",
        spans in proptest::collection::vec((0_usize..3_000, 0_usize..3_000), 1..5),
    ) {
        let mut one = finding(span(spans[0].0, spans[0].1));
        one.secondary = spans[1..].iter().map(|&(start, end)| (span(start, end), "here".to_owned())).collect();
        let all = [one];
        let source = sources(&text);
        for colours in [false, true] {
            proptest::prop_assert!(human(&source, &all, colours).contains("no such tree"));
        }
        proptest::prop_assert_eq!(short(&source, &all).lines().count(), 1);
        proptest::prop_assert_eq!(json(&source, &all).len(), 1);
    }
}
