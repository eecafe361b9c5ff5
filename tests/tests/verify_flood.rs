//! Owns a flood of bad signatures in front of an agent that really verifies. Never its speed: `benches/verify_flood.rs` has
//! that.

use std::time::{Duration, Instant};

use lb_tests::certified::{PORT, asks, balancer, client, policy, service};
use lb_tests::flood::{self, Flood};
use lb_tests::signer::Signer;
use lb_tests::sockets::WAIT;

/// While forged signatures come as fast as they can be sent, from sources without end, a session goes on undisturbed and a
/// new client that asks ten times a second is served: at once where the agent has a CPU, within seconds where it shares
/// one with others whose work is more urgent.
#[test]
fn a_flood_of_bad_signatures_keeps_nobody_out() {
    let (known, new) = (Signer::new(0, 1), Signer::new(1, 2));
    let (balancer, _servers) = balancer(&policy(&[&known, &new], "verify once per session"));
    let host = &balancer.lab.clients[0].namespace;
    let old = client(host, service(), Duration::from_secs(1));
    assert!(asks(&old, &known.sign(b"before")));
    let mut forged = new.sign(b"flood");
    let at = forged.len() - 20;
    forged[at] ^= 1;
    let flood = Flood::start(&balancer.lab.clients[0], &flood::udp((service().ip(), PORT), &forged));
    std::thread::sleep(Duration::from_millis(300));
    let mut waits = Vec::new();
    for number in 0..10u8 {
        let fresh = client(host, service(), Duration::from_millis(100));
        let began = Instant::now();
        while !asks(&fresh, &new.sign(&[number])) {
            assert!(began.elapsed() < WAIT, "client {number} is kept out");
        }
        waits.push(began.elapsed());
        // A device's full queue loses any frame, and nobody sends a datagram again but its client.
        assert!((0..5).any(|_| asks(&old, &known.sign(&[number]))), "the session is disturbed");
    }
    let sent = flood.end();
    waits.sort_unstable();
    println!("{sent} bad signatures; new clients waited {waits:?}");
    assert!(waits[waits.len() / 2] < Duration::from_secs(5), "{waits:?}");
    assert!(balancer.reason("signatures limited") > 0, "the flood was none");
    assert_eq!(balancer.reason("image fault"), 0);
}
