//! Owns the kernel memory that a policy's flows and keys of limits ask for. Never the image's, which is bounded, nor
//! how much a machine has.

use lb_abi::maps::{Flow, FlowKey, LimitKey, hash_entry_bytes};
use policy_lang::diagnostic::Diagnostic;
use policy_lang::policy::Policy;
use policy_lang::source::Span;

use super::tables::warning;

/// What tables may take without a word: 4 GiB.
const MOST: u64 = 4 << 30;
/// Each flow has an entry for each direction, in the table of answered flows and in that of proven ones.
const ENTRIES: u64 = 2;
const TABLES: u64 = 2;

/// One warning, at what takes most, if all tables together take more than `MOST`.
pub fn memory(policy: &Policy) -> Option<Diagnostic> {
    let flow = hash_entry_bytes(size_of::<FlowKey>(), size_of::<Flow>());
    let key = hash_entry_bytes(size_of::<LimitKey>(), size_of::<u64>());
    let flows: u64 = policy.trackers.iter().map(|tracker| u64::from(tracker.max)).sum();
    let keyed = policy.limits.iter().filter(|limit| limit.key.is_some());
    let keyed = keyed.filter_map(|limit| Some((limit, u64::from(limit.max?))));
    let keys: u64 = keyed.clone().map(|(_, max)| max).sum();
    // Tables have a power of two of entries.
    let entries = |wanted: u64| wanted.checked_next_power_of_two().filter(|_| wanted > 0).unwrap_or(0);
    let total = entries(flows * ENTRIES) * TABLES * flow + entries(keys) * key;
    if total <= MOST {
        return None;
    }
    let trackers = policy.trackers.iter().map(|tracker| {
        let max = u64::from(tracker.max);
        (max * ENTRIES * TABLES * flow, tracker.span, format!("{max} flows"))
    });
    let limits = keyed.map(|(limit, max)| (max * key, limit.span, format!("{max} keys")));
    let mut items: Vec<(u64, Span, String)> = trackers.chain(limits).collect();
    items.sort_by_key(|item| (std::cmp::Reverse(item.0), item.1));
    let mut told = items.into_iter().map(|(bytes, span, what)| (span, format!("{what}: {}", size(bytes))));
    let primary = told.next()?;
    let message = format!("the tables of this policy take up to {} of kernel memory", size(total));
    let why = format!(
        "a flow has {} entries of {flow} bytes, a key of a limit one of {key}, and tables have a power of two of them",
        ENTRIES * TABLES
    );
    let help = "let `max` be what there will be at a time, if the machine has not so much to spare";
    Some(Diagnostic { primary, ..warning("W0453", Span::default(), message, told.collect(), &why, help) })
}

/// `763 MiB`, `6.2 GiB`.
fn size(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib < 1024 { format!("{mib} MiB") } else { format!("{}.{} GiB", mib >> 10, ((mib & 1023) * 10) >> 10) }
}
