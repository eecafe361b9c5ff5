use lb_abi::image::{FRAG_FIRST, FRAG_LATER};

use super::*;

fn ways(world: &mut World, packets: &[PacketSpec]) -> Vec<bool> {
    packets.iter().map(|packet| world.verdict(packet) == Verdict::Pass).collect()
}

/// How many of `count` packets pass before the first that does not.
fn passing(world: &mut World, packet: &PacketSpec, count: usize) -> usize {
    (0..count).take_while(|_| world.verdict(packet) == Verdict::Pass).count()
}

fn limited(limit: &str) -> World {
    World::new(&format!(
        "track flows {{ idle 30s; max 10 }}
limit calm {{ {limit} }}
policy p {{ default drop }} = limit calm (exceed -> drop) -> match {{
  dst == 192.0.2.99 -> track flows -> forward
  else -> pass
}}"
    ))
}

#[test]
fn every_packet_turns_its_counter() {
    let mut world = World::new("policy p { default drop } = every 3 { 1 -> pass; 2 -> drop; 3 -> drop }");
    let packet = udp("192.0.2.9:1", "192.0.2.1:2");
    let taken = ways(&mut world, &vec![packet; 7]);
    assert_eq!(taken, [true, false, false, true, false, false, true]);
}

#[test]
fn a_tree_used_twice_has_one_counter_and_two_everys_have_two() {
    let mut world = World::new(
        "policy p { default drop } = match { proto == udp -> turns; proto == icmp -> own; else -> turns }
tree turns = every 2 { 1 -> pass; 2 -> drop }
tree own = every 2 { 1 -> pass; 2 -> drop }",
    );
    let (one, other) = (udp("192.0.2.9:1", "192.0.2.1:2"), tcp("S", "192.0.2.9:1", "192.0.2.1:2"));
    let ping = icmp(8, "192.0.2.9", "192.0.2.1");
    let taken = ways(&mut world, &[one.clone(), ping.clone(), other, ping, one]);
    assert_eq!(taken, [true, true, false, false, true]);
}

#[test]
fn every_by_flow_keeps_a_flow_and_its_replies_together() {
    let mut world = World::new("policy p { default drop } = every 2 by flow { 1 -> pass; 2 -> drop }");
    let mut first = 0;
    for port in 1..200 {
        let there = udp(&format!("192.0.2.9:{port}"), "192.0.2.1:53");
        let back = udp("192.0.2.1:53", &format!("192.0.2.9:{port}"));
        let taken = ways(&mut world, &[there.clone(), back, there]);
        assert!(taken == [true; 3] || taken == [false; 3]);
        first += usize::from(taken[0]);
    }
    assert!((60..140).contains(&first), "{first}");
    assert_eq!(world.state.draws, 0);
}

#[test]
fn every_at_random_draws_once_for_each_packet() {
    let text = "policy p { default drop } = every 2 at random { 1 -> pass; 2 -> drop }";
    let packet = udp("192.0.2.9:1", "192.0.2.1:2");
    let mut world = World::new(text);
    assert_eq!(ways(&mut world, &vec![packet.clone(); 4]), [true; 4]);
    world.state.seed = 7;
    let expected: Vec<bool> = (4..24).map(|number| lb_abi::hash::draw(7, number).is_multiple_of(2)).collect();
    assert_eq!(ways(&mut world, &vec![packet; 20]), expected);
    assert_eq!(world.state.draws, 24);
    assert!(expected.contains(&true) && expected.contains(&false));
}

#[test]
fn a_limit_lets_its_burst_through_and_then_its_rate() {
    let mut world = limited("rate 10 pkt/s; burst 5");
    let packet = udp("192.0.2.9:1", "192.0.2.1:2");
    assert_eq!(passing(&mut world, &packet, 100), 5);
    world.wait(Duration::from_nanos(99_999_999));
    assert_eq!(world.verdict(&packet), Verdict::Drop);
    world.wait(Duration::from_nanos(1));
    assert_eq!(passing(&mut world, &packet, 100), 1);
    world.wait(Duration::from_millis(250));
    assert_eq!(passing(&mut world, &packet, 100), 2);
    world.wait(Duration::from_millis(50));
    assert_eq!(passing(&mut world, &packet, 100), 1);
    world.wait(Duration::from_secs(3600));
    assert_eq!(passing(&mut world, &packet, 100), 5);
}

#[test]
fn bits_count_the_ip_packet() {
    // 8,000 bit/s are a byte in a millisecond; the burst is 100 bytes, a packet has 28 + 22.
    let mut world = limited("rate 8_000 bit/s; burst 100B");
    let packet = PacketSpec { payload: vec![0; 22], ..udp("192.0.2.9:1", "192.0.2.1:2") };
    assert_eq!(passing(&mut world, &packet, 100), 2);
    world.wait(Duration::from_millis(49));
    assert_eq!(world.verdict(&packet), Verdict::Drop);
    world.wait(Duration::from_millis(1));
    assert_eq!(passing(&mut world, &packet, 100), 1);
    let mut world = limited("rate 8_000 bit/s; burst 100B");
    let too_long = PacketSpec { payload: vec![0; 73], ..udp("192.0.2.9:1", "192.0.2.1:2") };
    assert_eq!(world.verdict(&too_long), Verdict::Drop);
    let just = PacketSpec { payload: vec![0; 72], ..too_long };
    assert_eq!(world.verdict(&just), Verdict::Pass);
}

#[test]
fn syn_limits_count_syns_without_ack_and_nothing_else() {
    for unit in ["syn/s", "conn/s"] {
        let mut world = limited(&format!("rate 10 {unit}; burst 2"));
        let syn = tcp("S", "192.0.2.9:1", "192.0.2.1:2");
        for other in ["SA", "A", "F", "R", "AF"] {
            assert_eq!(passing(&mut world, &tcp(other, "192.0.2.9:1", "192.0.2.1:2"), 9), 9);
        }
        assert_eq!(passing(&mut world, &syn, 9), 2);
        assert_eq!(world.verdict(&tcp("SF", "192.0.2.9:1", "192.0.2.1:2")), Verdict::Drop);
        assert_eq!(world.verdict(&tcp("A", "192.0.2.9:1", "192.0.2.1:2")), Verdict::Pass);
        let later = PacketSpec { frag: FRAG_LATER, ..syn };
        assert_eq!(world.reason(&later), Some(Reason::Fragment));
    }
}

#[test]
fn connection_limits_count_other_protocols_without_a_flow() {
    let mut world = limited("rate 10 conn/s; burst 2");
    let known = udp("192.0.2.9:1", "192.0.2.99:2");
    for _ in 0..5 {
        assert_eq!(world.verdict(&known), Verdict::Forward);
    }
    assert_eq!(world.verdict(&udp("192.0.2.9:9", "192.0.2.99:2")), Verdict::Forward);
    assert_eq!(world.verdict(&udp("192.0.2.9:8", "192.0.2.99:2")), Verdict::Drop);
    assert_eq!(world.verdict(&known), Verdict::Forward);
    assert_eq!(world.verdict(&udp("192.0.2.99:2", "192.0.2.9:1")), Verdict::Pass);
}

#[test]
fn a_key_is_an_address_masked_by_its_family() {
    let mut world = limited("per src v4 /24 v6 /64; rate 1 pkt/s; burst 2; max 100");
    let from = |src: &str| udp(src, if src.starts_with('[') { "[2001:db8:9::1]:2" } else { "192.0.2.1:2" });
    assert_eq!(passing(&mut world, &from("198.51.100.1:1"), 9), 2);
    assert_eq!(world.verdict(&from("198.51.100.200:1")), Verdict::Drop);
    assert_eq!(world.verdict(&from("198.51.101.1:1")), Verdict::Pass);
    assert_eq!(passing(&mut world, &from("[2001:db8::1]:1"), 9), 2);
    assert_eq!(world.verdict(&from("[2001:db8::ffff:0:0:1]:1")), Verdict::Drop);
    assert_eq!(world.verdict(&from("[2001:db8:0:1::1]:1")), Verdict::Pass);

    let mut world = limited("per dst v4 /32 v6 /128; rate 1 pkt/s; burst 1; max 100");
    assert_eq!(world.verdict(&udp("192.0.2.9:1", "192.0.2.1:2")), Verdict::Pass);
    assert_eq!(world.verdict(&udp("192.0.2.8:1", "192.0.2.1:2")), Verdict::Drop);
    assert_eq!(world.verdict(&udp("192.0.2.9:1", "192.0.2.2:2")), Verdict::Pass);
}

#[test]
fn a_prefix_of_0_is_one_bucket_for_the_family() {
    let mut world = limited("per src v4 /0 v6 /0; rate 1 pkt/s; burst 1; max 100");
    assert_eq!(world.verdict(&udp("198.51.100.1:1", "192.0.2.1:2")), Verdict::Pass);
    assert_eq!(world.verdict(&udp("1.1.1.1:1", "192.0.2.1:2")), Verdict::Drop);
    assert_eq!(world.verdict(&udp("[2001:db8::1]:1", "[2001:db8::2]:2")), Verdict::Pass);
    assert_eq!(world.verdict(&udp("[2001:db8:5::1]:1", "[2001:db8::2]:2")), Verdict::Drop);
}

#[test]
fn an_exit_is_a_chain_of_its_own_and_an_unwritten_one_takes_the_default() {
    let mut world = World::new(
        "track flows { idle 30s; max 1 }
limit calm { rate 1 pkt/s; burst 1 }
policy p { default drop } = match {
  proto == udp -> limit calm (exceed -> count over -> pass) -> drop
  else -> track flows -> forward
}",
    );
    assert_eq!(world.verdict(&udp("192.0.2.9:1", "192.0.2.1:2")), Verdict::Drop);
    let run = world.run(&udp("192.0.2.9:1", "192.0.2.1:2"));
    assert_eq!(run.verdict, Verdict::Pass);
    assert!(run.path.iter().any(|step| step.kind == StepKind::Stage { exit: Some("exceed") }));
    let run = world.run(&tcp("A", "192.0.2.9:1", "192.0.2.1:2"));
    assert_eq!((run.verdict, run.reason), (Verdict::Drop, None));
    assert!(run.path.iter().any(|step| step.kind == StepKind::Stage { exit: Some("invalid") }));
}

#[test]
fn tokens_are_spent_when_the_stage_runs_and_flows_are_committed_by_forward_only() {
    let mut world = World::new(
        "track flows { idle 30s; max 10 }
limit calm { rate 1 pkt/s; burst 2 }
policy p { default drop } = limit calm (exceed -> pass) -> track flows -> match {
  ttl == 9 -> drop
  ttl == 8 -> pass
  else -> forward
}",
    );
    let packet = |ttl| PacketSpec { ttl, ..udp("192.0.2.9:1", "192.0.2.1:2") };
    assert_eq!(world.verdict(&packet(9)), Verdict::Drop);
    assert_eq!(world.sizes(), (0, 0, 0));
    assert_eq!(world.verdict(&packet(8)), Verdict::Pass);
    assert_eq!(world.sizes(), (0, 0, 0));
    assert_eq!(world.verdict(&packet(64)), Verdict::Pass);
    world.wait(Duration::from_secs(1));
    assert_eq!(world.verdict(&packet(64)), Verdict::Forward);
    assert_eq!(world.sizes(), (2, 0, 0));
}

#[test]
fn fragments_are_dropped_unless_the_policy_lets_the_tree_decide() {
    let packet = |frag| PacketSpec { frag, ..udp("192.0.2.9:1", "192.0.2.1:2") };
    let tree = |fragments: &str| {
        World::new(&format!(
            "policy p {{ default drop{fragments} }} = match {{ frag == first -> pass; else -> drop }}"
        ))
    };
    let mut world = tree("");
    for frag in [FRAG_FIRST, FRAG_LATER] {
        let run = world.run(&packet(frag));
        assert_eq!((run.verdict, run.reason), (Verdict::Drop, Some(Reason::Fragment)));
        assert_eq!(run.counted, [Reason::Fragment]);
    }
    let mut world = tree("; fragments pass");
    assert_eq!(world.verdict(&packet(FRAG_LATER)), Verdict::Pass);
    let mut world = tree("; fragments match");
    let run = world.run(&packet(FRAG_FIRST));
    assert_eq!((run.verdict, run.reason, run.counted), (Verdict::Pass, None, vec![Reason::Fragment]));
    assert_eq!(world.run(&packet(FRAG_LATER)).reason, None);
}

#[test]
fn before_the_tree_each_kind_has_its_setting() {
    let arp = [[0xff; 12].as_slice(), &[8, 6], &[0; 46]].concat();
    let lldp = [[0xff; 12].as_slice(), &[0x88, 0xcc], &[0; 46]].concat();
    let cut = [0; 13];
    let mut zero = build(&udp("[2001:db8::1]:1", "[2001:db8::2]:2"));
    zero[14 + 40 + 6..14 + 40 + 8].fill(0);
    let mut world = World::new("policy p { default drop } = pass");
    let verdicts = |world: &mut World| {
        [&arp[..], &lldp, &cut, &zero].map(|frame| (world.frame(frame).verdict, world.frame(frame).reason))
    };
    let reasons =
        [Reason::Neighbour, Reason::OtherEthertype, Reason::ShortFrame, Reason::Udp6Checksum].map(Some);
    let expect = |verdicts: [Verdict; 4]| std::array::from_fn(|at| (verdicts[at], reasons[at]));
    use Verdict::{Drop, Pass};
    assert_eq!(verdicts(&mut world), expect([Pass, Drop, Drop, Drop]));
    let mut world =
        World::new("policy p { default drop; neighbours drop; unparsed pass; other pass } = drop");
    assert_eq!(verdicts(&mut world), expect([Drop, Pass, Pass, Drop]));
    assert_eq!(world.frame(&lldp).frame.as_deref(), Some(&lldp[..]));
}
