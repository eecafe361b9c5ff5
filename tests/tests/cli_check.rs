//! Owns how `lbctl check` says what it finds in a policy, to people and programs, and how it ends. Never which findings a
//! text earns, nor the files around it (`cli_check_files`).

use lb_tests::cli::{Desk, SOUND};

const SLIPS: &str = "\
lbp 1
limit calm { per src v4 /32 v6 /64; rate 50 pkt/s; bust 100; max 1_000 }
policy p { default drop } =
  match {
    src in offices -> limit calm (exceed -> drop) -> pass
    tcp.dport = 80 -> drop
    else           -> wbe
  }
tree web = drop
";

#[test]
fn a_sound_policy_is_said_to_be_well() {
    let desk = Desk::new(&[("p.lbp", SOUND)]);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp"]), @r#"
    exit 0
    --- out
    p.lbp: policy p is well (1 tree, 1 set)
    "#);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp", "--format", "json"]), @r#"
    exit 0
    --- out
    {
      "errors": 0,
      "file": "p.lbp",
      "findings": [],
      "not_yet": [],
      "policy": "p",
      "version": 1,
      "warnings": 0
    }
    "#);
}

#[test]
fn several_slips_are_told_in_one_run_with_place_reason_and_cure() {
    let desk = Desk::new(&[("p.lbp", SLIPS)]);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp"]), @r#"
    exit 1
    --- err
    error[E0210]: unknown setting `bust` in limit `calm`
     --> p.lbp:2:52
      |
    2 | limit calm { per src v4 /32 v6 /64; rate 50 pkt/s; bust 100; max 1_000 }
      |                                                    ^^^^
      |
      = help: did you mean `burst`?

    error[E0201]: there is no set named `offices`
     --> p.lbp:5:12
      |
    5 |     src in offices -> limit calm (exceed -> drop) -> pass
      |            ^^^^^^^ unknown name
      |
      = help: declare it: `set offices …`

    error[E0109]: `=` does not compare
     --> p.lbp:6:15
      |
    6 |     tcp.dport = 80 -> drop
      |               ^ `==` compares
      |
      = help: write `tcp.dport == 80`

    error[E0211]: `wbe` is neither a stage nor a tree
     --> p.lbp:7:23
      |
    7 |     else           -> wbe
      |                       ^^^ unknown stage
      |
      = help: did you mean `web`?

    p.lbp: 4 errors
    what a code means: lbctl explain-code E0210
    "#);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp", "--format", "short"]), @r#"
    exit 1
    --- err
    p.lbp:2:52: error[E0210]: unknown setting `bust` in limit `calm`
    p.lbp:5:12: error[E0201]: there is no set named `offices`
    p.lbp:6:15: error[E0109]: `=` does not compare
    p.lbp:7:23: error[E0211]: `wbe` is neither a stage nor a tree
    p.lbp: 4 errors
    "#);
}

#[test]
fn json_findings_have_places_and_a_version() {
    let desk = Desk::new(&[("p.lbp", "lbp 1\npolicy p { default drop } = wbe\n")]);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp", "--format", "json"]), @r#"
    exit 1
    --- out
    {
      "errors": 1,
      "file": "p.lbp",
      "findings": [
        {
          "code": "E0211",
          "column": 29,
          "end_column": 32,
          "end_line": 2,
          "file": "p.lbp",
          "help": "there is `ban`, `count`, `drop`, `forward`, `limit`, `log`, `map`, `pass`, `reject`, `reply`, `synguard`, `track`, `translate` and `verify`",
          "label": "unknown stage",
          "line": 2,
          "message": "`wbe` is neither a stage nor a tree",
          "reason": null,
          "related": [],
          "severity": "error"
        }
      ],
      "not_yet": [],
      "policy": null,
      "version": 1,
      "warnings": 0
    }
    "#);
}

#[test]
fn standard_input_is_a_policy_too() {
    let desk = Desk::new(&[]);
    insta::assert_snapshot!(desk.lbctl_with(&["check", "-"], SOUND.as_bytes()), @r#"
    exit 0
    --- out
    <stdin>: policy p is well (1 tree, 1 set)
    "#);
    insta::assert_snapshot!(desk.lbctl_with(&["check", "-", "--format", "short"], b"lbp 1\n"), @r#"
    exit 1
    --- err
    <stdin>:2:1: error[E0117]: there is no policy
    <stdin>: 1 error
    "#);
}

#[test]
fn denied_warnings_are_errors() {
    let policy = "\
lbp 1
pool app { pick random; via nat; source 10.0.0.5; ports 1000-14999; backend a1 10.0.2.11:80 }
track flows { idle 30s; max 1_000 }
policy p { default drop } = match {
    tcp.dport == 80 -> track flows -> translate app -> forward
    else            -> translate back -> forward
  }
";
    let desk = Desk::new(&[("p.lbp", policy)]);
    assert_eq!(desk.lbctl(&["check", "p.lbp"]).code, Some(0));
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp", "--format", "short", "--deny", "implicit-exit"]), @r#"
    exit 1
    --- err
    p.lbp:5:24: error[W0901]: exit `full` is not written: it takes `drop`
    p.lbp:5:24: error[W0901]: exit `invalid` is not written: it takes `drop`
    p.lbp:5:39: error[W0901]: exit `empty` is not written: it takes `drop`
    p.lbp:5:39: error[W0901]: exit `ports` is not written: it takes `drop`
    p.lbp:5:39: warning[W0406]: IPv6 packets get here, and `app` has no IPv6 backend
    p.lbp:6:24: error[W0901]: exit `invalid` is not written: it takes `drop`
    p.lbp: 5 errors, 1 warning
    "#);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp", "--deny", "everything"]), @"
    exit 2
    --- err
    lbctl: error: --deny everything: neither a code such as W0101 nor one of the names implicit-exit, redundant-arm, idle-else
    ");
}

#[test]
fn what_never_matches_and_what_is_shadowed_are_told_in_one_run_and_once() {
    let policy = "\
lbp 1
set none : net = { 10.0.0.0/8 } except { 10.0.0.0/8 }
policy p { default drop } =
  match {
    src in none or tcp.dport == 79 -> pass
    src in none                    -> drop
    tcp.dport in 1-99              -> pass
    tcp.dport == 80 and ttl == 9   -> drop
    else                           -> drop
  }
assert \"not held\" { never ttl == 9 ends pass }
";
    let desk = Desk::new(&[("p.lbp", policy)]);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp", "--format", "short"]), @r#"
    exit 1
    --- err
    p.lbp:5:5: error[E0415]: this comparison never matches
    p.lbp:6:5: error[E0415]: this comparison never matches
    p.lbp:8:5: error[E0414]: this arm is never taken
    p.lbp: 3 errors
    "#);
}

#[test]
fn usage_errors_name_the_option_and_exit_2() {
    let desk = Desk::new(&[]);
    insta::assert_snapshot!(desk.lbctl(&["check", "p.lbp", "--formt", "json"]), @r#"
    exit 2
    --- err
    error: unexpected argument '--formt' found

      tip: a similar argument exists: '--format'

    Usage: lbctl check --format <FORMAT> <FILE>

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(desk.lbctl(&["chekc"]), @r#"
    exit 2
    --- err
    error: unrecognized subcommand 'chekc'

      tip: a similar subcommand exists: 'check'

    Usage: lbctl <COMMAND>

    For more information, try '--help'.
    "#);
    assert_eq!(desk.lbctl(&["--version"]).code, Some(0));
    for verb in ["check", "test", "compile", "apply", "status", "detach", "agent", "bench", "doctor", "demo"]
    {
        let help = desk.lbctl(&[verb, "--help"]);
        assert_eq!(help.code, Some(0), "{help}");
        assert!(help.out.contains("Examples:"), "{verb}: {help}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let desk = Desk::new(&[("p.lbp", SOUND)]);
    let mut command = desk.command(&["check", "p.lbp", "--format", "json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
