//! Owns the descriptors of limits and trackers, and the lists of what is declared. Never nodes, rows or field tables.

use lb_abi::bundle::{self, Dense, Image, Relocation};
use lb_abi::image::{
    L_BURST, L_ID, L_INTERVAL, L_KEY, L_UNIT, L_V4, L_V6, LIMIT_BYTES, LIMIT_CONNS, LIMIT_KEY_DST,
    LIMIT_KEY_NONE, LIMIT_KEY_SRC, LIMIT_PACKETS, LIMIT_SYNS, LIMIT_WORDS, T_CERTIFICATES, T_FLAGS,
    T_HALF_OPEN, T_ID, T_IDLE_TCP, T_IDLE_UDP, T_MAX, TRACK_CERTIFICATE, TRACKER_WORDS,
};
use lb_abi::maps::{BACKEND_ACTIVE, BACKEND_DRAINING, TICK_SHIFT};
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::{Limit, LimitUnit, Policy, TrackKey, Tracker};

use super::bounds;
use super::identity::identity;
use super::pools::mapped;
use super::words::{Full, Words};
use super::{authorities, refusals};

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
    authorities::declare(policy, image);
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
    if tracker.key == TrackKey::Certificate {
        row[T_FLAGS] = TRACK_CERTIFICATE;
        row[T_CERTIFICATES] = image.certificates.len() as u32;
    }
    let offset = words.append(&row).map_err(|Full| refusals::words(tracker.span))?;
    image.relocations.push(Relocation { word: offset + T_ID as u32, kind: Dense::Tracker });
    Ok(offset)
}
