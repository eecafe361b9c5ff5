//! Owns the question whether a pool's source ports are also the system's own: the host's connections and the
//! balancer's would then be taken for each other. Never changes a setting.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use policy_lang::policy::{Policy, Pool};

/// One sentence for each pool whose source ports the system may give to its own connections from the same address;
/// for the network namespace of this thread.
pub fn overlaps(policy: &Policy) -> Vec<String> {
    let local = local_addresses();
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let reserved = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let own = |pool: &&Pool| sources(pool).any(|source| local.contains(&source));
    policy.pools.iter().filter(own).filter_map(|pool| overlap(pool, &range, &reserved)).collect()
}

fn sources(pool: &Pool) -> impl Iterator<Item = IpAddr> {
    let v4 = pool.sources_v4.iter().map(|&addr| IpAddr::V4(addr));
    v4.chain(pool.sources_v6.iter().map(|&addr| IpAddr::V6(addr)))
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

fn overlap(pool: &Pool, range: &str, reserved: &str) -> Option<String> {
    let (first, last) = pool.ports?;
    let mut bounds = range.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    let (low, high) = (bounds.next()?, bounds.next()?);
    let (from, to) = (first.max(low), last.min(high));
    let reserved = ranges(reserved);
    let free = (from..=to).filter(|port| !reserved.iter().any(|&(a, b)| (a..=b).contains(port))).count();
    (free > 0).then(|| {
        format!(
            "pool {}: {free} of its source ports {first}-{last} are also given to this host's own connections \
             ({low}-{high}); reserve them: sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}",
            pool.name
        )
    })
}

/// `8080,9000-9100` as the kernel writes it.
fn ranges(text: &str) -> Vec<(u16, u16)> {
    let one = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    text.trim().split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use policy_lang::policy::{Pick, Via};

    use super::*;

    fn pool(ports: Option<(u16, u16)>) -> Pool {
        Pool {
            name: "app".into(),
            span: Default::default(),
            pick: Pick::Random,
            via: Via::Nat,
            sources_v4: Vec::new(),
            sources_v6: Vec::new(),
            ports,
            backends: Vec::new(),
        }
    }

    #[test]
    fn ports_overlap_unless_they_are_reserved() {
        let system = "32768\t60999\n";
        assert_eq!(overlap(&pool(Some((1_000, 14_999))), system, "\n"), None);
        assert_eq!(overlap(&pool(None), system, "\n"), None);
        assert_eq!(overlap(&pool(Some((60_000, 61_000))), system, "22,60000-61000\n"), None);
        let sentence = overlap(&pool(Some((60_000, 61_000))), system, "60000-60899\n").unwrap();
        assert!(sentence.starts_with("pool app: 100 of its source ports 60000-61000 are also"), "{sentence}");
    }
}
