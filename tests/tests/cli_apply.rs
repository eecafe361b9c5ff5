//! Owns what `lbctl apply`, `status`, `detach` and `agent` say where they cannot do what was asked, and what they leave
//! running. Never the kernel's part, which stands in the tests of the packet path.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

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
        vec!["sessions"],
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
    lbctl: error: lbctl sessions needs root (or CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF): run it with sudo
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

/// A hash key that is not the host's.
fn key(balancer: &Balancer) -> String {
    let key = balancer.write("key", "0123456789abcdef");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("permissions");
    key.display().to_string()
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
    let mut lines = prefixes(100_000);
    lines[69_999] = "10.0.300.1".to_owned();
    balancer.write("blocked.txt", &lines.join("\n"));
    let list = balancer.write("list.lbp", BLOCKING).display().to_string();
    for (file, device, code, says) in [
        (&list, "arm0", 1, "blocked.txt:70000:1"),
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
fn an_unknown_device_leaves_nothing_behind_on_a_fresh_host() {
    let balancer = Balancer::new(&plan(Arms::One));
    let file = balancer.write("p.lbp", PASS).display().to_string();
    let fresh = balancer.write("here", "").with_extension("run");
    let run_dir = fresh.display().to_string();
    for (verb, args) in [("apply", &[file.as_str(), "--device", "nosuch0"][..]), ("detach", &[])] {
        let ran = ran_in(&balancer, &run_dir, verb, args);
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(!fresh.exists(), "{verb} made {run_dir}");
    }
}

#[test]
fn detach_takes_one_device_of_several() {
    let mut balancer = Balancer::new(&plan(Arms::Two));
    balancer.apply(PASS);
    let run = |args: &[&str]| ran(&balancer, "detach", args);
    let all = balancer.devices.join(", ");
    let (first, others) = balancer.devices.split_first().expect("devices");
    for device in others {
        let one = run(&["--device", device]);
        let said = format!("instance default: detached from {device}\n");
        assert_eq!((one.code, &one.out), (Some(0), &said), "{one}, of {all}");
    }
    assert_eq!(balancer.status()["devices"].as_array().map(Vec::len), Some(1));
    let last = run(&["--device", first]);
    assert_eq!(last.code, Some(2));
    assert!(last.err.contains("would have no device left"), "{last}");
    assert_eq!(run(&[]).out, format!("instance default: detached from {first}\n"));
}

const BLOCKING: &str = "lbp 1
set blocked : net from \"blocked.txt\" max 1_000_000
policy blocking { default drop } = match { src in blocked -> drop
 else -> pass }
";

/// As many /25, none next to another.
fn prefixes(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{}.{}.{}.0/25", 1 + (n >> 16), n >> 8 & 255, n & 255)).collect()
}

#[test]
fn a_million_prefixes_are_applied() {
    let mut balancer = Balancer::new(&plan(Arms::One));
    balancer.write("blocked.txt", &prefixes(1_000_000).join("\n"));
    balancer.apply(BLOCKING);
    let status = balancer.status();
    assert_eq!((&status["policy"], &status["generation"]), (&"blocking".into(), &1.into()));
}

#[test]
fn apply_tells_what_it_did() {
    let balancer = Balancer::new(&plan(Arms::One));
    let file = balancer.write("p.lbp", PASS).display().to_string();
    let key = key(&balancer);
    let first = ran(&balancer, "apply", &[&file, "--device", "arm0", "--hash-key", &key]);
    assert_eq!(first.code, Some(0), "{first}");
    assert!(
        first
            .out
            .starts_with("policy through is on arm0 (native)\ninstance default, generation 1: the first"),
        "{first}"
    );
    let again = ran(&balancer, "apply", &[&file, "--device", "arm0", "--json", "--hash-key", &key]);
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

/// `lbctl VERB ARGS` in the balancer, with a run directory of this name below the test's own.
fn ran_in(balancer: &Balancer, run_dir: &str, verb: &str, args: &[&str]) -> Ran {
    let mut command = std::process::Command::new(lb_tests::balancer::lbctl_binary());
    command.arg(verb).args(["--run-dir", run_dir]).args(args).stdin(std::process::Stdio::null());
    balancer.lab.balancer.place(&mut command).expect("a place in the lab");
    command.output().expect("lbctl runs").into()
}

#[test]
fn what_stands_in_the_way_is_named() {
    let balancer = Balancer::new(&plan(Arms::One));
    let file = balancer.write("p.lbp", PASS).display().to_string();
    let key = key(&balancer);
    let apply = [file.as_str(), "--device", "arm0", "--hash-key"];
    let with_key = |key: &'static str| ran(&balancer, "apply", &[&apply[..], &[key]].concat());
    let good = [&apply[..], &[&key]].concat();
    for (ran, says) in [
        (ran(&balancer, "detach", &[]), "has no policy in place"),
        (with_key("/tmp"), "the hash key /tmp is no regular file"),
        (with_key("/dev/null"), "the hash key /dev/null is no regular file"),
        (ran_in(&balancer, "/dev/null", "apply", &good), "the run directory /dev/null cannot be made"),
    ] {
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.err.contains(says) && ran.err.lines().count() == 1, "{ran}");
    }
    assert_eq!(ran(&balancer, "apply", &good).code, Some(0));
    let other = ran_in(&balancer, "/run/other", "apply", &good);
    assert_eq!(other.code, Some(2), "{other}");
    assert!(other.err.contains("another lbctl put it there"), "{other}");
    balancer.lab.balancer.delete("arm0").expect("a device less");
    let detached = ran(&balancer, "detach", &[]);
    assert_eq!(detached.code, Some(0), "{detached}");
    assert_eq!(detached.out, "instance default: detached; its devices were gone already\n");
}

/// A process that must not outlive the test.
struct Killed(i32);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0), nix::sys::signal::Signal::SIGKILL);
    }
}

const TRACKING: &str = "\
lbp 1
pool app { pick random; via nat; source 10.9.0.1; ports 1000-14999; backend a1 10.1.0.1:80 }
track flows { idle 30s; max 1_000 }
policy tracking { default drop } =
  match {
    tcp.dport == 80 -> track flows -> translate app -> forward
    else            -> translate back -> forward
  }
";

#[test]
fn apply_starts_an_agent_of_its_own_session_that_ends_with_the_instance() {
    let balancer = Balancer::new(&plan(Arms::One));
    let file = balancer.write("p.lbp", TRACKING).display().to_string();
    let key = key(&balancer);
    let apply = ["--device", "arm0", "--json", "--hash-key", &key];
    let without = ran(&balancer, "apply", &[&[file.as_str(), "--no-agent"], &apply[..]].concat());
    let document: serde_json::Value = serde_json::from_str(&without.out).expect("JSON");
    assert_eq!(document["agent"]["state"], "not_wanted", "{without}");
    let first = ran(&balancer, "apply", &[&[file.as_str()], &apply[..]].concat());
    let document: serde_json::Value = serde_json::from_str(&first.out).expect("JSON");
    assert_eq!(document["agent"]["state"], "started", "{first}");
    // The lab's namespace is not that of process 1: instances of one name have a log each.
    let log = document["agent"]["log"].as_str().expect("a path");
    assert!(log.starts_with("/run/lbctl/agent-default@"), "{log}");
    let pid = document["agent"]["pid"].as_u64().expect("a process id");
    let _killed = Killed(pid as i32);
    assert_eq!(balancer.status()["agent"], pid);

    // Its session is its own, so that no terminal takes it along (proc_pid_stat(5): pid, name, state, parent, group,
    // session).
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    assert_eq!(stat.split(' ').nth(5), Some(pid.to_string().as_str()), "{stat}");

    let second = ran(&balancer, "apply", &[&[file.as_str()], &apply[..]].concat());
    let document: serde_json::Value = serde_json::from_str(&second.out).expect("JSON");
    assert_eq!(document["agent"], serde_json::json!({ "state": "running", "pid": pid }), "{second}");
    let other = ran(&balancer, "agent", &["--foreground"]);
    assert_eq!(other.code, Some(2), "{other}");
    assert!(other.err.contains("already runs"), "{other}");

    assert_eq!(ran(&balancer, "detach", &[]).code, Some(0));
    // Where nobody reaps orphans, what ended stays as a zombie.
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let ended = || stat().map_or(true, |stat| stat.contains(") Z "));
    assert!(lb_tests::balancer::eventually(lb_tests::sockets::WAIT, ended), "the agent runs on");
}
