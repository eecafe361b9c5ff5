//! Owns the writing of what the stages planned into the flow tables (section 5 of `docs/packet-path.md`). Never the
//! packet's bytes.

use lb_abi::image::{FLAG_ACK, FLAG_RST};
use lb_abi::maps::{DIR_ORIGINAL, DIR_REPLY, FLOW_CLOSING, FLOW_NEW, FLOW_PROVEN, FLOW_REPLIED, Flow};
use lb_abi::reason::Reason;

use super::flows::{Table, delete, lookup, pair_key};
use super::track::Transition;
use super::track::is_acknowledged;
use super::{Plan, PlannedFlow, Splice, TrackParams, map, sessions};
use crate::eval::{Learned, State};
use crate::packet::{Fields, Layer4, TCP, flow_key};

/// Writes the plan. `Ok` has the event to count, `Err` the reason for which the packet is dropped after all.
pub(super) fn commit(state: &mut State, fields: &Fields, plan: &Plan) -> Result<Option<Reason>, Reason> {
    let is_replaced = plan.translation.is_some_and(|translation| translation.is_new);
    let event = match (plan.flow, plan.tracker) {
        (None, _) => Ok(None),
        (Some(PlannedFlow::Known { table, next }), tracker) if !is_replaced => {
            refresh(state, fields, plan);
            Ok(known(state, fields, table, next, tracker))
        }
        (Some(_), Some(tracker)) => new(state, fields, &tracker, plan).map(|()| None),
        (Some(_), None) => Err(Reason::BadImage),
    }?;
    if plan.flow.is_some() {
        sessions::commit(state, &flow_key(fields), plan);
    }
    map::commit(state, plan);
    Ok(event)
}

fn new(state: &mut State, fields: &Fields, tracker: &TrackParams, plan: &Plan) -> Result<(), Reason> {
    let key = flow_key(fields);
    let translation = plan.translation;
    let is_picked_up = tracker.one_way && fields.flags().is_some_and(is_acknowledged);
    let original = Flow {
        src: translation.map_or(key.src, |tuple| tuple.src),
        dst: translation.map_or(key.dst, |tuple| tuple.dst),
        sport: translation.map_or(key.sport, |tuple| tuple.sport),
        dport: translation.map_or(key.dport, |tuple| tuple.dport),
        state: if is_picked_up { FLOW_REPLIED } else { FLOW_NEW },
        dir: DIR_ORIGINAL,
        tracker: tracker.id as u16,
        last: state.tick(),
        timeout: match key.proto {
            TCP if is_picked_up => tracker.idle_tcp,
            TCP => tracker.half_open,
            _ => tracker.idle_udp,
        },
        half_open: tracker.half_open,
        backend: translation.map_or(0, |tuple| tuple.backend + 1),
        identity: translation.map_or(0, |tuple| tuple.identity),
        pool: translation.map_or(0, |tuple| tuple.pool + 1),
        ..Flow::default()
    };
    let reply_key = pair_key(&original, key.proto);
    if reply_key == key {
        return Err(Reason::PortRace);
    }
    delete(state, &key);
    if lookup(state, &reply_key).is_some() {
        return Err(Reason::PortRace);
    }
    delete(state, &reply_key);
    let reply =
        Flow { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, dir: DIR_REPLY, ..original };
    state.flows_new.insert(reply_key, reply);
    state.flows_new.insert(key, original);
    let one_way = translation.is_some_and(|translation| translation.wrap.is_some());
    let in_session = plan.session.is_some();
    // What it replaces may have had it.
    let certificate = plan.learned.certificate.or(plan.session.map(|(_, certificate)| certificate));
    let learned = Learned { one_way, in_session, certificate, ..plan.learned.clone() };
    if learned != Learned::default() {
        state.learned.insert(reply_key, learned.clone());
        state.learned.insert(key, learned);
    }
    Ok(())
}

/// What the packet of a known flow has learned anew.
fn refresh(state: &mut State, fields: &Fields, plan: &Plan) {
    let key = flow_key(fields);
    let new = &plan.learned;
    let other = lookup(state, &key).map(|(_, flow)| pair_key(flow, key.proto));
    if let Some(mapped) = state.learned.get(&key).and_then(|learned| learned.mapped) {
        map::refresh(state, mapped);
    }
    let answered = match (plan.acknowledges, fields.layer4) {
        (Some(splice), Layer4::Tcp { seq, .. }) => Some(Splice { isn: Some(seq), ..splice }),
        _ => None,
    };
    let joins = plan.session.is_some();
    if new.sni.is_none() && new.certificate.is_none() && answered.is_none() && !joins {
        return;
    }
    for key in [Some(key), other].into_iter().flatten() {
        let learned = state.learned.entry(key).or_default();
        learned.sni = new.sni.clone().or(learned.sni.take());
        learned.certificate = new.certificate.or(learned.certificate);
        learned.in_session |= joins;
        learned.mapped = new.mapped.or(learned.mapped);
        learned.splice = answered.or(learned.splice);
    }
}

fn known(
    state: &mut State,
    fields: &Fields,
    table: Table,
    next: Transition,
    tracker: Option<TrackParams>,
) -> Option<Reason> {
    let key = flow_key(fields);
    let now = state.tick();
    let mut own = *state.table(table).get(&key)?;
    let other_key = pair_key(&own, key.proto);
    let mut other = *state.table(table).get(&other_key)?;
    let before = own.state;

    own.last = now;
    if let Layer4::Tcp { flags, ack, .. } = fields.layer4
        && flags & (FLAG_ACK | FLAG_RST) == FLAG_ACK
    {
        own.acked = ack;
    }
    if let Some(isn) = next.isn {
        if own.dir == DIR_ORIGINAL { own.isn = isn } else { other.isn = isn }
    }
    for entry in [&mut own, &mut other] {
        entry.state = next.state;
        entry.fins = next.fins;
        entry.half_open = tracker.map_or(entry.half_open, |tracker| tracker.half_open);
        entry.timeout = timeout(entry, key.proto, tracker);
    }

    let (to, event) = match (before, next.state) {
        (FLOW_REPLIED, FLOW_PROVEN) => prove(state, tracker, [&mut own, &mut other]),
        (FLOW_NEW, FLOW_REPLIED) if key.proto != TCP => (Table::Answered, None),
        _ => (table, None),
    };
    for (key, entry) in [(key, own), (other_key, other)] {
        state.table_mut(table).remove(&key);
        state.table_mut(to).insert(key, entry);
    }
    event
}

/// Of an entry whose state and half-open time are already the new ones.
fn timeout(entry: &Flow, proto: u8, tracker: Option<TrackParams>) -> u32 {
    match (tracker, entry.state) {
        (_, FLOW_CLOSING) => entry.half_open,
        (Some(tracker), _) if proto != TCP => tracker.idle_udp,
        (Some(tracker), FLOW_PROVEN) => tracker.idle_tcp,
        (Some(tracker), FLOW_REPLIED) if tracker.one_way => tracker.idle_tcp,
        (Some(tracker), _) => tracker.half_open,
        (None, _) => entry.timeout,
    }
}

/// Where a flow goes that has just been proven: on to the table that nothing evicts, if its tracker has room.
fn prove(state: &mut State, tracker: Option<TrackParams>, pair: [&mut Flow; 2]) -> (Table, Option<Reason>) {
    let Some(tracker) = tracker else { return (Table::New, None) };
    let proven = state.proven.entry(tracker.id).or_insert(0);
    if *proven >= u64::from(tracker.max) {
        return (Table::New, Some(Reason::ProvenFull));
    }
    *proven += 1;
    for entry in pair {
        entry.tracker = tracker.id as u16;
    }
    (Table::Proven, Some(Reason::Proven))
}
