//! Owns a flood of SYNs from forged sources, ten times what the table of new flows holds. Never its speed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ebpf_runtime::lab::{Arms, Server};
use lb_tests::balancer::{Balancer, addresses, plan};
use lb_tests::flood::{ANYBODY, Flood};
use lb_tests::frame::{Packet, SYN};
use lb_tests::sockets::{connect, exchange};

const POLICY: &str = "lbp 1

vip front { address 203.0.113.10; ports tcp 7 }
track flows { idle tcp 15m, udp 30s; half_open 5s; max 4_096 }
pool echoes {
  pick round-robin; via nat; source 10.9.0.1; ports 1024-65535
  backend b1 10.1.0.1
  backend b2 10.1.0.2
}

side servers when src in echoes
side clients otherwise

policy flood { default drop } =
  match {
    from servers -> translate back -> forward
    to front  -> track flows -> translate echoes -> forward
    else      -> drop
  }
";

/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// As fast as it can be sent, it costs no proven connection. At a pace at which the table outlasts a handshake, at least 99
/// of 100 honest clients get through while it lasts.
///
/// The pace is what makes that a question about the balancer. A client whose flow is evicted before its ACK has arrived is
/// lost: the ACK belongs to no flow, and TCP sends no second SYN for it. At full speed, here, the table is turned over in
/// some 20 ms and the device's queue is full, so that ACKs are lost which TCP sends again after 200 ms: how many clients
/// get through says how the kernel shares the CPUs.
#[test]
fn a_syn_flood_costs_no_proven_flow() {
    let mut balancer = Balancer::with_policy(&plan(Arms::Two), POLICY);
    balancer.start_agent();
    let _servers: Vec<Server> = balancer
        .lab
        .backends
        .iter()
        .map(|host| Server::tcp_echo(&host.namespace, SocketAddr::new(host.addresses[0], 7)).unwrap())
        .collect();
    let service = SocketAddr::new(addresses("203.0.113.10")[0], 7);
    let client = &balancer.lab.clients[0];
    let mut proven: Vec<_> =
        (0..200).map(|_| client.namespace.run(|| connect(service)).unwrap().unwrap()).collect();
    let mut all_alive = |message: &[u8]| {
        for (number, stream) in proven.iter_mut().enumerate() {
            exchange(stream, message).unwrap_or_else(|error| panic!("proven connection {number}: {error}"));
        }
    };
    all_alive(b"before");

    let entries = capacity(&balancer, "new");
    let syn = Packet::tcp(ANYBODY, (service.ip(), service.port()), SYN, 1, 0);
    // A full queue throws frames away without a word: what counts is what the program saw.
    let mut seen = balancer.tally("to front");
    let flood = Flood::start(client, &syn);
    let until = Instant::now() + PATIENCE;
    while balancer.tally("to front") < seen + 10 * entries {
        assert!(Instant::now() < until, "{} SYNs sent, too few seen", flood.sent());
        std::thread::sleep(Duration::from_millis(50));
    }
    let fast = flood.end();
    all_alive(b"between");

    // Two entries each: so it is turned over twice a second.
    seen = balancer.tally("to front");
    let flood = Flood::paced(client, &syn, entries);
    let (mut honest, mut failed) = (0, Vec::new());
    let until = Instant::now() + PATIENCE;
    while flood.sent() < 10 * entries || honest < 200 || balancer.tally("to front") < seen + 10 * entries {
        let met =
            client.namespace.run(|| connect(service).and_then(|mut stream| exchange(&mut stream, b"honest")));
        honest += 1;
        failed.extend(met.unwrap().err());
        assert!(Instant::now() < until, "{} of {} SYNs sent", flood.sent(), 10 * entries);
    }
    let paced = flood.end();
    println!("{entries} entries; {fast} SYNs, then {paced}; {} of {honest} honest ones failed", failed.len());
    assert!(failed.len() * 100 <= honest, "of {honest} honest connections failed: {failed:?}");
    all_alive(b"after");
}

fn capacity(balancer: &Balancer, name: &str) -> u64 {
    let status = balancer.status();
    let tables = status["tables"].as_array().expect("tables");
    let table =
        tables.iter().find(|table| table["name"].as_str().unwrap_or("").to_lowercase().contains(name));
    table.expect("a table of that name")["capacity"].as_u64().expect("a number")
}
