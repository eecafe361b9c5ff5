//! What `lbctl apply`, `status`, `detach` and `agent` say where they cannot do what was asked, and what they leave
//! running; the kernel's part stands in the tests of the packet path.

use ebpf_runtime::lab::Arms;
use lb_tests::balancer::{Balancer, plan};
use lb_tests::cli::{Desk, Ran};

const PASS: &str =
    "lbp 1\npolicy through { default drop } = match { tcp.dport == 81 -> drop\n else -> pass }\n";

#[test]
fn without_privileges_one_sentence_says_what_is_missing() {
    let desk = Desk::new(&[("p.lbp", PASS)]);
    let runs: Vec<String> = [
        vec!["apply", "p.lbp", "--device", "lo"],
        vec!["status"],
        vec!["detach"],
        vec!["agent", "--foreground"],
        vec!["bench", "p.lbp"],
    ]
    .iter()
    .map(|args| desk.lbctl_as_nobody(args).to_string())
    .collect();
    insta::assert_snapshot!(runs.join(""), @r#"
    exit 2
    --- err
    lbctl: error: lbctl apply needs root (or CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF): run it with sudo
    exit 2
    --- err
    lbctl: error: lbctl status needs root (or CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF): run it with sudo
    exit 2
    --- err
    lbctl: error: lbctl detach needs root (or CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF): run it with sudo
    exit 2
    --- err
    lbctl: error: lbctl agent needs root (or CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF): run it with sudo
    exit 2
    --- err
    lbctl: error: lbctl bench needs root (or CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF): run it with sudo
    "#);
}

#[test]
fn errors_in_the_policy_come_before_privileges() {
    let desk = Desk::new(&[("p.lbp", "lbp 1\npolicy p { default drop } = drp\n")]);
    let ran = desk.lbctl_as_nobody(&["apply", "p.lbp", "--device", "lo"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.err.contains("error[E0211]"), "{ran}");
}

#[test]
fn a_device_is_needed() {
    let desk = Desk::new(&[("p.lbp", PASS)]);
    insta::assert_snapshot!(desk.lbctl(&["apply", "p.lbp"]), @r#"
    exit 2
    --- err
    error: the following required arguments were not provided:
      --device <DEVICE>

    Usage: lbctl apply --device <DEVICE> <FILE>

    For more information, try '--help'.
    "#);
}

/// `lbctl VERB ARGS` in the balancer, on a policy of this text.
fn ran(balancer: &Balancer, verb: &str, args: &[&str]) -> Ran {
    balancer.lbctl(verb).args(args).output().expect("lbctl runs").into()
}

#[test]
fn what_cannot_be_applied_leaves_what_runs() {
    let mut balancer = Balancer::new(&plan(Arms::One));
    balancer.apply(PASS);
    let before = balancer.status();
    let good = balancer.write("good.lbp", PASS).display().to_string();
    let bad = balancer.write("bad.lbp", "lbp 1\npolicy p { default drop } = drp\n").display().to_string();
    for (file, device, code, says) in [
        (&good, "nosuch0", 2, "no device is called \"nosuch0\""),
        (&good, "arm9", 2, "did you mean arm0?"),
        (&bad, "arm0", 1, "`drp` is neither a stage nor a tree"),
        (&"missing.lbp".to_owned(), "arm0", 2, "missing.lbp: no such file"),
    ] {
        let ran = ran(&balancer, "apply", &[file, "--device", device]);
        assert_eq!(ran.code, Some(code), "{ran}");
        assert!(ran.err.contains(says) && ran.out.is_empty(), "{ran}");
        assert_eq!(balancer.status()["generation"], before["generation"]);
    }
    assert_eq!(balancer.status()["devices"], before["devices"]);
    let unknown = ran(&balancer, "apply", &[&good, "--device", "arm0", "--netns", "nosuchns"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");
    assert!(unknown.err.contains("no network namespace is called \"nosuchns\""), "{unknown}");
}

#[test]
fn apply_tells_what_it_did() {
    let balancer = Balancer::new(&plan(Arms::One));
    let file = balancer.write("p.lbp", PASS).display().to_string();
    let first = ran(&balancer, "apply", &[&file, "--device", "arm0"]);
    assert_eq!(first.code, Some(0), "{first}");
    assert!(
        first
            .out
            .starts_with("policy through is on arm0 (native)\ninstance default, generation 1: the first"),
        "{first}"
    );
    let again = ran(&balancer, "apply", &[&file, "--device", "arm0", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&again.out).expect("JSON");
    for (name, value) in [
        ("version", serde_json::json!(1)),
        ("policy", "through".into()),
        ("mode", "native".into()),
        ("generation", 2.into()),
        ("swap", "half".into()),
        ("devices", serde_json::json!(["arm0"])),
        ("agent", serde_json::json!({ "state": "not_needed" })),
    ] {
        assert_eq!(document[name], value, "{name}: {again}");
    }
    let status = ran(&balancer, "status", &[]);
    assert!(status.out.contains("policy through, generation 2"), "{status}");
    assert!(status.out.contains("tcp.dport == 81"), "{status}");
    let detached = ran(&balancer, "detach", &[]);
    assert_eq!((detached.code, detached.out.as_str()), (Some(0), "instance default: detached from arm0\n"));
    let nothing = ran(&balancer, "status", &[]);
    assert_eq!(
        (nothing.code, nothing.out.as_str()),
        (Some(0), "no policy is in place in this network namespace\n")
    );
    let twice = ran(&balancer, "detach", &[]);
    assert_eq!(twice.code, Some(2), "{twice}");
    assert!(twice.err.contains("has no policy in place"), "{twice}");
}
