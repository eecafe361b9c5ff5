//! Owns the way from the settings a policy writes to the numbers that stages take. Never what a stage does with them.

use std::time::Duration;

use lb_abi::image::LIMIT_SHIFT;
use lb_abi::maps::{Addr, TICK_SHIFT};
use policy_lang::policy::{Backend, Limit, LimitUnit, Pick, Policy, Pool, PoolId, Tracker};

use super::slots::{Candidate, slots};
use super::stages::{self, LimitParams, PickBy, Target, TrackParams};
use crate::packet::addr;

pub(super) fn limit(id: u32, limit: &Limit) -> LimitParams {
    let per = limit.per.as_nanos() << LIMIT_SHIFT;
    let rate = u128::from(limit.rate.max(1));
    let (unit, interval, burst) = match limit.unit {
        LimitUnit::Packets => (stages::LimitUnit::Packets, per / rate, limit.burst),
        LimitUnit::Bits => (stages::LimitUnit::Bytes, 8 * per / rate, limit.burst / 8),
        LimitUnit::Syns => (stages::LimitUnit::Syns, per / rate, limit.burst),
        LimitUnit::Connections => (stages::LimitUnit::Connections, per / rate, limit.burst),
    };
    // What reaches 2^62 the compiler refuses; here it only must not overflow.
    let bound = |number: u128| number.min(1 << 62) as u64;
    let interval = match unit {
        stages::LimitUnit::Bytes => bound(interval).min(1 << 46),
        _ => bound(interval),
    };
    let tolerance = bound(u128::from(interval) * u128::from(burst));
    LimitParams { id, unit, key: limit.key, interval, tolerance }
}

pub(super) fn track(id: u32, tracker: &Tracker) -> TrackParams {
    TrackParams {
        id,
        idle_tcp: ticks(tracker.idle_tcp),
        idle_udp: ticks(tracker.idle_udp),
        half_open: ticks(tracker.half_open),
        max: tracker.max,
    }
}

/// Rounded up, so that no flow ends before its time.
fn ticks(time: Duration) -> u32 {
    time.as_nanos().div_ceil(1 << TICK_SHIFT).min((1 << 31) - 1) as u32
}

/// A pool's slot tables and sources, made once.
pub(super) struct Tables {
    pub(super) pick: PickBy,
    pub(super) v4: Family,
    pub(super) v6: Family,
    pub(super) port_first: u16,
    pub(super) port_count: u32,
}

pub(super) struct Family {
    pub(super) targets: Vec<Target>,
    /// Indices into `targets`.
    pub(super) slots: Vec<usize>,
    pub(super) sources: Vec<Addr>,
}

pub(super) fn pool(policy: &Policy, id: PoolId, pool: &Pool) -> Tables {
    let pick = match pool.pick {
        // Neither is carried by the tables; `eval::walk` picks for them.
        Pick::LeastConnections | Pick::Certificate | Pick::RoundRobin => PickBy::RoundRobin,
        Pick::Random => PickBy::Random,
        Pick::Source | Pick::Maglev { by_flow: false, .. } => PickBy::Source,
        Pick::Maglev { by_flow: true, .. } => PickBy::Flow,
    };
    let (first, last) = pool.ports.unwrap_or((0, 0));
    Tables {
        pick,
        v4: family(policy, id, pool, false),
        v6: family(policy, id, pool, true),
        port_first: first,
        port_count: u32::from(last.saturating_sub(first)) + 1,
    }
}

fn family(policy: &Policy, id: PoolId, pool: &Pool, v6: bool) -> Family {
    let mut candidates = Vec::new();
    let mut targets = Vec::new();
    let ordinals = backend_ordinals(policy).filter(|backend| backend.pool == id && backend.v6 == v6);
    for (Ordinal { ordinal, addr, port, .. }, backend) in
        ordinals.filter_map(|ordinal| Some((ordinal, pool.backends.get(ordinal.index)?)))
    {
        if backend.weight > 0 && !backend.drain {
            candidates.push(Candidate { name: &backend.name, weight: backend.weight });
            targets.push(Target { backend: ordinal, identity: 0, addr, port });
        }
    }
    let sources = if v6 {
        pool.sources_v6.iter().map(|&source| addr(source.into())).collect()
    } else {
        pool.sources_v4.iter().map(|&source| addr(source.into())).collect()
    };
    Family { slots: slots(pool.pick, &candidates), targets, sources }
}

/// One address of a backend and its ordinal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ordinal {
    pub ordinal: u32,
    pub pool: PoolId,
    /// Index of the backend in its pool.
    pub index: usize,
    pub v6: bool,
    pub addr: Addr,
    /// 0 keeps the packet's.
    pub port: u16,
}

/// Every backend's addresses in the order of their ordinals: pools and backends as written, IPv4 before IPv6.
pub fn backend_ordinals(policy: &Policy) -> impl Iterator<Item = Ordinal> + '_ {
    let addresses = |backend: &Backend| {
        let v4 = backend.v4.map(|(ip, port)| (false, addr(ip.into()), port));
        let v6 = backend.v6.map(|(ip, port)| (true, addr(ip.into()), port));
        v4.into_iter().chain(v6)
    };
    let backends = (0..).zip(&policy.pools).flat_map(|(pool, item)| {
        item.backends.iter().enumerate().map(move |(index, backend)| (PoolId(pool), index, backend))
    });
    let each = backends.flat_map(move |(pool, index, backend)| {
        addresses(backend).map(move |address| (pool, index, address))
    });
    (0..).zip(each).map(|(ordinal, (pool, index, (v6, addr, port)))| Ordinal {
        ordinal,
        pool,
        index,
        v6,
        addr,
        port,
    })
}
