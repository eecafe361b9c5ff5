//! Owns the demo as a newcomer runs it: it goes as the policies say, fits a terminal, and leaves nothing, however it ends.
//! Never the packets in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use lb_tests::balancer::{eventually, must_be_root};
use lb_tests::cli::{Desk, Ran};
use lb_tests::sockets::WAIT;
use serde_json::Value;

#[test]
fn the_demo_goes_as_the_policies_say() {
    must_be_root();
    let ran = Desk::new(&[]).lbctl(&["demo"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
    let last = ran.out.lines().last().unwrap();
    assert!(last.starts_with("All went as the policies say: "), "{ran}");
    for line in ran.out.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert!(!line.contains('\x1b'), "colours without a terminal: {line:?}");
    }
    // The firewall-tree demo, packet by packet.
    let steps: Vec<&str> = ran.out.lines().skip_while(|line| !line.starts_with("1. ")).collect();
    let way = |way: &str| steps.iter().filter(|line| line.contains(way)).count();
    assert_eq!((way("every 2, way 1 → drop"), way("every 2, way 2 → ")), (2, 2), "{ran}");
    assert_eq!(way("tcp.dport == 80 → drop   no answer"), 1, "{ran}");
}

#[test]
fn every_backend_gets_what_was_foretold() {
    must_be_root();
    // Nothing is asked of the environment, and no installed tool is called.
    let desk = Desk::new(&[]);
    let ran: Ran = desk.command(&["demo", "--json"]).env_clear().output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran}");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["version"], &report["well"]), (&Value::from(1), &Value::from(true)), "{ran}");
    let scenes = report["scenes"].as_array().unwrap();
    let generations: Vec<&Value> = scenes.iter().map(|scene| &scene["generation"]).collect();
    assert_eq!(generations, [1, 2], "{ran}");
    let flows: Vec<(&str, u64)> = scenes[1]["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| (backend["name"].as_str().unwrap(), backend["flows"].as_u64().unwrap()))
        .collect();
    // Round robin over three; of two, one drains.
    assert_eq!(flows.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a1", "a2", "a3", "d1", "d2"]);
    let counts: Vec<u64> = flows.iter().map(|(_, flows)| *flows).collect();
    assert!(counts[0] == counts[1] && counts[1] == counts[2] && counts[0] > 30, "{ran}");
    assert!(counts[3] > 30 && counts[4] == 0, "{ran}");
}

/// Twelve seconds each, at the same time.
#[test]
fn the_demo_of_certificates_lets_one_certificate_in() {
    must_be_root();
    let desk = Desk::new(&[]);
    let page = std::thread::scope(|scope| {
        let page = scope.spawn(|| Desk::new(&[]).lbctl(&["demo", "certificates"]));
        let ran: Ran = desk.command(&["demo", "certificates", "--json"]).env_clear().output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{ran}");
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(report["well"], true, "{ran}");
        let statistics = report["statistics"].as_array().unwrap();
        let seconds: Vec<u64> =
            statistics.iter().map(|one| one["after_millis"].as_u64().unwrap() / 1_000).collect();
        assert_eq!(seconds, [2, 7, 12], "{ran}");
        let last = &statistics[2];
        let count = |name: &str| last[name].as_u64().unwrap_or_else(|| panic!("{name}: {ran}"));
        assert_eq!(count("auth_success") + count("auth_failed"), count("total_packets"), "{ran}");
        assert_eq!(count("cert_invalid") + count("cert_expired"), count("auth_failed"), "{ran}");
        assert!(
            count("cert_invalid") > 50 && count("cert_expired") > 50 && count("auth_success") > 200,
            "{ran}"
        );
        assert_eq!((count("sessions_created"), count("no_backend_available")), (1, 0), "{ran}");
        page.join().unwrap()
    });
    assert_eq!((page.code, page.err.as_str()), (Some(0), ""), "{page}");
    assert!(page.out.lines().last().unwrap().starts_with("All went as the policy says: "), "{page}");
    for line in page.out.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        assert!(!line.contains('\x1b'), "colours without a terminal: {line:?}");
    }
}

#[test]
fn the_agent_of_the_demo_goes_with_it() {
    must_be_root();
    let desk = Desk::new(&[]);
    let mut child =
        desk.command(&["demo", "certificates"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let agent = lines.find_map(|line| Some(line.split_once("; agent ")?.1.to_owned())).expect("an agent");
    assert!(fs::exists(format!("/proc/{agent}")).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(eventually(WAIT, || !fs::exists(format!("/proc/{agent}")).unwrap()));
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains("lbctl-lab"), "{mounts}");
}

#[test]
fn without_root_the_demo_says_what_to_do() {
    let ran = Desk::new(&[]).lbctl_as_nobody(&["demo"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{ran}");
    assert!(ran.err.starts_with("lbctl: error: lbctl demo needs root"), "{ran}");
    assert!(ran.err.contains("sudo") && ran.err.lines().count() == 1, "{ran}");
}

/// Programs and maps live as long as a device, a pin or a process holds them.
#[test]
fn kill_9_in_the_midst_leaves_nothing() {
    must_be_root();
    let desk = Desk::new(&[]);
    let mut child = desk.command(&["demo"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let process = child.id();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut held = BTreeSet::new();
    // The descriptors come and go: looked at while the first policy is being applied, until it is tried.
    let looker = std::thread::spawn(move || {
        while fs::exists(format!("/proc/{process}/fdinfo")).unwrap_or(false) && held.len() < 5 {
            held.extend(held_by(process));
        }
        held
    });
    let second = lines.find(|line| line.starts_with("2. "));
    assert!(second.is_some(), "the demo ended before its second policy");
    child.kill().unwrap();
    child.wait().unwrap();
    let held = looker.join().unwrap();
    assert!(held.len() >= 5, "no programs and maps were seen: {held:?}");

    let still = || held.iter().copied().filter(|one| exist().contains(one)).collect::<Vec<_>>();
    assert!(eventually(WAIT, || still().is_empty()), "still there: {:?}", still());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains("lbctl-lab"), "{mounts}");
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Object {
    Program(u32),
    Map(u32),
}

/// What the process has open.
fn held_by(process: u32) -> Vec<Object> {
    let entries = fs::read_dir(format!("/proc/{process}/fdinfo")).into_iter().flatten().flatten();
    let infos = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let object = |info: String| {
        let number = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)).and_then(|id| id.trim().parse().ok())
        };
        number("prog_id:").map(Object::Program).or_else(|| number("map_id:").map(Object::Map))
    };
    infos.filter_map(object).collect()
}

fn exist() -> BTreeSet<Object> {
    let programs = loaded_programs().filter_map(|one| Some(Object::Program(one.ok()?.id())));
    let maps = loaded_maps().filter_map(|one| Some(Object::Map(one.ok()?.id())));
    programs.chain(maps).collect()
}
