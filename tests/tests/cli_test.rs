//! Owns what `lbctl test` says about expect blocks that hold, that fail and that cannot be run, and what they cover.
//! Never how a packet is judged.

use lb_tests::cli::Desk;

const POLICY: &str = "\
lbp 1
set office : net = { 198.51.100.0/24 }
limit calm { per src v4 /32 v6 /64; rate 1 pkt/s; burst 2; max 1_000 }
policy p { default drop } =
  match {
    tcp.dport == 80                -> drop
    proto == udp and src in office -> limit calm (exceed -> drop) -> web
    else                           -> pass
  }
tree web = every 2 {
  1 -> drop
  2 -> pass
}
expect \"ports decide\" {
  packet tcp syn src 10.0.0.1:9 dst 192.0.2.1:80 => drop
  packet tcp syn src 10.0.0.1:9 dst 192.0.2.1:22 => pass
}
";

fn with(expect: &str) -> Desk {
    Desk::new(&[("p.lbp", &format!("{POLICY}{expect}"))])
}

#[test]
fn what_holds_is_counted() {
    insta::assert_snapshot!(with("").lbctl(&["test", "p.lbp"]), @r#"
    exit 0
    --- out
    ok      ports decide
    p.lbp: 1 test passed (2 packets, through the evaluator and the compiled tables)
    "#);
}

#[test]
fn a_failure_shows_the_way_of_the_packet_arm_by_arm() {
    let desk = with(
        "expect \"every second one\" {
  packet udp src 198.51.100.9:1 dst 192.0.2.1:53 => drop
  packet udp src 198.51.100.9:1 dst 192.0.2.1:53 * 3 => pass
}
",
    );
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp"]), @r#"
    exit 1
    --- out
    ok      ports decide
    FAILED  every second one
      p.lbp:20:3: packet udp src 198.51.100.9:1 dst 192.0.2.1:53 * 3 => pass
        expected  pass
        got       drop by packet 2 of 3
        its way
          p.lbp:6:5   no     tcp.dport == 80
          p.lbp:7:5   yes    proto == udp
          p.lbp:7:22  yes    src in office
          p.lbp:7:5   taken  proto == udp and src in office
          p.lbp:7:39         limit calm, left by exceed
          p.lbp:7:61         drop
    p.lbp: 1 of 2 tests failed
    "#);
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp", "--format", "short"]), @r#"
    exit 1
    --- out
    p.lbp:20:3: failed: every second one: expected pass, got drop
    p.lbp: 1 of 2 tests failed
    "#);
}

#[test]
fn json_has_the_way_as_well() {
    let desk = Desk::new(&[(
        "p.lbp",
        "lbp 1\npolicy p { default drop } = match { proto == tcp -> drop\n else -> pass }\n\
         expect \"x\" { packet udp src 10.0.0.1:1 dst 10.0.0.2:2 => drop }\n",
    )]);
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp", "--json"]), @r#"
    exit 1
    --- out
    {
      "asserts": [],
      "compared": [
        "tables"
      ],
      "coverage": null,
      "failed": 1,
      "file": "p.lbp",
      "findings": [],
      "passed": 0,
      "policy": "p",
      "tests": [
        {
          "file": "p.lbp",
          "line": 4,
          "packets": [
            {
              "column": 14,
              "expected": "drop",
              "file": "p.lbp",
              "got": "pass",
              "line": 4,
              "packet": "packet udp src 10.0.0.1:1 dst 10.0.0.2:2 => drop",
              "passed": false,
              "path": [
                {
                  "answer": "no",
                  "column": 37,
                  "exit": null,
                  "file": "p.lbp",
                  "kind": "guard",
                  "line": 2,
                  "text": "proto == tcp"
                },
                {
                  "answer": "taken",
                  "column": 2,
                  "exit": null,
                  "file": "p.lbp",
                  "kind": "else",
                  "line": 3,
                  "text": "else"
                },
                {
                  "answer": null,
                  "column": 10,
                  "exit": null,
                  "file": "p.lbp",
                  "kind": "end",
                  "line": 3,
                  "text": "pass"
                }
              ],
              "program": null,
              "tables": null,
              "time": 1,
              "times": 1
            }
          ],
          "passed": false,
          "refused": [],
          "title": "x"
        }
      ],
      "version": 1
    }
    "#);
}

#[test]
fn tables_that_cannot_be_made_yet_are_not_said_to_agree() {
    let text = "lbp 1\npolicy p { default drop } = log all 1 pkt/s -> drop\n\
                expect \"x\" { packet udp src 10.0.0.1:1 dst 10.0.0.2:2 => drop }\n";
    let ran = Desk::new(&[("p.lbp", text)]).lbctl(&["test", "p.lbp"]);
    insta::assert_snapshot!(ran, @r"
    exit 0
    --- out
    ok      x
    p.lbp: 1 test passed (1 packet, through the evaluator alone)
    --- err
    p.lbp: compiled tables not compared: the policy uses what this edition of lbctl cannot carry out yet (N0512)
    ");
}

#[test]
fn a_policy_with_errors_is_not_tested() {
    let desk = with("expect \"x\" { packet udp src 10.0.0.1 => drop }\ntree w = drp\n");
    let ran = desk.lbctl(&["test", "p.lbp", "--format", "short"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.ends_with("p.lbp: not tested: the policy has errors\n"), "{ran}");
}

#[test]
fn a_false_claim_fails_check_and_test_with_a_packet() {
    let text = "lbp 1\npolicy p { default drop } = match {\n  proto == tcp -> pass\n  else -> drop\n}\n\
                assert \"closed\" { always proto == udp ends drop\n  never dst in 10.0.0.0/8 ends pass }\n";
    let desk = Desk::new(&[("p.lbp", text)]);
    let told = "p.lbp:7:3: error[E0701]: the claim in \"closed\" is false for \
                `packet tcp syn src 198.51.100.7:50000 dst 10.0.0.0:443`\n";
    let checked = desk.lbctl(&["check", "p.lbp", "--format", "short"]);
    assert_eq!((checked.code, checked.err.as_str()), (Some(1), format!("{told}p.lbp: 1 error\n").as_str()));
    let tested = desk.lbctl(&["test", "p.lbp", "--format", "short"]);
    let summary = "p.lbp: 1 of 2 claims do not hold\n";
    assert_eq!((tested.code, tested.out), (Some(1), format!("{told}{summary}")));
}

#[test]
fn nothing_to_test_is_said() {
    let desk = Desk::new(&[("p.lbp", "lbp 1\npolicy p { default drop } = drop\n")]);
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp"]), @r#"
    exit 0
    --- out
    p.lbp: no expect or assert blocks, nothing to test
    "#);
    insta::assert_snapshot!(desk.lbctl(&["test", "missing.lbp"]), @r#"
    exit 2
    --- err
    lbctl: error: missing.lbp: no such file
    "#);
}

#[test]
fn coverage_lists_what_no_packet_reached() {
    // Two arms lead to the tree, whose ways count once.
    let desk = with("");
    let text = std::fs::read_to_string(desk.path("p.lbp")).unwrap();
    desk.write(
        "p.lbp",
        text.replace("tcp.dport == 80                -> drop", "tcp.dport == 80                -> web"),
    );
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp", "--coverage"]), @r"
    exit 0
    --- out
    ok      ports decide
    covered arms 2 of 3 (66.6 %), exits 0 of 1 (0.0 %), ways 1 of 2 (50.0 %)
    not reached
      p.lbp:7:5   arm   proto == udp and src in office
      p.lbp:7:51  exit  limit calm (exceed)
      p.lbp:12:8  way   every 2: 2
    p.lbp: 1 test passed (2 packets, through the evaluator and the compiled tables)
    ");
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp", "--coverage", "--format", "short"]), @r"
    exit 0
    --- out
    p.lbp:7:5: not reached: arm proto == udp and src in office
    p.lbp:7:51: not reached: exit limit calm (exceed)
    p.lbp:12:8: not reached: way every 2: 2
    p.lbp: covered arms 2 of 3 (66.6 %), exits 0 of 1 (0.0 %), ways 1 of 2 (50.0 %)
    p.lbp: 1 test passed (2 packets, through the evaluator and the compiled tables)
    ");
    let json: serde_json::Value =
        serde_json::from_str(&desk.lbctl(&["test", "p.lbp", "--coverage", "--json"]).out).unwrap();
    insta::assert_snapshot!(format!("{:#}", json["coverage"]), @r#"
    {
      "arms": {
        "of": 3,
        "percent": 66.6,
        "reached": 2
      },
      "exits": {
        "of": 1,
        "percent": 0.0,
        "reached": 0
      },
      "not_reached": [
        {
          "column": 5,
          "file": "p.lbp",
          "kind": "arm",
          "line": 7,
          "text": "proto == udp and src in office"
        },
        {
          "column": 51,
          "file": "p.lbp",
          "kind": "exit",
          "line": 7,
          "text": "limit calm (exceed)"
        },
        {
          "column": 8,
          "file": "p.lbp",
          "kind": "way",
          "line": 12,
          "text": "every 2: 2"
        }
      ],
      "unreachable": [],
      "ways": {
        "of": 2,
        "percent": 50.0,
        "reached": 1
      }
    }
    "#);
    let without = desk.lbctl(&["test", "p.lbp", "--json"]).out;
    assert!(without.contains("\"coverage\": null"), "{without}");
}

#[test]
fn coverage_does_not_ask_for_an_else_that_no_packet_comes_to() {
    let desk = Desk::new(&[(
        "p.lbp",
        "lbp 1\npolicy p { default drop } = match {\n  proto == tcp -> drop\n  proto != tcp -> pass\n  else -> drop\n}\n\
         expect \"x\" {\n  packet udp src 10.0.0.1:1 dst 10.0.0.2:2 => pass\n  \
         packet tcp syn src 10.0.0.1:1 dst 10.0.0.2:2 => drop\n}\n",
    )]);
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp", "--coverage"]), @r"
    exit 0
    --- out
    ok      x
    covered arms 2 of 2 (100 %)
    unreachable
      p.lbp:5:3  arm  else
    p.lbp: 1 test passed (2 packets, through the evaluator and the compiled tables)
    ");
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp", "--coverage", "--format", "short"]), @r"
    exit 0
    --- out
    p.lbp:5:3: unreachable: arm else
    p.lbp: covered arms 2 of 2 (100 %)
    p.lbp: 1 test passed (2 packets, through the evaluator and the compiled tables)
    ");
}

#[test]
fn with_the_kernel_the_loaded_program_has_a_say() {
    let given = "expect \"given\" {
  packet udp src 203.0.113.9:1 dst 192.0.2.1:53 => pass
  given 203.0.113.0/24 in office
  given seed 3
  packet udp src 203.0.113.9:1 dst 192.0.2.1:53 => drop
  after 1s
  packet udp src 203.0.113.9:1 dst 192.0.2.1:53 => pass
  packet udp src 203.0.113.9:1 dst 192.0.2.1:53 => drop
}
";
    let desk = with(given);
    insta::assert_snapshot!(desk.lbctl(&["test", "p.lbp", "--kernel"]), @r"
    exit 0
    --- out
    ok      ports decide
    ok      given
    p.lbp: 2 tests passed (6 packets, through the evaluator, the compiled tables and the loaded program)
    ");
    let json = desk.lbctl(&["test", "p.lbp", "--kernel", "--json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["compared"], serde_json::json!(["tables", "program"]));
}

#[test]
fn the_kernel_is_for_those_who_may() {
    let desk = with("");
    insta::assert_snapshot!(desk.lbctl_as_nobody(&["test", "p.lbp", "--kernel"]), @r"
    exit 2
    --- err
    lbctl: error: lbctl test --kernel needs root (or CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF): run it with sudo
    ");
}

#[test]
fn the_projects_own_policies_hold_in_the_kernel_as_well() {
    let desk = Desk::new(&[]);
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    for policy in ["firewall-tree-demo", "firewall", "hero", "nat", "sessions"] {
        let ran = desk.lbctl(&["test", &format!("{policies}/{policy}.lbp"), "--kernel"]);
        assert_eq!(ran.code, Some(0), "{ran}");
    }
}

#[test]
fn the_projects_own_policies_have_every_arm_and_way_covered() {
    let desk = Desk::new(&[]);
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
    for policy in ["edge", "firewall", "firewall-tree-demo", "hero", "nat", "sessions"] {
        let ran = desk.lbctl(&["test", &format!("{policies}/{policy}.lbp"), "--coverage", "--json"]);
        let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let missed = document["coverage"]["not_reached"].as_array().unwrap();
        assert!(missed.iter().all(|place| place["kind"] == "exit"), "{policy}: {missed:#?}");
    }
}
