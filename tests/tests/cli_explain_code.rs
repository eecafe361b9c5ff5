//! Owns what `lbctl explain-code` says, and that what the pages show as mended compiles. Never what earns a code.

use lb_tests::cli::Desk;
use policy_lang::codes::PAGES;

#[test]
fn a_page_shows_what_is_wrong_and_how_it_is_mended() {
    let desk = Desk::new(&[]);
    insta::assert_snapshot!(desk.lbctl(&["explain-code", "e0109"]), @r#"
    exit 0
    --- out
    E0109: `=` does not compare

    A guard compares with `==`, `!=`, `in` or `not in`.

    `=` gives a name to a thing, in `const`, `set`, `tree` and `policy`. Two signs for two meanings make a slip
    visible.

    Wrong:

        lbp 1
        policy p { default drop } =
          match {
            tcp.dport = 80 -> drop
            else -> drop
          }

    error[E0109]: `=` does not compare
     --> e0109-assign-for-equals.lbp:4:15
      |
    4 |     tcp.dport = 80 -> drop
      |               ^ `==` compares
      |
      = help: write `tcp.dport == 80`

    Mended:

        lbp 1
        policy p { default drop } =
          match {
            tcp.dport == 80 -> pass
            else            -> drop
          }
    "#);
}

#[test]
fn an_unknown_code_is_told_with_the_nearest() {
    let desk = Desk::new(&[]);
    insta::assert_snapshot!(desk.lbctl(&["explain-code", "E03O1"]), @r#"
    exit 2
    --- err
    lbctl: error: there is no code `E03O1`; did you mean E0301?
    "#);
    insta::assert_snapshot!(desk.lbctl(&["explain-code", "nonsense"]), @r#"
    exit 2
    --- err
    lbctl: error: there is no code `nonsense`; `lbctl explain-code` lists them all
    "#);
}

#[test]
fn without_a_code_all_are_listed_and_each_has_a_page() {
    let desk = Desk::new(&[]);
    let list = desk.lbctl(&["explain-code"]);
    assert_eq!((list.code, list.out.lines().count()), (Some(0), PAGES.len()));
    for line in list.out.lines() {
        let code = line.split(' ').next().unwrap_or("");
        let page = desk.lbctl(&["explain-code", code]);
        assert_eq!(page.code, Some(0), "{code}");
        let example = PAGES.iter().any(|page| page.code == code && page.example.is_some());
        assert_eq!(page.out.contains(&format!("[{code}]")), example, "{code}: the message is shown");
        assert!(page.out.contains("\nMended:\n\n    lbp 1\n"), "{code}");
    }
}

#[test]
fn a_warning_is_shown_as_one_also_where_it_has_to_be_asked_for() {
    let desk = Desk::new(&[]);
    for code in ["W0406", "W0901"] {
        let page = desk.lbctl(&["explain-code", code]).out;
        assert!(page.contains(&format!("\nwarning[{code}]: ")) && !page.contains("error["), "{page}");
    }
}

#[test]
fn programs_get_json() {
    let desk = Desk::new(&[]);
    let json = |args: &[&str]| {
        let run = desk.lbctl(args);
        assert_eq!(run.code, Some(0));
        serde_json::from_str::<serde_json::Value>(&run.out).expect("one document")
    };
    let list = json(&["explain-code", "--json"]);
    assert_eq!(list["codes"].as_array().map(Vec::len), Some(PAGES.len()));
    assert_eq!(list["codes"][0]["title"], "the edition is missing");
    let page = json(&["explain-code", "E0701", "--json"]);
    assert_eq!(page["wrong"]["findings"][0]["code"], "E0701");
    assert_eq!(page["wrong"]["findings"][0]["severity"], "error");
    assert!(page["mended"]["text"].as_str().is_some_and(|text| text.starts_with("lbp 1\n")));
    assert!(json(&["explain-code", "E0603", "--json"])["mended"]["inventory.toml"].is_string());
}

#[test]
fn check_says_where_to_read_on() {
    let desk =
        Desk::new(&[("p.lbp", "lbp 1\nset s : net = { 192.0.2.0/24 }\npolicy p { default drop } = drop\n")]);
    let checked = desk.lbctl(&["check", "p.lbp"]);
    assert_eq!(checked.err.lines().last(), Some("what a code means: lbctl explain-code W0404"));
    assert!(!desk.lbctl(&["check", "p.lbp", "--format", "short"]).err.contains("explain-code"));
}

#[test]
fn what_is_mended_compiles() {
    for page in PAGES {
        let checked = policy_lang::check("mended.lbp", page.mended().to_owned(), page);
        let policy = checked.policy.unwrap_or_else(|| panic!("{}: it checks", page.code));
        let refused = compiler::compile(&policy, &checked.sources).err().unwrap_or_default();
        // What mends a mistake in a part that is to come has that part still.
        let is_to_come = |code: &str| code.starts_with('N') && !page.code.starts_with('N');
        assert!(refused.iter().all(|one| is_to_come(one.code)), "{}: {refused:?}", page.code);
    }
}
