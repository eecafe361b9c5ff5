//! Whatever the bytes, `check` gives findings or a policy, in little time, and never a panic.

use crate::common;
use std::path::Path;
use std::time::{Duration, Instant};

use policy_lang::source::Loader;
use proptest::prelude::*;

struct Nothing;

impl Loader for Nothing {
    fn load(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

fn check(text: String) -> policy_lang::Checked {
    let checked = policy_lang::check("any.lbp", text.clone(), &Nothing);
    // Rendering slices every span out of its text.
    let shown = common::render(&checked, |_| true);
    for raw in ["expected one of", " --> ", "Rule::", "EOI"] {
        // What stands in the text may be quoted.
        let is_raw = shown.contains(raw) && !text.contains(raw);
        assert!(!is_raw, "a message of the parser got through: {shown}");
    }
    checked
}

/// Words that bring an input further than random letters do.
const WORDS: &[&str] = &[
    "lbp 1\n",
    "\npolicy p { default drop } = ",
    "\ntree t = ",
    "\nset s : net = ",
    "\nside A otherwise\n",
    "\nside B when ",
    "\nlimit l { rate 5 pkt/s; burst 5 }\n",
    "\ntrack f { max 5 }\n",
    "\nvip v { address 192.0.2.1 }\n",
    "\npool q { pick random; via nat; backend b 10.0.0.1 }\n",
    "\nconst c = ",
    "\nexpect \"x\" {",
    "\nassert \"y\" {",
    "\ninclude \"a.lbp\"\n",
    "\ninterface i { device eth0 }\n",
    "\nauthority a { key 0 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296 }\n",
    "\nauthority b { certificate 0 file \"a.pem\"; revoked ",
    "\nsynguard g { above 5 syn/s; mss 1460 }\n",
    "\nmapper m { reads dtls; max 5 }\n",
    "\nset d : addr dynamic max 5 ttl 5s\n",
    "\ntrack k { key cert; max 5 }\n",
    "\npool r { pick hash by cert; via ipip; backend c 10.0.0.2; health tcp { port 80; ",
    "iface == i",
    "sni in",
    "\"*.a.example\"",
    "cert.id ==",
    "cert.subject",
    "payload in",
    "0x16fe",
    "packet udp src 192.0.2.1:1 dst v:80 signed a 0 forged",
    "given date 2027-01-31",
    "=> reply cookie",
    "verify a (missing -> drop)",
    "map m",
    "synguard g (bad -> drop)",
    "limit l (exceed -> ban d -> drop)",
    "ban d",
    "log n 5 pkt/s",
    "reply rst",
    "5s",
    "file",
    "match",
    "every 2",
    "{",
    "}",
    "(",
    ")",
    "->",
    "=>",
    "==",
    "!=",
    "=",
    "<",
    "in",
    "not",
    "not in",
    "and",
    "or",
    "else",
    "from",
    "to",
    "src",
    "dst",
    "tcp.dport",
    "dport",
    "proto",
    "flow",
    "10.0.0.0/8",
    "2001:db8::/32",
    "10.0.0.1:80",
    "[::1]:80",
    "80",
    "1-2",
    "99999999999999999999",
    "65_536",
    "drop",
    "pass",
    "forward",
    "reply echo",
    "count n",
    "limit l (exceed -> drop)",
    "track f",
    "translate q",
    "translate back",
    "reject",
    "log",
    "t",
    "s",
    "c",
    "v",
    "A",
    "B",
    "packet tcp syn src 192.0.2.1:1 dst v:80",
    "given",
    "after 2s",
    "never",
    "always",
    "reaches",
    "ends",
    "* 5",
    "union",
    "except",
    ",",
    ";",
    "\n",
    " ",
    "#",
    "\"",
    "é",
    "\u{feff}",
    "\r\n",
    "1 ->",
    "2 ->",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in "\\PC{0,200}") {
        check(text);
    }

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(format!("lbp 1\n{}", String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn soup_of_words(picks in proptest::collection::vec(0..WORDS.len(), 0..60)) {
        let words: Vec<&str> = picks.iter().map(|&pick| WORDS[pick]).collect();
        check(format!("lbp 1\n{}", words.join(" ")));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_with_a_hole(which in 0usize..3, start in 0usize..6_000, length in 0usize..40, word in 0..WORDS.len()) {
        let path = common::repository(["policies/firewall.lbp", "policies/edge.lbp", "policies/hero.lbp"][which]);
        let mut text = std::fs::read_to_string(path).unwrap();
        let start = start % (text.len() + 1);
        let end = (start + length).min(text.len());
        prop_assume!(text.is_char_boundary(start) && text.is_char_boundary(end));
        text.replace_range(start..end, WORDS[word]);
        check(text);
    }
}

/// Generous: the debug build of a busy machine has to pass.
fn within(limit: Duration, what: &str, text: String) -> policy_lang::Checked {
    let start = Instant::now();
    let checked = check(text);
    assert!(start.elapsed() < limit, "{what} took {:?}", start.elapsed());
    checked
}

#[test]
fn brackets_without_end() {
    for text in ["{", "(", "}", ")", "({", "})", "match {", "x (a -> "] {
        within(Duration::from_secs(10), text, format!("lbp 1\npolicy p = {}", text.repeat(100_000)));
    }
    let nots = format!(
        "lbp 1\npolicy p = match {{ {} src == 10.0.0.1 -> drop; else -> drop }}",
        "not ".repeat(100_000)
    );
    within(Duration::from_secs(10), "not", nots);
}

#[test]
fn sixty_four_levels_are_read_and_checked() {
    let open = "match { src in 10.0.0.0/8 and tcp.dport == 1 -> drop; else -> ".repeat(64);
    let text = format!("lbp 1\npolicy p {{ default drop }} = {open}drop{}\n", " }".repeat(64));
    let checked = check(text);
    assert!(checked.policy.is_some(), "{}", common::render(&checked, |_| true));
}

#[test]
fn many_items_that_lead_into_each_other() {
    let mut text = "lbp 1\npolicy p { default drop } = t0\n".to_owned();
    for tree in 0..5_000 {
        text.push_str(&format!("tree t{tree} = t{}\n", tree + 1));
    }
    text.push_str("tree t5000 = t2500\n");
    let checked = within(Duration::from_secs(30), "a chain of trees", text);
    assert!(checked.diagnostics.iter().any(|finding| finding.code == "E0205"));
    let mut text = "lbp 1\npolicy p { default drop } = drop\nset s5000 : net = { 10.0.0.0/8 }\n".to_owned();
    for set in 0..5_000 {
        text.push_str(&format!("set s{set} : net = s{}\n", set + 1));
    }
    within(Duration::from_secs(30), "a chain of sets", text);
    let mut text =
        "lbp 1\npolicy p { default drop } = match { src in c0 -> drop; else -> drop }\n".to_owned();
    for constant in 0..30 {
        text.push_str(&format!("const c{constant} = c{n}, c{n}, c{n}, c{n}\n", n = constant + 1));
    }
    within(Duration::from_secs(10), "consts of consts", text);
}

#[test]
fn twenty_thousand_arms() {
    let mut text = "lbp 1\npolicy p { default drop } =\n  match {\n".to_owned();
    for arm in 0..20_000u32 {
        let (a, b) = (arm >> 8, arm & 255);
        text.push_str(&format!(
            "    src in 10.{a}.{b}.0/24 and tcp.dport in {{ 80, 443 }} -> count hits{arm} -> pass\n"
        ));
    }
    text.push_str("    else -> drop\n  }\n");
    let checked = within(Duration::from_secs(30), "20,000 arms", text);
    assert!(checked.policy.is_some());
}

#[test]
fn a_policy_beyond_the_largest_size_is_told() {
    let checked = policy_lang::check("any.lbp", " ".repeat((8 << 20) + 1), &Nothing);
    assert!(checked.diagnostics.iter().any(|finding| finding.code == "E0116"));
}

#[test]
fn a_text_of_slips_costs_a_thousand_findings_and_no_sentence_is_long() {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let policy = "policy p { default drop } = drop\n";
    let texts = [
        ("E0103", "lbp 1\n".to_owned() + &"word\n".repeat(20_000)),
        ("E0202", "lbp 1\n".to_owned() + policy + &"set s : net = { 10.0.0.0/8 }\n".repeat(5_000)),
        ("E0211", "lbp 1\n".to_owned() + policy + &lines(5_000, &|n| format!("tree t{n} = s{n}\n"))),
        ("E0201", "lbp 1\n".to_owned() + policy + &lines(5_000, &|n| format!("set s{n} : net = t{n}\n"))),
    ];
    for (code, text) in texts {
        let checked = policy_lang::check("any.lbp", text, &Nothing);
        let found: Vec<_> = checked.diagnostics.iter().filter(|one| one.code == code).collect();
        assert_eq!(found.len(), 1_001, "{code}");
        let told = found.last().unwrap();
        assert_eq!(told.message, "1000 findings of this kind are told, and there are more");
        assert!(checked.policy.is_none());
    }
    for text in [
        format!("lbp 1\n{}", "w".repeat(1 << 20)),
        format!("lbp 1\n{policy}tree {} = drop", "w".repeat(1 << 20)),
    ] {
        let checked = policy_lang::check("any.lbp", text, &Nothing);
        assert!(!checked.diagnostics.is_empty());
        for one in &checked.diagnostics {
            assert!(one.message.len() < 3_000, "{} has {} bytes", one.code, one.message.len());
        }
    }
}

#[test]
fn long_names_are_not_compared_letter_by_letter() {
    let name = |last: &str| "n".repeat(100_000) + last;
    let text = format!("lbp 1\npolicy p {{ default drop }} = {}\ntree {} = drop\n", name("b"), name("a"));
    let checked = within(Duration::from_secs(10), "two long names", text);
    assert!(checked.diagnostics.iter().any(|one| one.code == "E0211"));
}

struct List(String);

impl Loader for List {
    fn load(&self, _: &Path) -> Result<String, String> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_bad_line_far_down_a_list_has_its_place() {
    let mut list: String =
        (0..100_000u32).map(|n| format!("{}.{}.{}.0/24\n", 11 + (n >> 16), n >> 8 & 255, n & 255)).collect();
    let at = list.match_indices('\n').nth(69_998).map(|(at, _)| at + 1).unwrap();
    list.insert_str(at, "10.0.0.0/8x\n");
    let text = "lbp 1\nset s : net from \"list.txt\" max 200_000\npolicy p { default drop } = match { src in s -> drop; else -> pass }\n";
    let checked = policy_lang::check("any.lbp", text.to_owned(), &List(list));
    let shown = common::render(&checked, |_| true);
    assert!(shown.contains("list.txt:70000:1 [10.0.0.0/8x]"), "{shown}");
}
