//! Owns what `lbctl graph` draws, in each of its forms. Never what a policy means.

use std::path::Path;

use lb_tests::cli::Desk;
use serde_json::Value;

const LOST: &str = "\
lbp 1
set office : net = { 198.51.100.0/24 }
policy lost { default reject } =
  match {
    src in office                      -> pass
    src in { 198.51.100.7 }            -> never_there
    tcp.dport == 22 and udp.dport == 9 -> drop
    else                               -> rest
  }
tree never_there = count lost -> rest
tree rest = match { ttl in 0-9 -> pass; else -> drop }
";

/// The policies of the project that are drawn in snapshots.
const POLICIES: [&str; 6] =
    ["edge.lbp", "firewall-tree-demo.lbp", "firewall.lbp", "hero.lbp", "nat.lbp", "sessions.lbp"];
const FILES: [&str; 8] = [
    "certs/device-0.pem",
    "certs/device-1.pem",
    "certs/device-2.pub",
    "certs/device-4.pem",
    "certs/revoked.txt",
    "common/bogons.lbp",
    "lists/blocklist.txt",
    "lists/geo-eu.txt",
];

fn policies() -> Desk {
    let desk = Desk::new(&[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    for name in POLICIES.into_iter().chain(FILES) {
        desk.write(name, std::fs::read(root.join(name)).expect("a policy"));
    }
    desk
}

#[test]
fn the_policies_are_drawn_in_every_form() {
    let desk = policies();
    for policy in POLICIES {
        for form in ["ascii", "mermaid", "dot", "svg"] {
            let ran = desk.lbctl(&["graph", policy, "--format", form]);
            assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{policy} as {form}: {ran}");
            let name = policy.trim_end_matches(".lbp");
            insta::assert_snapshot!(format!("{name}_{form}"), ran.out);
        }
    }
}

/// Every stage and every end that the language has.
const ALL: &str = "\
lbp 1
set banned : addr dynamic max 64 ttl 10m
limit calm { per src v4 /32 v6 /64; rate 50 pkt/s; burst 100; max 64 }
synguard cookies { above 20_000 syn/s; mss 1460 }
authority devices { certificate 0 file \"certs/device-0.pem\" }
mapper names { reads dtls; max 64 }
track flows { idle tcp 5m, udp 30s; max 64 }
pool app { pick source; via nat; source 10.0.0.5; ports 1000-1999; backend a1 10.0.1.11 }
side B when src in app
side A otherwise
policy all { default drop } =
  match {
    from B             -> translate back -> forward
    ttl == 1           -> log short 10 pkt/s -> reject
    ttl == 2           -> count two -> reply rst
    icmp.type == echo-request -> every 2 at random { 1 -> reply echo; 2 -> drop }
    proto == tcp       -> synguard cookies (bad -> drop) -> limit calm (exceed -> ban banned -> drop) -> out
    udp.dport == 443   -> map names -> out
    proto == udp       -> verify devices -> out
    else               -> pass
  }
tree out = track flows -> translate app (empty -> drop) -> forward
";

#[test]
fn every_stage_and_every_end_is_drawn() {
    let desk = policies();
    desk.write("all.lbp", ALL);
    for form in ["ascii", "mermaid", "dot", "svg"] {
        let ran = desk.lbctl(&["graph", "all.lbp", "--format", form]);
        assert_eq!(ran.code, Some(0), "{form}: {ran}");
        let stages = ["count two", "log short", "ban banned", "limit calm", "verify devices", "map names"];
        let others =
            ["synguard cookies", "track flows", "translate app", "translate back", "every 2 at random"];
        let ends = ["drop", "pass", "forward", "reply echo", "reject", "reply rst"];
        for words in stages.iter().chain(&others).chain(&ends) {
            assert!(ran.out.contains(words), "{words} as {form}: {ran}");
        }
    }
}

#[test]
fn what_no_packet_reaches_is_drawn_and_the_exit_code_says_that_there_are_errors() {
    let desk = Desk::new(&[("lost.lbp", LOST)]);
    let ran = desk.lbctl(&["graph", "lost.lbp", "--format", "ascii"]);
    insta::assert_snapshot!(ran);
    let ran = desk.lbctl(&["graph", "lost.lbp", "--format", "svg"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("tree never_there, unreachable"), "{}", ran.out);
}

#[test]
fn a_broken_policy_is_not_drawn() {
    let desk = Desk::new(&[(
        "p.lbp",
        "lbp 1\npolicy p { default drop } = match { tcp.dport = 80 -> pas; else -> drop }\n",
    )]);
    let ran = desk.lbctl(&["graph", "p.lbp", "-o", "p.svg"]);
    insta::assert_snapshot!(ran);
    assert!(!desk.path("p.svg").exists());
    // It never matches, but there is no comparison to draw.
    desk.write("p.lbp", "lbp 1\npolicy p { default drop } = match { src in { } -> pass; else -> drop }\n");
    let ran = desk.lbctl(&["graph", "p.lbp"]);
    assert!(ran.out.is_empty() && ran.err.contains("E0415") && ran.err.contains("not drawn"), "{ran}");
}

#[test]
fn the_form_is_asked_for_or_told_by_the_name() {
    let desk = Desk::new(&[("p.lbp", "lbp 1\npolicy p { default drop } = pass\n")]);
    let begins = |name: &str, start: &str| {
        let ran = desk.lbctl(&["graph", "p.lbp", "-o", name]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", ""), "{name}");
        let text = std::fs::read_to_string(desk.path(name)).expect("a drawing");
        assert!(text.starts_with(start), "{name}: {text}");
    };
    begins("p.svg", "<svg ");
    begins("p.dot", "digraph ");
    begins("p.mmd", "flowchart ");
    begins("p.txt", "policy p ");
    assert!(desk.lbctl(&["graph", "p.lbp"]).out.starts_with("<svg "));
    insta::assert_snapshot!(desk.lbctl(&["graph", "p.lbp", "-o", "p.png"]));
    let unknown = desk.lbctl(&["graph", "p.lbp", "--format", "png"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("[possible values: svg, dot, mermaid, ascii]"), "{unknown}");
    assert_eq!(desk.lbctl(&["graph", "none.lbp"]).code, Some(2));
}

#[test]
fn programs_get_nodes_and_ways() {
    let desk = Desk::new(&[("lost.lbp", LOST)]);
    let ran = desk.lbctl(&["graph", "lost.lbp", "--json"]);
    let document: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &document["version"]), (Some(1), &Value::from(1)));
    let nodes = document["drawing"]["nodes"].as_array().expect("nodes");
    let numbers: Vec<&Value> = nodes.iter().map(|node| &node["node"]).collect();
    assert_eq!(numbers, (0..nodes.len()).map(Value::from).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    for way in document["drawing"]["ways"].as_array().expect("ways") {
        assert!(numbers.contains(&&way["from"]) && numbers.contains(&&way["to"]), "{way}");
    }
    assert_eq!(document["findings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn lines_keep_to_ascii_where_the_locale_does() {
    let desk = policies();
    let output = desk.command(&["graph", "nat.lbp", "--format", "ascii"]).env("LC_ALL", "C").output();
    let text = output.expect("lbctl runs").stdout;
    assert!(!text.is_empty() && text.is_ascii());
}

#[test]
fn thousands_of_arms_are_drawn_as_a_page() {
    let arms = (0..2_000)
        .map(|arm| format!("    dst == 10.0.{}.{} and ttl == {} -> pass\n", arm / 256, arm % 256, arm % 7));
    let text = format!(
        "lbp 1\npolicy p {{ default drop }} =\n  match {{\n{}    else -> drop\n  }}\n",
        arms.collect::<String>()
    );
    let desk = Desk::new(&[("p.lbp", &text)]);
    for form in ["ascii", "mermaid", "dot", "svg"] {
        let ran = desk.lbctl(&["graph", "p.lbp", "--format", form]);
        assert_eq!(ran.code, Some(0), "{form}");
        assert!(ran.out.len() < 10_000, "{form}: {} bytes", ran.out.len());
        assert!(ran.out.contains("… 1,997 more arms"), "{form}: {}", ran.out);
    }
}
