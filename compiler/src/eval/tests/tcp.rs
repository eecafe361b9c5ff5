use lb_abi::maps::{FLOW_CLOSING, FLOW_NEW, FLOW_PROVEN, FLOW_REPLIED};

use super::*;

const CLIENT: &str = "192.0.2.9:4000";
const SERVER: &str = "198.51.100.1:80";

fn firewall(max: u32) -> World {
    World::new(&format!(
        "track flows {{ idle tcp 10s, udp 4s; half_open 2s; max {max} }}
policy p {{ default drop }} = match {{
  ttl == 9 and flow in flows -> pass
  else -> track flows (full -> pass, invalid -> drop) -> forward
}}"
    ))
}

/// From the client, or else from the server; `None` if dropped.
fn send(world: &mut World, flags: &str, original: bool, seq: u32, ack: u32) -> Option<u8> {
    let (src, dst) = if original { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let verdict = world.verdict(&tcp_numbered(flags, src, dst, seq, ack));
    (verdict == Verdict::Forward).then(|| state(world))
}

fn state(world: &World) -> u8 {
    let (own, other) = entries(world);
    assert_eq!(
        (own.state, own.fins, own.timeout, own.half_open),
        (other.state, other.fins, other.timeout, other.half_open)
    );
    own.state
}

/// Entries of the original and of the reply direction.
fn entries(world: &World) -> (Flow, Flow) {
    (world.entry(&tcp("S", CLIENT, SERVER)).unwrap(), world.entry(&tcp("S", SERVER, CLIENT)).unwrap())
}

/// A flow led to this state: the server's first sequence number is 500.
fn flow_in(state: u8) -> World {
    let mut world = firewall(10);
    assert_eq!(send(&mut world, "S", true, 100, 0), Some(FLOW_NEW));
    if state >= FLOW_REPLIED {
        assert_eq!(send(&mut world, "SA", false, 500, 101), Some(FLOW_REPLIED));
    }
    if state >= FLOW_PROVEN {
        assert_eq!(send(&mut world, "A", true, 101, 501), Some(FLOW_PROVEN));
    }
    if state == FLOW_CLOSING {
        assert_eq!(send(&mut world, "FA", true, 101, 501), Some(FLOW_PROVEN));
        assert_eq!(send(&mut world, "FA", false, 501, 102), Some(FLOW_CLOSING));
    }
    world
}

#[test]
fn each_packet_does_to_each_state_what_the_table_says() {
    const ORIGINAL: bool = true;
    const REPLY: bool = false;
    const INVALID: Option<u8> = None;
    let rows = [
        (FLOW_NEW, ORIGINAL, "S", Some(FLOW_NEW)),
        (FLOW_NEW, ORIGINAL, "R", Some(FLOW_CLOSING)),
        (FLOW_NEW, ORIGINAL, "RS", Some(FLOW_CLOSING)),
        (FLOW_NEW, ORIGINAL, "A", INVALID),
        (FLOW_NEW, ORIGINAL, "SA", INVALID),
        (FLOW_NEW, ORIGINAL, "F", INVALID),
        (FLOW_NEW, ORIGINAL, "", INVALID),
        (FLOW_NEW, REPLY, "SA", Some(FLOW_REPLIED)),
        (FLOW_NEW, REPLY, "R", Some(FLOW_CLOSING)),
        (FLOW_NEW, REPLY, "RA", Some(FLOW_CLOSING)),
        (FLOW_NEW, REPLY, "S", INVALID),
        (FLOW_NEW, REPLY, "A", INVALID),
        (FLOW_NEW, REPLY, "SAF", INVALID),
        (FLOW_REPLIED, ORIGINAL, "S", Some(FLOW_REPLIED)),
        (FLOW_REPLIED, ORIGINAL, "R", Some(FLOW_CLOSING)),
        (FLOW_REPLIED, ORIGINAL, "SA", INVALID),
        (FLOW_REPLIED, ORIGINAL, "F", INVALID),
        (FLOW_REPLIED, REPLY, "SA", Some(FLOW_REPLIED)),
        (FLOW_REPLIED, REPLY, "RA", Some(FLOW_CLOSING)),
        (FLOW_REPLIED, REPLY, "A", INVALID),
        (FLOW_REPLIED, REPLY, "FA", INVALID),
        (FLOW_PROVEN, ORIGINAL, "", Some(FLOW_PROVEN)),
        (FLOW_PROVEN, ORIGINAL, "A", Some(FLOW_PROVEN)),
        (FLOW_PROVEN, ORIGINAL, "S", Some(FLOW_PROVEN)),
        (FLOW_PROVEN, ORIGINAL, "SA", Some(FLOW_PROVEN)),
        (FLOW_PROVEN, REPLY, "S", Some(FLOW_PROVEN)),
        (FLOW_PROVEN, REPLY, "FA", Some(FLOW_PROVEN)),
        (FLOW_CLOSING, ORIGINAL, "A", Some(FLOW_CLOSING)),
        (FLOW_CLOSING, ORIGINAL, "SA", Some(FLOW_CLOSING)),
        (FLOW_CLOSING, ORIGINAL, "R", Some(FLOW_CLOSING)),
        (FLOW_CLOSING, ORIGINAL, "S", Some(FLOW_NEW)),
        (FLOW_CLOSING, REPLY, "S", Some(FLOW_CLOSING)),
        (FLOW_CLOSING, REPLY, "", Some(FLOW_CLOSING)),
    ];
    for (before, original, flags, after) in rows {
        let mut world = flow_in(before);
        let met = send(&mut world, flags, original, 7, 7);
        assert_eq!(met, after, "{before} {flags} original: {original}");
        if after.is_none() {
            assert_eq!(state(&world), before, "an invalid packet changes nothing");
        }
    }
}

#[test]
fn only_the_acknowledgement_of_the_servers_own_number_proves() {
    for (flags, ack, expected) in [
        ("A", 501, Some(FLOW_PROVEN)),
        ("AF", 501, Some(FLOW_PROVEN)),
        ("A", 500, None),
        ("A", 502, None),
        ("RA", 501, Some(FLOW_CLOSING)),
        ("SA", 501, None),
    ] {
        let mut world = flow_in(FLOW_REPLIED);
        assert_eq!(send(&mut world, flags, true, 101, ack), expected, "{flags} {ack}");
    }
}

#[test]
fn a_later_syn_ack_renews_the_number_and_numbers_wrap() {
    let mut world = flow_in(FLOW_REPLIED);
    assert_eq!(send(&mut world, "SA", false, u32::MAX, 101), Some(FLOW_REPLIED));
    assert_eq!(send(&mut world, "A", true, 101, 501), None);
    assert_eq!(send(&mut world, "A", true, 101, 0), Some(FLOW_PROVEN));
}

#[test]
fn a_proven_flow_moves_with_both_entries_and_is_counted() {
    let mut world = flow_in(FLOW_REPLIED);
    assert_eq!(world.sizes(), (2, 0, 0));
    let run = world.run(&tcp_numbered("A", CLIENT, SERVER, 101, 501));
    assert_eq!(run.counted, [Reason::Proven]);
    assert_eq!((world.sizes(), world.state.proven[&0]), ((0, 0, 2), 1));
}

#[test]
fn a_fin_of_each_side_closes_in_either_order() {
    for (first, second) in [(true, false), (false, true)] {
        let mut world = flow_in(FLOW_PROVEN);
        assert_eq!(send(&mut world, "FA", first, 1, 1), Some(FLOW_PROVEN));
        assert_eq!(send(&mut world, "FA", first, 1, 1), Some(FLOW_PROVEN));
        assert_eq!(send(&mut world, "FA", second, 1, 1), Some(FLOW_CLOSING));
    }
    let mut world = flow_in(FLOW_REPLIED);
    assert_eq!(send(&mut world, "FA", true, 101, 501), Some(FLOW_PROVEN));
    assert_eq!(send(&mut world, "FA", false, 501, 102), Some(FLOW_CLOSING));
}

#[test]
fn a_reset_of_a_proven_flow_must_carry_what_the_other_side_acknowledged() {
    let mut world = flow_in(FLOW_PROVEN);
    // The client has acknowledged 501, the server 101.
    assert_eq!(send(&mut world, "R", false, 500, 0), Some(FLOW_PROVEN));
    assert_eq!(send(&mut world, "R", true, 501, 0), Some(FLOW_PROVEN));
    assert_eq!(send(&mut world, "R", false, 501, 0), Some(FLOW_CLOSING));
    let mut world = flow_in(FLOW_PROVEN);
    assert_eq!(send(&mut world, "RA", true, 101, 9), Some(FLOW_CLOSING));
    // An RST's own acknowledgement is not believed.
    let mut world = flow_in(FLOW_PROVEN);
    assert_eq!(send(&mut world, "RA", true, 0, 9), Some(FLOW_PROVEN));
    assert_eq!(send(&mut world, "R", false, 9, 0), Some(FLOW_PROVEN));
    assert_eq!(send(&mut world, "A", true, 0, 600), Some(FLOW_PROVEN));
    assert_eq!(send(&mut world, "R", false, 600, 0), Some(FLOW_CLOSING));
}

#[test]
fn a_flow_lives_as_long_as_either_direction_is_used() {
    let seconds = Duration::from_secs;
    let mut world = flow_in(FLOW_PROVEN);
    for _ in 0..3 {
        world.wait(seconds(9));
        assert_eq!(send(&mut world, "A", false, 1, 1), Some(FLOW_PROVEN));
    }
    world.wait(seconds(9));
    assert_eq!(send(&mut world, "A", true, 1, 1), Some(FLOW_PROVEN));
    world.wait(seconds(11));
    assert_eq!(send(&mut world, "A", true, 1, 1), None);
    assert_eq!(send(&mut world, "A", false, 1, 1), None);
}

#[test]
fn the_last_tick_of_a_timeout_is_still_alive() {
    let mut world = flow_in(FLOW_NEW);
    let ticks = entries(&world).0.timeout;
    assert_eq!(ticks, 2_000_000_000_u64.div_ceil(1 << 20) as u32);
    world.state.clock += u64::from(ticks) << 20;
    let look = PacketSpec { ttl: 9, ..tcp("A", CLIENT, SERVER) };
    assert_eq!(world.verdict(&look), Verdict::Pass);
    world.state.clock += 1 << 20;
    assert_eq!(world.verdict(&look), Verdict::Drop);
}

#[test]
fn half_open_closing_and_idle_times_follow_the_state() {
    let seconds = |timeout: u32| (u64::from(timeout) << 20).div_euclid(1_000_000_000);
    let times = [(FLOW_NEW, 2), (FLOW_REPLIED, 2), (FLOW_PROVEN, 10), (FLOW_CLOSING, 2)];
    for (state, expected) in times {
        assert_eq!(seconds(entries(&flow_in(state)).0.timeout), expected);
    }
}

#[test]
fn a_closing_flow_is_replaced_by_a_syn_and_leaves_the_count() {
    let mut world = flow_in(FLOW_CLOSING);
    assert_eq!((world.sizes(), world.state.proven[&0]), ((0, 0, 2), 1));
    assert_eq!(send(&mut world, "S", true, 900, 0), Some(FLOW_NEW));
    assert_eq!((world.sizes(), world.state.proven[&0]), ((2, 0, 0), 0));
    assert_eq!((entries(&world).0.fins, entries(&world).0.isn), (0, 0));
}

#[test]
fn an_expired_proven_flow_is_replaced_from_either_side() {
    for original in [true, false] {
        let mut world = flow_in(FLOW_PROVEN);
        world.wait(Duration::from_secs(11));
        assert_eq!(send(&mut world, "S", original, 900, 0), Some(FLOW_NEW));
        assert_eq!((world.sizes(), world.state.proven[&0]), ((2, 0, 0), 0));
        assert_eq!(entries(&world).0.dir, u8::from(!original));
    }
}

#[test]
fn full_counts_proven_flows_only_and_leaves_the_known_ones_alone() {
    let mut world = firewall(1);
    let open = |world: &mut World, client: &str| {
        assert_eq!(world.verdict(&tcp_numbered("S", client, SERVER, 1, 0)), Verdict::Forward);
        assert_eq!(world.verdict(&tcp_numbered("SA", SERVER, client, 500, 2)), Verdict::Forward);
    };
    open(&mut world, "192.0.2.1:1");
    open(&mut world, "192.0.2.2:1");
    let proves = |client| tcp_numbered("A", client, SERVER, 2, 501);
    assert_eq!(world.run(&proves("192.0.2.1:1")).counted, [Reason::Proven]);
    let run = world.run(&proves("192.0.2.2:1"));
    assert_eq!((run.verdict, run.counted), (Verdict::Forward, vec![Reason::ProvenFull]));
    let stayed = world.entry(&proves("192.0.2.2:1")).unwrap();
    assert_eq!((stayed.state, world.sizes()), (FLOW_PROVEN, (2, 0, 2)));

    // It goes on as a proven flow where it is, with the long idle time.
    world.wait(Duration::from_secs(9));
    assert_eq!(world.run(&proves("192.0.2.2:1")).counted, []);
    assert_eq!(world.verdict(&proves("192.0.2.1:1")), Verdict::Forward);

    // What is not known leaves by `full` (here: passed), whatever it is.
    for packet in
        [tcp("S", "192.0.2.3:1", SERVER), tcp("A", "192.0.2.3:1", SERVER), udp("192.0.2.3:1", SERVER)]
    {
        assert_eq!(world.verdict(&packet), Verdict::Pass);
    }
}

#[test]
fn other_protocols_are_answered_or_not() {
    let mut world = firewall(10);
    let (there, back) = (udp(CLIENT, SERVER), udp(SERVER, CLIENT));
    assert_eq!(world.verdict(&there), Verdict::Forward);
    assert_eq!(world.verdict(&there), Verdict::Forward);
    assert_eq!((world.sizes(), world.entry(&there).unwrap().state), ((2, 0, 0), FLOW_NEW));
    assert_eq!(world.verdict(&back), Verdict::Forward);
    assert_eq!((world.sizes(), world.entry(&there).unwrap().state), ((0, 2, 0), FLOW_REPLIED));
    assert_eq!(world.verdict(&there), Verdict::Forward);
    assert_eq!(world.sizes(), (0, 2, 0));
    world.wait(Duration::from_secs(5));
    assert_eq!(world.verdict(&back), Verdict::Forward);
    assert_eq!((world.sizes(), world.entry(&back).unwrap().dir), ((2, 0, 0), 0));

    let (request, reply) = (icmp(8, "192.0.2.9", "192.0.2.1"), icmp(0, "192.0.2.1", "192.0.2.9"));
    assert_eq!(world.verdict(&request), Verdict::Forward);
    assert_eq!(world.verdict(&reply), Verdict::Forward);
    assert_eq!((world.sizes(), world.entry(&request).unwrap().state), ((2, 2, 0), FLOW_REPLIED));
}

#[test]
fn flow_in_sees_live_flows_of_its_tracker_in_both_directions() {
    let mut world = World::new(
        "track one { idle 10s; max 9 }
track two { idle 10s; max 9 }
policy p { default drop } = match {
  flow in one -> pass
  udp.dport == 1 -> track one -> forward
  else -> track two -> forward
}",
    );
    let (there, back) = (udp("192.0.2.9:9", "192.0.2.1:1"), udp("192.0.2.1:1", "192.0.2.9:9"));
    assert_eq!(world.verdict(&there), Verdict::Forward);
    assert_eq!((world.verdict(&there), world.verdict(&back)), (Verdict::Pass, Verdict::Pass));
    let other = udp("192.0.2.9:9", "192.0.2.1:2");
    assert_eq!((world.verdict(&other), world.verdict(&other)), (Verdict::Forward, Verdict::Forward));
    world.wait(Duration::from_secs(11));
    assert_eq!(world.verdict(&there), Verdict::Forward);
}

#[test]
fn a_packet_to_itself_makes_no_flow() {
    let mut world = firewall(10);
    let run = world.run(&udp(CLIENT, CLIENT));
    assert_eq!((run.verdict, run.reason), (Verdict::Drop, Some(Reason::PortRace)));
    assert_eq!(world.sizes(), (0, 0, 0));
}

#[test]
fn a_fragment_cannot_be_tracked() {
    let mut world = World::new(
        "track flows { idle 10s; max 9 }
policy p { default drop; fragments match } = track flows (invalid -> pass) -> forward",
    );
    for frag in [1, 2] {
        let packet = PacketSpec { frag, ..udp(CLIENT, SERVER) };
        assert_eq!(world.reason(&packet), Some(Reason::Untranslatable));
    }
}
