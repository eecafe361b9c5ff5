//! Owns the findings on source ports: those a pool translates to must be neither handed out by the system nor listened
//! on. Never changes a reservation.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy_lang::policy::{Policy, Pool};

use super::Finding;

/// Inclusive.
type Range = (u16, u16);

pub fn examine(policy: &Policy) -> Vec<Finding> {
    let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let system = local_range(&sysctl("ip_local_port_range"));
    let reserved = ranges(&sysctl("ip_local_reserved_ports"));
    // `/proc/net` is the process's network namespace; a thread may be in another.
    let listeners: Vec<Listener> = ["tcp", "tcp6", "udp", "udp6"]
        .into_iter()
        .flat_map(|table| {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
            listeners(table, &text)
        })
        .collect();
    policy.pools.iter().filter_map(|pool| pool_ports(pool, system, &reserved, &listeners)).collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Listener {
    protocol: &'static str,
    address: IpAddr,
    port: u16,
}

fn pool_ports(
    pool: &Pool,
    system: Option<Range>,
    reserved: &[Range],
    listeners: &[Listener],
) -> Option<Finding> {
    let (first, last) = pool.ports?;
    let sources: Vec<IpAddr> = pool
        .sources_v4
        .iter()
        .map(|&v4| v4.into())
        .chain(pool.sources_v6.iter().map(|&v6| v6.into()))
        .collect();
    let heard = listeners.iter().find(|listener| {
        (first..=last).contains(&listener.port)
            && (listener.address.is_unspecified() || sources.contains(&listener.address))
    });
    if let Some(Listener { protocol, address, port }) = heard {
        let found = format!("{protocol} port {port} of {address} is listened on, within {first}-{last}");
        let cure = format!(
            "choose other ports for pool {}, or move the listener: ss -lnp 'sport = {port}'",
            pool.name
        );
        return Some(Finding::fail("source ports", found, cure).of(&pool.name));
    }
    let shared = system.and_then(|system| overlap(system, (first, last)));
    let free = shared.is_none_or(|(low, high)| {
        (low..=high).all(|port| reserved.iter().any(|&(from, to)| (from..=to).contains(&port)))
    });
    let finding = match shared {
        Some((low, high)) if !free => {
            let mut wanted: Vec<String> = reserved.iter().map(|&range| shown(range)).collect();
            wanted.push(shown((first, last)));
            Finding::fail(
                "source ports",
                format!("the system hands out {} itself, within {first}-{last}", shown((low, high))),
                format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", wanted.join(",")),
            )
        }
        _ => Finding::ok("source ports", format!("{first}-{last} are nobody else's")),
    };
    Some(finding.of(&pool.name))
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
    use crate::doctor::Level;

    fn pool(ports: Range) -> Pool {
        Pool {
            name: "app".into(),
            span: Span::default(),
            pick: Pick::Random,
            via: Via::Nat,
            sources_v4: vec![Ipv4Addr::new(192, 168, 0, 100)],
            sources_v6: vec![],
            ports: Some(ports),
            backends: vec![],
        }
    }

    #[test]
    fn the_systems_own_ports_must_be_reserved() {
        let system = local_range("32768\t60999\n");
        let finding = pool_ports(&pool((10_000, 40_000)), system, &[(8080, 8080)], &[]).unwrap();
        assert_eq!(finding.level, Level::Fail);
        assert_eq!(finding.found, "the system hands out 32768-40000 itself, within 10000-40000");
        assert_eq!(finding.mend.unwrap(), "sysctl -w net.ipv4.ip_local_reserved_ports=8080,10000-40000");
        for (ports, reserved) in [((1_000, 14_999), ""), ((10_000, 40_000), "32768-35000,35001-40000\n")] {
            let finding = pool_ports(&pool(ports), system, &ranges(reserved), &[]).unwrap();
            assert_eq!(finding.level, Level::Ok, "{finding:?}");
        }
    }

    #[test]
    fn a_listener_within_is_named() {
        let table = "  sl  local_address rem_address   st\n   \
            0: 00000000:07E8 00000000:0000 0A 00000000:00000000\n   \
            1: 6400A8C0:07E9 0100A8C0:0016 01 00000000:00000000\n";
        let heard = listeners("tcp", table);
        let any = Listener { protocol: "TCP", address: Ipv4Addr::UNSPECIFIED.into(), port: 2024 };
        assert_eq!(heard, [any]);
        let finding = pool_ports(&pool((1_000, 14_999)), None, &[], &heard).unwrap();
        assert_eq!(finding.found, "TCP port 2024 of 0.0.0.0 is listened on, within 1000-14999");
        let finding = pool_ports(&pool((3_000, 14_999)), None, &[], &heard).unwrap();
        assert_eq!(finding.level, Level::Ok);
    }

    #[test]
    fn listeners_of_both_families_are_read() {
        let table = "  sl\n 0: 0000000000000000FFFF00006400A8C0:1F90 0:0 07\n 1: B80D0120000000000000000001000000:0035 0:0 07\n";
        let heard: Vec<(String, u16)> =
            listeners("udp6", table).into_iter().map(|one| (one.address.to_string(), one.port)).collect();
        assert_eq!(heard, [("192.168.0.100".to_owned(), 8080), ("2001:db8::1".to_owned(), 53)]);
    }
}
