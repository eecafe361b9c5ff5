//! Owns a balancer of certificates in a lab: its policy, its echo servers, and clients that wait for answers. Never what
//! they sign (`signer`), and never a verdict.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ebpf_runtime::lab::{Arms, Namespace, Server};

use crate::balancer::{Balancer, addresses, echoes, plan, told};
use crate::signer::Signer;

/// Of the service and its servers.
pub const PORT: u16 = 8080;

/// A policy that serves these signers; `settings` are the authority's.
pub fn policy(signers: &[&Signer], settings: &str) -> String {
    let keys: Vec<String> = signers.iter().map(|signer| signer.setting()).collect();
    format!(
        "lbp 1

vip front {{ address 203.0.113.10, 2001:db8:f::10; ports udp {PORT} }}
authority devices {{
  {}
  {settings}
}}
track sessions {{ key cert; idle 60s; max 64 }}
{}
policy certificates {{ default drop }} =
  match {{
    from servers -> translate back -> forward
    to front     -> verify devices (missing -> count unsigned -> drop, invalid -> count forged -> drop,
                      expired -> drop, revoked -> count revoked -> drop, replayed -> count replayed -> drop)
                 -> track sessions (full -> drop) -> translate echoes (empty -> drop, ports -> drop) -> forward
    else         -> drop
  }}
",
        keys.join("\n  "),
        echoes("; source 10.9.0.1, fd09::1; ports 1024-30000")
    )
}

/// A balancer with an agent, and echo servers of both families behind it: both of IPv4, then both of IPv6.
pub fn balancer(policy: &str) -> (Balancer, Vec<Server>) {
    balancer_with(policy, &[])
}

/// As `balancer`, by these options of `lbctl apply` beside its own.
pub fn balancer_with(policy: &str, options: &[&str]) -> (Balancer, Vec<Server>) {
    let mut balancer = Balancer::new(&plan(Arms::Two));
    let output = balancer.apply_command(policy).args(options).output().expect("lbctl runs");
    assert!(output.status.success(), "apply failed: {}", told(&output));
    balancer.start_agent();
    let servers = servers(&balancer);
    (balancer, servers)
}

fn servers(balancer: &Balancer) -> Vec<Server> {
    let serve = |vip: IpAddr| {
        balancer.lab.backends.iter().map(move |host| {
            let address = SocketAddr::new(host.address_like(vip).expect("of both families"), PORT);
            Server::udp_echo(&host.namespace, address).expect("a server")
        })
    };
    addresses("203.0.113.10 2001:db8:f::10").into_iter().flat_map(serve).collect()
}

/// Where clients send, over IPv4.
pub fn service() -> SocketAddr {
    SocketAddr::new(addresses("203.0.113.10")[0], PORT)
}

/// A client's socket that waits `wait` for each answer.
pub fn client(namespace: &Namespace, service: SocketAddr, wait: Duration) -> UdpSocket {
    let socket = namespace.run(|| -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(crate::sockets::any(service))?;
        socket.connect(service)?;
        socket.set_read_timeout(Some(wait))?;
        Ok(socket)
    });
    socket.expect("a namespace").expect("a socket")
}

/// Sends a payload and waits for its echo; those of earlier ones that come late are passed over.
pub fn asks(socket: &UdpSocket, payload: &[u8]) -> bool {
    let mut back = [0; 16_384];
    if socket.send(payload).is_err() {
        return false;
    }
    loop {
        match socket.recv(&mut back) {
            Ok(length) if back.get(..length) == Some(payload) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}
