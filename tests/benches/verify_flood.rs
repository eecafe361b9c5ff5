//! What a flood of bad signatures costs a session that is established: round trips a second of one client in a closed loop,
//! beside a flood of as many packets without a trailer, which the program drops by itself. All three in turn, many rounds
//! in one run; as root.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use lb_tests::certified::{PORT, asks, balancer, client, policy, service};
use lb_tests::flood::{self, Flood};
use lb_tests::signer::Signer;

const ROUNDS: usize = 12;
const ROUND: Duration = Duration::from_millis(700);

/// Round trips a second.
fn trips(socket: &UdpSocket, payload: &[u8]) -> f64 {
    let began = Instant::now();
    let mut done = 0u32;
    while began.elapsed() < ROUND {
        done += u32::from(asks(socket, payload));
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

fn main() {
    let (known, other) = (Signer::new(0, 1), Signer::new(1, 2));
    let (balancer, _servers) = balancer(&policy(&[&known, &other], "verify once per session"));
    let host = &balancer.lab.clients[0];
    let socket = client(&host.namespace, service(), Duration::from_millis(100));
    let payload = known.sign(b"a session");
    assert!(asks(&socket, &payload), "no session: {}", balancer.agent_log());

    let to = (service().ip(), PORT);
    let mut bad = other.sign(b"a flood");
    let signature = bad.len() - 20;
    bad[signature] ^= 1;
    let unsigned = vec![0; bad.len()];
    let kinds: [(&str, Option<&[u8]>); 3] =
        [("no flood", None), ("without a trailer", Some(&unsigned)), ("bad signatures", Some(&bad))];
    let mut found: [Vec<(f64, f64)>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, payload_of_flood), found) in kinds.iter().zip(&mut found) {
            let flood = payload_of_flood.map(|payload| Flood::start(host, &flood::udp(to, payload)));
            std::thread::sleep(Duration::from_millis(50));
            let before = flood.as_ref().map_or(0, Flood::sent);
            let began = Instant::now();
            let trips = trips(&socket, &payload);
            let sent = flood.map_or(0, |flood| {
                let rate = (flood.sent() - before) as f64 / began.elapsed().as_secs_f64();
                flood.end();
                rate as u64
            });
            found.push((trips, sent as f64));
            // What the agent still has to check belongs to nobody's round.
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    println!("{:<20} {:>14} {:>14} {:>14}", "flood", "trips/s median", "trips/s best", "flood frames/s");
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let mut medians = Vec::new();
    for ((name, _), found) in kinds.iter().zip(&found) {
        let trips: Vec<f64> = found.iter().map(|(trips, _)| *trips).collect();
        let best = trips.iter().copied().fold(0.0, f64::max);
        let rate = median(found.iter().map(|(_, rate)| *rate).collect());
        medians.push(median(trips));
        println!("{name:<20} {:>14.0} {best:>14.0} {rate:>14.0}", medians[medians.len() - 1]);
    }
    let ratios: Vec<f64> = found[2].iter().zip(&found[1]).map(|(bad, none)| bad.0 / none.0).collect();
    println!(
        "bad signatures against none: {:.2} of the trips by the medians, {:.2} by the median of paired rounds",
        medians[2] / medians[1],
        median(ratios)
    );
}
