//! `verify` with its exits, `strip`, and the sessions of `track { key cert }`.

use policy_lang::policy::{AuthorityId, Signed};

use super::*;
use crate::packet::{build_in, payload, verify_checksums};
use lb_abi::trailer::TRAILER_BYTES;

/// Points of P-256: the generator, and twice it (SEC 2, section 2.4.2).
const KEYS: &str = "key 2 0x036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296
  key 7 0x037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978";

fn world(authority: &str, tracker: &str, pool: &str) -> World {
    let mut world = World::new(&format!(
        "authority devices {{\n  {KEYS}\n  {authority}\n}}
track sessions {{ key cert; {tracker} }}
pool game {{ via nat; {pool} }}
policy p {{ default drop }} = match {{
  src in game -> translate back (invalid -> drop) -> forward
  else -> verify devices -> track sessions -> translate game -> forward
}}"
    ));
    world.state.test_keys = true;
    world
}

fn plain(authority: &str) -> World {
    world(
        authority,
        "idle 10s; max 9",
        "pick round-robin; backend g1 10.0.0.1:9000; backend g2 10.0.0.2:9000",
    )
}

/// A packet that is signed by one of the two certificates.
fn signed(certificate: u32, src: &str, payload: &[u8]) -> PacketSpec {
    let signed = Some(Signed { authority: AuthorityId(0), certificate, forged: false });
    PacketSpec { signed, payload: payload.to_vec(), ..udp(src, "203.0.113.1:8080") }
}

fn exit(run: &Run) -> Option<&'static str> {
    run.path.iter().find_map(|step| match step.kind {
        StepKind::Stage { exit } if step.text == "verify devices" => exit,
        _ => None,
    })
}

fn meet(world: &mut World, spec: &PacketSpec) -> Run {
    let frame = build_in(&world.policy, spec);
    world.frame(&frame)
}

fn exit_of(world: &mut World, spec: &PacketSpec) -> Option<&'static str> {
    exit(&meet(world, spec))
}

/// The trailer's bytes changed at an offset.
fn with_byte(world: &World, spec: &PacketSpec, at: usize, byte: u8) -> Vec<u8> {
    let mut frame = build_in(&world.policy, spec);
    let start = frame.len() - TRAILER_BYTES;
    frame[start + at] = byte;
    frame
}

#[test]
fn a_signature_of_the_named_certificate_goes_on() {
    for src in ["192.0.2.9:1", "[2001:db8::9]:1"] {
        for payload in [&b""[..], b"hello"] {
            let mut world = plain("");
            let spec = PacketSpec {
                dst: match src.starts_with('[') {
                    true => "2001:db8::1".parse().unwrap(),
                    false => "203.0.113.1".parse().unwrap(),
                },
                ..udp("192.0.2.9:1", "203.0.113.1:8080")
            };
            let (source, _) = ends(src, "203.0.113.1:1");
            let spec = PacketSpec { src: source.ip(), ..spec };
            let spec = PacketSpec {
                signed: Some(Signed { authority: AuthorityId(0), certificate: 1, forged: false }),
                payload: payload.to_vec(),
                ..spec
            };
            let run = meet(&mut world, &spec);
            assert_eq!(exit(&run), None);
            let step = run.path.iter().find(|step| step.text == "verify devices").unwrap();
            assert_eq!(step.seen, "certificate 7");
        }
    }
}

#[test]
fn what_has_no_trailer_at_its_end_is_missing() {
    let mut world = plain("");
    let spec = signed(0, "192.0.2.9:1", b"hello");
    assert_eq!(exit_of(&mut world, &udp("192.0.2.9:1", "203.0.113.1:8080")), Some("missing"));
    assert_eq!(
        exit_of(&mut world, &PacketSpec { payload: vec![1; 103], signed: None, ..spec.clone() }),
        Some("missing")
    );
    let frame = with_byte(&world, &spec, 0, 0);
    assert_eq!(exit(&world.frame(&frame)), Some("missing"));
    // In the middle.
    let written = build_in(&world.policy, &spec);
    let mut trailing = payload(&written, &parse(&written).unwrap()).unwrap().to_vec();
    trailing.push(0);
    assert_eq!(
        exit_of(&mut world, &PacketSpec { payload: trailing, signed: None, ..spec.clone() }),
        Some("missing")
    );
    let tcp = PacketSpec { signed: spec.signed, ..tcp("S", "192.0.2.9:1", "203.0.113.1:80") };
    assert_eq!(exit_of(&mut world, &tcp), Some("missing"));
}

#[test]
fn padding_behind_the_packet_is_not_its_end_and_the_other_byte_order_is_read() {
    let mut world = plain("");
    let spec = signed(0, "192.0.2.9:1", b"hello");
    let mut frame = build_in(&world.policy, &spec);
    frame.extend([0; 7]);
    assert_eq!(exit(&world.frame(&frame)), None);
    let mut frame = build_in(&world.policy, &spec);
    let start = frame.len() - TRAILER_BYTES;
    frame[start..start + 4].reverse();
    assert_eq!(exit(&world.frame(&frame)), None);
}

#[test]
fn whatever_bit_is_changed_nothing_is_accepted() {
    let mut world = plain("");
    let spec = signed(0, "192.0.2.9:1", b"hello");
    let whole = build_in(&world.policy, &spec);
    let start = whole.len() - TRAILER_BYTES - 5;
    // Every byte of payload and trailer; those of the signature are checked by real mathematics.
    for at in start..whole.len() {
        let mut frame = whole.clone();
        frame[at] ^= 1 << (at % 8);
        let run = world.frame(&frame);
        assert!(exit(&run).is_some(), "{}", at - start);
        assert_eq!(run.verdict, Verdict::Drop);
    }
    assert_eq!(exit(&world.frame(&whole)), None);
}

#[test]
fn a_hash_of_another_certificate_takes_nobodys_session() {
    let mut world = plain("");
    // Signed by 7 and named 7, with the hash of 2; and the other way round.
    let (two, seven) = (signed(0, "192.0.2.9:1", b"hello"), signed(1, "192.0.2.9:1", b"hello"));
    let (hash_of_two, frame) =
        (world.policy.authorities[0].certificates[0].hash, build_in(&world.policy, &seven));
    let start = frame.len() - TRAILER_BYTES;
    let mut forged = frame.clone();
    forged[start + 4..start + 36].copy_from_slice(&hash_of_two);
    assert_eq!(exit(&world.frame(&forged)), Some("invalid"));
    let frame = with_byte(&world, &two, 100, 7);
    assert_eq!(exit(&world.frame(&frame)), Some("invalid"));
    let frame = with_byte(&world, &two, 100, 9);
    assert_eq!(exit(&world.frame(&frame)), Some("invalid"));
    let forged = PacketSpec { signed: two.signed.map(|signed| Signed { forged: true, ..signed }), ..two };
    assert_eq!(exit_of(&mut world, &forged), Some("invalid"));
}

#[test]
fn keys_made_for_tests_sign_for_nobody_outside_of_them() {
    let mut world = plain("");
    let spec = signed(0, "192.0.2.9:1", b"hello");
    world.state.test_keys = false;
    assert_eq!(exit_of(&mut world, &spec), Some("invalid"));
}

#[test]
fn a_certificate_is_accepted_from_its_first_second_to_its_last() {
    let mut world = plain("");
    world.policy.authorities[0].certificates[0].valid = Some((1_000, 2_000));
    let spec = signed(0, "192.0.2.9:1", b"hello");
    for (date, expected) in [(999, Some("expired")), (1_000, None), (2_000, None), (2_001, Some("expired"))] {
        (world.state.date, world.state.date_at) = (date, world.state.clock);
        assert_eq!(exit_of(&mut world, &spec), expected, "{date}");
    }
    (world.state.date, world.state.date_at) = (2_000, world.state.clock);
    world.wait(Duration::from_millis(999));
    assert_eq!(exit_of(&mut world, &spec), None);
    world.wait(Duration::from_millis(1));
    assert_eq!(exit_of(&mut world, &spec), Some("expired"));
}

#[test]
fn a_revoked_certificate_is_told_before_an_expired_one() {
    let mut world = plain("");
    let certificate = &mut world.policy.authorities[0].certificates[0];
    certificate.valid = Some((0, 1));
    let hash = certificate.hash;
    world.policy.authorities[0].revoked.push(hash);
    assert_eq!(exit_of(&mut world, &signed(0, "192.0.2.9:1", b"hello")), Some("revoked"));
    assert_eq!(exit_of(&mut world, &signed(1, "192.0.2.9:1", b"hello")), None);
}

#[test]
fn a_signature_is_accepted_once_within_the_window_in_either_form() {
    let mut world = plain("replay 5s");
    let spec = signed(0, "192.0.2.9:1", b"hello");
    assert_eq!(exit_of(&mut world, &spec), None);
    assert_eq!(exit_of(&mut world, &spec), Some("replayed"));
    assert_eq!(exit_of(&mut world, &PacketSpec { payload: b"other".to_vec(), ..spec.clone() }), None);
    // The same signature with n - s in the place of s is as good, and as old.
    let mut frame = build_in(&world.policy, &spec);
    let at = frame.len() - TRAILER_BYTES + 36;
    let mut signature = p256::ecdsa::Signature::from_slice(&frame[at..at + 64]).unwrap();
    signature = p256::ecdsa::Signature::from_scalars(*signature.r(), -*signature.s()).unwrap();
    frame[at..at + 64].copy_from_slice(&signature.to_bytes());
    assert_eq!(exit(&world.frame(&frame)), Some("replayed"));
    world.wait(Duration::from_secs(5));
    assert_eq!(exit_of(&mut world, &spec), Some("replayed"));
    world.wait(Duration::from_nanos(1));
    assert_eq!(exit_of(&mut world, &spec), None);
}

#[test]
fn in_a_session_only_tuple_and_hash_are_held_to() {
    let mut world = plain("verify once per session; replay 5s");
    let spec = signed(0, "192.0.2.9:1", b"hello");
    let forged =
        PacketSpec { signed: spec.signed.map(|signed| Signed { forged: true, ..signed }), ..spec.clone() };
    assert_eq!(exit_of(&mut world, &forged), Some("invalid"));
    assert_eq!(exit_of(&mut world, &spec), None);
    // Neither signature nor its age matters now.
    assert_eq!(exit_of(&mut world, &spec), None);
    assert_eq!(exit_of(&mut world, &forged), None);
    // Another port, another certificate, no trailer: all as ever.
    let elsewhere = PacketSpec { signed: forged.signed, ..signed(0, "192.0.2.9:2", b"hello") };
    assert_eq!(exit_of(&mut world, &elsewhere), Some("invalid"));
    let other = Signed { authority: AuthorityId(0), certificate: 1, forged: true };
    assert_eq!(exit_of(&mut world, &PacketSpec { signed: Some(other), ..spec.clone() }), Some("invalid"));
    assert_eq!(exit_of(&mut world, &PacketSpec { signed: None, ..spec.clone() }), Some("missing"));
    // The session idles out.
    world.wait(Duration::from_secs(11));
    assert_eq!(exit_of(&mut world, &forged), Some("invalid"));
    let every = &mut plain("");
    assert_eq!(exit_of(every, &spec), None);
    assert_eq!(exit_of(every, &forged), Some("invalid"));
}

#[test]
fn the_trailer_is_cut_off_and_all_lengths_and_checksums_are_mended() {
    for (src, dst) in [("192.0.2.9:1", "203.0.113.1:8080"), ("[2001:db8::9]:1", "[2001:db8::1]:8080")] {
        for payload in [&b""[..], b"h", b"hi", b"hello"] {
            let mut world =
                world("strip", "idle 10s; max 9", "pick random; backend g 10.0.0.1:9000, [fd00::1]:9000");
            let spec = PacketSpec { payload: payload.to_vec(), ..udp(src, dst) };
            let sent = PacketSpec { signed: signed(0, "192.0.2.9:1", b"").signed, ..spec.clone() };
            let mut frame = build_in(&world.policy, &sent);
            frame.extend([0x55; 3]);
            let run = world.frame(&frame);
            assert_eq!(run.verdict, Verdict::Forward);
            let out = run.frame.unwrap();
            assert!(verify_checksums(&out), "{src} {payload:?}");
            let (to, ProtoSpec::Udp { sport, .. }) = (ends_of(&out).1, spec.proto.clone()) else { panic!() };
            let proto = ProtoSpec::Udp { sport, dport: 9000 };
            assert_eq!(out, build(&PacketSpec { dst: to.ip(), proto, ttl: 63, ..spec }));
        }
    }
    let mut world = plain("");
    let frame = build_in(&world.policy, &signed(0, "192.0.2.9:1", b"hello"));
    assert_eq!(world.frame(&frame).frame.unwrap().len(), frame.len());
}

#[test]
fn one_certificate_goes_to_one_backend_from_any_address_until_its_session_is_over() {
    let mut world =
        world("", "idle 10s; max 9", "pick round-robin; backend g1 10.0.0.1:9000; backend g2 10.0.0.2:9000");
    let to = |world: &mut World, certificate, src: &str| {
        let frame = build_in(&world.policy, &signed(certificate, src, b"hello"));
        ends_of(world.frame(&frame).frame.as_deref().unwrap()).1.to_string()
    };
    assert_eq!(to(&mut world, 0, "192.0.2.9:1"), "10.0.0.1:9000");
    assert_eq!(to(&mut world, 1, "192.0.2.9:2"), "10.0.0.2:9000");
    for src in ["192.0.2.9:3", "198.51.100.1:1", "198.51.100.2:1"] {
        assert_eq!(to(&mut world, 0, src), "10.0.0.1:9000");
    }
    // On the flow of another certificate too.
    assert_eq!(to(&mut world, 1, "192.0.2.9:3"), "10.0.0.2:9000");
    assert_eq!(to(&mut world, 0, "192.0.2.9:3"), "10.0.0.1:9000");
    // A reply keeps the session alive as well.
    world.wait(Duration::from_secs(9));
    assert_eq!(world.verdict(&udp("10.0.0.1:9000", "192.0.2.9:3")), Verdict::Forward);
    world.wait(Duration::from_secs(9));
    assert_eq!(to(&mut world, 0, "192.0.2.77:3"), "10.0.0.1:9000");
    world.wait(Duration::from_secs(11));
    assert_eq!(to(&mut world, 1, "192.0.2.9:2"), "10.0.0.1:9000");
    assert_eq!(to(&mut world, 0, "192.0.2.9:1"), "10.0.0.2:9000");
}

#[test]
fn a_session_whose_backend_is_gone_gets_another() {
    let mut world = plain("");
    let to = |world: &mut World, src: &str| {
        let frame = build_in(&world.policy, &signed(0, src, b"hello"));
        ends_of(world.frame(&frame).frame.as_deref().unwrap()).1.to_string()
    };
    assert_eq!(to(&mut world, "192.0.2.9:1"), "10.0.0.1:9000");
    world.state.absent.insert(0);
    assert_eq!(to(&mut world, "192.0.2.9:1"), "10.0.0.2:9000");
    world.state.absent.clear();
    assert_eq!(to(&mut world, "192.0.2.9:2"), "10.0.0.2:9000");
}

#[test]
fn max_bounds_the_sessions_and_four_times_as_many_flows() {
    let mut world = world("", "idle 10s; max 1", "pick random; backend g1 10.0.0.1:9000");
    let verdict = |world: &mut World, certificate, port: u16| {
        meet(world, &signed(certificate, &format!("192.0.2.9:{port}"), b"hello")).verdict
    };
    for port in 1..=4 {
        assert_eq!(verdict(&mut world, 0, port), Verdict::Forward);
    }
    assert_eq!(verdict(&mut world, 0, 5), Verdict::Drop);
    assert_eq!(verdict(&mut world, 0, 4), Verdict::Forward);
    world.wait(Duration::from_secs(11));
    assert_eq!(verdict(&mut world, 1, 1), Verdict::Forward);
    assert_eq!(verdict(&mut world, 0, 2), Verdict::Drop);
}

/// A flow that another tracker keeps for longer does not bring its session back.
#[test]
fn a_session_that_is_over_is_not_kept_alive_by_its_flows() {
    let mut world = World::new(&format!(
        "authority devices {{\n  {KEYS}\n}}
track sessions {{ key cert; idle 2s; max 9 }}
track longer {{ idle 60s; max 9 }}
pool game {{ via nat; pick round-robin; backend g1 10.0.0.1:9000; backend g2 10.0.0.2:9000 }}
policy p {{ default drop }} = match {{
  src in game -> translate back (invalid -> drop) -> forward
  ttl == 9 -> track longer -> translate game -> forward
  else -> verify devices -> track sessions -> translate game -> forward
}}"
    ));
    world.state.test_keys = true;
    let to = |world: &mut World, spec: &PacketSpec| {
        let frame = build_in(&world.policy, spec);
        ends_of(world.frame(&frame).frame.as_deref().unwrap()).1.to_string()
    };
    let (first, second) = (signed(0, "192.0.2.9:1", b"hello"), signed(0, "192.0.2.9:2", b"hello"));
    let kept = PacketSpec { ttl: 9, ..first.clone() };
    assert_eq!(to(&mut world, &first), "10.0.0.1:9000");
    world.wait(Duration::from_millis(1_000));
    assert_eq!(to(&mut world, &kept), "10.0.0.1:9000");
    world.wait(Duration::from_millis(1_500));
    assert_eq!(to(&mut world, &second), "10.0.0.1:9000");
    world.wait(Duration::from_millis(3_000));
    assert_eq!(to(&mut world, &kept), "10.0.0.1:9000");
    let third = signed(0, "192.0.2.9:3", b"hello");
    assert_eq!(to(&mut world, &third), "10.0.0.2:9000");
}

#[test]
fn a_session_keeps_its_backend_over_both_families_and_drains() {
    let mut world = world(
        "",
        "idle 10s; max 9",
        "pick round-robin; backend g1 10.0.0.1:9000, [fd00::1]:9000; backend g2 10.0.0.2:9000, [fd00::2]:9000",
    );
    let to = |world: &mut World, src: &str| {
        let spec = signed(0, "192.0.2.9:1", b"hello");
        let (source, _) = ends(src, "203.0.113.1:1");
        let dst = if source.is_ipv6() { "2001:db8::1" } else { "203.0.113.1" };
        let proto = ProtoSpec::Udp { sport: source.port(), dport: 8080 };
        let spec = PacketSpec { src: source.ip(), dst: dst.parse().unwrap(), proto, ..spec };
        let frame = build_in(&world.policy, &spec);
        ends_of(world.frame(&frame).frame.as_deref().unwrap()).1.to_string()
    };
    assert_eq!(to(&mut world, "192.0.2.9:1"), "10.0.0.1:9000");
    assert_eq!(to(&mut world, "[2001:db8::9]:1"), "[fd00::1]:9000");
    world.policy.pools[0].backends[0].drain = true;
    assert_eq!(to(&mut world, "192.0.2.9:2"), "10.0.0.1:9000");
    assert_eq!(to(&mut world, "[2001:db8::9]:2"), "[fd00::1]:9000");
    // By one address it is gone, by the other not.
    world.state.absent.insert(1);
    assert_eq!(to(&mut world, "[2001:db8::9]:3"), "[fd00::2]:9000");
}
