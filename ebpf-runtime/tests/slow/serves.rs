//! What clients see: who signs is served, by either carrier, in order, and nobody else.

use std::net::SocketAddr;
use std::time::Duration;

use ebpf_runtime::lab::{HOST_DEVICE, Server};
use lb_abi::image::{VERIFY_EXPIRED, VERIFY_INVALID, VERIFY_MISSING, VERIFY_REPLAYED, VERIFY_REVOKED};

use crate::world::{By, PORT, Setting, Signs, VIP, World, eventually};

/// The first packet of a flow goes through the agent, and what comes after it does not.
fn a_signed_datagram_is_answered(by: By) {
    let (world, agent) = World::serving(by, &Setting::new());
    let signs = Signs::number(1);
    let client = world.client(0, 5_000);
    for round in 0..5u8 {
        assert!(client.is_served(&signs.sign(&[round; 10])), "round {round}: {:?}", world.status());
    }
    // An answer may be back before the agent has noted that its packet is on its way; then the next one waits for it, and
    // is counted later.
    let handed_over = 1 + world.reason("kept in order");
    assert!(eventually(|| world.slow().sent == handed_over), "{:?}", world.slow());
    std::thread::sleep(Duration::from_millis(50));
    let slow = world.slow();
    assert_eq!((slow.accepted, slow.faults, slow.sessions_begun), (1, 0, 1), "{slow:?}");
    assert_eq!(slow.sent, 1 + slow.in_order, "{slow:?}");
    assert_eq!(slow.by_socket, if by == By::Sockets { slow.sent } else { 0 });
    assert!(client.is_served(&signs.sign(b"later")));
    assert_eq!(world.slow().sent, slow.sent);
    assert_eq!(world.reason("signatures to check"), 1);
    // From another address it is checked again, and goes to the same backend.
    assert!(world.client(1, 6_000).is_served(&signs.sign(b"elsewhere")));
    let got = world.got.lock().unwrap().clone();
    assert!(got.iter().all(|(backend, _)| *backend == got[0].0), "{got:?}");
    assert_eq!(world.slow().sessions_begun, 1);
    agent.stop();
    assert!(client.is_served(&signs.sign(b"known")), "without an agent");
    assert!(world.status().devices.iter().all(|device| device.problem.is_none()));
}

#[test]
fn a_signed_datagram_is_answered_by_the_ring_buffer() {
    a_signed_datagram_is_answered(By::Ring);
}

#[test]
fn a_signed_datagram_is_answered_by_sockets() {
    a_signed_datagram_is_answered(By::Sockets);
}

#[test]
fn what_passes_is_given_to_this_host() {
    let (world, agent) = World::serving(By::Ring, &Setting { passes: true, ..Setting::new() });
    let here = SocketAddr::new(VIP.into(), PORT);
    let server = Server::udp_echo(&world.lab.balancer, here).unwrap();
    let client = world.client(0, 5_000);
    for round in 0..5u8 {
        assert!(client.is_served(&Signs::number(1).sign(&[round])), "round {round}: {:?}", world.status());
    }
    assert_eq!(server.seen(), 5);
    let slow = || world.slow();
    assert!(eventually(|| slow().passed == slow().accepted + slow().in_order));
    assert_eq!((slow().sent, slow().faults), (0, 0));
    agent.stop();
}

/// A veth whose peer runs no program takes no redirected frame (drivers/net/veth.c, `veth_xdp_xmit`).
#[test]
fn a_device_that_takes_no_redirected_frames_is_served_by_packet_sockets() {
    let (world, agent) = World::serving(By::Ring, &Setting { flags: 0, ..Setting::new() });
    let client = world.client(0, 5_000);
    assert!(client.is_served(&Signs::number(1).sign(b"taken")));
    for backend in &world.lab.backends {
        backend.namespace.detach(HOST_DEVICE).unwrap();
    }
    // Whether a device takes them is asked once a second.
    std::thread::sleep(Duration::from_millis(1_100));
    for round in 0..20u8 {
        assert!(client.is_served(&Signs::number(1).sign(&[round])), "round {round}: {:?}", world.status());
    }
    assert!(eventually(|| world.slow().sent == 21), "{:?}", world.slow());
    agent.stop();
}

#[test]
fn nobody_else_is_served() {
    let revoked = lb_abi::bundle::Certificate { revoked: true, ..Signs::number(2).certificate() };
    let expired = lb_abi::bundle::Certificate { valid: Some((0, 1_000)), ..Signs::number(3).certificate() };
    let setting = Setting {
        certificates: vec![Signs::number(1).certificate(), revoked, expired],
        replay: Some(60_000_000_000),
        ..Setting::new()
    };
    let (world, agent) = World::serving(By::Ring, &setting);
    let [one, two, three] = [1, 2, 3].map(Signs::number);
    assert!(world.client(0, 5_000).is_ignored(b"no trailer"));
    assert!(world.client(0, 5_001).is_ignored(&one.claim(b"forged", &two)));
    assert!(world.client(0, 5_002).is_ignored(&two.sign(b"revoked")));
    assert!(world.client(0, 5_003).is_ignored(&three.sign(b"expired")));
    let good = one.sign(b"once");
    assert!(world.client(0, 5_004).is_served(&good));
    assert!(world.client(0, 5_005).is_ignored(&good));
    // New devices say this and that of themselves over IPv6, which has no trailer either.
    assert!(world.exit(VERIFY_MISSING) >= 1);
    let exits = [VERIFY_INVALID, VERIFY_REVOKED, VERIFY_EXPIRED, VERIFY_REPLAYED];
    assert_eq!(exits.map(|exit| world.exit(exit)), [1; 4], "{:?}", world.status());
    let slow = world.slow();
    assert_eq!((slow.accepted, slow.invalid, slow.replayed, slow.sent), (1, 1, 1, 1));
    agent.stop();
    // The next agent remembers what this one had accepted.
    let agent = crate::world::Agent::start(&world);
    assert!(world.client(0, 5_006).is_ignored(&good));
    assert_eq!(world.slow().replayed, 2);
    agent.stop();
}

/// Only the first packets of a flow are slow, and none of those behind them overtakes.
fn a_flow_keeps_its_order(by: By) {
    let (world, agent) = World::serving(by, &Setting::new());
    let signs = Signs::number(1);
    let datagrams: Vec<Vec<u8>> = (0..100u16).map(|number| signs.sign(&number.to_be_bytes())).collect();
    for port in 5_000..5_010 {
        let client = world.client(0, port);
        world.got.lock().unwrap().clear();
        for datagram in &datagrams {
            client.send(datagram);
        }
        let all = || world.got.lock().unwrap().len() == datagrams.len();
        assert!(eventually(all), "{} {:?}", world.got.lock().unwrap().len(), world.slow());
        let got = world.got.lock().unwrap().clone();
        assert!(got.iter().map(|(_, datagram)| datagram).eq(&datagrams), "out of order");
    }
    let slow = world.slow();
    assert_eq!((slow.queue_full, slow.too_old, slow.faults), (0, 0, 0));
    agent.stop();
}

#[test]
fn a_flow_keeps_its_order_by_the_ring_buffer() {
    a_flow_keeps_its_order(By::Ring);
}

#[test]
fn a_flow_keeps_its_order_by_sockets() {
    a_flow_keeps_its_order(By::Sockets);
}

#[test]
fn sessions_are_listed_dropped_and_revoked() {
    let (world, agent) = World::serving(By::Ring, &Setting::new());
    let [one, two] = [1, 2].map(Signs::number);
    let clients = [world.client(0, 5_000), world.client(1, 5_001), world.client(1, 5_002)];
    for round in 0..3u8 {
        assert!(clients[0].is_served(&one.sign(&[round])));
        assert!(clients[1].is_served(&one.sign(&[round; 2])));
        assert!(clients[2].is_served(&two.sign(&[round; 3])));
    }
    let listed = world.sessions();
    assert_eq!(listed.len(), 2);
    let first = &listed[0];
    let hex = |signs: &Signs| signs.hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((first.certificate.as_str(), first.id, first.name.as_str()), (&*hex(&one), 1, "device 1"));
    let clients_of: Vec<String> = first.clients.iter().map(ToString::to_string).collect();
    assert_eq!(clients_of, ["192.0.2.1:5000", "192.0.2.2:5001"]);
    assert_eq!((first.flows, first.packets, first.backends.len()), (2, 12, 1), "{first:?}");
    assert!(first.age < 60.0 && first.idle < 5.0, "{first:?}");
    // A session that begins later counts from there.
    assert_eq!(listed[1].packets, 6);
    let status = world.status();
    let connections: u64 = status.pools[0].backends.iter().filter_map(|backend| backend.connections).sum();
    let requests: u64 = status.pools[0].backends.iter().map(|backend| backend.requests).sum();
    assert_eq!((connections, requests, status.trackers[0].flows), (3, 9, 3), "{status:?}");

    let dropped = world.instance(|instance| instance.drop_session(&hex(&one)[..8]).unwrap());
    assert_eq!((dropped.certificate, dropped.sessions, dropped.flows), (hex(&one), 1, 2));
    assert_eq!(world.sessions().len(), 1);
    assert_eq!(world.status().trackers[0].flows, 1);
    let before = world.slow().accepted;
    assert!(clients[0].is_served(&one.sign(b"again")), "it may come again");
    assert_eq!(world.slow().accepted, before + 1, "and is checked again");
    assert_eq!(world.sessions()[0].packets, 2);

    let gone = world.instance(|instance| instance.revoke(&hex(&two)).unwrap());
    assert_eq!((gone.sessions, gone.flows), (1, 1));
    assert!(clients[2].is_ignored(&two.sign(b"no more")));
    assert!(clients[0].is_served(&one.sign(b"others go on")));
    let error = world.instance(|instance| instance.drop_session("ffff").unwrap_err());
    assert!(matches!(error, ebpf_runtime::Error::NoCertificate(_)), "{error}");
    agent.stop();
}
