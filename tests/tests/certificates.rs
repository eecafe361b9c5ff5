//! Owns certificates end to end: an agent that really verifies, clients that really sign, and agents that are killed. Never
//! a verdict by hand, nor floods (`verify_flood`).

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ebpf_runtime::lab::{HOST_DEVICE, Server};
use lb_abi::maps::PUNT_FRAME;
use lb_abi::trailer::TRAILER_BYTES;
use lb_tests::balancer::addresses;
use lb_tests::certified::{PORT, asks, balancer, balancer_with, client, policy, service};
use lb_tests::signer::Signer;
use lb_tests::sockets::WAIT;

const SOON: Duration = Duration::from_millis(500);
/// The most that a veth takes whose other end has a program of XDP in its driver.
const JUMBO: u32 = 3_506;

#[test]
fn who_signs_is_served_and_nobody_else() {
    let (honest, stranger) = (Signer::new(0, 1), Signer::new(0, 2));
    for settings in ["verify every packet; replay 30s", "verify once per session; replay 30s"] {
        let (balancer, servers) = balancer(&policy(&[&honest], settings));
        let host = &balancer.lab.clients[0].namespace;
        for vip in addresses("203.0.113.10 2001:db8:f::10") {
            let service = SocketAddr::new(vip, PORT);
            let socket = client(host, service, WAIT);
            // Equal texts have equal signatures.
            let text = |number: u8| [u8::from(vip.is_ipv4()), number];
            for number in 0..20u8 {
                assert!(asks(&socket, &honest.sign(&text(number))), "{settings}: packet {number} to {vip}");
            }
            let other = client(host, service, SOON);
            assert!(!asks(&other, b"no trailer"));
            assert!(!asks(&other, &stranger.sign(b"another's key")));
            // Another's key under the honest hash: the fault that let any signer take any session.
            let mut stolen = stranger.sign(b"a stolen hash");
            let at = stolen.len() - 100;
            stolen[at..at + 32].copy_from_slice(&honest.hash);
            assert!(!asks(&other, &stolen));
            let mut changed = honest.sign(b"changed on its way");
            changed[0] ^= 1;
            assert!(!asks(&other, &changed));
            let mut in_the_middle = honest.sign(b"");
            in_the_middle.push(0);
            assert!(!asks(&other, &in_the_middle));
            // Seen a moment ago, from elsewhere.
            assert!(!asks(&other, &honest.sign(&text(0))));
        }
        assert_eq!(balancer.tally("replayed"), 2 + 2, "exit and counter");
        assert!(balancer.tally("forged") >= 6 && balancer.tally("unsigned") >= 4);
        // One certificate, one backend, from both families' sockets: of each family one server saw all.
        for family in servers.chunks(2) {
            let mut seen: Vec<u64> = family.iter().map(Server::seen).collect();
            seen.sort_unstable();
            assert_eq!(seen, [0, 20], "{settings}");
        }
    }
}

/// Every packet is one for the agent, which takes it from a socket and not from the ring buffer.
#[test]
fn packets_come_by_sockets_too() {
    let signer = Signer::new(0, 1);
    let (balancer, _servers) =
        balancer_with(&policy(&[&signer], "verify every packet; replay 30s"), &["--af-xdp"]);
    let socket = client(&balancer.lab.clients[0].namespace, service(), WAIT);
    for number in 0..50u8 {
        assert!(asks(&socket, &signer.sign(&[number])), "packet {number}: {}", balancer.agent_log());
    }
    let mut forged = signer.sign(b"forged");
    forged[0] ^= 1;
    assert!(!asks(&client(&balancer.lab.clients[0].namespace, service(), SOON), &forged));
    assert_eq!(balancer.reason("signatures to check"), 51);
}

/// What does not fit the record is dropped and counted as that; the longest that does is served, and so are all others.
#[test]
fn a_frame_too_long_to_be_handed_over_disturbs_nobody() {
    let (known, other) = (Signer::new(0, 1), Signer::new(1, 2));
    // A driver gives XDP no frame that is much longer than the record; the network stack does.
    let policy = policy(&[&known, &other], "verify once per session; replay 30s");
    let (balancer, servers) = balancer_with(&policy, &["--mode", "generic"]);
    let lab = &balancer.lab;
    for host in lab.clients.iter().chain(&lab.backends) {
        lab.balancer.mtu(&host.by, JUMBO).unwrap();
        // A device takes four bytes more than its MTU, those of a VLAN tag.
        host.namespace.mtu(HOST_DEVICE, JUMBO + 4).unwrap();
    }
    let host = &lab.clients[0].namespace;
    // Of an Ethernet frame over IPv4, in front of the payload.
    let payload = |signer: &Signer, frame: usize| signer.sign(&vec![7; frame - 42 - TRAILER_BYTES]);
    let session = client(host, service(), WAIT);
    assert!(asks(&session, &known.sign(b"before")));
    let long = client(host, service(), SOON);
    for more in 1..=3 {
        assert!(!asks(&long, &payload(&other, PUNT_FRAME + more)), "{more} bytes more");
        assert!(asks(&session, &known.sign(&[more as u8])), "a session next to it");
    }
    assert_eq!(balancer.reason("too long to verify"), 3);
    assert_eq!(servers.iter().map(Server::seen).sum::<u64>(), 4);
    let long = client(host, service(), WAIT);
    assert!(asks(&long, &payload(&other, PUNT_FRAME)), "{}", balancer.agent_log());
    // In session nothing is handed over, once the agent has noted that the packet before is on its way.
    std::thread::sleep(Duration::from_millis(100));
    assert!(asks(&long, &payload(&other, PUNT_FRAME + 1)), "in session");
    assert_eq!(balancer.reason("too long to verify"), 3);
    let slow = &balancer.status()["slow_path"];
    assert_eq!((&slow["accepted"], &slow["invalid"]), (&2.into(), &0.into()), "{slow}");
}

/// Established sessions go on without an agent; new ones wait, and are served when it returns.
#[test]
fn a_killed_agent_costs_no_session() {
    let (known, new) = (Signer::new(0, 1), Signer::new(1, 2));
    let (mut balancer, _servers) = balancer(&policy(&[&known, &new], "verify once per session"));
    let old = client(&balancer.lab.clients[0].namespace, service(), Duration::from_secs(2));
    assert!((0..10).any(|_| asks(&old, &known.sign(b"before"))));
    balancer.kill_agent();
    // It may have died between sending the packet on and noting so: then the flow waits for it, a second at most.
    assert!((0..10).any(|_| asks(&old, &known.sign(b"soon after"))));
    for number in 0..50u8 {
        assert!(asks(&old, &known.sign(&[number])), "packet {number} without an agent");
    }
    let waiting = client(&balancer.lab.clients[0].namespace, service(), WAIT);
    let payload = new.sign(b"is anybody there?");
    for number in 0u8.. {
        let began = Instant::now();
        waiting.send(&payload).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        balancer.start_agent();
        // What has waited for two seconds is dropped: where all is that slow, once more.
        if began.elapsed() < Duration::from_millis(1_500) || number == 9 {
            break;
        }
        balancer.kill_agent();
    }
    let mut back = [0; 2_048];
    let length = waiting.recv(&mut back).expect("what waited is served");
    assert_eq!(back[..length], payload);
    assert!(asks(&waiting, &new.sign(b"and on")));
    assert!(asks(&old, &known.sign(b"after")));
}

/// Killed again and again in the midst of new sessions: whoever asks again is served soon after the agent's return.
#[test]
fn an_agent_killed_in_the_midst_loses_nobody_for_long() {
    let signers: Vec<Signer> = (0..32).map(|number| Signer::new(number, number + 1)).collect();
    let (mut balancer, _servers) =
        balancer(&policy(&signers.iter().collect::<Vec<_>>(), "verify once per session; replay 60s"));
    let mut sessions: Vec<(usize, UdpSocket)> = Vec::new();
    for round in 0..8 {
        let host = &balancer.lab.clients[0].namespace;
        let sockets: Vec<_> = (4 * round..4 * round + 4)
            .map(|who| (who, client(host, service(), Duration::from_secs(1))))
            .collect();
        for (who, socket) in &sockets {
            socket.send(&signers[*who].sign(b"first")).unwrap();
        }
        balancer.kill_agent();
        for (who, socket) in &sessions {
            // As above: the last one's may wait for a second.
            let goes_on = (0..3u8).any(|try_| asks(socket, &signers[*who].sign(&[round as u8, try_])));
            assert!(goes_on, "session {who} in round {round}");
        }
        balancer.start_agent();
        for (who, socket) in sockets {
            let served = (0..20u8).any(|try_| asks(&socket, &signers[who].sign(&[0xff, try_])));
            assert!(served, "client {who} in round {round}: {}", balancer.agent_log());
            socket.set_nonblocking(true).unwrap();
            while socket.recv(&mut [0; 2_048]).is_ok() {}
            socket.set_nonblocking(false).unwrap();
            sessions.push((who, socket));
        }
    }
}
