//! Owns a flood of SYNs from forged sources, ten times what the table of new flows holds. Never its speed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ebpf_runtime::lab::{Arms, FrameSocket, HOST_DEVICE, Server};
use lb_tests::balancer::{Balancer, addresses, plan};
use lb_tests::frame::{Packet, SYN, checksum};
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
    let socket = FrameSocket::open(&client.namespace, HOST_DEVICE).unwrap();
    let (src, dst) = (client.mac, client.balancer_mac);
    let sent = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (count, until) = (sent.clone(), stop.clone());
    let flood = std::thread::spawn(move || {
        let mut frame = forged(service, src, dst);
        let mut number = 0u32;
        while !until.load(Ordering::Relaxed) {
            number = number.wrapping_add(1);
            spoof(&mut frame, number);
            // A full queue refuses some; they are not counted.
            if socket.send(&frame).is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let (mut honest, mut failed) = (0, 0);
    while sent.load(Ordering::Relaxed) < 10 * table || honest < 200 {
        let met =
            client.namespace.run(|| connect(service).and_then(|mut stream| exchange(&mut stream, b"honest")));
        honest += 1;
        failed += u32::from(met.unwrap().is_err());
        assert!(honest < 100_000, "{} of {} SYNs sent", sent.load(Ordering::Relaxed), 10 * table);
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    assert!(failed * 100 <= honest, "{failed} of {honest} honest connections failed");
    for (number, stream) in proven.iter_mut().enumerate() {
        exchange(stream, b"after").unwrap_or_else(|error| panic!("proven connection {number}: {error}"));
    }
    println!(
        "table {table}, {} SYNs, {failed} of {honest} honest connections failed",
        sent.load(Ordering::Relaxed)
    );
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

fn forged(service: SocketAddr, src: [u8; 6], dst: [u8; 6]) -> Vec<u8> {
    let from = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let mut frame = Packet::tcp((from, 0), (service.ip(), service.port()), SYN, 1, 0).bytes();
    frame[..6].copy_from_slice(&dst);
    frame[6..12].copy_from_slice(&src);
    frame
}

/// Another source below 100.64.0.0/10, another port, right checksums.
fn spoof(frame: &mut [u8], number: u32) {
    let mixed = number.wrapping_mul(2_654_435_761);
    frame[26..30].copy_from_slice(&(0x6440_0000 | mixed >> 10).to_be_bytes());
    frame[34..36].copy_from_slice(&(1_024 + (mixed % 60_000) as u16).to_be_bytes());
    frame[24..26].fill(0);
    let header = checksum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    frame[50..52].fill(0);
    let sum = checksum(&[&frame[26..34], &20u32.to_be_bytes(), &[0, 0, 0, 6], &frame[34..54]]);
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
}

/// With wrong checksums the flood would be none.
#[test]
fn forged_frames_have_right_checksums() {
    let service = SocketAddr::new(addresses("203.0.113.10")[0], 7);
    let mut frame = forged(service, [2; 6], [4; 6]);
    for number in [1, 77, u32::MAX] {
        spoof(&mut frame, number);
        assert_eq!(checksum(&[&frame[14..34]]), 0);
        let sum = checksum(&[&frame[26..34], &20u32.to_be_bytes(), &[0, 0, 0, 6], &frame[34..54]]);
        assert_eq!(sum, 0);
    }
}
