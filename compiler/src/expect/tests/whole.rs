//! Tests in policies that only the evaluator carries out so far.

use super::*;

/// Every policy with what its own tests say, and these.
fn passes(text: &str) {
    let checked = policy_lang::check("test.lbp", text.to_owned(), &Files);
    let policy = checked.policy.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let report = run(&policy, &checked.sources, None);
    let failed: Vec<&Packet> = report
        .tests
        .iter()
        .flat_map(|test| &test.packets)
        .filter(|packet| packet.finding != Finding::Passed)
        .collect();
    assert!(report.passed() && !report.tests.is_empty(), "{failed:#?}");
}

#[test]
fn edge_and_hero_pass_their_own_tests() {
    for name in ["edge.lbp", "hero.lbp"] {
        passes(&Files.load(Path::new(name)).unwrap());
    }
}

#[test]
fn bans_last_from_the_last_one_and_what_is_given_to_a_dynamic_set_is_in_it_as_long() {
    passes(
        "lbp 1
set banned : addr dynamic max 3 ttl 10s
limit calm { per src v4 /32 v6 /64; rate 1 pkt/s; burst 1; max 100 }
policy p { default drop } = match {
  src in banned  -> drop
  else           -> limit calm (exceed -> ban banned -> pass) -> forward
}
expect \"a ban\" {
  packet udp src 192.0.2.1:1 dst 192.0.2.9:2     => forward
  packet udp src 192.0.2.1:1 dst 192.0.2.9:2     => pass
  packet udp src 192.0.2.1:1 dst 192.0.2.9:2     => drop
  packet udp src [2001:db8::1]:1 dst [2001:db8:9::1]:2 => forward
  packet udp src [2001:db8::2]:1 dst [2001:db8:9::1]:2 => pass
  packet udp src [2001:db8::3]:1 dst [2001:db8:9::1]:2 => drop
  packet udp src [2001:db8:0:1::3]:1 dst [2001:db8:9::1]:2 => forward
  after 9s
  packet udp src 192.0.2.1:1 dst 192.0.2.9:2     => drop
  after 1s
  packet udp src 192.0.2.1:1 dst 192.0.2.9:2     => forward
}
expect \"a full set bans nobody\" {
  given 198.51.100.1 in banned
  given 198.51.100.2 in banned
  given 198.51.100.3 in banned
  packet udp src 198.51.100.3:1 dst 192.0.2.9:2  => drop
  packet udp src 192.0.2.1:1 dst 192.0.2.9:2     => forward
  packet udp src 192.0.2.1:1 dst 192.0.2.9:2     => pass
  packet udp src 192.0.2.1:1 dst 192.0.2.9:2     => pass
  after 10s
  packet udp src 198.51.100.3:1 dst 192.0.2.9:2  => forward
}",
    );
}

#[test]
fn interfaces_payloads_and_answers_can_be_expected() {
    passes(
        "lbp 1
interface lan { device eth1 }
interface wan { device eth0 }
synguard cookies { above 1 syn/s; mss 1460 }
track flows { idle 30s; max 100 }
pool app { pick random; via nat; source 192.0.2.9; ports 2000-3000; backend a 10.0.0.1:80 }
policy p { default drop } = match {
  src in app                -> translate back -> forward
  iface == lan              -> pass
  payload in { \"GET \", 0xff00 } -> reply rst
  proto == udp              -> reject
  else                      -> synguard cookies (bad -> drop) -> track flows -> translate app -> forward
}
expect \"x\" {
  packet udp iface lan src 192.0.2.1:1 dst 192.0.2.2:2               => pass
  packet udp iface wan src 192.0.2.1:1 dst 192.0.2.2:2 len 100       => reject
  packet udp src 192.0.2.1:1 dst 192.0.2.2:2                         => drop
  packet tcp ack src 192.0.2.1:1 dst 192.0.2.2:2 payload \"GET /\"     => reply rst
  packet tcp ack src 192.0.2.1:1 dst 192.0.2.2:2 payload 0xff0001    => reply rst
  packet tcp ack src 192.0.2.1:1 dst 192.0.2.2:2 payload \"GET\"       => drop
  packet tcp syn src 192.0.2.1:1 dst 192.0.2.2:2                     => forward a
  packet tcp syn src 192.0.2.1:2 dst 192.0.2.2:2                     => reply cookie
}",
    );
}
