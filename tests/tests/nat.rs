//! Owns network address translation with real sockets: both ways, both families, TCP and UDP, in one arm and in two.
//! Never a frame made by hand.

use std::net::{IpAddr, SocketAddr};

use ebpf_runtime::lab::{Arms, FrameSocket, HOST_DEVICE, Server};
use lb_tests::balancer::{Balancer, addresses, echoes, plan};
use lb_tests::frame;
use lb_tests::sockets::{Snmp, WAIT, tcp_transfer, udp_transfer};

const PORT: u16 = 7;
const MEGABYTES: usize = 2 << 20;

/// With `source`, the balancer talks to the backends under its own addresses; without, under the client's.
fn policy(source: &str) -> String {
    format!(
        "lbp 1

vip front {{ address 203.0.113.10, 2001:db8:f::10 }}
track flows {{ idle tcp 5m, udp 30s; half_open 5s; max 10_000 }}
{}
policy nat {{ default drop }} =
  match {{
    from servers -> translate back -> forward
    to front  -> track flows -> translate echoes -> forward
    else      -> drop
  }}
",
        echoes(source)
    )
}

const SOURCE: &str = "; source 10.9.0.1, fd09::1; ports 20000-29999";

fn two_megabytes_each_way(arms: Arms, source: &str) {
    let balancer = Balancer::with_policy(&plan(arms), &policy(source));
    let client = &balancer.lab.clients[0].namespace;
    // A veth holds 256 frames on their way. Wider windows overflow it in slow start, and what is sent again then tells
    // of the veth, not of the packet path.
    for host in balancer.lab.clients.iter().chain(&balancer.lab.backends) {
        for path in ["net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem"] {
            host.namespace.sysctl(path, "4096 65536 65536").unwrap();
        }
    }
    for vip in addresses("203.0.113.10 2001:db8:f::10") {
        let servers: Vec<_> = balancer
            .lab
            .backends
            .iter()
            .map(|host| {
                let address = SocketAddr::new(host.address_like(vip).expect("of both families"), PORT);
                let tcp = Server::tcp_echo(&host.namespace, address).unwrap();
                (tcp, Server::udp_echo(&host.namespace, address).unwrap())
            })
            .collect();
        let service = SocketAddr::new(vip, PORT);
        // Round robin: both backends serve both protocols.
        for _ in 0..2 {
            tcp_transfer(client, service, MEGABYTES);
        }
        for _ in 0..2 {
            udp_transfer(client, service, MEGABYTES);
        }
        for (tcp, udp) in &servers {
            assert_eq!(tcp.seen(), 1, "{service}: connections at {}", tcp.address);
            assert_eq!(
                udp.seen(),
                MEGABYTES.div_ceil(1_200) as u64,
                "{service}: datagrams at {}",
                udp.address
            );
        }
    }
    for host in balancer.lab.clients.iter().chain(&balancer.lab.backends) {
        let counts = Snmp::of(&host.namespace);
        let (sent, again) = (counts.get("Tcp OutSegs"), counts.get("Tcp RetransSegs"));
        assert!(again * 100 <= sent, "{}: {again} of {sent} segments were sent again", host.namespace.name());
        assert_eq!(counts.checksum_errors(), 0, "{}: wrong checksums", host.namespace.name());
    }
}

#[test]
fn two_arms_under_the_balancers_addresses() {
    two_megabytes_each_way(Arms::Two, SOURCE);
}

#[test]
fn two_arms_under_the_clients_address() {
    two_megabytes_each_way(Arms::Two, "");
}

#[test]
fn one_arm_under_the_balancers_addresses() {
    two_megabytes_each_way(Arms::One, SOURCE);
}

#[test]
fn one_arm_under_the_clients_address() {
    two_megabytes_each_way(Arms::One, "");
}

/// What a receiver's stack forgives is looked at on the wire: every frame that reaches a host has right checksums, and
/// an absent one of UDP over IPv4 stays absent.
#[test]
fn checksums_are_right_at_the_receiver() {
    let balancer = Balancer::with_policy(&plan(Arms::Two), &policy(SOURCE));
    let (client, backend) = (&balancer.lab.clients[0], &balancer.lab.backends[0]);
    let sender = FrameSocket::open(&client.namespace, HOST_DEVICE).unwrap();
    let receiver = FrameSocket::open(&backend.namespace, HOST_DEVICE).unwrap();
    for vip in addresses("203.0.113.10 2001:db8:f::10") {
        let from = client.address_like(vip).expect("of both families");
        for number in 0..64u16 {
            let (src, dst) = ((from, 1_024 + number), (vip, PORT));
            let absent = number % 3 == 2 && vip.is_ipv4();
            let mut packet = match number % 3 {
                0 => frame::Packet::tcp(src, dst, frame::SYN, 1, 0),
                _ => frame::Packet::udp(src, dst),
            };
            if absent {
                packet.transport = frame::Transport::Udp { sport: src.1, dport: dst.1, checksum: false };
            }
            // Payloads of odd and even length whose sums wander over all of 16 bits.
            packet.payload =
                (0..number).map(|byte| byte.wrapping_mul(251).wrapping_add(number * 7) as u8).collect();
            let mut bytes = packet.bytes();
            bytes[..6].copy_from_slice(&client.balancer_mac);
            bytes[6..12].copy_from_slice(&client.mac);
            sender.send(&bytes).unwrap();
            // Every other flow goes to the other backend.
            if number % 2 == 1 {
                continue;
            }
            let seen = receiver.receive_where(WAIT, |seen| is_for_port(seen, vip)).unwrap();
            let seen = seen.unwrap_or_else(|| panic!("{vip} {number} did not arrive"));
            let told = format!("{vip} {number}: {}", lb_tests::case::hex(&seen));
            assert_eq!(transport_sum(&seen), (!absent).then_some(0), "{told}");
            if vip.is_ipv4() {
                assert_eq!(frame::checksum(&[&seen[14..34]]), 0, "{told}");
            }
            assert!(seen.ends_with(&packet.payload), "{told}");
        }
    }
}

/// Whether it is TCP or UDP of the vip's family to `PORT`, without tags or options.
fn is_for_port(frame: &[u8], vip: IpAddr) -> bool {
    let (ethertype, protocol, port) =
        if vip.is_ipv4() { ([0x08, 0x00], 23, 36..38) } else { ([0x86, 0xdd], 20, 56..58) };
    frame.get(12..14) == Some(&ethertype)
        && frame.get(protocol).is_some_and(|number| matches!(*number, frame::TCP | frame::UDP))
        && frame.get(port) == Some(&PORT.to_be_bytes())
}

/// The checksum over everything that TCP's or UDP's covers, its own field included: 0 if it is right. `None` where the
/// field says that there is none.
fn transport_sum(frame: &[u8]) -> Option<u16> {
    let v4 = frame[12] == 0x08;
    let (addrs, protocol, segment) =
        if v4 { (26..34, frame[23], &frame[34..]) } else { (22..54, frame[20], &frame[54..]) };
    if protocol == frame::UDP && segment[6..8] == [0, 0] {
        return None;
    }
    let length = (segment.len() as u32).to_be_bytes();
    Some(frame::checksum(&[&frame[addrs], &length, &[0, 0, 0, protocol], segment]))
}
