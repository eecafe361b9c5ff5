use lb_abi::image::{FRAG_FIRST, FRAG_LATER};
use lb_abi::maps::{FLOW_NEW, FLOW_PROVEN};

use super::*;
use crate::packet::verify_checksums;

const VIP: &str = "203.0.113.1:80";
const BACKEND: &str = "10.0.1.1:8080";

fn balancer(pool: &str, tracker: &str) -> World {
    World::new(&format!(
        "track flows {{ idle tcp 10s, udp 4s; half_open 2s; {tracker} }}
pool app {{ pick round-robin; via nat; {pool} }}
pool other {{ pick round-robin; via nat; source 10.0.0.9, fd00::9; ports 500-599; backend z 10.0.9.1:9, [fd00:9::1]:9 }}
side B when src in app or src in other
side A otherwise
policy p {{ default drop; fragments match }} = match {{
  from B -> translate back (invalid -> drop) -> forward
  ttl == 9 -> track flows (full -> pass, invalid -> drop) -> translate other (empty -> pass) -> forward
  ttl == 8 -> track flows (full -> pass, invalid -> drop) -> forward
  else -> track flows (full -> pass, invalid -> drop) -> translate app (empty -> pass, ports -> count none -> pass) -> forward
}}"
    ))
}

const TWO: &str = "source 10.0.0.5, fd00::5; ports 1000-1099
  backend a 10.0.1.1:8080, [fd00:1::1]:8080
  backend b 10.0.1.2:8080, [fd00:1::2]:8080";

fn nat() -> World {
    balancer(TWO, "max 100")
}

/// The same packet with its ends and addresses the other way round.
fn reply_to(left: (SocketAddr, SocketAddr), proto: &PacketSpec) -> PacketSpec {
    let (src, dst) = (left.1, left.0);
    let proto = match proto.proto {
        ProtoSpec::Udp { .. } => ProtoSpec::Udp { sport: src.port(), dport: dst.port() },
        _ => ProtoSpec::Tcp { sport: src.port(), dport: dst.port(), flags: 3, seq: 500, ack: 1 },
    };
    spec(src, dst, proto)
}

#[test]
fn a_reply_comes_home_with_the_tuple_that_the_client_knows() {
    let rows = [
        (tcp("S", "192.0.2.9:4000", VIP), ends("10.0.0.5:1000", BACKEND)),
        (udp("192.0.2.9:4000", VIP), ends("10.0.0.5:1000", BACKEND)),
        (tcp("S", "[2001:db8::9]:4000", "[2001:db8:1::1]:80"), ends("[fd00::5]:1000", "[fd00:1::1]:8080")),
        (udp("[2001:db8::9]:4000", "[2001:db8:1::1]:80"), ends("[fd00::5]:1000", "[fd00:1::1]:8080")),
    ];
    for (packet, expected) in rows {
        for payload in [vec![], b"x".to_vec(), vec![0xff; 1400]] {
            let mut world = nat();
            let packet = PacketSpec { payload, ..packet.clone() };
            let run = world.run(&packet);
            let frame = run.frame.unwrap();
            assert_eq!(ends_of(&frame), expected);
            assert!(verify_checksums(&frame));
            assert_eq!(parse(&frame).unwrap().ttl, 63);
            assert_eq!(run.sent, Some(Sent { pool: 0, backend: if packet.src.is_ipv4() { 0 } else { 1 } }));

            let back = world.run(&reply_to(expected, &packet));
            let frame = back.frame.unwrap();
            let (client, vip) = ends_of(&build(&packet));
            assert_eq!(ends_of(&frame), (vip, client));
            assert!(verify_checksums(&frame));
            assert_eq!(back.sent, None);
        }
    }
}

#[test]
fn a_flow_keeps_its_backend_and_the_next_one_gets_the_next() {
    let mut world = nat();
    let first = tcp("S", "192.0.2.9:4000", VIP);
    let second = tcp("S", "192.0.2.9:4001", VIP);
    assert_eq!(world.leaves(&first), ends("10.0.0.5:1000", "10.0.1.1:8080"));
    assert_eq!(world.leaves(&second), ends("10.0.0.5:1001", "10.0.1.2:8080"));
    assert_eq!(world.leaves(&first), ends("10.0.0.5:1000", "10.0.1.1:8080"));
    assert_eq!((world.sizes(), world.state.pools[&0].turn, world.state.pools[&0].port), ((4, 0, 0), 2, 2));
}

#[test]
fn a_connection_is_proven_through_nat() {
    let mut world = nat();
    world.leaves(&tcp_numbered("S", "192.0.2.9:4000", VIP, 1, 0));
    world.leaves(&tcp_numbered("SA", BACKEND, "10.0.0.5:1000", 500, 2));
    let ack = tcp_numbered("A", "192.0.2.9:4000", VIP, 2, 501);
    assert_eq!(world.run(&ack).counted, [Reason::Proven]);
    let entry = world.entry(&ack).unwrap();
    assert_eq!((entry.state, world.sizes()), (FLOW_PROVEN, (0, 0, 2)));
    assert_eq!(world.leaves(&tcp("A", BACKEND, "10.0.0.5:1000")), ends(VIP, "192.0.2.9:4000"));
    // Both FINs, one of them by a way that passes no tracker: closing takes the flow's own half-open time.
    world.leaves(&tcp("FA", "192.0.2.9:4000", VIP));
    world.leaves(&tcp("FA", BACKEND, "10.0.0.5:1000"));
    let entry = world.entry(&ack).unwrap();
    assert_eq!(entry.timeout, 2_000_000_000_u64.div_ceil(1 << 20) as u32);
    world.wait(Duration::from_secs(3));
    assert_eq!(world.verdict(&tcp("A", BACKEND, "10.0.0.5:1000")), Verdict::Drop);
}

#[test]
fn replies_of_no_flow_or_outside_of_their_state_take_invalid() {
    let mut world = nat();
    world.leaves(&tcp("S", "192.0.2.9:4000", VIP));
    for packet in [
        tcp("A", BACKEND, "10.0.0.5:1000"),
        tcp("SA", BACKEND, "10.0.0.5:1001"),
        tcp("SA", "10.0.1.2:8080", "10.0.0.5:1000"),
        udp(BACKEND, "10.0.0.5:1000"),
        icmp(0, "10.0.1.1", "10.0.0.5"),
    ] {
        let run = world.run(&packet);
        assert_eq!((run.verdict, run.reason), (Verdict::Drop, None), "{packet:?}");
        assert!(run.path.iter().any(|step| step.kind == StepKind::Stage { exit: Some("invalid") }));
    }
}

#[test]
fn an_untranslated_flow_and_an_original_packet_are_no_replies() {
    let mut world = World::new(
        "track flows { idle 10s; max 9 }
policy p { default drop } = match {
  ttl == 9 -> translate back (invalid -> pass) -> forward
  else -> track flows -> forward
}",
    );
    let (there, back) = (udp("192.0.2.9:1", "192.0.2.1:2"), udp("192.0.2.1:2", "192.0.2.9:1"));
    world.leaves(&there);
    for packet in [there, back] {
        assert_eq!(world.verdict(&PacketSpec { ttl: 9, ..packet }), Verdict::Pass);
    }
}

#[test]
fn udp_without_a_checksum_stays_without_one() {
    let mut world = nat();
    let mut frame = build(&udp("192.0.2.9:4000", VIP));
    frame[14 + 20 + 6..14 + 20 + 8].fill(0);
    let out = world.frame(&frame).frame.unwrap();
    assert_eq!(out[14 + 20 + 6..14 + 20 + 8], [0, 0]);
    assert!(verify_checksums(&out));
}

#[test]
fn a_udp_checksum_that_becomes_0_is_sent_as_its_other_form() {
    let checksum_after = |word: [u8; 2]| {
        let packet = PacketSpec { payload: word.to_vec(), ..udp("192.0.2.9:4000", VIP) };
        let out = nat().run(&packet).frame.unwrap();
        assert!(verify_checksums(&out));
        [out[14 + 20 + 6], out[14 + 20 + 7]]
    };
    // With its own checksum as payload the sum of the datagram is that of no bits.
    let word = checksum_after([0, 0]);
    assert_eq!(checksum_after(word), [0xff, 0xff]);
}

#[test]
fn a_wrong_checksum_stays_wrong_by_as_much() {
    let packet = tcp("S", "192.0.2.9:4000", VIP);
    let right = nat().run(&packet).frame.unwrap();
    for at in [14 + 10, 14 + 20 + 16] {
        let mut frame = build(&packet);
        let sum = u16::from_be_bytes([frame[at], frame[at + 1]]);
        frame[at..at + 2].copy_from_slice(&sum.wrapping_sub(1).to_be_bytes());
        let out = nat().frame(&frame).frame.unwrap();
        assert!(!verify_checksums(&out));
        let word = |frame: &[u8]| u16::from_be_bytes([frame[at], frame[at + 1]]);
        assert_eq!(word(&out), word(&right).wrapping_sub(1));
    }
}

#[test]
fn options_extension_headers_padding_and_tags_stay_as_they_are() {
    let mut frame = build(&PacketSpec { vlan: Some(9), ..udp("192.0.2.9:4000", VIP) });
    frame[18] = 0x46;
    frame[21] += 4;
    let sum = u16::from_be_bytes([frame[28], frame[29]]);
    let mended = crate::packet::mend(sum, &[0x45, 0, 0, 28, 0, 0, 0, 0], &[0x46, 0, 0, 32, 1, 1, 1, 1]);
    frame[28..30].copy_from_slice(&mended.to_be_bytes());
    frame.splice(38..38, [1, 1, 1, 1]);
    frame.extend([0xaa; 7]);
    assert!(verify_checksums(&frame));
    let out = nat().frame(&frame).frame.unwrap();
    assert!(verify_checksums(&out));
    assert_eq!(ends_of(&out), ends("10.0.0.5:1000", BACKEND));
    assert_eq!((&out[..18], &out[38..42], &out[50..]), (&frame[..18], &[1; 4][..], &[0xaa; 7][..]));
}

#[test]
fn only_whole_tcp_and_udp_packets_are_translated() {
    let mut world = nat();
    for packet in [
        icmp(8, "192.0.2.9", "203.0.113.1"),
        PacketSpec { proto: ProtoSpec::Other(47), ..udp("192.0.2.9:1", VIP) },
        PacketSpec { frag: FRAG_FIRST, ..udp("192.0.2.9:1", VIP) },
        PacketSpec { frag: FRAG_LATER, ..udp("192.0.2.9:1", VIP) },
        PacketSpec { frag: FRAG_LATER, ..udp(BACKEND, VIP) },
    ] {
        assert_eq!(world.reason(&packet), Some(Reason::Untranslatable), "{packet:?}");
    }
    assert_eq!(world.sizes(), (0, 0, 0));
}

#[test]
fn a_reply_in_translate_is_dropped() {
    let mut world = World::new(
        "track flows { idle 10s; max 9 }
pool app { pick random; via nat; source 10.0.0.5; ports 1000-1099; backend a 10.0.1.1:8080 }
policy p { default drop } = match {
  ttl == 9 -> translate back -> forward
  else -> track flows -> translate app (empty -> drop) -> forward
}",
    );
    world.leaves(&udp("192.0.2.9:4000", VIP));
    assert_eq!(world.reason(&udp(BACKEND, "10.0.0.5:1000")), Some(Reason::WrongDirection));
    let back = PacketSpec { ttl: 9, ..udp(BACKEND, "10.0.0.5:1000") };
    assert_eq!(world.leaves(&back), ends(VIP, "192.0.2.9:4000"));
}

#[test]
fn a_flow_whose_backend_is_gone_starts_anew_if_it_can() {
    let mut world = nat();
    let (syn, ack) = (tcp("S", "192.0.2.9:4000", VIP), tcp("A", "192.0.2.9:4000", VIP));
    let query = udp("192.0.2.9:5000", VIP);
    assert_eq!(world.leaves(&syn).1, "10.0.1.1:8080".parse().unwrap());
    assert_eq!(world.leaves(&query).1, "10.0.1.2:8080".parse().unwrap());
    world.leaves(&tcp_numbered("SA", BACKEND, "10.0.0.5:1000", 500, 1));
    world.leaves(&tcp_numbered("A", "192.0.2.9:4000", VIP, 1, 501));
    world.state.absent.insert(0);
    assert_eq!(world.reason(&ack), Some(Reason::BackendGone));
    // The reply of what is gone still finds its client.
    assert_eq!(world.leaves(&tcp("A", BACKEND, "10.0.0.5:1000")), ends(VIP, "192.0.2.9:4000"));
    // A SYN starts anew; it is the turn of the backend that is gone, and the next one written takes it.
    assert_eq!(world.leaves(&syn), ends("10.0.0.5:1002", "10.0.1.2:8080"));
    assert_eq!((world.sizes(), world.state.proven[&0]), ((4, 0, 0), 0));
    assert_eq!(world.entry(&syn).unwrap().state, FLOW_NEW);
    world.state.absent.remove(&0);
    world.state.absent.insert(2);
    assert_eq!(world.leaves(&query), ends("10.0.0.5:1003", "10.0.1.1:8080"));
    assert_eq!(world.sizes(), (4, 0, 0));
}

#[test]
fn a_flow_of_another_pool_or_of_none_starts_anew() {
    for ttl in [8, 9] {
        let mut world = nat();
        world.run(&PacketSpec { ttl, ..tcp("S", "192.0.2.9:4000", VIP) });
        assert_eq!(world.sizes(), (2, 0, 0));
        let run = world.run(&tcp("S", "192.0.2.9:4000", VIP));
        assert_eq!(ends_of(&run.frame.unwrap()), ends("10.0.0.5:1000", BACKEND));
        assert_eq!(world.sizes(), (2, 0, 0));
    }
    let mut world = nat();
    world.run(&PacketSpec { ttl: 9, ..udp("192.0.2.9:4000", VIP) });
    assert_eq!(world.leaves(&udp("192.0.2.9:4000", VIP)), ends("10.0.0.5:1000", BACKEND));
    // What the replies of the replaced flow would have hit is gone with it.
    assert_eq!(world.verdict(&udp("10.0.9.1:9", "10.0.0.9:500")), Verdict::Drop);
}

#[test]
fn a_closing_connection_gives_its_place_to_a_new_syn() {
    let mut world = balancer("backend a 10.0.1.1:8080", "max 100");
    let syn = tcp("S", "192.0.2.9:4000", VIP);
    world.leaves(&syn);
    world.leaves(&tcp("RA", "192.0.2.9:4000", VIP));
    // Without source addresses the reply's key is the same as before: the flow's own does not count as taken.
    assert_eq!(world.leaves(&syn), ends("192.0.2.9:4000", BACKEND));
    assert_eq!((world.sizes(), world.entry(&syn).unwrap().state), ((2, 0, 0), FLOW_NEW));
}

#[test]
fn without_source_addresses_the_client_stays_and_its_tuple_may_be_taken() {
    let mut world = balancer("backend a 10.0.1.1:8080", "max 100");
    assert_eq!(world.leaves(&udp("192.0.2.9:4000", VIP)), ends("192.0.2.9:4000", BACKEND));
    assert_eq!(world.leaves(&udp(BACKEND, "192.0.2.9:4000")), ends(VIP, "192.0.2.9:4000"));
    // The same client and port to another address of ours would get the same replies.
    let run = world.run(&udp("192.0.2.9:4000", "203.0.113.2:80"));
    assert!(run.path.iter().any(|step| step.kind == StepKind::Stage { exit: Some("ports") }));
    assert_eq!(world.state.draws, 0);
}

#[test]
fn full_leaves_known_flows_alone_and_takes_no_new_one() {
    let mut world = balancer(TWO, "max 1");
    world.leaves(&tcp_numbered("S", "192.0.2.9:4000", VIP, 1, 0));
    world.leaves(&tcp_numbered("SA", BACKEND, "10.0.0.5:1000", 500, 2));
    let ack = tcp_numbered("A", "192.0.2.9:4000", VIP, 2, 501);
    world.leaves(&ack);
    assert_eq!(world.verdict(&tcp("S", "192.0.2.9:4001", VIP)), Verdict::Pass);
    assert_eq!(world.verdict(&udp("192.0.2.9:4001", VIP)), Verdict::Pass);
    world.leaves(&ack);
    // Replaced, it leaves room: the closing flow still counts until then.
    world.leaves(&tcp("FA", "192.0.2.9:4000", VIP));
    world.leaves(&tcp("FA", BACKEND, "10.0.0.5:1000"));
    assert_eq!(world.verdict(&tcp("S", "192.0.2.9:4001", VIP)), Verdict::Pass);
}
