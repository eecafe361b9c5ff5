//! Owns the look-up of a flow, its pair and its deletion. Never a new entry or a state: those are committed.

use lb_abi::maps::{Flow, FlowKey};

use crate::eval::State;
use crate::eval::state::FlowTable;
use crate::packet::TCP;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    New,
    Answered,
    Proven,
}

/// The tables that may hold a flow of the protocol, in the order in which they are asked.
pub(super) fn tables(proto: u8) -> [Table; 2] {
    if proto == TCP { [Table::Proven, Table::New] } else { [Table::Answered, Table::New] }
}

impl State {
    pub(super) fn table(&self, table: Table) -> &FlowTable {
        match table {
            Table::New => &self.flows_new,
            Table::Answered => &self.flows_answered,
            Table::Proven => &self.flows_proven,
        }
    }

    pub(super) fn table_mut(&mut self, table: Table) -> &mut FlowTable {
        match table {
            Table::New => &mut self.flows_new,
            Table::Answered => &mut self.flows_answered,
            Table::Proven => &mut self.flows_proven,
        }
    }
}

/// The key under which the other direction's packets arrive.
pub(super) fn pair_key(flow: &Flow, proto: u8) -> FlowKey {
    FlowKey { src: flow.dst, dst: flow.src, sport: flow.dport, dport: flow.sport, proto, pad: [0; 3] }
}

/// The other direction of the flow under `key`, if it still is that.
pub(super) fn pair<'a>(table: &'a FlowTable, key: &FlowKey, flow: &Flow) -> Option<(FlowKey, &'a Flow)> {
    let other = pair_key(flow, key.proto);
    let pair = table.get(&other)?;
    (pair_key(pair, key.proto) == *key).then_some((other, pair))
}

/// The live flow of a packet with this key, and where it stands.
pub(super) fn lookup<'a>(state: &'a State, key: &FlowKey) -> Option<(Table, &'a Flow)> {
    let now = state.tick();
    let is_young = |flow: &Flow| now.wrapping_sub(flow.last) <= flow.timeout;
    tables(key.proto).into_iter().find_map(|name| {
        let table = state.table(name);
        let flow = table.get(key)?;
        let is_live = is_young(flow) || pair(table, key, flow).is_some_and(|(_, pair)| is_young(pair));
        is_live.then_some((name, flow))
    })
}

/// Deletes whatever stands under `key`, live or not, with its pair.
pub(super) fn delete(state: &mut State, key: &FlowKey) {
    for name in tables(key.proto) {
        let table = state.table(name);
        let Some(flow) = table.get(key).copied() else { continue };
        let other = pair(table, key, &flow).map(|(other, _)| other);
        for key in [Some(*key), other].into_iter().flatten() {
            state.table_mut(name).remove(&key);
            state.learned.remove(&key);
        }
        if name == Table::Proven {
            let proven = state.proven.entry(u32::from(flow.tracker)).or_insert(0);
            *proven = proven.saturating_sub(1);
        }
    }
}
