//! The policies of the repository are green, and what they say becomes what they mean.

use crate::common;
use policy_lang::diagnostic::Severity;
use policy_lang::policy::{Dynamic, HealthCheck, Pick, Rate, StageKind, Tail, TrackKey, Via};
use std::time::Duration;

#[test]
fn all_are_green() {
    for name in ["edge.lbp", "hero.lbp", "firewall-tree-demo.lbp", "nat.lbp", "firewall.lbp", "sessions.lbp"]
    {
        let checked = common::check(&common::repository("policies").join(name));
        assert!(checked.policy.is_some(), "{}", common::render(&checked, |_| true));
        let told = checked.diagnostics.iter().filter(|finding| finding.severity == Severity::Warning);
        let codes: Vec<&str> = told.map(|finding| finding.code).collect();
        // Their backends see the clients' addresses.
        let expected: &[&str] = if ["hero.lbp", "sessions.lbp"].contains(&name) { &["W0402"] } else { &[] };
        assert_eq!(codes, expected, "{name}");
    }
}

#[test]
fn the_typed_demo_is_what_it_says() {
    let checked = common::check(&common::repository("policies/firewall-tree-demo.lbp"));
    let policy = checked.policy.expect("the demo is green");
    assert_eq!(policy.name, "demo");
    assert_eq!(policy.trees.len(), 1);
    let pool = &policy.pools[0];
    assert_eq!((pool.name.as_str(), pool.ports), ("app", Some((1_000, 14_999))));
    assert_eq!(pool.sources_v4, ["192.168.0.100".parse::<std::net::Ipv4Addr>().unwrap()]);
    assert_eq!(
        pool.backends[0].v4,
        Some(("192.168.0.1".parse().unwrap(), 0)),
        "a port of 0 keeps the packet's"
    );
    let Tail::Match(root) = &policy.root.tail else { panic!("the root matches") };
    assert_eq!(root.arms[0].text, "from B");
    assert_eq!(policy.expects[0].steps.len(), 5);
    assert_eq!(policy.asserts.len(), 1);
}

#[test]
fn the_typed_hero_is_what_it_says() {
    let policy = common::check(&common::repository("policies/hero.lbp")).policy.expect("it is green");
    let authority = &policy.authorities[0];
    assert_eq!((authority.every_packet, authority.strip, authority.replay), (true, false, None));
    assert_eq!((authority.checks.count, authority.checks_per_source.count), (20_000, 2_000));
    let [device] = authority.certificates.as_slice() else { panic!("one certificate") };
    assert_eq!((device.id, device.subject.as_str(), device.key.map(|key| key[0])), (0, "device-0", Some(4)));
    assert!(device.valid.is_some_and(|(from, to)| from < to));
    let sessions = &policy.trackers[0];
    assert_eq!((sessions.key, sessions.idle_udp), (TrackKey::Certificate, Duration::from_secs(300)));
    assert!(policy.pools[0].backends.iter().all(|backend| backend.max_conn == Some(1_000)));
    let Tail::Match(root) = &policy.root.tail else { panic!("the root matches") };
    let verify = &root.arms[1].chain.stages[1].kind;
    let exits: Vec<(&str, bool)> = verify.exits().iter().map(|(name, exit)| (*name, exit.written)).collect();
    let expected =
        [("missing", true), ("invalid", true), ("expired", true), ("revoked", false), ("replayed", false)];
    assert_eq!((policy.stage_words(verify).as_str(), exits.as_slice()), ("verify devices", &expected[..]));
}

#[test]
fn the_typed_edge_is_what_it_says() {
    let policy = common::check(&common::repository("policies/edge.lbp")).policy.expect("it is green");
    let banned = policy.sets.iter().find(|set| set.name == "banned").expect("the set");
    assert_eq!(banned.dynamic, Some(Dynamic { ttl: Some(Duration::from_secs(600)) }));
    assert_eq!((banned.max, banned.is_opaque(), banned.from_file), (Some(65_536), true, false));
    let cookies = &policy.synguards[0];
    assert_eq!((cookies.above, cookies.mss), (Rate { count: 20_000, per: Duration::from_secs(1) }, 1_460));
    let ways: Vec<Via> = policy.pools.iter().map(|pool| pool.via).collect();
    assert_eq!(ways, [Via::Ipip, Via::Nat, Via::L2dsr]);
    let web = policy.pools[0].health.as_ref().expect("the web is checked");
    let path = "/healthz".to_owned();
    assert_eq!(web.check, HealthCheck::Http { path, host: None, status: (200, 299) });
    assert_eq!((web.port, web.timeout, web.fall, web.rise), (Some(8_080), Duration::from_millis(500), 3, 2));
    let api = policy.trees.iter().find(|tree| tree.name == "api_in").expect("the tree");
    let words: Vec<String> = api.chain.stages.iter().map(|stage| policy.stage_words(&stage.kind)).collect();
    assert_eq!(words, ["synguard cookies", "limit api_pkts", "track flows", "translate api_pool"]);
    let (_, exceed) = api.chain.stages[1].kind.exits()[0];
    assert_eq!(policy.stage_words(&exceed.chain.stages[0].kind), "ban banned");
    let Tail::Match(root) = &policy.root.tail else { panic!("the root matches") };
    let StageKind::Log { name, rate } = &root.otherwise.stages[0].kind else { panic!("the rest is logged") };
    assert_eq!((name.as_str(), *rate), ("refused", Rate { count: 10, per: Duration::from_secs(1) }));
}

/// What a policy of these items holds.
fn items(text: &str) -> policy_lang::policy::Policy {
    let text = format!("lbp 1\n{text}\npolicy p {{ default reject }} = reject\n");
    let checked = policy_lang::check("items.lbp", text, &policy_lang::codes::Files);
    checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
}

#[test]
fn what_is_not_written_has_the_stated_default() {
    let policy = items(
        "mapper names { reads quic; max 10 }
authority devices { key 7 file \"files/device-0.pub\" }
pool app { pick weighted; via gue; backend a1 10.0.1.1; health icmp }
set open : net dynamic max 10",
    );
    assert_eq!(
        (policy.mappers[0].idle, policy.mappers[0].wait),
        (Duration::from_secs(30), Duration::from_secs(3))
    );
    assert!(policy.authorities[0].every_packet && policy.authorities[0].certificates[0].valid.is_none());
    assert_eq!(policy.pools[0].via, Via::Gue { port: 6_080 });
    let health = policy.pools[0].health.as_ref().expect("a health check");
    let times = (health.interval, health.timeout, health.fall, health.rise);
    assert_eq!(times, (Duration::from_secs(2), Duration::from_secs(1), 3, 3));
    assert_eq!(policy.sets[0].dynamic, Some(Dynamic { ttl: None }));
}

#[test]
fn every_setting_is_taken_and_may_be_a_const() {
    let policy = items(
        "const few = 12
const soon = 90s
const wan = eth2, eth3
const gone = 7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069
interface lan { device eth0, eth1.7; mtu 9000 }
interface wide { device wan; mtu few_hundred }
const few_hundred = 0x5dc
synguard cookies { above few syn/min; mss few_hundred }
mapper names { reads dtls; max few; idle soon; wait 1s }
authority devices {
  key 255 file \"files/device-0.pub\"
  key 3 generate
  certificate few file \"files/device-1.pem\"
  revoked gone, 7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069
  verify once per session; strip; replay soon; checks few pkt/min
  checks_per_source 4pkt/s
}
pool app {
  pick maglev prime by flow; via gue port few_hundred
  backend a1 10.0.1.1 weight few max_conn few
  health http { port few; path \"/a?b=c\"; host \"www.example.net\"; status 204; interval soon; timeout 1s; fall few }
}
const prime = 4_099
pool one { pick least-connections; via l2dsr; backend b1 10.0.1.2 }
pool two { pick hash by cert; via ipip; backend b2 10.0.1.3 }
set banned : addr dynamic ttl soon max few",
    );
    assert_eq!(policy.interfaces[0].devices, ["eth0", "eth1.7"]);
    assert_eq!(policy.interfaces[1].devices, ["eth2", "eth3"]);
    assert_eq!((policy.interfaces[0].mtu, policy.interfaces[1].mtu), (Some(9_000), Some(1_500)));
    assert_eq!(policy.synguards[0].above, Rate { count: 12, per: Duration::from_secs(60) });
    let devices = &policy.authorities[0];
    assert_eq!(devices.certificates.iter().map(|device| device.id).collect::<Vec<_>>(), [3, 12, 255]);
    let generated: Vec<bool> = devices.certificates.iter().map(|device| device.key.is_none()).collect();
    assert_eq!(generated, [true, false, false]);
    assert_eq!((devices.every_packet, devices.strip, devices.revoked.len()), (false, true, 1));
    assert_eq!(devices.replay, Some(Duration::from_secs(90)));
    assert_eq!(devices.checks, Rate { count: 12, per: Duration::from_secs(60) });
    assert_eq!(devices.checks_per_source, Rate { count: 4, per: Duration::from_secs(1) });
    let backend = &policy.pools[0].backends[0];
    assert_eq!((backend.weight, backend.max_conn), (12, Some(12)));
    assert_eq!(policy.pools[0].via, Via::Gue { port: 1_500 });
    let picks: Vec<Pick> = policy.pools.iter().map(|pool| pool.pick).collect();
    assert_eq!(
        picks,
        [Pick::Maglev { slots: 4_099, by_flow: true }, Pick::LeastConnections, Pick::Certificate]
    );
    let health = policy.pools[0].health.as_ref().expect("a health check");
    let host = Some("www.example.net".to_owned());
    assert_eq!(health.check, HealthCheck::Http { path: "/a?b=c".to_owned(), host, status: (204, 204) });
    assert_eq!((health.port, health.fall, health.rise), (Some(12), 12, 3));
    let dynamic = Dynamic { ttl: Some(Duration::from_secs(90)) };
    assert_eq!((policy.sets[0].dynamic, policy.sets[0].max), (Some(dynamic), Some(12)));
}

#[test]
fn the_example_of_the_reference_is_green() {
    let page = std::fs::read_to_string(common::repository("docs/language.md")).expect("the page can be read");
    let example =
        page.split("```lbp\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let checked =
        policy_lang::check("example.lbp", example.to_owned(), &common::Directory(common::repository("docs")));
    assert!(checked.policy.is_some(), "{}", common::render(&checked, |_| true));
}

#[test]
fn the_reference_lists_every_refusal() {
    let reference =
        std::fs::read_to_string(common::repository("docs/language.md")).expect("the page can be read");
    for page in policy_lang::codes::PAGES.iter().filter(|page| page.code.starts_with("N05")) {
        assert!(reference.contains(&format!("`{}`", page.code)), "{} is not in docs/language.md", page.code);
    }
}

/// The codes found in `edge.lbp` after this change, sorted.
fn codes_of_edge_with(from: &str, to: &str) -> Vec<&'static str> {
    let text =
        std::fs::read_to_string(common::repository("policies/edge.lbp")).expect("the policy can be read");
    assert!(text.contains(from), "{from}");
    let directory = common::Directory(common::repository("policies"));
    let checked = policy_lang::check("edge.lbp", text.replacen(from, to, 1), &directory);
    let told = checked.diagnostics.iter().filter(|finding| finding.severity != Severity::Allowed);
    let mut codes: Vec<&str> = told.map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes
}

#[test]
fn what_breaks_edge_is_told() {
    let none: [&str; 0] = [];
    assert_eq!(codes_of_edge_with("lbp 1", "lbp 1"), none);
    // NAT without a tracker; the pool behind direct server return needs none.
    assert_eq!(codes_of_edge_with("    -> track flows (full -> drop, invalid -> drop)\n", ""), ["E0405"]);
}
