//! Owns the firewall's part with real sockets: every other ping answered, HTTP dropped, a limit that holds its rate.
//! Never a translation.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ebpf_runtime::lab::{Arms, Plan, Server, http_get, ping};
use lb_tests::balancer::{Balancer, addresses, plan};
use lb_tests::sockets::{Snmp, WAIT, any, tcp_transfer};

/// For an answer that is not to come.
const NONE: Duration = Duration::from_millis(500);

/// The canonical policy, on the addresses that it names.
#[test]
fn the_demo_answers_every_other_ping_and_drops_http() {
    let policy = include_str!("../../policies/firewall-tree-demo.lbp");
    let balancer = Balancer::with_policy(
        &Plan {
            arms: Arms::Two,
            balancer: addresses("192.168.0.100"),
            clients: vec![addresses("10.0.0.9")],
            backends: vec![addresses("192.168.0.1")],
        },
        policy,
    );
    let (client, app) = (&balancer.lab.clients[0], &balancer.lab.backends[0]);
    let (from, service) = (client.addresses[0], addresses("192.168.0.100")[0]);
    for number in 0..10 {
        let answered = number % 2 == 1;
        let wait = if answered { WAIT } else { NONE };
        let answer = ping(&client.namespace, from, service, 77, number, wait).unwrap();
        assert_eq!(answer.is_some(), answered, "ping {number}");
    }
    let web = Server::http(&app.namespace, SocketAddr::new(app.addresses[0], 80), "web".into()).unwrap();
    let other =
        Server::http(&app.namespace, SocketAddr::new(app.addresses[0], 8080), "other".into()).unwrap();
    assert_eq!(http_get(&client.namespace, SocketAddr::new(service, 80), NONE).unwrap(), None);
    let page = http_get(&client.namespace, SocketAddr::new(service, 8080), WAIT).unwrap();
    assert_eq!(page.as_deref(), Some("other"));
    assert_eq!((web.seen(), other.seen()), (0, 1));
    let echo = Server::tcp_echo(&app.namespace, SocketAddr::new(app.addresses[0], 22)).unwrap();
    tcp_transfer(&client.namespace, SocketAddr::new(service, 22), 100_000);
    assert_eq!(echo.seen(), 1);
    assert_eq!(balancer.tally("icmp.type == echo-request"), 10);
    assert!(balancer.tally("tcp.dport == 80") >= 1);
    assert_eq!(balancer.reason("too many steps") + balancer.reason("image fault"), 0);
}

const LIMITS: &str = "lbp 1

limit packets { rate 1_000 pkt/s; burst 800 }
limit bits    { rate 4 Mbit/s; burst 3_200_000 bit }
limit sources { per src v4 /32 v6 /128; rate 1_000 pkt/s; burst 800; max 1_024 }

policy limits { default drop } =
  match {
    udp.dport == 1001 -> limit packets (exceed -> drop) -> forward
    udp.dport == 1002 -> limit bits (exceed -> drop) -> forward
    udp.dport == 1003 -> limit sources (exceed -> drop) -> forward
    else -> forward
  }
";

/// Offers four times what the limit lets through for three seconds; what arrives is the burst and the rate, that to 5 %. The
/// burst outlasts the pauses of a sender on a busy machine, which would be lost to it otherwise.
#[test]
fn a_limit_holds_its_rate() {
    const OFFERED: f64 = 4_000.0;
    const SECONDS: f64 = 3.0;
    let balancer = Balancer::with_policy(&plan(Arms::Two), LIMITS);
    let (client, backend) = (&balancer.lab.clients[0], &balancer.lab.backends[0]);
    for target in addresses("10.1.0.1 fd01::1") {
        // IP total length of a payload of 472 bytes and 500 or 520 with the headers.
        let length = if target.is_ipv4() { 500.0 } else { 520.0 };
        for (port, rate, burst) in [
            (1001, 1_000.0, 800.0),
            (1002, 4_000_000.0 / 8.0 / length, 3_200_000.0 / 8.0 / length),
            (1003, 1_000.0, 800.0),
        ] {
            let before = Snmp::of(&backend.namespace).udp_received();
            let service = SocketAddr::new(target, port);
            let (sent, took) = client.namespace.run(|| offer(service, OFFERED, SECONDS)).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            let arrived = (Snmp::of(&backend.namespace).udp_received() - before) as f64;
            let wanted = burst + rate * took;
            assert!(sent as f64 > 2.0 * wanted, "only {sent} were offered in {took} s");
            let off = (arrived - wanted).abs() / (rate * took);
            assert!(off <= 0.05, "{service}: {arrived} of {sent} arrived in {took} s, wanted {wanted}");
        }
    }
}

/// Sends datagrams of 472 bytes at an even pace; how many, and the seconds from the first to the last.
fn offer(target: SocketAddr, rate: f64, seconds: f64) -> (u64, f64) {
    let socket = UdpSocket::bind(any(target)).expect("a socket");
    socket.connect(target).expect("a route");
    let begin = Instant::now();
    let (mut sent, mut last) = (0, 0.0);
    loop {
        let now = begin.elapsed().as_secs_f64();
        if now >= seconds {
            return (sent, last);
        }
        while (sent as f64) < now * rate {
            // Nobody listens: the answers are ICMP errors, which the next call reports.
            let _refused = socket.send(&[0; 472]);
            sent += 1;
            last = begin.elapsed().as_secs_f64();
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
