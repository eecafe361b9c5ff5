use super::*;

fn pool(settings: &str) -> World {
    World::new(&format!(
        "track flows {{ idle tcp 10s, udp 4s; half_open 2s; max 1_000 }}
pool app {{ via nat; {settings} }}
policy p {{ default drop }} = match {{
  src in app -> translate back -> forward
  else -> track flows -> translate app (empty -> pass, ports -> count none -> pass) -> forward
}}"
    ))
}

fn client(number: usize) -> PacketSpec {
    udp(&format!("192.0.2.{}:4000", number % 250 + 1), &format!("203.0.113.1:{}", 100 + number / 250))
}

/// Backends of the first `count` clients, by the last number of their addresses.
fn chosen(world: &mut World, count: usize) -> Vec<u8> {
    let backend = |world: &mut World, number| match world.leaves(&client(number)).1.ip() {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(v6) => v6.octets()[15],
    };
    (0..count).map(|number| backend(world, number)).collect()
}

fn exit_of(world: &mut World, packet: &PacketSpec) -> Option<&'static str> {
    let path = world.run(packet).path;
    path.iter().rev().find_map(|step| match step.kind {
        StepKind::Stage { exit: Some(exit) } => Some(exit),
        _ => None,
    })
}

#[test]
fn source_ports_start_at_the_first_and_are_used_again_once_free() {
    let mut world = pool("pick random; source 10.0.0.5, 10.0.0.6; ports 1000-1001; backend a 10.0.1.1:8080");
    let expected = ["10.0.0.5:1000", "10.0.0.5:1001", "10.0.0.6:1000", "10.0.0.6:1001"];
    for (number, source) in expected.iter().enumerate() {
        assert_eq!(world.leaves(&client(number)).0, source.parse().unwrap());
    }
    assert_eq!(exit_of(&mut world, &client(4)), Some("ports"));
    assert_eq!((world.sizes(), world.state.pools[&0].port), ((8, 0, 0), 8));
    world.wait(Duration::from_secs(5));
    assert_eq!(world.leaves(&client(4)).0, "10.0.0.5:1000".parse().unwrap());
    assert_eq!(world.sizes(), (8, 0, 0));
}

#[test]
fn a_source_port_is_used_again_towards_another_backend() {
    let mut world = pool(
        "pick round-robin; source 10.0.0.5; ports 1000-1000; backend a 10.0.1.1:8080; backend b 10.0.1.2:8080",
    );
    assert_eq!(world.leaves(&client(0)), ends("10.0.0.5:1000", "10.0.1.1:8080"));
    assert_eq!(world.leaves(&client(1)), ends("10.0.0.5:1000", "10.0.1.2:8080"));
    assert_eq!(exit_of(&mut world, &client(2)), Some("ports"));
}

#[test]
fn sixteen_ports_are_tried_and_no_more() {
    let mut world = pool("pick random; source 10.0.0.5; ports 1000-1039; backend a 10.0.1.1:8080");
    for number in 0..20 {
        world.leaves(&client(number));
    }
    world.state.pools.get_mut(&0).unwrap().port = 0;
    assert_eq!(exit_of(&mut world, &client(20)), Some("ports"));
    assert_eq!(world.state.pools[&0].port, 16);
    assert_eq!(world.leaves(&client(20)).0, "10.0.0.5:1020".parse().unwrap());
}

#[test]
fn a_seed_draws_first_the_slot_and_then_the_port() {
    let mut world = pool(
        "pick random; source 10.0.0.5; ports 1000-1099; backend a 10.0.1.1:8080; backend b 10.0.1.2:8080",
    );
    world.state.seed = 11;
    for number in 0..10 {
        let (slot, start) = (lb_abi::hash::draw(11, 2 * number), lb_abi::hash::draw(11, 2 * number + 1));
        let port = 1000 + (u64::from(start) + number) % 100;
        let (src, dst) = world.leaves(&client(number as usize));
        assert_eq!(src.port(), port as u16);
        assert_eq!(dst.to_string(), if slot % 2 == 0 { "10.0.1.1:8080" } else { "10.0.1.2:8080" });
    }
    assert_eq!(world.state.draws, 20);
}

#[test]
fn round_robin_follows_the_weights() {
    let mut world = pool(
        "pick round-robin; source 10.0.0.5; ports 1000-1999
  backend a 10.0.1.1:80 weight 2
  backend b 10.0.1.2:80 weight 4",
    );
    assert_eq!(chosen(&mut world, 6), [2, 1, 2, 2, 1, 2]);
}

#[test]
fn a_draining_backend_keeps_its_flows_and_takes_no_new_one() {
    let settings = |drain| {
        format!(
            "pick round-robin; source 10.0.0.5; ports 1000-1999
  backend a 10.0.1.1:80{drain}
  backend b 10.0.1.2:80"
        )
    };
    let mut world = pool(&settings(""));
    assert_eq!(chosen(&mut world, 4), [1, 2, 1, 2]);
    world.policy = pool(&settings(" drain")).policy;
    assert_eq!(chosen(&mut world, 8), [1, 2, 1, 2, 2, 2, 2, 2]);
}

#[test]
fn maglev_by_flow_and_pick_source_hold_on_to_what_they_hash() {
    let backends = "source 10.0.0.5; ports 1000-60000
  backend a 10.0.1.1:80
  backend b 10.0.1.2:80
  backend c 10.0.1.3:80";
    let mut by_flow = pool(&format!("pick maglev 4_099 by flow; {backends}"));
    let mut by_source = pool(&format!("pick source; {backends}"));
    let (mut flows, mut sources) = ([0; 4], [0; 4]);
    for port in 1..300 {
        let packet = udp(&format!("192.0.2.9:{port}"), "203.0.113.1:80");
        let last = |addr: SocketAddr| addr.to_string().as_bytes()[7] - b'0';
        flows[usize::from(last(by_flow.leaves(&packet).1))] += 1;
        if port < 10 {
            sources[usize::from(last(by_source.leaves(&packet).1))] += 1;
        }
    }
    assert!(flows[1..].iter().all(|&count| (60..140).contains(&count)), "{flows:?}");
    assert_eq!(sources.iter().filter(|&&count| count > 0).count(), 1);
}

#[test]
fn a_pool_has_nothing_for_a_family_without_backends_and_absent_slots_are_empty() {
    let mut world = pool("pick round-robin; source 10.0.0.5; ports 1000-1999; backend a 10.0.1.1:80");
    assert_eq!(exit_of(&mut world, &udp("[2001:db8::9]:1", "[2001:db8::1]:2")), Some("empty"));
    assert_eq!((world.state.draws, world.state.pools.is_empty()), (0, true));
    world.state.absent.insert(0);
    assert_eq!(exit_of(&mut world, &client(0)), Some("empty"));
    assert_eq!(world.sizes(), (0, 0, 0));
}

#[test]
fn what_is_gone_or_full_is_passed_over_for_the_next_one_written() {
    for pick in ["round-robin", "random", "source", "maglev 307 by flow"] {
        let mut world = pool(&format!(
            "pick {pick}
  backend a 10.0.1.1:80 weight 5 max_conn 1
  backend b 10.0.1.2:80 max_conn 2
  backend c 10.0.1.3:80 max_conn 3"
        ));
        let mut all = chosen(&mut world, 6);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 2, 3, 3, 3], "{pick}");
        assert_eq!(exit_of(&mut world, &client(6)), Some("empty"), "{pick}");
        // Their own packets still get there.
        chosen(&mut world, 6);
    }
    // The slots are a, b, a, c, a, and b stands behind a in the text.
    let mut world = pool(
        "pick round-robin
  backend a 10.0.1.1:80 weight 3
  backend b 10.0.1.2:80
  backend c 10.0.1.3:80",
    );
    world.state.absent.insert(0);
    assert_eq!(chosen(&mut world, 5), [2, 2, 2, 3, 2]);
    world.state.absent = [0, 2].into();
    assert_eq!(chosen(&mut world, 1), [2]);
    world.state.absent = [0, 1].into();
    assert_eq!(exit_of(&mut world, &client(9)), None);
    world.state.absent = [0, 1, 2].into();
    assert_eq!(exit_of(&mut world, &client(10)), Some("empty"));
}

#[test]
fn a_backend_without_a_port_keeps_the_packets() {
    let mut world = pool("pick random; source 10.0.0.5; ports 1000-1999; backend a 10.0.1.1");
    assert_eq!(world.leaves(&udp("192.0.2.9:1", "203.0.113.1:5353")).1, "10.0.1.1:5353".parse().unwrap());
}
