//! Owns the tables beside the trees: pools with their backends, and what stands behind the names in guards. Never which
//! of them a tree uses.

use std::net::{SocketAddrV4, SocketAddrV6};

use policy_lang::policy::{Backend, Guard, HealthCheck, Policy, Pool, Set, Side, Vip};

use super::words::{counted, duration, line, max, number, pick, via};
use super::{MOST_ROWS, Table};

pub(super) fn pool(pool: &Pool) -> Table {
    let mut settings = vec![format!("pick {}", pick(pool.pick)), via(pool.via)];
    let v4 = pool.sources_v4.iter().map(|source| source.to_string());
    let sources: Vec<String> = v4.chain(pool.sources_v6.iter().map(|source| source.to_string())).collect();
    if !sources.is_empty() {
        settings.push(format!("source {}", some_of(&sources, 4)));
    }
    settings.extend(pool.ports.map(|(first, last)| format!("ports {first}-{last}")));
    settings.extend(pool.health.as_ref().map(|health| {
        let check = match &health.check {
            HealthCheck::Tcp => "tcp".to_owned(),
            HealthCheck::Http { path, .. } => format!("http {}", line(path)),
            HealthCheck::Icmp => "icmp".to_owned(),
        };
        let port = health.port.map_or(String::new(), |port| format!(", port {port}"));
        format!("health {check}{port}, every {}", duration(health.interval))
    }));
    let mut rows: Vec<[String; 3]> = pool.backends.iter().take(MOST_ROWS).map(backend).collect();
    rows.extend(more(pool.backends.len(), MOST_ROWS));
    Table { title: format!("pool {}", pool.name), settings, rows }
}

fn backend(backend: &Backend) -> [String; 3] {
    let v4 = backend.v4.map(|(addr, port)| match port {
        0 => addr.to_string(),
        port => SocketAddrV4::new(addr, port).to_string(),
    });
    let v6 = backend.v6.map(|(addr, port)| match port {
        0 => addr.to_string(),
        port => SocketAddrV6::new(addr, port, 0, 0).to_string(),
    });
    let addresses: Vec<String> = v4.into_iter().chain(v6).collect();
    let mut special = Vec::new();
    special.extend((backend.weight != 1).then(|| format!("weight {}", number(backend.weight.into()))));
    special.extend(backend.max_conn.map(|most| format!("max_conn {}", number(most.into()))));
    special.extend(backend.drain.then(|| "drain".to_owned()));
    [backend.name.clone(), addresses.join(", "), special.join(", ")]
}

/// Vips, sides and sets, with what each name stands for.
pub(super) fn names(policy: &Policy) -> Vec<Table> {
    let tables = [
        table("vips", &policy.vips, vip),
        table("sides", &policy.sides, |side| self::side(policy, side)),
        table("sets", &policy.sets, set),
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

fn table<T>(title: &str, items: &[T], row: impl FnMut(&T) -> [String; 3]) -> Table {
    let mut rows: Vec<[String; 3]> = items.iter().take(MOST_ROWS).map(row).collect();
    rows.extend(more(items.len(), MOST_ROWS));
    Table { title: title.to_owned(), settings: Vec::new(), rows }
}

/// The row that counts those beyond the ones that are shown.
fn more(count: usize, shown: usize) -> Option<[String; 3]> {
    let left = count.checked_sub(shown).filter(|left| *left > 0)?;
    Some([format!("… {} more", number(left as u64)), String::new(), String::new()])
}

fn vip(vip: &Vip) -> [String; 3] {
    let v4 = vip.v4.map(|addr| addr.to_string());
    let addresses: Vec<String> = v4.into_iter().chain(vip.v6.map(|addr| addr.to_string())).collect();
    let ports = vip.ports.iter().map(|ports| {
        let proto = if ports.proto == 17 { "udp" } else { "tcp" };
        match ports.first == ports.last {
            true => format!("{proto} {}", ports.first),
            false => format!("{proto} {}-{}", ports.first, ports.last),
        }
    });
    [vip.name.clone(), addresses.join(", "), some_of(&ports.collect::<Vec<_>>(), 6)]
}

fn side(policy: &Policy, side: &Side) -> [String; 3] {
    let rule =
        side.guard.as_ref().map_or("otherwise".to_owned(), |guard| format!("when {}", text(policy, guard)));
    [side.name.clone(), rule, String::new()]
}

fn set(set: &Set) -> [String; 3] {
    let ranges = set.addrs.v4.len() + set.addrs.v6.len();
    let what = match set.dynamic {
        Some(dynamic) => {
            let ttl = dynamic.ttl.map_or(String::new(), |ttl| format!(", ttl {}", duration(ttl)));
            format!("dynamic{ttl}")
        }
        None if set.from_file => format!("{} from a file", counted(ranges, "range")),
        None => counted(ranges, "range"),
    };
    [set.name.clone(), what, max(set.max).unwrap_or_default()]
}

/// A guard as it could be written.
fn text(policy: &Policy, guard: &Guard) -> String {
    let all = |parts: &[Guard], word: &str| {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| {
                let inner = text(policy, part);
                if matches!(part, Guard::And(_) | Guard::Or(_)) { format!("({inner})") } else { inner }
            })
            .collect();
        parts.join(word)
    };
    match guard {
        Guard::And(parts) => all(parts, " and "),
        Guard::Or(parts) => all(parts, " or "),
        Guard::Not(inner) => format!("not ({})", text(policy, inner)),
        Guard::Test(test) => line(&test.text),
        Guard::From(side, _) => {
            format!("from {}", policy.sides.get(side.index()).map_or("", |side| &side.name))
        }
        Guard::To(vip, _) => format!("to {}", policy.vips.get(vip.index()).map_or("", |vip| &vip.name)),
    }
}

fn some_of(all: &[String], most: usize) -> String {
    let shown = all.get(..most).unwrap_or(all).join(", ");
    match all.len().checked_sub(most) {
        Some(left @ 1..) => format!("{shown}, … {left} more"),
        _ => shown,
    }
}
