//! The policies of the repository are green, and what they say becomes what they mean.

use crate::common;
use policy_lang::diagnostic::Severity;

#[test]
fn all_are_green() {
    for name in ["edge.lbp", "hero.lbp", "firewall-tree-demo.lbp", "nat.lbp", "firewall.lbp"] {
        let checked = common::check(&common::repository("policies").join(name));
        assert!(checked.policy.is_some(), "{}", common::render(&checked, |_| true));
        let told = checked.diagnostics.iter().filter(|finding| finding.severity == Severity::Warning);
        let codes: Vec<&str> = told.map(|finding| finding.code).collect();
        // Its backends see the clients' addresses.
        let expected: &[&str] = if name == "hero.lbp" { &["W0402"] } else { &[] };
        assert_eq!(codes, expected, "{name}");
    }
}

#[test]
fn the_typed_demo_is_what_it_says() {
    let checked = common::check(&common::repository("policies/firewall-tree-demo.lbp"));
    let policy = checked.policy.expect("the demo is green");
    assert_eq!(policy.name, "demo");
    assert_eq!(policy.trees.len(), 1);
    let pool = &policy.pools[0];
    assert_eq!((pool.name.as_str(), pool.ports), ("app", Some((1_000, 14_999))));
    assert_eq!(pool.sources_v4, ["192.168.0.100".parse::<std::net::Ipv4Addr>().unwrap()]);
    assert_eq!(
        pool.backends[0].v4,
        Some(("192.168.0.1".parse().unwrap(), 0)),
        "a port of 0 keeps the packet's"
    );
    let policy_lang::policy::Tail::Match(root) = &policy.root.tail else { panic!("the root matches") };
    assert_eq!(root.arms[0].text, "from B");
    assert_eq!(policy.expects[0].steps.len(), 5);
    assert_eq!(policy.asserts.len(), 1);
}

#[test]
fn the_example_of_the_reference_is_green() {
    let page = std::fs::read_to_string(common::repository("docs/language.md")).expect("the page can be read");
    let example =
        page.split("```lbp\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let checked =
        policy_lang::check("example.lbp", example.to_owned(), &common::Directory(common::repository("docs")));
    assert!(checked.policy.is_some(), "{}", common::render(&checked, |_| true));
}

#[test]
fn the_reference_lists_every_refusal() {
    let reference =
        std::fs::read_to_string(common::repository("docs/language.md")).expect("the page can be read");
    for page in policy_lang::codes::PAGES.iter().filter(|page| page.code.starts_with("N05")) {
        assert!(reference.contains(&format!("`{}`", page.code)), "{} is not in docs/language.md", page.code);
    }
}

/// The codes found in `edge.lbp` after this change, sorted.
fn codes_of_edge_with(from: &str, to: &str) -> Vec<&'static str> {
    let text =
        std::fs::read_to_string(common::repository("policies/edge.lbp")).expect("the policy can be read");
    assert!(text.contains(from), "{from}");
    let directory = common::Directory(common::repository("policies"));
    let checked = policy_lang::check("edge.lbp", text.replacen(from, to, 1), &directory);
    let told = checked.diagnostics.iter().filter(|finding| finding.severity != Severity::Allowed);
    let mut codes: Vec<&str> = told.map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes
}

#[test]
fn what_breaks_edge_is_told() {
    let none: [&str; 0] = [];
    assert_eq!(codes_of_edge_with("lbp 1", "lbp 1"), none);
    // NAT without a tracker; the pool behind direct server return needs none.
    assert_eq!(codes_of_edge_with("    -> track flows (full -> drop, invalid -> drop)\n", ""), ["E0405"]);
    // Replies no longer come home; those of the other pools go to the client without us.
    assert_eq!(codes_of_edge_with("side B when src in api_pool", "side B when src in office"), ["E0406"]);
    // An arm behind one that takes all of it, next to a set that is filled at run time.
    let shadowed = "to web                                   -> web_out\n    to web and ttl == 3 -> drop";
    assert_eq!(
        codes_of_edge_with("to web                                   -> web_out", shadowed),
        ["E0414"]
    );
}
