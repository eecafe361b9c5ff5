//! Owns `translate POOL` and `translate back`: which tuple a packet is to leave with. Never rewrites or writes a flow.

use lb_abi::hash::scale;
use lb_abi::image::{FLAG_SYN, PORT_TRIES};
use lb_abi::maps::{Addr, DIR_ORIGINAL, FLOW_CLOSING, Flow, FlowKey};
use lb_abi::reason::Reason;

use super::flows::{lookup, pair_key};
use super::track::transition;
use super::{Load, PickBy, Plan, PlannedFlow, PoolParams, Target, Translation, Way, certificate};
use crate::eval::State;
use crate::packet::{Fields, certificate_hash, flow_hash, flow_key, source_hash};

/// Plans the tuple towards a backend; exits `empty` and `ports`.
pub fn translate(state: &mut State, params: &PoolParams, fields: &Fields, plan: &mut Plan) -> Way {
    let is_tracked = plan.flow.is_some() && plan.tracker.is_some();
    if !is_tracked && params.is_nat {
        return Way::Drop(Reason::BadImage);
    }
    let Some((sport, dport)) = fields.ports().filter(|_| !fields.is_fragment()) else {
        return Way::Drop(Reason::Untranslatable);
    };
    let key = flow_key(fields);
    if is_tracked
        && let Some(PlannedFlow::Known { .. }) = plan.flow
        && let Some((_, flow)) = lookup(state, &key)
    {
        if flow.dir != DIR_ORIGINAL {
            return Way::Drop(Reason::WrongDirection);
        }
        if let Some(kept) = kept(state, params.id, flow) {
            plan.translation = Some(Translation { wrap: (params.wrap)(kept.backend), ..kept });
            return Way::On;
        }
        if params.is_nat && fields.flags().is_some_and(|flags| flags != FLAG_SYN) {
            return Way::Drop(Reason::BackendGone);
        }
    }
    let target = match pick(state, params, fields, plan) {
        Ok(Some(target)) => target,
        Ok(None) => return Way::Empty,
        Err(reason) => return Way::Drop(reason),
    };
    let (backend, client) = if params.is_nat {
        let backend = (target.addr, if target.port == 0 { dport } else { target.port });
        match source(state, params, &key, sport, backend) {
            Some(client) => (backend, client),
            None => return Way::Ports,
        }
    } else {
        ((key.dst, dport), (key.src, sport))
    };
    let (src, sport) = client;
    plan.translation = Some(Translation {
        src,
        dst: backend.0,
        sport,
        dport: backend.1,
        pool: params.id,
        backend: target.backend,
        identity: target.identity,
        is_new: is_tracked,
        to_backend: true,
        wrap: (params.wrap)(target.backend),
    });
    Way::On
}

/// The tuple that a known flow keeps: its backend is of this pool and is still there.
fn kept(state: &State, pool: u32, flow: &Flow) -> Option<Translation> {
    let backend = flow.backend.checked_sub(1).filter(|backend| !state.absent.contains(backend))?;
    (flow.pool == pool + 1).then(|| leaving(flow, backend, true))
}

fn leaving(flow: &Flow, backend: u32, to_backend: bool) -> Translation {
    Translation {
        src: flow.src,
        dst: flow.dst,
        sport: flow.sport,
        dport: flow.dport,
        pool: flow.pool.saturating_sub(1),
        backend,
        identity: flow.identity,
        is_new: false,
        to_backend,
        wrap: None,
    }
}

/// The backend of a new flow: the one its session has, else one by the pool's rule. `None` where there is none.
fn pick(
    state: &mut State,
    params: &PoolParams,
    fields: &Fields,
    plan: &Plan,
) -> Result<Option<Target>, Reason> {
    if let Some(kept) = of_session(state, params, plan) {
        return Ok(Some(kept));
    }
    if params.pick == PickBy::LeastConnections {
        return Ok(least(state, params.backends));
    }
    if params.slots == 0 {
        return Ok(None);
    }
    let slot = slot(state, params, fields, plan)?;
    let first = (params.slot)(slot).ok_or(Reason::BadImage)?;
    let behind = params.backends.iter().cycle().skip(first).take(params.backends.len());
    Ok(behind.into_iter().find(|load| has_room(state, load)).map(|load| load.target))
}

/// The backend that the packet's session has in the pool.
fn of_session(state: &State, params: &PoolParams, plan: &Plan) -> Option<Target> {
    let ordinal = *state.session(plan.session?)?.backends.get(&params.id)?;
    (params.reached)(ordinal).filter(|target| !state.absent.contains(&target.backend))
}

/// The backend with the fewest connections for its weight; the first of equals.
fn least(state: &State, loads: &[Load]) -> Option<Target> {
    let usable = loads.iter().filter(|load| has_room(state, load));
    let counted = usable.map(|load| (u64::from(connections(state, load)), load));
    // a / weight of a < b / weight of b, without division.
    let fewest = counted.reduce(|least, next| {
        let (a, b) = (least.0 * u64::from(next.1.weight), next.0 * u64::from(least.1.weight));
        if b < a { next } else { least }
    });
    fewest.map(|(_, load)| load.target)
}

/// Whether a backend is there and has fewer connections than it may have.
fn has_room(state: &State, load: &Load) -> bool {
    !state.absent.contains(&load.target.backend)
        && load.max_conn.is_none_or(|max| connections(state, load) < max)
}

/// Live flows to a backend that are not closing.
fn connections(state: &State, load: &Load) -> u32 {
    let tables = [&state.flows_new, &state.flows_answered, &state.flows_proven];
    let of_it = tables.into_iter().flatten().filter(|(key, flow)| {
        let is_to_it = flow.backend.checked_sub(1).is_some_and(|backend| load.ordinals.contains(&backend));
        is_to_it && flow.dir == DIR_ORIGINAL && flow.state != FLOW_CLOSING && lookup(state, key).is_some()
    });
    of_it.count() as u32
}

fn slot(state: &mut State, params: &PoolParams, fields: &Fields, plan: &Plan) -> Result<u32, Reason> {
    Ok(match params.pick {
        PickBy::RoundRobin => {
            let pool = state.pools.entry(params.id).or_default();
            let turn = pool.turn;
            pool.turn = turn.wrapping_add(1);
            (turn % u64::from(params.slots)) as u32
        }
        PickBy::Random => state.draw() % params.slots,
        PickBy::Source => scale(source_hash(state.key, fields), params.slots),
        PickBy::Flow => scale(flow_hash(state.key, fields), params.slots),
        PickBy::Certificate => {
            let hash = certificate(state, fields, &plan.learned).and_then(params.hash);
            scale(certificate_hash(state.key, &hash.ok_or(Reason::BadImage)?), params.slots)
        }
        PickBy::LeastConnections => 0,
    })
}

/// Source address and port of a new flow to `backend`; `None` if the reply's key is taken, or each one tried is.
fn source(
    state: &mut State,
    params: &PoolParams,
    key: &FlowKey,
    sport: u16,
    backend: (Addr, u16),
) -> Option<(Addr, u16)> {
    if params.sources.is_empty() {
        let client = (key.src, sport);
        return (!is_taken(state, key, backend, client)).then_some(client);
    }
    let ports = u64::from(params.port_count);
    let total = params.sources.len() as u64 * ports;
    if total == 0 {
        return None;
    }
    let start = u64::from(state.draw());
    for _ in 0..total.min(u64::from(PORT_TRIES)) {
        let pool = state.pools.entry(params.id).or_default();
        let choice = start.wrapping_add(pool.port) % total;
        pool.port = pool.port.wrapping_add(1);
        let address = params.sources.get((choice / ports) as usize).copied()?;
        let candidate = (address, params.port_first.wrapping_add((choice % ports) as u16));
        if !is_taken(state, key, backend, candidate) {
            return Some(candidate);
        }
    }
    None
}

/// Whether replies from `backend` to `source` already belong to a live flow other than the packet's own.
fn is_taken(state: &State, key: &FlowKey, backend: (Addr, u16), source: (Addr, u16)) -> bool {
    let reply = FlowKey {
        src: backend.0,
        dst: source.0,
        sport: backend.1,
        dport: source.1,
        proto: key.proto,
        pad: [0; 3],
    };
    lookup(state, &reply).is_some_and(|(_, flow)| pair_key(flow, key.proto) != *key)
}

/// Plans that a reply leaves with its client's tuple; exit `invalid`.
pub fn translate_back(state: &State, fields: &Fields, plan: &mut Plan) -> Way {
    if fields.is_fragment() {
        return Way::Drop(Reason::Untranslatable);
    }
    let key = flow_key(fields);
    let Some((table, flow)) = lookup(state, &key) else { return Way::Invalid };
    if state.learned.get(&key).is_some_and(|learned| learned.one_way) {
        return Way::Invalid;
    }
    let Some(backend) = flow.backend.checked_sub(1).filter(|_| flow.dir != DIR_ORIGINAL) else {
        return Way::Invalid;
    };
    let Some(next) = transition(state, table, &key, flow, fields) else { return Way::Invalid };
    plan.translation = Some(leaving(flow, backend, false));
    plan.flow = Some(PlannedFlow::Known { table, next });
    Way::On
}
