//! Owns the words that a figure has for stages and settings: those of the language, in its units. Never which
//! parts are drawn.

use std::time::Duration;

use policy_lang::policy::{
    Before, DefaultEnd, Limit, LimitUnit, MapperProtocol, Pick, Policy, Rate, StageKind, TrackKey, Via,
};

use super::Kind;

/// One line without control characters: a quoted string may hold any.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

pub(super) fn kind(stage: &StageKind) -> Kind {
    match stage {
        StageKind::Count { .. } | StageKind::Log { .. } => Kind::Counter,
        StageKind::Limit { .. } | StageKind::Ban { .. } | StageKind::Synguard { .. } => Kind::Limiter,
        StageKind::Verify { .. } | StageKind::Map { .. } | StageKind::Track { .. } => Kind::Scanner,
        StageKind::Translate { .. } | StageKind::TranslateBack { .. } => Kind::Modifier,
    }
}

/// What happens to packets that never reach the tree, and what unwritten exits take.
pub(super) fn before(policy: &Policy) -> Vec<String> {
    let default = match policy.default {
        DefaultEnd::Drop => "drop",
        DefaultEnd::Reject => "reject",
    };
    let word = |before| match before {
        Before::Drop => "drop",
        Before::Pass => "pass",
        Before::Match => "match",
    };
    let before = policy.before;
    vec![
        format!("default {default}"),
        format!("neighbours {}", word(before.neighbours)),
        format!("unparsed {}", word(before.unparsed)),
        format!("other {}", word(before.other)),
        format!("fragments {}", word(before.fragments)),
    ]
}

/// The settings of what a stage names that say what it does.
pub(super) fn settings(policy: &Policy, stage: &StageKind) -> Vec<String> {
    let found = match stage {
        StageKind::Count { .. } | StageKind::TranslateBack { .. } => None,
        StageKind::Log { rate, .. } => Some(vec![packets(*rate)]),
        StageKind::Ban { set } => policy.sets.get(set.index()).map(|set| {
            let ttl = set.dynamic.and_then(|dynamic| dynamic.ttl).map(|ttl| format!("ttl {}", duration(ttl)));
            ttl.into_iter().chain(max(set.max)).collect()
        }),
        StageKind::Limit { limit: id, .. } => policy.limits.get(id.index()).map(limit),
        StageKind::Verify { authority, .. } => policy.authorities.get(authority.index()).map(|authority| {
            let mut words = vec![counted(authority.certificates.len(), "certificate")];
            words.extend(authority.every_packet.then(|| "every packet".to_owned()));
            words.extend(authority.strip.then(|| "strip".to_owned()));
            words.extend(authority.replay.map(|window| format!("replay {}", duration(window))));
            words
        }),
        StageKind::Map { mapper, .. } => policy.mappers.get(mapper.index()).map(|mapper| {
            let protocol = match mapper.protocol {
                MapperProtocol::Dtls => "reads dtls",
                MapperProtocol::Quic => "reads quic",
            };
            let idle = format!("idle {}, wait {}", duration(mapper.idle), duration(mapper.wait));
            vec![protocol.to_owned(), idle, format!("max {}", number(mapper.max.into()))]
        }),
        StageKind::Synguard { synguard, .. } => policy.synguards.get(synguard.index()).map(|guard| {
            let per = per(guard.above.per);
            vec![format!("above {} syn/{per}", number(guard.above.count)), format!("mss {}", guard.mss)]
        }),
        StageKind::Track { tracker, .. } => policy.trackers.get(tracker.index()).map(|tracker| {
            let (tcp, udp) = (duration(tracker.idle_tcp), duration(tracker.idle_udp));
            let idle = if tcp == udp { format!("idle {tcp}") } else { format!("idle tcp {tcp}, udp {udp}") };
            let key = (tracker.key == TrackKey::Certificate).then(|| "key cert".to_owned());
            let rest = [idle, format!("half_open {}", duration(tracker.half_open))];
            key.into_iter().chain(rest).chain(max(Some(tracker.max))).collect()
        }),
        StageKind::Translate { pool, .. } => {
            policy.pools.get(pool.index()).map(|pool| vec![pick(pool.pick), via(pool.via)])
        }
    };
    found.unwrap_or_default()
}

fn limit(limit: &Limit) -> Vec<String> {
    let per = per(limit.per);
    let (rate, burst) = match limit.unit {
        LimitUnit::Bits => {
            let (rate, unit) =
                largest(limit.rate, &[("bit", 1), ("kbit", 1_000), ("Mbit", 1_000), ("Gbit", 1_000)]);
            let whole = (limit.burst / 8, limit.burst % 8);
            let burst = match whole {
                (bytes, 0) => {
                    let (size, unit) =
                        largest(bytes, &[("B", 1), ("KiB", 1_024), ("MiB", 1_024), ("GiB", 1_024)]);
                    format!("{}{unit}", number(size))
                }
                _ => format!("{} bit", number(limit.burst)),
            };
            (format!("{} {unit}/{per}", number(rate)), burst)
        }
        LimitUnit::Packets => (format!("{} pkt/{per}", number(limit.rate)), number(limit.burst)),
        LimitUnit::Syns => (format!("{} syn/{per}", number(limit.rate)), number(limit.burst)),
        LimitUnit::Connections => (format!("{} conn/{per}", number(limit.rate)), number(limit.burst)),
    };
    let mut words = vec![format!("{rate}, burst {burst}")];
    words.extend(limit.key.map(|key| {
        let side = if key.source { "src" } else { "dst" };
        format!("per {side} v4 /{} v6 /{}", key.v4, key.v6)
    }));
    words.extend(max(limit.max));
    words
}

pub(super) fn pick(pick: Pick) -> String {
    match pick {
        Pick::RoundRobin => "round-robin".to_owned(),
        Pick::Random => "random".to_owned(),
        Pick::Source => "source".to_owned(),
        Pick::Maglev { slots, by_flow } => {
            format!("maglev {}{}", number(slots.into()), if by_flow { " by flow" } else { "" })
        }
        Pick::LeastConnections => "least-connections".to_owned(),
        Pick::Certificate => "cert".to_owned(),
    }
}

pub(super) fn via(via: Via) -> String {
    match via {
        Via::Nat => "via nat".to_owned(),
        Via::L2dsr => "via l2dsr".to_owned(),
        Via::Ipip => "via ipip".to_owned(),
        Via::Gue { port } => format!("via gue {port}"),
    }
}

fn packets(rate: Rate) -> String {
    format!("{} pkt/{}", number(rate.count), per(rate.per))
}

/// The time below the stroke of a rate.
fn per(time: Duration) -> String {
    match time.as_secs() {
        1 => "s".to_owned(),
        60 => "min".to_owned(),
        3_600 => "h".to_owned(),
        _ => duration(time),
    }
}

pub(super) fn max(entries: Option<u32>) -> Option<String> {
    entries.map(|entries| format!("max {}", number(entries.into())))
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", number(count as u64), if count == 1 { "" } else { "s" })
}

/// In the largest unit of which it is a whole number: `5m`, `1500ms`.
pub(super) fn duration(time: Duration) -> String {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let units = [("ms", 1), ("s", 1_000), ("m", 60), ("h", 60), ("d", 24)];
    let (count, unit) = largest(milliseconds, &units);
    format!("{count}{unit}")
}

/// The number in the last unit, each so many times the one before it, of which it is whole.
fn largest<'u>(number: u64, units: &[(&'u str, u64)]) -> (u64, &'u str) {
    let mut fits = (number, "");
    for &(unit, times) in units {
        if fits.0 == 0 && !fits.1.is_empty() || !fits.0.is_multiple_of(times) {
            break;
        }
        fits = (fits.0 / times, unit);
    }
    fits
}

/// As the language writes large numbers: `65_536`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}
