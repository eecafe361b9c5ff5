//! Owns `log` and `ban`: what is written down, and who is shut out for a while. Never where a log goes, and never whether
//! a banned address is let through: guards ask the set.

use lb_abi::image::LIMIT_SHIFT;
use lb_abi::maps::Addr;
use policy_lang::policy::{LimitKey, Rate};

use super::limit::spend;
use crate::eval::State;
use crate::packet::Fields;

/// Whether a `log` of this name writes the packet down: GCRA as `limit`, whose burst is what the rate brings in its time.
pub fn log(state: &mut State, name: &str, rate: Rate) -> bool {
    let count = rate.count.max(1);
    let interval = ((rate.per.as_nanos() << LIMIT_SHIFT) / u128::from(count)).min(1 << 62) as u64;
    let tolerance = (u128::from(interval) * u128::from(count)).min(1 << 62) as u64;
    let now = state.clock << LIMIT_SHIFT;
    spend(state.logs.entry(name.to_owned()).or_insert(0), now, interval, tolerance)
}

/// The addresses that share the packet's bucket in a limit with this key: the first and the last of its prefix.
pub fn key_range(key: &LimitKey, fields: &Fields) -> (Addr, Addr) {
    let addr = if key.source { fields.src } else { fields.dst };
    let length = if fields.v6 { u32::from(key.v6) } else { 96 + u32::from(key.v4) };
    let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
    let number = u128::from_be_bytes(addr);
    ((number & mask).to_be_bytes(), (number | !mask).to_be_bytes())
}
