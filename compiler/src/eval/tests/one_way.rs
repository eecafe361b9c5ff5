//! Pools whose backends answer the clients themselves: what goes around a packet, and flows of which half is seen.

use super::*;
use crate::packet::{Layer4, payload, verify_checksums};

fn pool(settings: &str) -> World {
    World::new(&format!(
        "track flows {{ idle tcp 60s, udp 4s; half_open 2s; max 1_000 }}
pool app {{ {settings} }}
policy p {{ default drop }} = match {{
  dst == 203.0.113.9 or dst == 2001:db8::9 -> translate app (empty -> pass) -> forward
  else -> track flows (full -> count full -> pass, invalid -> count invalid -> pass) -> translate app (empty -> pass) -> forward
}}"
    ))
}

fn ipip(settings: &str) -> World {
    pool(&format!("via ipip; pick maglev 211 by flow; {settings}"))
}

const V4: &str = "backend a 10.0.1.1";
const V6: &str = "backend a fd00::1";

/// The packet within a frame, behind the same link header.
fn inner(frame: &[u8], skip: usize) -> Vec<u8> {
    let fields = parse(frame).unwrap();
    let packet = &frame[fields.transport + skip..fields.end];
    let ethertype: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&frame[..fields.ip - 2], &ethertype, packet].concat()
}

#[test]
fn ipip_puts_a_header_of_the_backends_family_around_the_packet() {
    let packets = [udp("192.0.2.9:1", "203.0.113.1:80"), udp("[2001:db8::5]:1", "[2001:db8::1]:80")];
    for packet in packets {
        for (backend, dst, is_v6) in [(V4, "10.0.1.1", false), (V6, "fd00::1", true)] {
            let packet = PacketSpec { dscp: 46, vlan: Some(3), payload: vec![7; 9], ..packet.clone() };
            let mut frame = build(&packet);
            frame.extend([0x55; 5]);
            let run = ipip(backend).frame(&frame);
            assert_eq!(run.verdict, Verdict::Forward);
            let out = run.frame.unwrap();
            let outer = parse(&out).unwrap();
            assert!(verify_checksums(&out));
            assert_eq!(outer.proto, if packet.src.is_ipv4() { 4 } else { 41 });
            assert_eq!((outer.v6, outer.ttl, outer.dscp, outer.vlan), (is_v6, 64, 46, Some(3)));
            assert_eq!(outer.dst, crate::packet::addr(dst.parse().unwrap()));
            assert_eq!(inner(&out, 0), build(&PacketSpec { ttl: 63, ..packet }));
            assert_eq!(outer.end, out.len());
        }
    }
}

#[test]
fn a_backend_with_both_families_is_reached_by_the_packets_own() {
    let both = "backend a 10.0.1.1, fd00::1";
    for (packet, is_v6) in
        [(udp("192.0.2.9:1", "203.0.113.1:80"), false), (udp("[2001:db8::5]:1", "[2001:db8::1]:80"), true)]
    {
        let out = ipip(both).run(&packet).frame.unwrap();
        assert_eq!(parse(&out).unwrap().v6, is_v6);
    }
    // Without anything around it, a packet needs a backend of its own family.
    let mut world = pool("via l2dsr; pick source; backend a 10.0.1.1");
    assert_eq!(world.verdict(&udp("[2001:db8::5]:1", "[2001:db8::1]:80")), Verdict::Pass);
}

#[test]
fn gue_adds_a_udp_header_whose_source_port_is_the_flows() {
    for (backend, is_v6) in [(V4, false), (V6, true)] {
        let mut world = pool(&format!("via gue port 6081; pick maglev 211 by flow; {backend}"));
        let packet = tcp("S", "192.0.2.9:1", "203.0.113.1:80");
        let out = world.run(&packet).frame.unwrap();
        let outer = parse(&out).unwrap();
        assert!(verify_checksums(&out));
        let Layer4::Udp { sport, dport, checksum } = outer.layer4 else { panic!("{outer:?}") };
        assert_eq!((dport, outer.v6), (6081, is_v6));
        assert_eq!(checksum == 0, !is_v6);
        assert!(sport >= 0xc000);
        assert_eq!(inner(&out, 8), build(&PacketSpec { ttl: 63, ..packet.clone() }));
        let again = world.run(&tcp("A", "192.0.2.9:1", "203.0.113.1:80")).frame.unwrap();
        assert_eq!(parse(&again).unwrap().ports(), Some((sport, dport)));
        assert_eq!(payload(&out, &outer).unwrap().len(), 40);
        let ports: std::collections::BTreeSet<u16> = (1..50)
            .map(|port| world.run(&udp(&format!("192.0.2.9:{port}"), "203.0.113.1:80")).frame.unwrap())
            .map(|frame| parse(&frame).unwrap().ports().unwrap().0)
            .collect();
        assert!(ports.len() > 40);
    }
}

#[test]
fn l2dsr_leaves_the_packet_as_it_came() {
    let mut world = pool("via l2dsr; pick source; backend a 10.0.1.1");
    let frame = build(&udp("192.0.2.9:1", "203.0.113.1:80"));
    let run = world.frame(&frame);
    assert_eq!((run.frame, run.sent), (Some(frame), Some(Sent { pool: 0, backend: 0 })));
}

#[test]
fn a_flow_is_picked_up_at_any_packet_and_never_invalid_or_proven() {
    let mut world = ipip(V4);
    let to = |flags| tcp(flags, "192.0.2.9:1", "203.0.113.1:80");
    for flags in ["A", "FA", "S", "A", "SA"] {
        assert_eq!(world.verdict(&to(flags)), Verdict::Forward, "{flags}");
    }
    assert_eq!(world.sizes(), (2, 0, 0));
    // Nothing that the backend sends comes back here; what looks like it is no reply of ours.
    assert_eq!(world.entry(&to("A")).unwrap().state, lb_abi::maps::FLOW_REPLIED);
}

#[test]
fn a_syn_lives_for_the_half_open_time_and_an_acknowledged_flow_for_its_idle_time() {
    let mut world = ipip(V4);
    let to = |flags, port| tcp(flags, &format!("192.0.2.9:{port}"), "203.0.113.1:80");
    let timeout = |world: &mut World, flags, port| {
        assert_eq!(world.verdict(&to(flags, port)), Verdict::Forward);
        world.entry(&to(flags, port)).unwrap().timeout
    };
    let ticks = |seconds: u64| (seconds * 1_000_000_000).div_ceil(1 << 20) as u32;
    assert_eq!(timeout(&mut world, "S", 1), ticks(2));
    assert_eq!(timeout(&mut world, "A", 1), ticks(60));
    assert_eq!(timeout(&mut world, "A", 2), ticks(60));
    assert_eq!(timeout(&mut world, "RA", 1), ticks(2));
}

#[test]
fn a_flow_keeps_its_backend_and_one_whose_backend_is_gone_gets_another_at_once() {
    let mut world = ipip("backend a 10.0.1.1; backend b 10.0.1.2");
    let to = |flags| tcp(flags, "192.0.2.9:1", "203.0.113.1:80");
    let first = world.run(&to("S")).sent.unwrap();
    assert_eq!(world.run(&to("A")).sent, Some(first));
    // The slots point elsewhere, the flow does not.
    let name = |world: &World| world.policy.pools[0].backends[first.backend as usize].name.clone();
    world.policy.pools[0].backends[first.backend as usize].drain = true;
    assert_eq!(world.run(&to("A")).sent, Some(first), "{}", name(&world));
    world.state.absent.insert(first.backend);
    let second = world.run(&to("A")).sent.unwrap();
    assert_ne!(second, first);
    world.state.absent.clear();
    assert_eq!(world.run(&to("A")).sent, Some(second));
}

#[test]
fn without_a_tracker_the_hash_alone_picks_and_nothing_is_kept() {
    let mut world = ipip("backend a 10.0.1.1; backend b 10.0.1.2");
    let to = |port| tcp("A", &format!("192.0.2.9:{port}"), "203.0.113.9:80");
    let sent: Vec<u32> = (1..40).map(|port| world.run(&to(port)).sent.unwrap().backend).collect();
    assert_eq!(sent, (1..40).map(|port| world.run(&to(port)).sent.unwrap().backend).collect::<Vec<_>>());
    assert!(sent.contains(&0) && sent.contains(&1));
    assert_eq!(world.sizes(), (0, 0, 0));
}

#[test]
fn a_full_table_is_full_rather_than_invalid() {
    let mut world = ipip(V4);
    world.state.proven.insert(0, 1_000);
    let run = world.run(&tcp("A", "192.0.2.9:1", "203.0.113.1:80"));
    assert!(run.path.iter().any(|step| step.kind == StepKind::Stage { exit: Some("full") }));
    assert_eq!(run.verdict, Verdict::Pass);
}

#[test]
fn the_fewest_connections_for_the_weight_are_picked_and_full_backends_passed_over() {
    let nat = |settings: &str| {
        World::new(&format!(
            "track flows {{ idle udp 4s, tcp 10s; half_open 2s; max 1_000 }}
pool app {{ via nat; {settings} }}
policy p {{ default drop }} = match {{
  src in app -> translate back -> forward
  else -> track flows -> translate app (empty -> pass) -> forward
}}"
        ))
    };
    let picked = |world: &mut World, count: u16| -> Vec<Option<u32>> {
        let packet = |port| udp(&format!("192.0.2.9:{port}"), "203.0.113.1:80");
        (1..=count).map(|port| world.run(&packet(port)).sent.map(|sent| sent.backend)).collect()
    };
    let some = |backends: &[u32]| backends.iter().copied().map(Some).collect::<Vec<_>>();
    let mut world = nat("pick least-connections; backend a 10.0.1.1 weight 2; backend b 10.0.1.2");
    assert_eq!(picked(&mut world, 6), some(&[0, 1, 0, 0, 1, 0]));
    // Known flows stay; what idles out counts no more.
    assert_eq!(picked(&mut world, 6), some(&[0, 1, 0, 0, 1, 0]));
    world.wait(Duration::from_secs(5));
    assert_eq!(world.run(&udp("192.0.2.8:1", "203.0.113.1:80")).sent.unwrap().backend, 0);

    let mut world = nat("pick round-robin; backend a 10.0.1.1 max_conn 1; backend b 10.0.1.2 max_conn 2");
    assert_eq!(picked(&mut world, 5), [Some(0), Some(1), Some(1), None, None]);
    assert_eq!(world.verdict(&udp("192.0.2.9:1", "203.0.113.1:80")), Verdict::Forward);
    let mut world =
        nat("pick least-connections; backend a 10.0.1.1 max_conn 1; backend b 10.0.1.2 max_conn 2");
    assert_eq!(picked(&mut world, 4), [Some(0), Some(1), Some(1), None]);
}
