//! Owns `limit` and `every`. Never what comes after: tokens and turns are spent here, whatever does.

use lb_abi::hash::scale;
use lb_abi::image::{FLAG_ACK, FLAG_SYN, LIMIT_SHIFT};
use lb_abi::maps::Addr;
use policy_lang::policy::EveryMode;

use super::flows::lookup;
use super::log::key_range;
use super::{LimitParams, LimitUnit, Way};
use crate::eval::State;
use crate::packet::{Fields, Layer4, TCP, flow_hash, flow_key};

/// GCRA (ATM Forum TM 4.0, section 4.4.2): on, or exit `exceed` with nothing spent.
pub fn limit(state: &mut State, params: &LimitParams, fields: &Fields) -> Way {
    let Some(amount) = amount(state, params, fields) else { return Way::On };
    let key = (params.id, limit_key(params, fields));
    let now = state.clock << LIMIT_SHIFT;
    if spend(state.limits.entry(key).or_insert(0), now, params.interval * amount, params.tolerance) {
        Way::On
    } else {
        Way::Exceed
    }
}

/// Whether the bucket with arrival time `tat` has `cost` left at `now`; takes it if so.
pub(super) fn spend(tat: &mut u64, now: u64, cost: u64, tolerance: u64) -> bool {
    let start = now.max(*tat);
    if start - now + cost > tolerance {
        return false;
    }
    *tat = start + cost;
    true
}

/// Units the packet costs; `None` if it is not counted.
fn amount(state: &State, params: &LimitParams, fields: &Fields) -> Option<u64> {
    let is_counted = match (params.unit, fields.layer4) {
        (LimitUnit::Packets, _) => true,
        (LimitUnit::Bytes, _) => return Some(u64::from(fields.len)),
        (LimitUnit::Syns | LimitUnit::Connections, Layer4::Tcp { flags, .. }) => {
            flags & (FLAG_SYN | FLAG_ACK) == FLAG_SYN
        }
        (LimitUnit::Connections, _) => fields.proto != TCP && lookup(state, &flow_key(fields)).is_none(),
        (LimitUnit::Syns, _) => false,
    };
    is_counted.then_some(1)
}

/// The address that has a bucket of its own; all zero without a key.
fn limit_key(params: &LimitParams, fields: &Fields) -> Addr {
    params.key.map_or([0; 16], |key| key_range(&key, fields).0)
}

/// The way of `every`, 0-based; `turn` is the key of its counter in `State::turns`.
pub fn every(state: &mut State, turn: u64, mode: EveryMode, ways: u32, fields: &Fields) -> u32 {
    match mode {
        EveryMode::Packet => {
            let counter = state.turns.entry(turn).or_insert(0);
            let way = *counter % u64::from(ways.max(1));
            *counter = counter.wrapping_add(1);
            way as u32
        }
        EveryMode::Flow => scale(flow_hash(state.key, fields), ways),
        EveryMode::Random => state.draw() % ways.max(1),
    }
}
