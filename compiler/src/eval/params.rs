//! Owns the way from the settings a policy writes to the numbers that stages take. Never what a stage does with them.

use std::collections::BTreeSet;
use std::time::Duration;

use lb_abi::image::LIMIT_SHIFT;
use lb_abi::maps::{Addr, TICK_SHIFT};
use policy_lang::policy::{
    Authority, AuthorityId, Backend, Chain, Limit, LimitUnit, Pick, Policy, Pool, PoolId, Stage, StageKind,
    Tail, TrackKey, Tracker, Tree, TreeId, Via,
};

use super::slots::{Candidate, slots};
use super::stages::{self, Certified, LimitParams, Load, PickBy, Target, TrackParams, VerifyParams, Wrap};
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

/// Settings of a `verify` but for the authority's certificates.
pub(super) fn verify(id: AuthorityId, authority: &Authority) -> VerifyParams<'static> {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    VerifyParams {
        id: id.0,
        once: !authority.every_packet,
        strip: authority.strip,
        replay: authority.replay.map(nanoseconds),
        certificate: &|_| None,
    }
}

/// The certificates of an authority by their ids.
pub(super) fn certified(policy: &Policy, id: AuthorityId) -> Vec<(u8, Certified<'_>)> {
    let Some(authority) = policy.authorities.get(id.index()) else { return Vec::new() };
    let numbered = (policy.certificate_number(id, 0)..).zip(&authority.certificates);
    let certified = numbered.map(|(number, certificate)| {
        let one = Certified {
            number,
            hash: certificate.hash,
            key: certificate.key.as_ref(),
            valid: certificate.valid,
            is_revoked: authority.revoked.contains(&certificate.hash),
            subject: &certificate.subject,
        };
        (certificate.id, one)
    });
    certified.collect()
}

/// Settings of a `track` but for what the packet and the stages behind decide.
pub(super) fn track(id: u32, tracker: &Tracker) -> TrackParams {
    TrackParams {
        id,
        idle_tcp: ticks(tracker.idle_tcp),
        idle_udp: ticks(tracker.idle_udp),
        half_open: ticks(tracker.half_open),
        max: tracker.max,
        by_certificate: tracker.key == TrackKey::Certificate,
        one_way: false,
    }
}

/// Whether pools come behind that answer clients themselves, and none that translates.
pub(super) fn is_one_way(policy: &Policy, stages: &[Stage], tail: &Tail) -> bool {
    let mut pools = BTreeSet::new();
    let mut trees = BTreeSet::new();
    pools_behind(policy, stages, tail, &mut trees, &mut pools);
    let is_nat = |id: &PoolId| policy.pools.get(id.index()).is_none_or(|pool| pool.via == Via::Nat);
    !pools.is_empty() && !pools.iter().any(is_nat)
}

fn pools_behind(
    policy: &Policy,
    stages: &[Stage],
    tail: &Tail,
    trees: &mut BTreeSet<TreeId>,
    pools: &mut BTreeSet<PoolId>,
) {
    let mut below = |chain: &Chain| pools_behind(policy, &chain.stages, &chain.tail, trees, pools);
    for exit in stages.iter().flat_map(|stage| stage.kind.exits()) {
        below(&exit.1.chain);
    }
    match tail {
        Tail::End(..) => {}
        Tail::Tree(id, _) => {
            if trees.insert(*id)
                && let Some(Tree { chain, .. }) = policy.trees.get(id.index())
            {
                pools_behind(policy, &chain.stages, &chain.tail, trees, pools);
            }
        }
        Tail::Match(arms) => {
            arms.arms.iter().for_each(|arm| below(&arm.chain));
            below(&arms.otherwise);
        }
        Tail::Every(every) => every.ways.iter().for_each(below),
    }
    pools.extend(stages.iter().filter_map(|stage| match stage.kind {
        StageKind::Translate { pool, .. } => Some(pool),
        _ => None,
    }));
}

/// Rounded up, so that no flow ends before its time.
fn ticks(time: Duration) -> u32 {
    time.as_nanos().div_ceil(1 << TICK_SHIFT).min((1 << 31) - 1) as u32
}

/// A pool's slot tables and sources, made once.
pub(super) struct Tables {
    pub(super) pick: PickBy,
    pub(super) is_nat: bool,
    pub(super) v4: Family,
    pub(super) v6: Family,
    pub(super) port_first: u16,
    pub(super) port_count: u32,
}

pub(super) struct Family {
    /// Indices into `loads`.
    pub(super) slots: Vec<usize>,
    pub(super) sources: Vec<Addr>,
    /// What can be picked, in the order written.
    pub(super) loads: Vec<Load>,
    /// By each address of each backend, the one that the family's packets are sent to for it; drained ones too.
    reached: Vec<(u32, Target)>,
    /// How packets get to each of the pool's ordinals, if not by translation.
    wraps: Vec<(u32, Wrap)>,
}

impl Family {
    /// The address with this ordinal, or the backend's other one where the family's packets can't be sent to that.
    pub(super) fn reached(&self, ordinal: u32) -> Option<Target> {
        self.reached.iter().find(|(found, _)| *found == ordinal).map(|(_, target)| *target)
    }

    pub(super) fn wrap(&self, ordinal: u32) -> Option<Wrap> {
        self.wraps.iter().find(|(found, _)| *found == ordinal).map(|(_, wrap)| *wrap)
    }
}

pub(super) fn pool(policy: &Policy, id: PoolId, pool: &Pool) -> Tables {
    let pick = match pool.pick {
        Pick::RoundRobin => PickBy::RoundRobin,
        Pick::LeastConnections => PickBy::LeastConnections,
        Pick::Certificate => PickBy::Certificate,
        Pick::Random => PickBy::Random,
        Pick::Source | Pick::Maglev { by_flow: false, .. } => PickBy::Source,
        Pick::Maglev { by_flow: true, .. } => PickBy::Flow,
    };
    let (first, last) = pool.ports.unwrap_or((0, 0));
    Tables {
        pick,
        is_nat: pool.via == Via::Nat,
        v4: family(policy, id, pool, false),
        v6: family(policy, id, pool, true),
        port_first: first,
        port_count: u32::from(last.saturating_sub(first)) + 1,
    }
}

fn family(policy: &Policy, id: PoolId, pool: &Pool, v6: bool) -> Family {
    let sources = match v6 {
        true => pool.sources_v6.iter().map(|&source| addr(source.into())).collect(),
        false => pool.sources_v4.iter().map(|&source| addr(source.into())).collect(),
    };
    let wrap = |ordinal: &Ordinal| Wrap { via: pool.via, dst: ordinal.addr, v6: ordinal.v6 };
    let own: Vec<Ordinal> = backend_ordinals(policy).filter(|ordinal| ordinal.pool == id).collect();
    // What is wrapped can be of another family than what is around it.
    let is_wrapped = matches!(pool.via, Via::Ipip | Via::Gue { .. });
    let (mut candidates, mut loads) = (vec![], vec![]);
    let is_reached = |ordinal: &&Ordinal| ordinal.v6 == v6 || is_wrapped;
    for (index, backend) in pool.backends.iter().enumerate() {
        let addresses = own.iter().filter(|ordinal| ordinal.index == index);
        let ordinals = addresses.clone().map(|ordinal| ordinal.ordinal).collect();
        let best = addresses.filter(is_reached).min_by_key(|ordinal| ordinal.v6 != v6);
        let Some(best) = best else { continue };
        let &Backend { weight, max_conn, .. } = backend;
        if weight > 0 && !backend.drain {
            candidates.push(Candidate { name: &backend.name, weight });
            loads.push(Load { target: target(best), weight, max_conn, ordinals });
        }
    }
    let reached = own.iter().filter_map(|ordinal| {
        let mut same = own.iter().filter(|other| other.index == ordinal.index);
        let best = Some(ordinal).filter(is_reached).or_else(|| same.find(is_reached))?;
        Some((ordinal.ordinal, target(best)))
    });
    let wrapped = own.iter().filter(|_| pool.via != Via::Nat);
    Family {
        slots: slots(pool.pick, &candidates),
        loads,
        reached: reached.collect(),
        wraps: wrapped.map(|ordinal| (ordinal.ordinal, wrap(ordinal))).collect(),
        sources,
    }
}

fn target(ordinal: &Ordinal) -> Target {
    Target { backend: ordinal.ordinal, identity: 0, addr: ordinal.addr, port: ordinal.port }
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
