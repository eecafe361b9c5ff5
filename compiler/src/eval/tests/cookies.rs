//! `synguard`: when a cookie is given, what is taken for one of ours, and the connection that it opens.

use super::*;
use crate::packet::{Layer4, verify_checksums};

fn world() -> World {
    World::new(
        "synguard cookies { above 2 syn/s; mss 1460 }
track flows { idle 60s; half_open 5s; max 100 }
pool app { pick random; via nat; backend a 10.0.0.1:80, [fd00::1]:80 }
policy p { default drop } = match {
  src in app -> translate back (invalid -> drop) -> forward
  else -> synguard cookies (bad -> count bad -> drop) -> track flows -> translate app -> forward
}",
    )
}

const CLIENT: &str = "192.0.2.9:4000";
const SERVER: &str = "203.0.113.1:80";

fn numbers(frame: &[u8]) -> (u32, u32, u32) {
    match parse(frame).unwrap().layer4 {
        Layer4::Tcp { flags, seq, ack, .. } => (flags, seq, ack),
        other => panic!("{other:?}"),
    }
}

/// Spends what the guard lets through, and gets a cookie for a SYN with this number.
fn flooded(world: &mut World, client: &str, server: &str, isn: u32) -> u32 {
    for port in 1..=2 {
        let syn = tcp("S", &format!("198.51.100.1:{port}"), "203.0.113.1:80");
        assert_eq!(world.verdict(&syn), Verdict::Forward);
    }
    let run = world.run(&tcp_numbered("S", client, server, isn, 0));
    assert_eq!(run.verdict, Verdict::Reply(Answer::Cookie));
    let frame = run.frame.unwrap();
    assert!(verify_checksums(&frame));
    assert_eq!(ends_of(&frame), ends(server, client));
    let (flags, cookie, ack) = numbers(&frame);
    assert_eq!((flags, ack), (FLAG_SYN | FLAG_ACK, isn + 1));
    cookie
}

#[test]
fn below_its_rate_a_guard_lets_everything_through() {
    let mut world = world();
    assert_eq!(world.verdict(&tcp("S", CLIENT, SERVER)), Verdict::Forward);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.verdict(&tcp("S", "192.0.2.9:2", SERVER)), Verdict::Forward);
    // No cookie was given, so that it is for `track` to say what this is.
    let run = world.run(&tcp("A", "192.0.2.9:3", SERVER));
    assert!(run.path.iter().any(|step| step.kind == StepKind::Stage { exit: Some("invalid") }));
    assert!(
        run.path
            .iter()
            .any(|step| step.text == "synguard cookies" && step.kind == StepKind::Stage { exit: None })
    );
    let echo = icmp(8, "192.0.2.9", "203.0.113.1");
    assert_eq!(world.reason(&echo), Some(Reason::Untranslatable));
}

#[test]
fn a_cookie_is_no_longer_than_the_syn_and_says_the_mss_where_there_is_room() {
    let mut world = world();
    flooded(&mut world, CLIENT, SERVER, 7);
    let bare = world.run(&tcp("S", CLIENT, SERVER)).frame.unwrap();
    assert_eq!(parse(&bare).unwrap().len, 40);
    // A SYN with an MSS of its own.
    let mut syn = build(&tcp("S", CLIENT, SERVER));
    syn[14 + 2..14 + 4].copy_from_slice(&44u16.to_be_bytes());
    syn[14 + 20 + 12] = 0x60;
    syn.extend([2, 4, 0x05, 0xa0]);
    let answer = world.frame(&syn).frame.unwrap();
    let fields = parse(&answer).unwrap();
    assert_eq!((fields.len, &answer[fields.transport + 20..]), (44, &[2, 4, 0x05, 0xb4][..]));
    assert!(verify_checksums(&answer));
    // 1440 is what the cookie keeps of it.
    assert_eq!(numbers(&answer).1 >> 28 & 3, 2);
}

#[test]
fn only_the_acknowledgement_of_a_cookie_of_ours_goes_on_and_only_for_a_while() {
    let mut world = world();
    let cookie = flooded(&mut world, CLIENT, SERVER, 100);
    let ack = |src: &str, seq, ack| tcp_numbered("A", src, SERVER, seq, ack);
    let is_bad = |world: &mut World, packet: &PacketSpec| {
        let run = world.run(packet);
        run.path.iter().any(|step| step.kind == StepKind::Stage { exit: Some("bad") })
    };
    for bit in 0..32 {
        assert!(is_bad(&mut world, &ack(CLIENT, 101, (cookie ^ 1 << bit).wrapping_add(1))), "{bit}");
    }
    assert!(is_bad(&mut world, &ack("192.0.2.9:4001", 101, cookie + 1)));
    assert!(is_bad(&mut world, &ack(CLIENT, 102, cookie + 1)));
    let mut later = World { policy: world.policy.clone(), state: world.state.clone() };
    // Two steps of 2^36 ns on nobody expects one any longer: it is an unknown connection.
    later.wait(Duration::from_nanos(2 << 36));
    assert!(!is_bad(&mut later, &ack(CLIENT, 101, cookie + 1)));
    assert_eq!(later.verdict(&ack(CLIENT, 101, cookie + 1)), Verdict::Drop);
    world.wait(Duration::from_nanos(1 << 36));
    assert_eq!(world.verdict(&ack(CLIENT, 101, cookie + 1)), Verdict::Forward);
}

#[test]
fn a_connection_that_began_with_a_cookie_is_opened_and_its_numbers_are_shifted() {
    for (client, server, backend) in
        [(CLIENT, SERVER, "10.0.0.1:80"), ("[2001:db8::9]:4000", "[2001:db8::1]:80", "[fd00::1]:80")]
    {
        let mut world = world();
        let cookie = flooded(&mut world, client, server, 100);
        let run = |world: &mut World, spec: PacketSpec| {
            let run = world.run(&PacketSpec { payload: vec![7; 3], ..spec });
            assert!(run.frame.as_deref().is_some_and(verify_checksums), "{run:#?}");
            (run.verdict, numbers(run.frame.as_deref().unwrap()), ends_of(run.frame.as_deref().unwrap()))
        };
        let first = tcp_numbered("A", client, server, 101, cookie.wrapping_add(1));
        let opening = (Verdict::Forward, (FLAG_SYN, 100, 0), ends(client, backend));
        assert_eq!(run(&mut world, first.clone()), opening);
        // As long as the backend is silent, what the client sends opens again.
        assert_eq!(run(&mut world, first.clone()), opening);
        // The backend's answer is acknowledged here.
        let answer = tcp_numbered("SA", backend, client, 5_000, 101);
        let acknowledged =
            (Verdict::Reply(Answer::Acknowledgement), (FLAG_ACK, 101, 5_001), ends(client, backend));
        assert_eq!(run(&mut world, answer.clone()), acknowledged);
        assert_eq!(run(&mut world, first), (Verdict::Forward, (FLAG_ACK, 101, 5_001), ends(client, backend)));
        assert_eq!(world.sizes().2, 2, "proven");
        assert_eq!(run(&mut world, answer), acknowledged);
        let reply = tcp_numbered("A", backend, client, 5_001, 104);
        let shifted = (Verdict::Forward, (FLAG_ACK, cookie.wrapping_add(1), 104), ends(server, client));
        assert_eq!(run(&mut world, reply), shifted);
    }
}

#[test]
fn a_backend_that_refuses_is_heard_with_the_number_that_the_client_knows() {
    let mut world = world();
    let cookie = flooded(&mut world, CLIENT, SERVER, 100);
    assert_eq!(world.verdict(&tcp_numbered("A", CLIENT, SERVER, 101, cookie + 1)), Verdict::Forward);
    let run = world.run(&tcp_numbered("RA", "10.0.0.1:80", CLIENT, 0, 101));
    assert_eq!(numbers(run.frame.as_deref().unwrap()), (FLAG_RST | FLAG_ACK, cookie + 1, 101));
}

#[test]
fn known_flows_pass_a_guard_that_gives_cookies() {
    let mut world = world();
    assert_eq!(world.verdict(&tcp("S", CLIENT, SERVER)), Verdict::Forward);
    assert_eq!(world.verdict(&tcp("S", "192.0.2.9:2", SERVER)), Verdict::Forward);
    assert_eq!(world.verdict(&tcp("S", "192.0.2.9:3", SERVER)), Verdict::Reply(Answer::Cookie));
    assert_eq!(world.verdict(&tcp("S", CLIENT, SERVER)), Verdict::Forward);
}
