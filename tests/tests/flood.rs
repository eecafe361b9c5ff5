//! Owns a flood of SYNs from forged sources, ten times what the table of new flows holds. Never its speed.

use std::net::SocketAddr;

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

/// No proven connection is lost, and at least 99 of 100 honest clients get through while it lasts.
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
    for stream in &mut proven {
        exchange(stream, b"before").unwrap();
    }

    let table = capacity(&balancer, "new");
    let flood = Flood::start(client, &Packet::tcp(ANYBODY, (service.ip(), service.port()), SYN, 1, 0));
    let (mut honest, mut failed) = (0, 0);
    while flood.sent() < 10 * table || honest < 200 {
        let met =
            client.namespace.run(|| connect(service).and_then(|mut stream| exchange(&mut stream, b"honest")));
        honest += 1;
        failed += u32::from(met.unwrap().is_err());
        assert!(honest < 100_000, "{} of {} SYNs sent", flood.sent(), 10 * table);
    }
    let sent = flood.end();
    assert!(failed * 100 <= honest, "{failed} of {honest} honest connections failed");
    for (number, stream) in proven.iter_mut().enumerate() {
        exchange(stream, b"after").unwrap_or_else(|error| panic!("proven connection {number}: {error}"));
    }
    println!("table {table}, {sent} SYNs, {failed} of {honest} honest connections failed");
    let counted = balancer.tally("to front");
    assert!(counted >= 10 * table, "the program saw {counted} packets of ten times {table}");
}

fn capacity(balancer: &Balancer, name: &str) -> u64 {
    let status = balancer.status();
    let tables = status["tables"].as_array().expect("tables");
    let table =
        tables.iter().find(|table| table["name"].as_str().unwrap_or("").to_lowercase().contains(name));
    table.expect("a table of that name")["capacity"].as_u64().expect("a number")
}
