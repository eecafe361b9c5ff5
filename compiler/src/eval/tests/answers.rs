//! `reject`, `reply rst`, `log`: what is answered, with which numbers, and what never is.

use super::*;
use crate::packet::{payload, verify_checksums};

fn reject() -> World {
    ended(End::Reject)
}

fn reply_rst() -> World {
    ended(End::ReplyRst)
}

fn ended(end: End) -> World {
    let mut world = World::new("policy p { default drop; fragments match } = drop");
    world.policy.root.tail = Tail::End(end, world.policy.span);
    world
}

fn numbers(frame: &[u8]) -> (u32, u32, u32) {
    match parse(frame).unwrap().layer4 {
        crate::packet::Layer4::Tcp { flags, seq, ack, .. } => (flags, seq, ack),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reset_has_the_numbers_that_fit_the_segment() {
    for (src, dst) in [("192.0.2.9:1", "192.0.2.1:2"), ("[2001:db8::9]:1", "[2001:db8::1]:2")] {
        for (flags, payload, expected) in [
            ("S", 0, (FLAG_RST | FLAG_ACK, 0, 101)),
            ("", 7, (FLAG_RST | FLAG_ACK, 0, 107)),
            ("SF", 7, (FLAG_RST | FLAG_ACK, 0, 109)),
            ("A", 0, (FLAG_RST, 500, 0)),
            ("SA", 3, (FLAG_RST, 500, 0)),
        ] {
            let packet = PacketSpec {
                payload: vec![9; payload],
                vlan: Some(5),
                ..tcp_numbered(flags, src, dst, 100, 500)
            };
            let (rejected, reset) = (reject().run(&packet), reply_rst().run(&packet));
            assert_eq!(rejected.verdict, Verdict::Reply(Answer::Reject));
            assert_eq!(reset.verdict, Verdict::Reply(Answer::Rst));
            assert_eq!(rejected.frame, reset.frame);
            let frame = reset.frame.unwrap();
            assert_eq!(numbers(&frame), expected);
            assert_eq!(ends_of(&frame), ends(dst, src));
            assert!(verify_checksums(&frame));
            let fields = parse(&frame).unwrap();
            assert_eq!((fields.vlan, fields.ttl, payload_of(&frame)), (Some(5), 64, 0));
            let came = build(&packet);
            assert_eq!((&frame[..6], &frame[6..12]), (&came[6..12], &came[..6]));
        }
    }
}

fn payload_of(frame: &[u8]) -> usize {
    payload(frame, &parse(frame).unwrap()).unwrap().len()
}

#[test]
fn what_has_no_reset_gets_an_unreachable_that_quotes_it() {
    let cases = [
        (udp("192.0.2.9:1", "192.0.2.1:2"), (3, 3)),
        (udp("[2001:db8::9]:1", "[2001:db8::1]:2"), (1, 4)),
        (icmp(8, "192.0.2.9", "192.0.2.1"), (3, 13)),
        (icmp(128, "2001:db8::9", "2001:db8::1"), (1, 1)),
        (PacketSpec { proto: ProtoSpec::Other(47), ..udp("192.0.2.9:0", "192.0.2.1:0") }, (3, 13)),
        (PacketSpec { frag: 1, ..tcp("S", "192.0.2.9:1", "192.0.2.1:2") }, (3, 13)),
    ];
    for (packet, (kind, code)) in cases {
        let packet = PacketSpec { payload: vec![7; 2_000], ..packet };
        let run = reject().run(&packet);
        assert_eq!(run.verdict, Verdict::Reply(Answer::Reject), "{packet:?}");
        let frame = run.frame.unwrap();
        assert!(verify_checksums(&frame));
        let fields = parse(&frame).unwrap();
        assert_eq!(fields.icmp(), Some((kind, code)));
        let (header, most) = if fields.v6 { (40, 1_280) } else { (20, 576) };
        assert_eq!(fields.len, most);
        let came = build(&packet);
        let quote = &frame[fields.transport + 8..];
        assert_eq!(quote, &came[14..14 + most as usize - header - 8]);
    }
}

#[test]
fn no_answer_is_longer_than_what_it_answers() {
    for (packet, short, least) in
        [(udp("192.0.2.9:1", "192.0.2.1:2"), 27, 56), (udp("[2001:db8::9]:1", "[2001:db8::1]:2"), 47, 96)]
    {
        let packet = |payload| PacketSpec { payload: vec![0; payload], ..packet.clone() };
        assert_eq!(reject().reason(&packet(short)), Some(Reason::AnswerLength));
        let run = reject().run(&packet(short + 1));
        assert_eq!(parse(run.frame.as_deref().unwrap()).unwrap().len, least);
    }
}

#[test]
fn errors_resets_later_fragments_and_what_goes_to_many_get_no_answer() {
    let long = |packet: PacketSpec| PacketSpec { payload: vec![0; 100], ..packet };
    let mut never: Vec<PacketSpec> =
        [3, 4, 5, 11, 12].map(|kind| long(icmp(kind, "192.0.2.9", "192.0.2.1"))).to_vec();
    never.extend([1, 2, 3, 4, 127].map(|kind| long(icmp(kind, "2001:db8::9", "2001:db8::1"))));
    never.push(tcp("R", "192.0.2.9:1", "192.0.2.1:2"));
    never.push(tcp("RA", "192.0.2.9:1", "192.0.2.1:2"));
    never.push(long(PacketSpec { frag: 2, ..udp("192.0.2.9:1", "192.0.2.1:2") }));
    for packet in &never {
        assert_eq!(reject().reason(packet), Some(Reason::Unanswerable), "{packet:?}");
    }
    for (src, dst) in
        [("192.0.2.9:1", "224.0.0.1:2"), ("192.0.2.9:1", "255.255.255.255:2"), ("0.0.0.0:1", "192.0.2.1:2")]
    {
        assert_eq!(reject().reason(&long(udp(src, dst))), Some(Reason::Martian));
    }
    let mut frame = build(&tcp("S", "192.0.2.9:1", "192.0.2.1:2"));
    frame[..6].fill(0xff);
    assert_eq!(reject().frame(&frame).reason, Some(Reason::Unanswerable));
    assert_eq!(reply_rst().reason(&long(udp("192.0.2.9:1", "192.0.2.1:2"))), Some(Reason::Unanswerable));
}

#[test]
fn a_log_writes_down_as_many_as_its_rate_and_lets_all_go_on() {
    let mut world = World::new("policy p { default drop } = count odd -> pass");
    let rate = policy_lang::policy::Rate { count: 3, per: Duration::from_secs(1) };
    world.policy.root.stages[0].kind = StageKind::Log { name: "odd".to_owned(), rate };
    let packet = udp("192.0.2.9:1", "192.0.2.1:2");
    let logged = |world: &mut World| {
        let run = world.run(&packet);
        assert_eq!(run.verdict, Verdict::Pass);
        run.logged == ["odd"]
    };
    let first: Vec<bool> = (0..5).map(|_| logged(&mut world)).collect();
    assert_eq!(first, [true, true, true, false, false]);
    world.wait(Duration::from_millis(334));
    assert_eq!([logged(&mut world), logged(&mut world)], [true, false]);
}
