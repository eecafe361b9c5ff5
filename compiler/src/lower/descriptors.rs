//! Owns the descriptors of limits, trackers and pools, and the slot tables. Never nodes, rows or field tables.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_abi::bundle::{self, Dense, Image, Relocation};
use lb_abi::image::{
    L_BURST, L_ID, L_INTERVAL, L_KEY, L_UNIT, L_V4, L_V6, LIMIT_BYTES, LIMIT_CONNS, LIMIT_KEY_DST,
    LIMIT_KEY_NONE, LIMIT_KEY_SRC, LIMIT_PACKETS, LIMIT_SYNS, LIMIT_WORDS, P_ID, P_PICK, P_PORT_COUNT,
    P_PORT_FIRST, P_SLOTS4, P_SLOTS6, P_SOURCES4, P_SOURCES6, P_VIA, PICK_FLOW, PICK_RANDOM,
    PICK_ROUND_ROBIN, PICK_SOURCE, POOL_WORDS, T_HALF_OPEN, T_ID, T_IDLE_TCP, T_IDLE_UDP, T_MAX,
    TRACKER_WORDS, VIA_NAT,
};
use lb_abi::maps::{Addr, BACKEND_ACTIVE, BACKEND_DRAINING, TICK_SHIFT};
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Limit, LimitUnit, Pick, Policy, Pool, Tracker, Via};

use super::bounds;
use super::identity::identity;
use super::not_yet::{self, NotYet};
use super::refusals;
use super::slots::{self, Candidate};
use super::words::{Full, Words};

/// An IPv4 address as maps and images hold it.
fn mapped(addr: Ipv4Addr) -> Addr {
    addr.to_ipv6_mapped().octets()
}

/// Every address of every backend, pools and backends in the order of the file, IPv4 first.
pub fn backends(policy: &Policy) -> Vec<bundle::Backend> {
    let mut backends = Vec::new();
    for (pool, declared) in policy.pools.iter().enumerate() {
        for backend in &declared.backends {
            let v4 = backend.v4.map(|(addr, port)| (mapped(addr), format!("{addr}:{port}"), port));
            let v6 = backend.v6.map(|(addr, port)| (addr.octets(), format!("[{addr}]:{port}"), port));
            for (addr, text, port) in v4.into_iter().chain(v6) {
                backends.push(bundle::Backend {
                    identity: identity(&["backend", &declared.name, &text]),
                    pool: pool as u32,
                    name: backend.name.clone(),
                    addr,
                    port,
                    state: if bounds::takes_flows(backend) { BACKEND_ACTIVE } else { BACKEND_DRAINING },
                });
            }
        }
    }
    backends
}

/// What the image holds beside its words: everything declared, whether a chain names it or not, so that an ordinal of
/// the image is an index of the policy.
pub fn declare(policy: &Policy, image: &mut Image) {
    image.limits = policy
        .limits
        .iter()
        .map(|limit| bundle::Limit {
            identity: limit_identity(limit),
            name: limit.name.clone(),
            max: limit.key.and(limit.max).unwrap_or(0),
        })
        .collect();
    image.trackers = policy
        .trackers
        .iter()
        .map(|tracker| bundle::Tracker {
            identity: identity(&["tracker", &tracker.name]),
            name: tracker.name.clone(),
            max: tracker.max,
        })
        .collect();
    image.pools = policy
        .pools
        .iter()
        .map(|pool| bundle::Pool { identity: identity(&["pool", &pool.name]), name: pool.name.clone() })
        .collect();
    image.backends = backends(policy);
}

/// Name, unit and key: a new rate goes on with the buckets as they are, another key can't.
fn limit_identity(limit: &Limit) -> u64 {
    let unit = limit_unit(limit).to_string();
    let key = limit.key.map_or_else(
        || "none".to_owned(),
        |key| format!("{} {} {}", if key.source { "src" } else { "dst" }, key.v4, key.v6),
    );
    identity(&["limit", &limit.name, &unit, &key])
}

fn limit_unit(limit: &Limit) -> u32 {
    match limit.unit {
        LimitUnit::Packets => LIMIT_PACKETS,
        LimitUnit::Bits => LIMIT_BYTES,
        LimitUnit::Syns => LIMIT_SYNS,
        LimitUnit::Connections => LIMIT_CONNS,
    }
}

pub fn limit(
    ordinal: u32,
    limit: &Limit,
    words: &mut Words,
    image: &mut Image,
) -> Result<u32, Box<Diagnostic>> {
    let mut row = [0; LIMIT_WORDS];
    row[L_ID] = ordinal;
    row[L_UNIT] = limit_unit(limit);
    if let Some(key) = limit.key {
        row[L_KEY] = if key.source { LIMIT_KEY_SRC } else { LIMIT_KEY_DST };
        (row[L_V4], row[L_V6]) = (u32::from(key.v4), u32::from(key.v6));
    } else {
        row[L_KEY] = LIMIT_KEY_NONE;
    }
    let (interval, burst) = bounds::limit_times(limit)?;
    for (at, value) in [(L_INTERVAL, interval), (L_BURST, burst)] {
        (row[at], row[at + 1]) = (value as u32, (value >> 32) as u32);
    }
    let offset = words.append(&row).map_err(|Full| refusals::words(limit.span))?;
    image.relocations.push(Relocation { word: offset + L_ID as u32, kind: Dense::Limit });
    Ok(offset)
}

pub fn tracker(
    ordinal: u32,
    tracker: &Tracker,
    words: &mut Words,
    image: &mut Image,
) -> Result<u32, Box<Diagnostic>> {
    let ticks =
        |time: std::time::Duration| time.as_nanos().div_ceil(1 << TICK_SHIFT).min((1 << 31) - 1) as u32;
    let mut row = [0; TRACKER_WORDS];
    row[T_ID] = ordinal;
    row[T_IDLE_TCP] = ticks(tracker.idle_tcp);
    row[T_IDLE_UDP] = ticks(tracker.idle_udp);
    row[T_HALF_OPEN] = ticks(tracker.half_open);
    row[T_MAX] = tracker.max;
    let offset = words.append(&row).map_err(|Full| refusals::words(tracker.span))?;
    image.relocations.push(Relocation { word: offset + T_ID as u32, kind: Dense::Tracker });
    Ok(offset)
}

/// Writes a pool's descriptor with its slot tables and sources. `backends`: offset of the words that hold the backends'
/// numbers, in order of ordinals.
pub fn pool(
    ordinal: u32,
    pool: &Pool,
    backends: u32,
    words: &mut Words,
    image: &mut Image,
) -> Result<u32, Box<Diagnostic>> {
    let full = |Full| refusals::words(pool.span);
    let lacks = |lacks: NotYet| Err(Box::new(lacks.at(pool.span)));
    let mut row = [0; POOL_WORDS];
    row[P_ID] = ordinal;
    row[P_PICK] = match pool.pick {
        Pick::LeastConnections | Pick::Certificate => return lacks(not_yet::PICK),
        Pick::RoundRobin => PICK_ROUND_ROBIN,
        Pick::Random => PICK_RANDOM,
        Pick::Source | Pick::Maglev { by_flow: false, .. } => PICK_SOURCE,
        Pick::Maglev { by_flow: true, .. } => PICK_FLOW,
    };
    row[P_VIA] = match pool.via {
        Via::Nat => VIA_NAT,
        Via::L2dsr | Via::Ipip | Via::Gue { .. } => return lacks(not_yet::VIA),
    };
    if let Some((first, last)) = pool.ports {
        row[P_PORT_FIRST] = u32::from(first);
        row[P_PORT_COUNT] = u32::from(last.saturating_sub(first)) + 1;
    }
    for (v4, at) in [(true, P_SLOTS4), (false, P_SLOTS6)] {
        let slots: Vec<u32> =
            slot_table(ordinal, pool, v4, image)?.iter().map(|backend| backends + backend).collect();
        if !slots.is_empty() {
            row[at] = words.append(&slots).map_err(full)?;
            row[at + 1] = slots.len() as u32;
        }
    }
    let v4: Vec<Addr> = pool.sources_v4.iter().copied().map(mapped).collect();
    let v6: Vec<Addr> = pool.sources_v6.iter().map(Ipv6Addr::octets).collect();
    for (sources, at) in [(v4, P_SOURCES4), (v6, P_SOURCES6)] {
        if !sources.is_empty() {
            let flat: Vec<u32> = sources.iter().flat_map(address_words).collect();
            row[at] = words.append(&flat).map_err(full)?;
            row[at + 1] = sources.len() as u32;
        }
    }
    let offset = words.append(&row).map_err(full)?;
    image.relocations.push(Relocation { word: offset + P_ID as u32, kind: Dense::Pool });
    Ok(offset)
}

/// An address as four words: its bytes in order, each word little-endian.
fn address_words(addr: &Addr) -> [u32; 4] {
    std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| addr[4 * at + byte])))
}

/// Ordinals of the backends of one family by slot; empty without a usable one.
fn slot_table(ordinal: u32, pool: &Pool, v4: bool, image: &Image) -> Result<Vec<u32>, Box<Diagnostic>> {
    let ordinals: Vec<u32> = image
        .backends
        .iter()
        .enumerate()
        .filter(|(_, backend)| backend.pool == ordinal)
        .map(|(at, _)| at as u32)
        .collect();
    let has = |backend: &policy_lang::policy::Backend| [backend.v4.is_some(), backend.v6.is_some()];
    let families = pool.backends.iter().flat_map(|backend| {
        let [four, six] = has(backend);
        [(four, true, backend), (six, false, backend)].into_iter().filter(|entry| entry.0)
    });
    let candidates: Vec<Candidate<'_>> = families
        .zip(ordinals)
        .filter(|((_, four, backend), _)| *four == v4 && bounds::takes_flows(backend))
        .map(|((_, _, backend), ordinal)| Candidate {
            name: &backend.name,
            weight: backend.weight,
            backend: ordinal,
        })
        .collect();
    bounds::slots_fit(pool, &candidates)?;
    Ok(match pool.pick {
        Pick::RoundRobin | Pick::Random | Pick::LeastConnections => slots::round(&candidates),
        Pick::Source | Pick::Certificate => slots::maglev(&candidates, slots::SOURCE_SLOTS),
        Pick::Maglev { slots, .. } => slots::maglev(&candidates, slots),
    })
}
