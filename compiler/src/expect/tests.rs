mod whole;

use std::path::Path;

use lb_abi::reason::Reason;
use lb_abi::seen::Seen;
use policy_lang::source::Loader;

use super::*;

struct Files;

impl Loader for Files {
    fn load(&self, name: &Path) -> Result<String, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        std::fs::read_to_string(root.join(name)).map_err(|error| error.to_string())
    }
}

fn report(text: &str) -> Report {
    let checked = policy_lang::check("test.lbp", text.to_owned(), &Files);
    let policy = checked.policy.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let image = compile(&policy, &checked.sources).unwrap();
    run(&policy, &checked.sources, Some(&image))
}

/// Expected, got and finding of each line with a packet.
fn lines(text: &str) -> Vec<(String, String, Finding)> {
    let packets = report(text).tests.into_iter().flat_map(|test| test.packets);
    packets.map(|packet| (packet.expected, packet.got, packet.finding)).collect()
}

#[test]
fn every_policy_that_runs_today_passes_its_own_tests() {
    for name in ["firewall-tree-demo.lbp", "nat.lbp", "firewall.lbp"] {
        let text = Files.load(Path::new(name)).unwrap();
        for test in report(&text).tests {
            assert!(test.passed(), "{name}: {test:#?}");
            assert!(!test.packets.is_empty());
        }
    }
}

const WEB: &str = "lbp 1
vip web { address 192.0.2.1; ports tcp 80 }
set friends : net = { 198.51.100.0/24 }
set more : net = friends union { 203.0.113.0/24 }
track flows { idle 30s; max 1_000 }
pool app { pick round-robin; via nat; source 10.0.0.1; ports 2000-2009
  backend a 10.0.0.2:8080
  backend b 10.0.0.3:8080
}
side B when src in app
side A otherwise
policy p { default drop } = match {
  from B -> translate back -> forward
  to web and src in more -> track flows -> translate app (empty -> drop) -> forward
  dst == 192.0.2.2 -> pass
  else -> drop
}
";

#[test]
fn a_wrong_expectation_fails_with_what_came_instead_and_the_way_there() {
    let report = report(&format!(
        "{WEB}expect \"x\" {{
  packet tcp syn src 198.51.100.1:4000 dst web:80 => forward b
  packet tcp syn src 8.8.8.8:4000 dst web:80 => pass
}}"
    ));
    let packets = &report.tests[0].packets;
    assert_eq!(packets[0].expected, "forward b");
    assert_eq!(packets[0].got, "forward a, 10.0.0.1:2000 to 10.0.0.2:8080");
    assert_eq!(packets[0].finding, Finding::Failed);
    let path: Vec<&str> = packets[0].path.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(
        path,
        [
            "from B",
            "to web",
            "src in more",
            "to web and src in more",
            "track flows",
            "translate app",
            "forward"
        ]
    );
    assert_eq!((packets[1].got.as_str(), &packets[1].finding), ("drop", &Finding::Failed));
    assert!(!report.passed());
}

#[test]
fn outcomes_name_ends_pools_backends_and_addresses() {
    let lines = lines(&format!(
        "{WEB}expect \"x\" {{
  packet tcp syn src 198.51.100.1:4000 dst web:80 => forward
  packet tcp syn src 198.51.100.1:4001 dst web:80 => forward app
  packet tcp syn src 198.51.100.1:4002 dst web:80 => forward 10.0.0.2
  packet tcp syn src 198.51.100.1:4003 dst web:80 => forward 10.0.0.3:8080
  packet tcp syn src 198.51.100.1:4004 dst web:80 => forward 10.0.0.2:80
  packet tcp syn src 198.51.100.1:4005 dst web:80 => forward a
  packet udp src 198.51.100.1:4005 dst 192.0.2.2:1 => pass
  packet udp src 198.51.100.1:4005 dst 192.0.2.2:1 => forward
}}"
    ));
    let passed: Vec<bool> = lines.iter().map(|(_, _, finding)| *finding == Finding::Passed).collect();
    assert_eq!(passed, [true, true, true, true, false, false, true, false]);
    assert_eq!(lines[4].0, "forward 10.0.0.2:80");
}

#[test]
fn what_is_given_to_a_set_reaches_the_sets_made_of_it_from_there_on() {
    let report = report(&format!(
        "{WEB}expect \"x\" {{
  packet tcp syn src 8.8.8.8:4000 dst web:80 => drop
  given 8.8.8.8 in friends
  packet tcp syn src 8.8.8.8:4000 dst web:80 => forward a
  packet tcp syn src 8.8.4.4:4000 dst web:80 => drop
}}
expect \"afresh\" {{
  packet tcp syn src 8.8.8.8:4000 dst web:80 => drop
}}"
    ));
    assert!(report.passed(), "{report:#?}");
}

#[test]
fn all_of_a_number_of_packets_must_pass_and_the_first_that_does_not_is_told() {
    let text = "lbp 1
limit calm { rate 1 pkt/s; burst 3 }
policy p { default drop } = limit calm (exceed -> drop) -> pass
expect \"x\" { packet udp src 192.0.2.1:1 dst 192.0.2.2:2 * 5 => pass }
expect \"y\" {
  packet udp src 192.0.2.1:1 dst 192.0.2.2:2 * 3 => pass
  packet udp src 192.0.2.1:1 dst 192.0.2.2:2 * 2 => drop
  after 1s
  packet udp src 192.0.2.1:1 dst 192.0.2.2:2 => pass
}";
    let report = report(text);
    let packet = &report.tests[0].packets[0];
    assert_eq!((packet.time, packet.times, &packet.finding), (4, 5, &Finding::Failed));
    assert!(report.tests[1].passed(), "{report:#?}");
}

#[test]
fn tables_that_decide_otherwise_are_a_bug_of_ours_whatever_was_expected() {
    let text = format!("{WEB}expect \"x\" {{ packet udp src 8.8.8.8:1 dst 192.0.2.2:2 => pass }}");
    let checked = policy_lang::check("test.lbp", text.clone(), &Files);
    let other = policy_lang::check("test.lbp", text.replace("-> pass", "-> drop"), &Files);
    let image = compile(&other.policy.unwrap(), &other.sources).unwrap();
    let report = run(&checked.policy.unwrap(), &checked.sources, Some(&image));
    assert_eq!(
        report.tests[0].packets[0].finding,
        Finding::Disagreed { tables: Some("drop".to_owned()), program: None }
    );
    assert!(!report.passed());
}

/// Runs the blocks with a program that answers as `told` does, and gives the findings with what it was handed.
fn with_program(
    text: &str,
    told: impl Fn(&Arrival<'_>) -> ByProgram,
) -> (Vec<Finding>, Vec<(&'static str, u64, u64)>) {
    let checked = policy_lang::check("test.lbp", text.to_owned(), &Files);
    let policy = checked.policy.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let image = compile(&policy, &checked.sources).unwrap();
    let mut arrived = Vec::new();
    let mut program = |arrival: Arrival<'_>| {
        let put = match arrival.image {
            Put::Fresh(_) => "fresh",
            Put::Changed(_) => "changed",
            Put::Same => "same",
        };
        arrived.push((put, arrival.clock - START, arrival.seed));
        Ok::<_, Infallible>(Some(told(&arrival)))
    };
    let Ok(report) = run_with(&policy, &checked.sources, Some(&image), &mut program);
    let findings = report.tests.into_iter().flat_map(|test| test.packets).map(|packet| packet.finding);
    (findings.collect(), arrived)
}

const SSH: &str = "lbp 1
set friends : net = { 198.51.100.0/24 }
policy p { default drop } = match { src in friends -> pass; else -> drop }
expect \"x\" {
  packet tcp syn src 198.51.100.1:4000 dst 192.0.2.1:22 => pass
  given 203.0.113.1 in friends
  given seed 7
  after 2s
  packet tcp syn src 203.0.113.1:4000 dst 192.0.2.1:22 * 2 => pass
}
expect \"y\" {
  packet tcp syn src 203.0.113.1:4000 dst 192.0.2.1:22 => drop
}
";

#[test]
fn a_program_gets_each_packet_with_its_image_clock_and_seed() {
    let answer = |arrival: &Arrival<'_>| {
        let seen = if matches!(arrival.image, Put::Fresh(_)) && arrival.clock == START {
            // The first packets of both tests have the same surroundings, and other sources.
            if arrival.frame[26] == 198 { Seen::Pass } else { Seen::Drop }
        } else {
            Seen::Pass
        };
        ByProgram { seen, counted: Vec::new() }
    };
    let (findings, arrived) = with_program(SSH, answer);
    assert_eq!(findings, [Finding::Passed, Finding::Passed, Finding::Passed]);
    let two = 2_000_000_000;
    assert_eq!(arrived, [("fresh", 0, 0), ("changed", two, 7), ("same", two, 7), ("fresh", 0, 0)]);
}

#[test]
fn a_program_of_another_mind_is_told_whatever_was_expected() {
    let (findings, _) =
        with_program(SSH, |_| ByProgram { seen: Seen::Drop, counted: vec![Reason::Layer4Header] });
    let disagreed = |program: &str| Finding::Disagreed { tables: None, program: Some(program.to_owned()) };
    let told = disagreed("drop (layer-4 header)");
    assert_eq!(findings, [told.clone(), told.clone(), told]);

    let policy = "lbp 1\npolicy p { default drop } = forward\n\
                  expect \"x\" { packet udp src 192.0.2.7:1 dst 192.0.2.1:22 => forward }\n";
    let dying = |arrival: &Arrival<'_>| {
        // As it came: the TTL in byte 22 and its checksum are those of a packet that was not forwarded.
        ByProgram { seen: Seen::Sent(arrival.frame[12..].to_vec()), counted: Vec::new() }
    };
    let (findings, _) = with_program(policy, dying);
    assert_eq!(findings, [disagreed("sent, 192.0.2.7:1 to 192.0.2.1:22; byte 22 is 0x40, not 0x3f")]);
}
