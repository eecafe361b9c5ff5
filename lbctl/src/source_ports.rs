//! Owns the question whether a pool's source ports are also the system's own: the host's connections and the
//! balancer's would then be taken for each other. Never changes a reservation.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy_lang::policy::{Policy, Pool};

/// Inclusive.
type Range = (u16, u16);

/// Source ports of a pool that are not its alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// Index of the pool.
    pub pool: usize,
    pub name: String,
    pub found: String,
    /// The command that mends it.
    pub mend: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source ports of pool {}: {}; mend it: {}", self.name, self.found, self.mend)
    }
}

/// The pools whose source addresses are this host's and whose ports the system may use itself; for the network
/// namespace of this thread.
pub fn conflicts(policy: &Policy) -> Vec<Conflict> {
    let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let host = Host {
        addresses: local_addresses(),
        range: local_range(&sysctl("ip_local_port_range")),
        reserved: ranges(&sysctl("ip_local_reserved_ports")),
        // `/proc/net` is the process's network namespace; a thread may be in another.
        listeners: ["tcp", "tcp6", "udp", "udp6"]
            .into_iter()
            .flat_map(|table| {
                let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
                listeners(table, &text)
            })
            .collect(),
    };
    policy.pools.iter().enumerate().filter_map(|(index, pool)| host.conflict(index, pool)).collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Listener {
    protocol: &'static str,
    address: IpAddr,
    port: u16,
}

/// What the system does with ports of its own accord.
#[derive(Default)]
struct Host {
    addresses: BTreeSet<IpAddr>,
    range: Option<Range>,
    reserved: Vec<Range>,
    listeners: Vec<Listener>,
}

impl Host {
    fn conflict(&self, index: usize, pool: &Pool) -> Option<Conflict> {
        let (first, last) = pool.ports?;
        let sources = pool.sources_v4.iter().map(|&v4| IpAddr::from(v4));
        let sources = sources.chain(pool.sources_v6.iter().map(|&v6| IpAddr::from(v6)));
        // On an address that is nobody's the system opens nothing.
        let own: Vec<IpAddr> = sources.filter(|source| self.addresses.contains(source)).collect();
        if own.is_empty() {
            return None;
        }
        let conflict = |found, mend| Some(Conflict { pool: index, name: pool.name.clone(), found, mend });
        let heard = self.listeners.iter().find(|listener| {
            (first..=last).contains(&listener.port)
                && (listener.address.is_unspecified() || own.contains(&listener.address))
        });
        if let Some(Listener { protocol, address, port }) = heard {
            return conflict(
                format!("{protocol} port {port} of {address} is listened on, within {first}-{last}"),
                format!("choose other ports, or move the listener: ss -lnp 'sport = {port}'"),
            );
        }
        let (low, high) = overlap(self.range?, (first, last))?;
        if (low..=high).all(|port| self.reserved.iter().any(|&(from, to)| (from..=to).contains(&port))) {
            return None;
        }
        let wanted: Vec<String> = self.reserved.iter().copied().chain([(first, last)]).map(shown).collect();
        conflict(
            format!("the system hands out {} itself, within {first}-{last}", shown((low, high))),
            format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", wanted.join(",")),
        )
    }
}

fn local_addresses() -> BTreeSet<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let address = |one: nix::ifaddrs::InterfaceAddress| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    interfaces.filter_map(address).collect()
}

fn overlap(one: Range, other: Range) -> Option<Range> {
    let (low, high) = (one.0.max(other.0), one.1.min(other.1));
    (low <= high).then_some((low, high))
}

fn shown((low, high): Range) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

fn local_range(text: &str) -> Option<Range> {
    let mut words = text.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// `8080,10000-14999`.
fn ranges(text: &str) -> Vec<Range> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some((low.parse().ok()?, high.parse().ok()?))
    };
    text.trim().split(',').filter_map(range).collect()
}

/// Of the tables in `/proc/net` (`net/ipv4/tcp_ipv4.c`, `get_tcp4_sock`): address words as the CPU stores them, port
/// and state in hex; state 0A is a TCP listener, 07 an unconnected UDP socket.
fn listeners(table: &'static str, text: &str) -> Vec<Listener> {
    let listening = if table.starts_with("tcp") { "0A" } else { "07" };
    let listener = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _remote, state) = (words.next()?, words.next()?, words.next()?);
        let (address, port) = local.split_once(':')?;
        let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
        let address = if address.len() == 8 {
            Ipv4Addr::from(word(0)?).into()
        } else {
            let mut bytes = [0; 16];
            for (part, to) in bytes.chunks_exact_mut(4).enumerate() {
                to.copy_from_slice(&word(part * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        };
        let port = u16::from_str_radix(port, 16).ok()?;
        (state == listening).then_some(Listener {
            protocol: if listening == "0A" { "TCP" } else { "UDP" },
            address,
            port,
        })
    };
    text.lines().skip(1).filter_map(listener).collect()
}

#[cfg(test)]
mod tests {
    use policy_lang::policy::{Pick, Via};
    use policy_lang::source::Span;

    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 100);

    fn pool(ports: Range) -> Pool {
        Pool {
            name: "app".into(),
            span: Span::default(),
            pick: Pick::Random,
            via: Via::Nat,
            sources_v4: vec![SOURCE],
            sources_v6: vec![],
            ports: Some(ports),
            backends: vec![],
            health: None,
        }
    }

    fn host() -> Host {
        Host {
            addresses: BTreeSet::from([SOURCE.into()]),
            range: local_range("32768\t60999\n"),
            ..Host::default()
        }
    }

    #[test]
    fn the_systems_own_ports_must_be_reserved() {
        let host = Host { reserved: vec![(8080, 8080)], ..host() };
        let conflict = host.conflict(0, &pool((10_000, 40_000))).unwrap();
        assert_eq!(conflict.found, "the system hands out 32768-40000 itself, within 10000-40000");
        assert_eq!(conflict.mend, "sysctl -w net.ipv4.ip_local_reserved_ports=8080,10000-40000");
        assert_eq!(host.conflict(0, &pool((1_000, 14_999))), None);
        let host = Host { reserved: ranges("32768-35000,35001-40000\n"), ..host };
        assert_eq!(host.conflict(0, &pool((10_000, 40_000))), None);
    }

    #[test]
    fn an_address_that_is_not_the_hosts_has_no_conflict() {
        let host = Host { addresses: BTreeSet::new(), ..host() };
        assert_eq!(host.conflict(0, &pool((10_000, 40_000))), None);
        let none = Pool { ports: None, ..pool((1, 1)) };
        assert_eq!(self::host().conflict(0, &none), None);
    }

    #[test]
    fn a_listener_within_is_named() {
        let table = "  sl  local_address rem_address   st\n   \
            0: 00000000:07E8 00000000:0000 0A 00000000:00000000\n   \
            1: 6400A8C0:07E9 0100A8C0:0016 01 00000000:00000000\n";
        let heard = listeners("tcp", table);
        let any = Listener { protocol: "TCP", address: Ipv4Addr::UNSPECIFIED.into(), port: 2024 };
        assert_eq!(heard, [any]);
        let host = Host { listeners: heard, ..host() };
        let conflict = host.conflict(0, &pool((1_000, 14_999))).unwrap();
        assert_eq!(conflict.found, "TCP port 2024 of 0.0.0.0 is listened on, within 1000-14999");
        assert_eq!(host.conflict(0, &pool((3_000, 14_999))), None);
    }

    #[test]
    fn listeners_of_both_families_are_read() {
        let table = "  sl\n 0: 0000000000000000FFFF00006400A8C0:1F90 0:0 07\n 1: B80D0120000000000000000001000000:0035 0:0 07\n";
        let heard: Vec<(String, u16)> =
            listeners("udp6", table).into_iter().map(|one| (one.address.to_string(), one.port)).collect();
        assert_eq!(heard, [("192.168.0.100".to_owned(), 8080), ("2001:db8::1".to_owned(), 53)]);
    }
}
