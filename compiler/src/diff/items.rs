//! Owns the items of two policies that stages name: which one a stage means, and what is set for it, in the language's
//! words. Never which items of the two are the same one, nor the slots of a pool.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use policy_lang::grouped;
use policy_lang::policy::{
    Authority, Every, EveryMode, Limit, LimitUnit, Mapper, MapperProtocol, Policy, Pool, Set, StageKind,
    Synguard, TrackKey, Tracker,
};
use policy_lang::source::Span;

use super::pool_settings;

/// What a stage names, or the place of an `every`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Item {
    pub kind: Kind,
    /// Of the new policy, else of the old. Counters, logs and `translate back` are of both, and say `false`.
    pub new: bool,
    /// Of the policy's list, or of `Items`' own.
    pub index: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    Counter,
    Log,
    DynamicSet,
    Limit,
    Authority,
    Mapper,
    Synguard,
    Tracker,
    Pool,
    TranslateBack,
    Every,
}

impl Kind {
    /// A packet's fate is the same with it and without it.
    pub fn only_observes(self) -> bool {
        matches!(self, Kind::Counter | Kind::Log)
    }

    /// The verb of its stage.
    pub fn verb(self) -> &'static str {
        match self {
            Kind::Counter => "count",
            Kind::Log => "log",
            Kind::DynamicSet => "ban",
            Kind::Limit => "limit",
            Kind::Authority => "verify",
            Kind::Mapper => "map",
            Kind::Synguard => "synguard",
            Kind::Tracker => "track",
            Kind::Pool => "translate",
            Kind::TranslateBack => "translate back",
            Kind::Every => "every",
        }
    }

    /// The word that the item is declared with.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::DynamicSet => "set",
            Kind::Authority => "authority",
            Kind::Mapper => "mapper",
            Kind::Tracker => "track",
            Kind::Pool => "pool",
            other => other.verb(),
        }
    }
}

/// A setting by its name, in the language's words; equal settings have equal words.
pub type Setting = (&'static str, String);

/// The items of both policies.
pub struct Items<'p> {
    /// Old, new.
    pub policies: [&'p Policy; 2],
    counters: Named<&'p str>,
    /// Name, packets and the time for so many.
    logs: Named<(&'p str, u64, Duration)>,
    everys: Vec<&'p Every>,
    every_numbers: HashMap<*const Every, u32>,
}

/// Things in the order in which they were first named.
struct Named<T> {
    list: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Copy + Eq + Hash> Named<T> {
    fn new() -> Named<T> {
        Named { list: Vec::new(), numbers: HashMap::new() }
    }

    fn number(&mut self, thing: T) -> u32 {
        *self.numbers.entry(thing).or_insert_with(|| {
            self.list.push(thing);
            self.list.len() as u32 - 1
        })
    }
}

impl<'p> Items<'p> {
    pub fn new(old: &'p Policy, new: &'p Policy) -> Items<'p> {
        Items {
            policies: [old, new],
            counters: Named::new(),
            logs: Named::new(),
            everys: Vec::new(),
            every_numbers: HashMap::new(),
        }
    }

    /// What a stage of the old or the new policy names.
    pub fn of_stage(&mut self, new: bool, stage: &'p StageKind) -> Item {
        let own = |kind, index| Item { kind, new, index };
        match stage {
            StageKind::Count { name } => {
                Item { kind: Kind::Counter, new: false, index: self.counters.number(name) }
            }
            StageKind::Log { name, rate } => {
                Item { kind: Kind::Log, new: false, index: self.logs.number((name, rate.count, rate.per)) }
            }
            StageKind::Ban { set } => own(Kind::DynamicSet, set.0),
            StageKind::Limit { limit, .. } => own(Kind::Limit, limit.0),
            StageKind::Verify { authority, .. } => own(Kind::Authority, authority.0),
            StageKind::Map { mapper, .. } => own(Kind::Mapper, mapper.0),
            StageKind::Synguard { synguard, .. } => own(Kind::Synguard, synguard.0),
            StageKind::Track { tracker, .. } => own(Kind::Tracker, tracker.0),
            StageKind::Translate { pool, .. } => own(Kind::Pool, pool.0),
            StageKind::TranslateBack { .. } => Item { kind: Kind::TranslateBack, new: false, index: 0 },
        }
    }

    /// An `every` is known by its place: each has turns of its own.
    pub fn of_every(&mut self, new: bool, every: &'p Every) -> Item {
        let index = *self.every_numbers.entry(every).or_insert_with(|| {
            self.everys.push(every);
            self.everys.len() as u32 - 1
        });
        Item { kind: Kind::Every, new, index }
    }

    fn policy(&self, item: Item) -> &'p Policy {
        self.policies[usize::from(item.new)]
    }

    pub fn limit(&self, item: Item) -> Option<&'p Limit> {
        self.policy(item).limits.get(item.index as usize)
    }

    pub fn tracker(&self, item: Item) -> Option<&'p Tracker> {
        self.policy(item).trackers.get(item.index as usize)
    }

    pub fn pool(&self, item: Item) -> Option<&'p Pool> {
        self.policy(item).pools.get(item.index as usize)
    }

    fn set(&self, item: Item) -> Option<&'p Set> {
        self.policy(item).sets.get(item.index as usize)
    }

    fn authority(&self, item: Item) -> Option<&'p Authority> {
        self.policy(item).authorities.get(item.index as usize)
    }

    fn mapper(&self, item: Item) -> Option<&'p Mapper> {
        self.policy(item).mappers.get(item.index as usize)
    }

    fn synguard(&self, item: Item) -> Option<&'p Synguard> {
        self.policy(item).synguards.get(item.index as usize)
    }

    pub fn every(&self, item: Item) -> Option<&'p Every> {
        self.everys.get(item.index as usize).copied()
    }

    /// Empty for what has none.
    pub fn name(&self, item: Item) -> &'p str {
        let name = match item.kind {
            Kind::Counter => self.counters.list.get(item.index as usize).copied(),
            Kind::Log => self.logs.list.get(item.index as usize).map(|log| log.0),
            Kind::DynamicSet => self.set(item).map(|set| &*set.name),
            Kind::Limit => self.limit(item).map(|limit| &*limit.name),
            Kind::Authority => self.authority(item).map(|authority| &*authority.name),
            Kind::Mapper => self.mapper(item).map(|mapper| &*mapper.name),
            Kind::Synguard => self.synguard(item).map(|synguard| &*synguard.name),
            Kind::Tracker => self.tracker(item).map(|tracker| &*tracker.name),
            Kind::Pool => self.pool(item).map(|pool| &*pool.name),
            Kind::TranslateBack | Kind::Every => None,
        };
        name.unwrap_or_default()
    }

    pub fn span(&self, item: Item) -> Option<Span> {
        match item.kind {
            Kind::Counter | Kind::Log | Kind::TranslateBack => None,
            Kind::DynamicSet => self.set(item).map(|set| set.span),
            Kind::Limit => self.limit(item).map(|limit| limit.span),
            Kind::Authority => self.authority(item).map(|authority| authority.span),
            Kind::Mapper => self.mapper(item).map(|mapper| mapper.span),
            Kind::Synguard => self.synguard(item).map(|synguard| synguard.span),
            Kind::Tracker => self.tracker(item).map(|tracker| tracker.span),
            Kind::Pool => self.pool(item).map(|pool| pool.span),
            Kind::Every => self.every(item).map(|every| every.span),
        }
    }

    /// `limit calm`, `every 2 by flow`, `translate back`.
    pub fn words(&self, item: Item) -> String {
        match (item.kind, self.every(item)) {
            (Kind::TranslateBack, _) => "translate back".to_owned(),
            (Kind::Every, Some(every)) => crate::graph::every_label(every),
            _ => format!("{} {}", item.kind.verb(), self.name(item)),
        }
    }

    /// What it is called in a list of changes: its name, or an `every` itself.
    pub fn title(&self, item: Item) -> String {
        match item.kind {
            Kind::Every | Kind::TranslateBack => self.words(item),
            _ => self.name(item).to_owned(),
        }
    }

    /// Everything that makes a difference to packets, but for a pool's backends and slots.
    pub fn settings(&self, item: Item) -> Vec<Setting> {
        match item.kind {
            Kind::Counter | Kind::TranslateBack => Vec::new(),
            Kind::Log => {
                let log = self.logs.list.get(item.index as usize);
                log.into_iter().map(|&(_, count, time)| ("rate", per(count, "pkt", time))).collect()
            }
            Kind::DynamicSet => self.set(item).map(dynamic_set).unwrap_or_default(),
            Kind::Limit => self.limit(item).map(limit).unwrap_or_default(),
            Kind::Authority => self.authority(item).map(authority).unwrap_or_default(),
            Kind::Mapper => self.mapper(item).map(mapper).unwrap_or_default(),
            Kind::Synguard => self.synguard(item).map(synguard).unwrap_or_default(),
            Kind::Tracker => self.tracker(item).map(tracker).unwrap_or_default(),
            Kind::Pool => self.pool(item).map(pool_settings::pool).unwrap_or_default(),
            Kind::Every => self.every(item).map(every).unwrap_or_default(),
        }
    }
}

fn limit(limit: &Limit) -> Vec<Setting> {
    let unit = match limit.unit {
        LimitUnit::Packets => "pkt",
        LimitUnit::Bits => "bit",
        LimitUnit::Syns => "syn",
        LimitUnit::Connections => "conn",
    };
    let key = limit.key.map(|key| {
        let end = if key.source { "src" } else { "dst" };
        format!("{end} v4 /{} v6 /{}", key.v4, key.v6)
    });
    vec![
        ("per", key.unwrap_or_else(|| "everything".to_owned())),
        ("rate", per(limit.rate, unit, limit.per)),
        ("burst", format!("{} {unit}", grouped(limit.burst))),
        ("max", limit.key.and(limit.max).map_or_else(String::new, |max| grouped(max.into()))),
    ]
}

fn tracker(tracker: &Tracker) -> Vec<Setting> {
    let key = match tracker.key {
        TrackKey::Flow => "flow",
        TrackKey::Certificate => "cert",
    };
    vec![
        ("key", key.to_owned()),
        ("idle tcp", duration(tracker.idle_tcp)),
        ("idle udp", duration(tracker.idle_udp)),
        ("half_open", duration(tracker.half_open)),
        ("max", grouped(tracker.max.into())),
    ]
}

fn dynamic_set(set: &Set) -> Vec<Setting> {
    let ttl = set.dynamic.and_then(|dynamic| dynamic.ttl);
    vec![
        ("ttl", ttl.map_or_else(|| "none".to_owned(), duration)),
        ("max", set.max.map_or_else(String::new, |max| grouped(max.into()))),
    ]
}

fn authority(authority: &Authority) -> Vec<Setting> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let certificates: Vec<String> = authority
        .certificates
        .iter()
        .map(|one| {
            let valid = one.valid.map_or_else(String::new, |(from, to)| format!(" valid {from} to {to}"));
            format!("{} {}{valid}", one.id, hex(&one.hash))
        })
        .collect();
    let mut revoked: Vec<String> = authority.revoked.iter().map(|hash| hex(hash)).collect();
    revoked.sort();
    vec![
        ("certificates", certificates.join(", ")),
        ("revoked", revoked.join(", ")),
        ("packets", if authority.every_packet { "every" } else { "first" }.to_owned()),
        ("strip", if authority.strip { "yes" } else { "no" }.to_owned()),
        ("replay", authority.replay.map_or_else(|| "none".to_owned(), duration)),
        ("checks", per(authority.checks.count, "pkt", authority.checks.per)),
        ("checks_per_source", per(authority.checks_per_source.count, "pkt", authority.checks_per_source.per)),
    ]
}

fn mapper(mapper: &Mapper) -> Vec<Setting> {
    let protocol = match mapper.protocol {
        MapperProtocol::Dtls => "dtls",
        MapperProtocol::Quic => "quic",
    };
    vec![
        ("protocol", protocol.to_owned()),
        ("max", grouped(mapper.max.into())),
        ("idle", duration(mapper.idle)),
        ("wait", duration(mapper.wait)),
    ]
}

fn synguard(synguard: &Synguard) -> Vec<Setting> {
    vec![("above", per(synguard.above.count, "syn", synguard.above.per)), ("mss", synguard.mss.to_string())]
}

fn every(every: &Every) -> Vec<Setting> {
    let mode = match every.mode {
        EveryMode::Packet => "in turn",
        EveryMode::Flow => "by flow",
        EveryMode::Random => "at random",
    };
    vec![("turns", mode.to_owned()), ("ways", every.ways.len().to_string())]
}

/// A rate over the shortest of a second, a minute and an hour that takes whole units, so that equal rates read the same.
fn per(count: u64, unit: &str, time: Duration) -> String {
    let time = time.as_nanos().max(1);
    let written = |count: u128| u64::try_from(count).map_or_else(|_| count.to_string(), grouped);
    for (second, letter) in [(1, "s"), (60, "min"), (3_600, "h")] {
        let scaled = u128::from(count) * second * 1_000_000_000;
        if scaled.is_multiple_of(time) {
            return format!("{} {unit}/{letter}", written(scaled / time));
        }
    }
    format!("{} {unit} in {}", grouped(count), duration(Duration::from_nanos(time as u64)))
}

/// In the largest unit that takes it whole.
pub fn duration(time: Duration) -> String {
    let milliseconds = time.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds > 0 && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    format!("{milliseconds}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rates_read_the_same() {
        assert_eq!(per(60, "pkt", Duration::from_secs(60)), "1 pkt/s");
        assert_eq!(per(20_000, "pkt", Duration::from_secs(1)), "20_000 pkt/s");
        assert_eq!(per(7, "conn", Duration::from_secs(3_600)), "7 conn/h");
        assert_eq!(per(90, "conn", Duration::from_secs(3_600)), per(3, "conn", Duration::from_secs(120)));
    }

    #[test]
    fn durations_read_as_written() {
        let written = [(300, "5m"), (5, "5s"), (7 * 86_400, "7d"), (90, "90s"), (0, "0ms")];
        for (seconds, text) in written {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
