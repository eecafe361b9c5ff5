//! Owns the comparison of everything that implements `docs/packet-path.md`: the reference evaluator, the walker of the
//! compiled tables and the loaded program. Never a second opinion of its own: the evaluator is right.

use std::collections::BTreeMap;
use std::fmt;

use lb_abi::bundle::{Image, TallyKind};
use lb_abi::maps::{FLOW_IS_PENDING, Flow, FlowKey, NextHop};
use lb_abi::reason::{REASON_COUNT, REASONS};
use lb_abi::seen::Seen;

use crate::case::hex;

/// Packets and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// What was counted under kind, label and, for arms, line; nothing that is 0. An `every`'s label is without its form.
pub type Tallies = BTreeMap<(TallyKind, String, u32), Count>;

/// The flow tables in the order new, answered, proven, each in order of keys and without next hops.
pub type Flows = [Vec<(FlowKey, Flow)>; 3];

/// Live sessions by tracker and certificate: when the last packet was, for how long that lasts, and the backend in each
/// pool.
pub type Sessions = BTreeMap<(u32, u32), (u32, u32, BTreeMap<u32, u32>)>;

/// A whole case as one implementation ran it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Played {
    /// One for each frame of the case.
    pub seen: Vec<Seen>,
    pub reasons: [u64; REASON_COUNT],
    pub tallies: Tallies,
    pub flows: Flows,
    /// Proven flows by tracker.
    pub proven: Vec<u64>,
    pub sessions: Sessions,
}

impl Played {
    /// With the backends' identities, which only an image has: the evaluator knows backends by number.
    pub fn identified(mut self, image: &Image) -> Played {
        for (_, flow) in self.flows.iter_mut().flatten() {
            let backend = flow.backend.checked_sub(1).and_then(|number| image.backends.get(number as usize));
            flow.identity = backend.map_or(0, |backend| backend.identity as u32);
        }
        self
    }
}

/// Where two implementations part.
#[derive(Clone, Debug)]
pub struct Divergence(pub String);

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first difference between what is expected and what another implementation did.
pub fn compare(right: &Played, who: &str, other: &Played) -> Result<(), Divergence> {
    for (number, (wanted, got)) in right.seen.iter().zip(&other.seen).enumerate() {
        if wanted != got {
            return Err(Divergence(format!(
                "frame {number}: wanted {}, {who} has {}",
                shown(wanted),
                shown(got)
            )));
        }
    }
    for (number, (wanted, got)) in right.reasons.iter().zip(&other.reasons).enumerate() {
        if wanted != got {
            let name =
                REASONS.iter().find(|(reason, _)| *reason as usize == number).map_or("?", |(_, name)| name);
            return Err(Divergence(format!("reason {name:?}: wanted {wanted} packets, {who} counts {got}")));
        }
    }
    let (wanted, got) = (&right.tallies, &other.tallies);
    if wanted != got {
        let missing: Vec<_> = wanted.iter().filter(|(name, count)| got.get(*name) != Some(count)).collect();
        let more: Vec<_> = got.iter().filter(|(name, count)| wanted.get(*name) != Some(count)).collect();
        return Err(Divergence(format!("tallies: wanted {missing:?}, {who} counts {more:?}")));
    }
    for (table, (wanted, got)) in
        ["new", "answered", "proven"].iter().zip(right.flows.iter().zip(&other.flows))
    {
        if wanted != got {
            let missing = wanted.iter().find(|entry| !got.contains(entry));
            let more = got.iter().find(|entry| !wanted.contains(entry));
            return Err(Divergence(format!("{table} flows: wanted {missing:x?}, {who} has {more:x?}")));
        }
    }
    if right.proven != other.proven {
        return Err(Divergence(format!("proven: wanted {:?}, {who} has {:?}", right.proven, other.proven)));
    }
    if right.sessions != other.sessions {
        return Err(Divergence(format!(
            "sessions: wanted {:?}, {who} has {:?}",
            right.sessions, other.sessions
        )));
    }
    Ok(())
}

/// Counts by index of `Image::tallies` under the names that the evaluator knows them by.
pub fn named(image: &Image, counts: impl Iterator<Item = (u64, u64)>) -> Tallies {
    let mut tallies: Tallies = BTreeMap::new();
    for (tally, (packets, bytes)) in image.tallies.iter().zip(counts) {
        let label = tally.label.replace(" by flow: ", ": ").replace(" at random: ", ": ");
        let line = if tally.kind == TallyKind::Arm { tally.line } else { 0 };
        let count: &mut Count = tallies.entry((tally.kind, label, line)).or_default();
        count.packets += packets;
        count.bytes += bytes;
    }
    tallies.retain(|_, count| *count != Count::default());
    tallies
}

/// Entries in order, without what the environment decides.
pub fn in_order(entries: impl IntoIterator<Item = (FlowKey, Flow)>) -> Vec<(FlowKey, Flow)> {
    let mut entries: Vec<_> = entries
        .into_iter()
        .map(|(key, flow)| {
            let flags = flow.flags & !FLOW_IS_PENDING;
            (key, Flow { next_hop: NextHop::default(), resolved: 0, flags, ..flow })
        })
        .collect();
    entries.sort_by_key(|(key, _)| (key.src, key.dst, key.sport, key.dport, key.proto));
    entries
}

fn shown(seen: &Seen) -> String {
    match seen {
        Seen::Drop => "drop".to_owned(),
        Seen::Pass => "pass".to_owned(),
        Seen::Sent(bytes) => format!("sent {}", hex(bytes)),
    }
}
