//! `map` with its exits, and `sni` in guards, also under `flow in T`.

use super::*;

fn world(mapper: &str) -> World {
    World::new(&format!(
        "mapper names {{ reads dtls; {mapper} }}
track flows {{ idle 20s; max 100 }}
pool one {{ pick random; via nat; backend o1 10.0.0.1:5684 }}
pool two {{ pick random; via nat; backend t1 10.0.0.2:5684 }}
policy p {{ default drop }} = match {{
  src in one or src in two -> translate back -> forward
  flow in flows and sni == \"known.example\" and ttl == 9 -> pass
  else -> map names (missing -> count missing -> drop, invalid -> count invalid -> drop, full -> count full -> drop) -> match {{
    sni == \"known.example\" or sni in \"*.one.example\" -> track flows -> translate one -> forward
    sni == \"two.example\" -> track flows -> translate two -> forward
    else -> drop
  }}
}}"
    ))
}

fn hello(name: &str, port: u16) -> PacketSpec {
    PacketSpec { sni: Some(name.to_owned()), ..udp(&format!("192.0.2.9:{port}"), "203.0.113.1:5684") }
}

fn later(port: u16) -> PacketSpec {
    PacketSpec { payload: vec![23, 0xfe, 0xfd], ..udp(&format!("192.0.2.9:{port}"), "203.0.113.1:5684") }
}

/// The pool, or the exit that `map` was left by.
fn met(world: &mut World, spec: &PacketSpec) -> String {
    let run = world.run(spec);
    let exit = run.path.iter().find_map(|step| match step.kind {
        StepKind::Stage { exit } if step.text == "map names" => exit,
        _ => None,
    });
    match (run.verdict, exit, run.sent) {
        (Verdict::Forward, None, Some(sent)) => world.policy.pools[sent.pool as usize].name.clone(),
        (_, Some(exit), _) => exit.to_owned(),
        (verdict, _, _) => format!("{verdict:?}"),
    }
}

#[test]
fn a_flow_goes_where_its_hello_asked_and_its_later_packets_too() {
    let mut world = world("max 100; idle 5s; wait 1s");
    for (name, port, pool) in [
        ("known.example", 1, "one"),
        ("Two.Example", 2, "two"),
        ("a.one.example", 3, "one"),
        ("b.a.one.example", 4, "one"),
        ("one.example", 5, "Drop"),
        ("xone.example", 6, "Drop"),
    ] {
        assert_eq!(met(&mut world, &hello(name, port)), pool, "{name}");
    }
    assert_eq!(met(&mut world, &later(2)), "two");
    assert_eq!(met(&mut world, &later(7)), "missing");
    // Nobody knows the name of what was never forwarded.
    assert_eq!(met(&mut world, &later(5)), "missing");
    let known = PacketSpec { ttl: 9, ..later(1) };
    assert_eq!(world.verdict(&known), Verdict::Pass);
    assert_eq!(world.verdict(&PacketSpec { ttl: 9, ..later(2) }), Verdict::Forward);
}

#[test]
fn a_name_is_known_until_the_flow_is_idle_in_both_directions() {
    let mut world = world("max 100; idle 5s; wait 1s");
    assert_eq!(met(&mut world, &hello("two.example", 1)), "two");
    world.wait(Duration::from_secs(4));
    assert_eq!(world.verdict(&udp("10.0.0.2:5684", "192.0.2.9:1")), Verdict::Forward);
    world.wait(Duration::from_secs(4));
    assert_eq!(met(&mut world, &later(1)), "two");
    world.wait(Duration::from_millis(5_001));
    assert_eq!(met(&mut world, &later(1)), "missing");
}

#[test]
fn exits_tell_no_hello_from_a_broken_one_and_from_one_too_many() {
    let mut world = world("max 2; idle 5s; wait 1s");
    assert_eq!(met(&mut world, &udp("192.0.2.9:1", "203.0.113.1:5684")), "missing");
    assert_eq!(met(&mut world, &tcp("S", "192.0.2.9:1", "203.0.113.1:5684")), "missing");
    assert_eq!(met(&mut world, &hello("a b", 1)), "invalid");
    assert_eq!(met(&mut world, &hello("two.example", 1)), "two");
    assert_eq!(met(&mut world, &hello("two.example", 2)), "two");
    assert_eq!(met(&mut world, &hello("two.example", 3)), "full");
    assert_eq!(met(&mut world, &hello("two.example", 2)), "two");
    world.wait(Duration::from_secs(6));
    assert_eq!(met(&mut world, &hello("two.example", 3)), "two");
}

#[test]
fn a_hello_in_parts_is_held_until_it_is_whole_and_no_longer_than_is_waited() {
    let mut world = world("max 1; idle 5s; wait 1s");
    let whole = crate::packet::hello("two.example");
    // The same hello in two records, each in a datagram of its own.
    let (header, body) = (&whole[..25], &whole[25..]);
    let part = |from: usize, to: usize| {
        let mut record = header.to_vec();
        let length = (12 + to - from) as u16;
        record[11..13].copy_from_slice(&length.to_be_bytes());
        record[19..22].copy_from_slice(&(from as u32).to_be_bytes()[1..]);
        record[22..25].copy_from_slice(&((to - from) as u32).to_be_bytes()[1..]);
        record.extend(&body[from..to]);
        PacketSpec { payload: record, ..later(1) }
    };
    let (first, second) = (part(0, 30), part(30, body.len()));
    assert_eq!(met(&mut world, &first), "Held");
    // So is what comes behind it, whatever it is.
    assert_eq!(met(&mut world, &later(1)), "Held");
    assert_eq!(met(&mut world, &hello("two.example", 2)), "full");
    assert_eq!(met(&mut world, &second), "two");
    assert_eq!(met(&mut world, &later(1)), "two");

    world.wait(Duration::from_secs(6));
    assert_eq!(met(&mut world, &first), "Held");
    world.wait(Duration::from_millis(1_001));
    assert_eq!(met(&mut world, &second), "Held");
    assert_eq!(met(&mut world, &first), "two");
}
