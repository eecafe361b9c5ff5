use super::*;
use crate::packet::verify_checksums;

fn forward() -> World {
    World::new("policy p { default drop } = forward")
}

fn echo() -> World {
    World::new("policy p { default drop; fragments match } = reply echo")
}

#[test]
fn forward_takes_one_from_the_ttl_and_mends_the_checksum() {
    for packet in [udp("192.0.2.9:1", "192.0.2.1:2"), udp("[2001:db8::9]:1", "[2001:db8::1]:2")] {
        let before = build(&PacketSpec { ttl: 2, payload: vec![7; 5], ..packet.clone() });
        let run = forward().frame(&before);
        let frame = run.frame.unwrap();
        assert_eq!((run.verdict, run.sent, parse(&frame).unwrap().ttl), (Verdict::Forward, None, 1));
        assert!(verify_checksums(&frame));
        assert_eq!(frame, build(&PacketSpec { ttl: 1, payload: vec![7; 5], ..packet }));
    }
}

#[test]
fn an_expired_ttl_is_dropped() {
    for ttl in [0, 1] {
        let run = forward().run(&PacketSpec { ttl, ..udp("192.0.2.9:1", "192.0.2.1:2") });
        assert_eq!((run.verdict, run.reason, run.frame), (Verdict::Drop, Some(Reason::Ttl), None));
        assert_eq!(run.counted, [Reason::Ttl]);
    }
}

#[test]
fn addresses_that_are_never_routed_are_dropped() {
    let v4 =
        ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "224.0.0.1", "240.0.0.1", "255.255.255.255"];
    let v6 = ["::", "::1", "fe80::1", "febf::1", "ff02::1"];
    let never = v4.map(|addr| (addr, "192.0.2.1")).into_iter().chain(v6.map(|addr| (addr, "2001:db8::1")));
    for (bad, good) in never {
        for (src, dst) in [(bad, good), (good, bad)] {
            assert_eq!(forward().reason(&icmp(8, src, dst)), Some(Reason::Martian), "{src} {dst}");
            assert_eq!(
                echo().reason(&icmp(if src.contains(':') { 128 } else { 8 }, src, dst)),
                Some(Reason::Martian)
            );
        }
    }
    let routed = [
        ("1.0.0.1", "223.255.255.255"),
        ("126.255.255.255", "128.0.0.1"),
        ("::2", "fec0::1"),
        ("fe7f::1", "fe00::"),
    ];
    for (src, dst) in routed {
        assert_eq!(forward().verdict(&icmp(8, src, dst)), Verdict::Forward, "{src} {dst}");
    }
}

#[test]
fn ttl_comes_before_the_addresses_and_both_before_the_commit() {
    let mut world = World::new(
        "track flows { idle 10s; max 9 }
policy p { default drop } = track flows -> forward",
    );
    assert_eq!(world.reason(&PacketSpec { ttl: 1, ..udp("127.0.0.1:1", "192.0.2.1:2") }), Some(Reason::Ttl));
    assert_eq!(world.reason(&udp("127.0.0.1:1", "192.0.2.1:2")), Some(Reason::Martian));
    assert_eq!(world.sizes(), (0, 0, 0));
}

#[test]
fn an_echo_is_answered_byte_for_byte() {
    for (request, reply, src, dst) in
        [(8, 0, "192.0.2.9", "192.0.2.1"), (128, 129, "2001:db8::9", "2001:db8::1")]
    {
        let asked =
            PacketSpec { ttl: 3, vlan: Some(6), payload: b"payload".to_vec(), ..icmp(request, src, dst) };
        let mut frame = build(&asked);
        frame.extend([0x55; 4]);
        let run = echo().frame(&frame);
        assert_eq!((run.verdict, run.reason), (Verdict::Reply(Answer::Echo), None));

        let mut expected = build(&PacketSpec {
            ttl: 64,
            vlan: Some(6),
            payload: b"payload".to_vec(),
            ..icmp(reply, dst, src)
        });
        expected.extend([0x55; 4]);
        let (to, from) = (expected[..6].to_vec(), expected[6..12].to_vec());
        expected[..6].copy_from_slice(&from);
        expected[6..12].copy_from_slice(&to);
        assert_eq!(run.frame.unwrap(), expected);
    }
}

#[test]
fn only_a_whole_echo_request_is_answered() {
    for packet in [
        icmp(0, "192.0.2.9", "192.0.2.1"),
        icmp(129, "2001:db8::9", "2001:db8::1"),
        icmp(8, "2001:db8::9", "2001:db8::1"),
        udp("192.0.2.9:8", "192.0.2.1:8"),
        PacketSpec { frag: 1, ..icmp(8, "192.0.2.9", "192.0.2.1") },
        PacketSpec { frag: 2, ..icmp(8, "192.0.2.9", "192.0.2.1") },
    ] {
        assert_eq!(echo().reason(&packet), Some(Reason::NotEcho), "{packet:?}");
    }
}

#[test]
fn all_answers_share_one_bucket() {
    let mut world = echo();
    let pings = [icmp(8, "192.0.2.9", "192.0.2.1"), icmp(128, "2001:db8::9", "2001:db8::1")];
    let answered =
        (0..1_100).filter(|number| world.verdict(&pings[number % 2]) == Verdict::Reply(Answer::Echo)).count();
    assert_eq!(answered, 1_000);
    assert_eq!(world.reason(&pings[0]), Some(Reason::AnswerLimit));
    world.wait(Duration::from_micros(99));
    assert_eq!(world.verdict(&pings[0]), Verdict::Drop);
    world.wait(Duration::from_micros(1));
    assert_eq!(
        (world.verdict(&pings[0]), world.verdict(&pings[0])),
        (Verdict::Reply(Answer::Echo), Verdict::Drop)
    );
}

#[test]
fn passed_packets_are_untouched_and_dropped_ones_are_gone() {
    let frame = build(&PacketSpec { ttl: 1, ..udp("127.0.0.1:1", "192.0.2.1:2") });
    let run = World::new("policy p { default drop } = pass").frame(&frame);
    assert_eq!((run.verdict, run.frame.as_deref()), (Verdict::Pass, Some(&frame[..])));
    let run = World::new("policy p { default drop } = drop").frame(&frame);
    assert_eq!((run.verdict, run.reason, run.frame), (Verdict::Drop, None, None));
}
