use lb_abi::image::{FRAG_FIRST, FRAG_LATER};

use super::*;

const ITEMS: &str = "set net4 : net = { 198.51.100.0/24 }
set net6 : net = { 2001:db8::/32 }
vip web { address 192.0.2.1, 2001:db8:1::1; ports tcp 80, 443 }
vip every_port { address 192.0.2.2 }
track flows { idle 30s; max 10 }
pool app { pick random; via nat; backend a 10.0.0.2:8080 }
side B when src in app
side A otherwise";

/// Whether the guard holds for the packet.
fn holds(guard: &str, packet: &PacketSpec) -> bool {
    let text = format!(
        "{ITEMS}\npolicy p {{ default drop; fragments match }} = match {{ {guard} -> pass; else -> drop }}"
    );
    World::new(&text).verdict(packet) == Verdict::Pass
}

fn check(rows: &[(&str, &PacketSpec, bool)]) {
    for (guard, packet, expected) in rows {
        assert_eq!(holds(guard, packet), *expected, "{guard} on {packet:?}");
    }
}

#[test]
fn a_comparison_on_an_absent_field_is_false_and_not_is_the_complement() {
    let (http, dns) = (tcp("S", "192.0.2.9:4000", "192.0.2.1:80"), udp("192.0.2.9:4000", "192.0.2.1:80"));
    let ping = icmp(8, "192.0.2.9", "192.0.2.1");
    check(&[
        ("tcp.dport == 80", &http, true),
        ("tcp.dport == 80", &dns, false),
        ("tcp.dport != 80", &http, false),
        ("tcp.dport != 80", &dns, false),
        ("tcp.dport not in { 80 }", &ping, false),
        ("tcp.dport not in { 81 }", &http, true),
        ("not (tcp.dport == 80)", &dns, true),
        ("not (tcp.dport == 80)", &http, false),
        ("not (tcp.dport != 80)", &ping, true),
        ("udp.sport == 4000", &dns, true),
        ("udp.sport == 4000", &http, false),
        ("icmp.type != echo-request", &dns, false),
        ("icmp.type == echo-request", &ping, true),
        ("icmp6.type == echo-request", &ping, false),
        ("vlan == 5", &http, false),
        ("vlan != 5", &http, false),
        ("tcp.flags != syn", &dns, false),
    ]);
}

#[test]
fn both_port_fields_know_tcp_and_udp() {
    let (http, dns) = (tcp("S", "192.0.2.9:4000", "192.0.2.1:80"), udp("192.0.2.9:4000", "192.0.2.1:80"));
    check(&[
        ("proto in { tcp, udp } and dport == 80", &http, true),
        ("proto in { tcp, udp } and dport == 80", &dns, true),
        ("proto in { tcp, udp } and sport in 4000-4001", &dns, true),
        ("proto in { tcp, udp } and sport in 4001-4002", &dns, false),
    ]);
}

#[test]
fn an_address_set_looks_at_the_family_of_the_packet() {
    let v4 = udp("198.51.100.255:1", "192.0.2.1:2");
    let v6 = udp("[2001:db8::1]:1", "[2001:db9::1]:2");
    check(&[
        ("src in net4", &v4, true),
        ("src in net6", &v4, false),
        ("src in net4", &v6, false),
        ("src in net6", &v6, true),
        ("src not in net4", &v6, true),
        ("src in { net4, net6 }", &v6, true),
        ("dst in net6", &v6, false),
        ("src == 198.51.100.255", &v4, true),
        ("src in 198.51.100.0-198.51.100.254", &v4, false),
        ("src in 0.0.0.0/0", &v4, true),
        ("src in 0.0.0.0/0", &v6, false),
        ("src in ::/0", &v6, true),
    ]);
}

#[test]
fn flags_compare_four_bits_only() {
    let mut frame = build(&tcp("S", "192.0.2.9:4000", "192.0.2.1:80"));
    frame[14 + 20 + 13] |= 0b1110_1000;
    let text = "policy p { default drop } = match { tcp.flags == syn -> pass; else -> drop }";
    assert_eq!(World::new(text).frame(&frame).verdict, Verdict::Pass);
    let syn_ack = tcp("SA", "192.0.2.9:4000", "192.0.2.1:80");
    check(&[("tcp.flags == syn-ack", &syn_ack, true), ("tcp.flags == syn", &syn_ack, false)]);
}

#[test]
fn length_ttl_code_point_and_vlan_are_those_of_the_packet() {
    let packet = PacketSpec {
        ttl: 9,
        dscp: 46,
        vlan: Some(100),
        payload: vec![0; 12],
        ..udp("192.0.2.9:1", "192.0.2.1:2")
    };
    check(&[
        ("len == 40", &packet, true),
        ("len in 0-39", &packet, false),
        ("ttl == 9", &packet, true),
        ("dscp == ef", &packet, true),
        ("vlan == 100", &packet, true),
        ("vlan != 5", &packet, true),
    ]);
}

#[test]
fn a_later_fragment_has_addresses_and_a_protocol_but_no_ports() {
    let whole = tcp("S", "192.0.2.9:4000", "192.0.2.1:80");
    let first = PacketSpec { frag: FRAG_FIRST, ..whole.clone() };
    let later = PacketSpec { frag: FRAG_LATER, ..whole.clone() };
    check(&[
        ("frag == none", &whole, true),
        ("frag == first", &first, true),
        ("frag in { first, later }", &later, true),
        ("tcp.dport == 80", &first, true),
        ("tcp.dport == 80", &later, false),
        ("tcp.dport != 80", &later, false),
        ("tcp.flags == syn", &later, false),
        ("proto == tcp", &later, true),
        ("to web", &first, true),
        ("to web", &later, false),
        ("dst == 192.0.2.1", &later, true),
    ]);
}

#[test]
fn a_vip_is_its_addresses_and_if_written_its_ports() {
    check(&[
        ("to web", &tcp("S", "192.0.2.9:1", "192.0.2.1:443"), true),
        ("to web", &tcp("S", "192.0.2.9:1", "192.0.2.1:22"), false),
        ("to web", &udp("192.0.2.9:1", "192.0.2.1:443"), false),
        ("to web", &tcp("S", "[2001:db8::9]:1", "[2001:db8:1::1]:80"), true),
        ("to web", &tcp("S", "192.0.2.9:1", "192.0.2.2:443"), false),
        ("to every_port", &icmp(8, "192.0.2.9", "192.0.2.2"), true),
        ("to every_port", &udp("192.0.2.9:1", "192.0.2.2:9"), true),
        ("not to every_port", &udp("192.0.2.9:1", "192.0.2.1:9"), true),
    ]);
}

#[test]
fn one_side_is_what_the_others_are_not() {
    let (back, front) = (udp("10.0.0.2:1", "192.0.2.1:2"), udp("10.0.0.3:1", "192.0.2.1:2"));
    check(&[
        ("from B", &back, true),
        ("from A", &back, false),
        ("from B", &front, false),
        ("from A", &front, true),
        ("src in app", &back, true),
    ]);
}

#[test]
fn and_binds_more_than_or() {
    let packet = udp("192.0.2.9:1", "192.0.2.1:2");
    check(&[
        ("ttl == 64 or ttl == 9 and proto == tcp", &packet, true),
        ("(ttl == 64 or ttl == 9) and proto == tcp", &packet, false),
        ("not proto == tcp and proto == udp", &packet, true),
    ]);
}

#[test]
fn the_first_arm_that_holds_is_taken_and_the_path_says_why() {
    let mut world = World::new(
        "policy p { default drop } = match {
  proto == tcp -> drop
  proto == udp and udp.dport == 2 -> inner
  else -> drop
}
tree inner = count hits -> match { ttl == 1 -> drop; else -> pass }",
    );
    let run = world.run(&udp("192.0.2.9:1", "192.0.2.1:2"));
    let path: Vec<(StepKind, &str)> = run.path.iter().map(|step| (step.kind, step.text.as_str())).collect();
    assert_eq!(
        path,
        [
            (StepKind::Guard { held: false }, "proto == tcp"),
            (StepKind::Guard { held: true }, "proto == udp"),
            (StepKind::Guard { held: true }, "udp.dport == 2"),
            (StepKind::Arm, "proto == udp and udp.dport == 2"),
            (StepKind::Tree, "inner"),
            (StepKind::Stage { exit: None }, "count hits"),
            (StepKind::Guard { held: false }, "ttl == 1"),
            (StepKind::Else, "else"),
            (StepKind::End, "pass"),
        ]
    );
    assert_eq!((run.verdict, run.reason, run.sent), (Verdict::Pass, None, None));
}
