//! Owns the doctor on a balancer that is well, and on one with each thing that can be amiss. Never mends anything.

use std::os::unix::fs::PermissionsExt;

use ebpf_runtime::lab::{Arms, ConstantProgram, Verdict};
use lb_tests::balancer::{Balancer, plan};
use lb_tests::cli::{Desk, Ran};
use serde_json::Value;

const POLICY: &str = "\
lbp 1
vip web { address 203.0.113.10; ports tcp 80 }
track flows { idle 30s; max 1_000 }
pool app { pick round-robin; via nat; source 10.9.0.1; ports 10000-14999; backend a1 10.1.0.1:80 }
side B when src in app
side A otherwise
policy p { default drop } =
  match {
    from B -> translate back -> forward
    to web -> track flows (full -> drop, invalid -> drop) -> translate app (empty -> drop) -> forward
    else   -> drop
  }
";

fn doctor(balancer: &Balancer, args: &[&str]) -> Ran {
    balancer.lbctl("doctor").args(args).output().unwrap().into()
}

#[derive(Debug)]
struct Finding {
    check: String,
    level: String,
    mend: String,
}

/// Exit code and findings.
fn findings(balancer: &Balancer, args: &[&str]) -> (Option<i32>, Vec<Finding>) {
    let ran = doctor(balancer, &[args, &["--json"]].concat());
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert_eq!(report["version"], 1);
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let finding = |one: &Value| Finding {
        check: text(&one["check"]),
        level: text(&one["level"]),
        mend: text(&one["mend"]),
    };
    (ran.code, report["findings"].as_array().unwrap().iter().map(finding).collect())
}

#[track_caller]
fn finds(balancer: &Balancer, args: &[&str], check: &str, level: &str, mend: &str) {
    let (code, findings) = findings(balancer, args);
    let found: Vec<&Finding> = findings.iter().filter(|finding| finding.check == check).collect();
    assert!(found.iter().any(|finding| finding.level == level && finding.mend.contains(mend)), "{found:?}");
    let fails = findings.iter().any(|finding| finding.level == "fail");
    assert_eq!(code, Some(i32::from(fails)));
}

#[test]
fn a_balancer_that_is_well_passes() {
    let mut balancer = Balancer::new(&plan(Arms::Two));
    balancer.apply(POLICY);
    let policy = balancer.write("policy.lbp", POLICY);
    let ran = doctor(&balancer, &["--policy", policy.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(ran.out.matches("ours is attached").count(), balancer.devices.len(), "{ran}");
    assert!(ran.out.contains("10000-14999 are nobody else's"), "{ran}");
    for line in ran.out.lines() {
        assert!(line.chars().count() <= 100 || line.contains("mend: "), "{line}");
    }
    // The policy was applied without an agent, and it tracks flows.
    finds(&balancer, &[], "agent", "warn", "lbctl agent --instance default");
}

#[test]
fn a_foreign_program_is_named_with_its_cure() {
    let balancer = Balancer::new(&plan(Arms::Two));
    let program = ConstantProgram::load(Verdict::Pass).unwrap();
    balancer.lab.balancer.attach("wan0", &program).unwrap();
    finds(&balancer, &["--device", "wan0"], "XDP program", "fail", "ip link set wan0 xdp off");
    finds(&balancer, &["--device", "lan0"], "XDP program", "ok", "");
}

#[test]
fn a_device_that_is_down_or_unknown_is_told() {
    let balancer = Balancer::new(&plan(Arms::Two));
    balancer.lab.balancer.down("wan0").unwrap();
    finds(&balancer, &["--device", "wan0"], "state", "fail", "ip link set wan0 up");
    let ran = doctor(&balancer, &["--device", "wan9"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran}");
    assert!(ran.err.contains("\"wan9\"") && ran.err.lines().count() == 1, "{ran}");
}

#[test]
fn forwarding_that_is_off_is_a_warning() {
    let balancer = Balancer::new(&plan(Arms::Two));
    finds(&balancer, &[], "forwarding", "ok", "");
    balancer.lab.balancer.sysctl("net/ipv4/ip_forward", "0").unwrap();
    finds(&balancer, &[], "forwarding", "warn", "sysctl -w net.ipv4.ip_forward=1");
    balancer.lab.balancer.sysctl("net/ipv4/ip_forward", "1").unwrap();
    balancer.lab.balancer.sysctl("net/ipv4/conf/wan0/forwarding", "0").unwrap();
    finds(&balancer, &["--device", "wan0"], "forwarding", "warn", "net.ipv4.conf.wan0.forwarding=1");
}

#[test]
fn source_ports_that_are_not_ours_alone_fail() {
    let balancer = Balancer::new(&plan(Arms::Two));
    let policy = balancer.write("policy.lbp", POLICY);
    let args = ["--policy", policy.to_str().unwrap()];
    finds(&balancer, &args, "source ports", "ok", "");
    balancer.lab.balancer.sysctl("net/ipv4/ip_local_port_range", "12000 60999").unwrap();
    finds(&balancer, &args, "source ports", "fail", "ip_local_reserved_ports=10000-14999");
    balancer.lab.balancer.sysctl("net/ipv4/ip_local_reserved_ports", "10000-14999").unwrap();
    finds(&balancer, &args, "source ports", "ok", "");
    let listener =
        balancer.lab.balancer.run(|| std::net::TcpListener::bind("10.9.0.1:10080").unwrap()).unwrap();
    finds(&balancer, &args, "source ports", "fail", "ss -lnp 'sport = 10080'");
    drop(listener);
    finds(&balancer, &args, "source ports", "ok", "");
}

#[test]
fn a_hash_key_that_others_read_fails() {
    let balancer = Balancer::new(&plan(Arms::Two));
    let key = balancer.write("hash.key", "0123456789abcdef");
    let args = ["--hash-key", key.to_str().unwrap()];
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    finds(&balancer, &args, "hash key", "fail", &format!("chmod 600 {}", key.display()));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    finds(&balancer, &args, "hash key", "ok", "");
}

#[test]
fn without_root_the_doctor_still_looks() {
    let ran = Desk::new(&[]).lbctl_as_nobody(&["doctor", "--device", "lo"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.out.contains("missing CAP_NET_ADMIN"), "{ran}");
    assert!(ran.out.contains("mend: sudo lbctl doctor"), "{ran}");
}
