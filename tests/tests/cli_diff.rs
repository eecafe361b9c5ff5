//! Owns what `lbctl diff` says about two policies, and what it ends with.
//! Never whether it is true: `diff.rs` does that.

use lb_tests::cli::{Desk, Ran};

const OLD: &str = "\
lbp 1
set bogons : net = { 10.0.0.0/8, 192.0.2.0/24 }
vip web { address 203.0.113.80; ports tcp 80, 443 }
pool app { pick maglev 1_009 by flow; via nat; source 10.0.0.1; ports 1000-1999
  backend a1 10.0.0.11:8080
  backend a2 10.0.0.12:8080
}
track conns { idle tcp 5m; max 64 }
limit calm { per src v4 /24 v6 /64; rate 10 syn/s; burst 2; max 1_000 }
side inside when src in app
side outside otherwise
policy p { default drop } =
  match {
    from inside   -> translate back -> forward
    src in bogons -> drop
    to web        -> limit calm (exceed -> count flood -> drop) -> web_tree
    else          -> pass
  }
tree web_tree = track conns -> translate app (empty -> drop) -> forward
";

/// Another end, a new arm, a backend more, a faster limit, another setting.
fn new() -> String {
    OLD.replace("192.0.2.0/24", "198.51.100.0/24")
        .replace(
            "  backend a2 10.0.0.12:8080\n",
            "  backend a2 10.0.0.12:8080\n  backend a3 192.0.2.3:8080\n",
        )
        .replace("rate 10 syn/s", "rate 20 syn/s")
        .replace("    else          -> pass", "    udp.dport == 53 -> drop\n    else          -> pass")
        .replace("default drop", "default drop; other pass")
}

fn diff(old: &str, new: &str, options: &[&str]) -> Ran {
    let desk = Desk::new(&[("old.lbp", old), ("new.lbp", new)]);
    desk.lbctl(&[&["diff", "old.lbp", "new.lbp"], options].concat())
}

#[test]
fn each_change_has_its_regions_and_packets() {
    insta::assert_snapshot!(diff(OLD, &new(), &[]));
    insta::assert_snapshot!(diff(OLD, &new(), &["--format", "short"]));
}

#[test]
fn programs_get_json() {
    let new = OLD.replace("else          -> pass", "else          -> drop");
    insta::assert_snapshot!(diff(OLD, &new, &["--json"]));
}

#[test]
fn equal_policies_end_with_0_whatever_their_form() {
    let desk =
        Desk::new(&[("old.lbp", OLD), ("new.lbp", &OLD.replace("    ", "\t").replace("1_009", "1009"))]);
    let ran = desk.lbctl(&["diff", "old.lbp", "new.lbp"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.out.ends_with("old.lbp and new.lbp are equal in meaning\n"), "{ran}");
    let renamed = OLD.replace("calm", "quiet").replace("app", "apps").replace("web_tree", "web_apps");
    insta::assert_snapshot!(diff(OLD, &renamed, &[]));
}

#[test]
fn a_witness_is_a_packet_that_explain_takes() {
    let desk = Desk::new(&[("old.lbp", OLD), ("new.lbp", &new())]);
    let report = desk.lbctl(&["diff", "old.lbp", "new.lbp", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report.out).expect("JSON");
    let mut told = 0;
    for region in report["changes"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|change| change["regions"].as_array().expect("regions"))
    {
        let packet = region["packet"].as_str().expect("a packet");
        for (file, end) in [("old.lbp", "before"), ("new.lbp", "after")] {
            let ran = desk.lbctl(&["explain", file, packet, "--json"]);
            let explained: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
            if let Some(at_once) = region["at_once"].as_object() {
                assert_eq!(explained["packets"][0]["end"], at_once[end], "{ran}");
                told += 1;
            }
        }
    }
    assert!(told > 4);
}

#[test]
fn one_side_can_come_from_standard_input() {
    let desk = Desk::new(&[("new.lbp", OLD)]);
    let ran = desk.lbctl_with(&["diff", "-", "new.lbp"], OLD.as_bytes());
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "<stdin> and new.lbp are equal in meaning\n"));
    let ran = desk.lbctl_with(&["diff", "-", "-"], OLD.as_bytes());
    assert_eq!(ran.code, Some(2), "{ran}");
}

#[test]
fn what_can_not_be_compared_ends_with_2() {
    insta::assert_snapshot!(diff(OLD, &OLD.replace("-> pass", "-> pas"), &[]));
    let desk = Desk::new(&[("old.lbp", OLD)]);
    let ran = desk.lbctl(&["diff", "old.lbp", "gone.lbp"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(2), "lbctl: error: gone.lbp: no such file\n"));
}
