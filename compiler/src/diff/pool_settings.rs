//! Owns the settings of a pool in the language's words, its backends' caps and health check among them. Never who gets
//! which packets.

use std::net::SocketAddr;

use policy_lang::grouped;
use policy_lang::policy::{Backend, Health, HealthCheck, Pick, Pool, Via};

use super::items::{Setting, duration};
use super::slots::Address;

const SOURCE4: &str = "source over IPv4";
const SOURCE6: &str = "source over IPv6";
const MAX_CONN4: &str = "max_conn over IPv4";
const MAX_CONN6: &str = "max_conn over IPv6";
const HEALTH: [&str; 6] = ["health", "health port", "interval", "timeout", "fall", "rise"];

/// Whether a setting means anything to packets of a family.
pub fn matters(setting: &Setting, v6: bool) -> bool {
    let of_the_other = if v6 { [SOURCE4, MAX_CONN4] } else { [SOURCE6, MAX_CONN6] };
    !of_the_other.contains(&setting.0)
}

/// All that is set for it, but who gets which packets.
pub fn pool(pool: &Pool) -> Vec<Setting> {
    let pick = match pool.pick {
        Pick::RoundRobin => "round-robin".to_owned(),
        Pick::Random => "random".to_owned(),
        Pick::Source => "source".to_owned(),
        Pick::Maglev { slots, by_flow: true } => format!("maglev {} by flow", grouped(slots.into())),
        Pick::Maglev { slots, by_flow: false } => format!("maglev {} by src", grouped(slots.into())),
        Pick::LeastConnections => "least-connections".to_owned(),
        Pick::Certificate => "hash by cert".to_owned(),
    };
    let via = match pool.via {
        Via::Nat => "nat".to_owned(),
        Via::L2dsr => "l2dsr".to_owned(),
        Via::Ipip => "ipip".to_owned(),
        Via::Gue { port } => format!("gue {port}"),
    };
    let v4: Vec<String> = pool.sources_v4.iter().map(ToString::to_string).collect();
    let v6: Vec<String> = pool.sources_v6.iter().map(ToString::to_string).collect();
    let mut settings = vec![
        ("pick", pick),
        ("via", via),
        (SOURCE4, v4.join(", ")),
        (SOURCE6, v6.join(", ")),
        ("ports", pool.ports.map_or_else(String::new, |(first, last)| format!("{first}-{last}"))),
        (MAX_CONN4, caps(pool, |backend| backend.v4.map(|(addr, port)| (addr.into(), port)))),
        (MAX_CONN6, caps(pool, |backend| backend.v6.map(|(addr, port)| (addr.into(), port)))),
    ];
    settings.extend(HEALTH.into_iter().zip(pool.health.as_ref().map(health).unwrap_or_default()));
    settings
}

/// By address, as names make no difference.
fn caps(pool: &Pool, address: impl Fn(&Backend) -> Option<Address>) -> String {
    let mut caps: Vec<(Address, u32)> =
        pool.backends.iter().filter_map(|backend| address(backend).zip(backend.max_conn)).collect();
    caps.sort_unstable();
    let words = caps.iter().map(|&((addr, port), cap)| match port {
        0 => format!("{addr} {}", grouped(cap.into())),
        _ => format!("{} {}", SocketAddr::new(addr, port), grouped(cap.into())),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// In the order of `HEALTH`.
fn health(health: &Health) -> [String; 6] {
    let check = match &health.check {
        HealthCheck::Tcp => "tcp".to_owned(),
        HealthCheck::Icmp => "icmp".to_owned(),
        HealthCheck::Http { path, host, status: (first, last) } => {
            let host = host.as_ref().map_or_else(String::new, |host| format!(" host {host:?}"));
            format!("http {path:?}{host} status {first}-{last}")
        }
    };
    [
        check,
        health.port.map_or_else(String::new, |port| port.to_string()),
        duration(health.interval),
        duration(health.timeout),
        health.fall.to_string(),
        health.rise.to_string(),
    ]
}
