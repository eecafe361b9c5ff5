//! Owns the words for what a packet holds and for what decided about it. Never a decision.

use lb_abi::image::{FLAG_ACK, FLAG_SYN, FRAG_LATER};
use lb_abi::maps::{DIR_ORIGINAL, FLOW_NEW, FLOW_PROVEN, FLOW_REPLIED, Flow};
use lb_abi::reason::Reason;
use policy_lang::policy::{Before, Field, Limit, LimitKey, LimitUnit, Policy, TrackKey};

use crate::eval::{PathStep, number};
use crate::expect::{endpoint, ip};
use crate::packet::{Fields, v4_number};

/// `tcp syn 192.0.2.1:40000 to 203.0.113.1:80, ttl 64, 40 bytes`.
pub(super) fn packet(fields: &Fields) -> String {
    let (sport, dport) = fields.ports().unzip();
    let proto = Field::Proto.value_word(u32::from(fields.proto));
    let proto = if number(fields, Field::Proto).is_some_and(|number| number.to_string() == proto) {
        format!("proto {proto}")
    } else {
        proto
    };
    let kind = [Field::TcpFlags, Field::IcmpType, Field::Icmp6Type]
        .into_iter()
        .find_map(|field| number(fields, field).map(|number| format!(" {}", field.value_word(number))));
    let (from, to) = (endpoint(ip(fields.src), sport), endpoint(ip(fields.dst), dport));
    let extra = match (fields.vlan, fields.frag) {
        (None, 0) => String::new(),
        (vlan, frag) => {
            let vlan = vlan.map_or(String::new(), |vlan| format!(", vlan {vlan}"));
            let frag = match frag {
                0 => String::new(),
                FRAG_LATER => ", a later fragment".to_owned(),
                _ => ", a first fragment".to_owned(),
            };
            format!("{vlan}{frag}")
        }
    };
    let (ttl, len) = (fields.ttl, fields.len);
    format!("{proto}{} {from} to {to}, ttl {ttl}, {len} bytes{extra}", kind.unwrap_or_default())
}

/// The fields that can change on the way.
pub(super) fn told(fields: &Fields) -> Vec<(&'static str, String)> {
    let (sport, dport) = fields.ports().unzip();
    let kind = fields.icmp().map_or(String::new(), |(kind, _)| {
        let field = if fields.v6 { Field::Icmp6Type } else { Field::IcmpType };
        field.value_word(u32::from(kind))
    });
    vec![
        ("src", endpoint(ip(fields.src), sport)),
        ("dst", endpoint(ip(fields.dst), dport)),
        ("ttl", fields.ttl.to_string()),
        ("len", fields.len.to_string()),
        (if fields.v6 { "icmp6.type" } else { "icmp.type" }, kind),
    ]
}

/// What a guard saw in a field of the headers: `src 192.0.2.1`, `no dport`.
pub(super) fn seen(policy: &Policy, fields: &Fields, flow: Option<&Flow>, field: Field) -> Option<String> {
    let word = field.word();
    Some(match field {
        // The evaluator says what it saw in these.
        Field::Iface | Field::Payload | Field::Sni | Field::Cert => return None,
        Field::Src => format!("{word} {}", ip(fields.src)),
        Field::Dst => format!("{word} {}", ip(fields.dst)),
        Field::Flow => flow.map_or("no live flow".to_owned(), |flow| known(policy, flow)),
        _ => match number(fields, field) {
            Some(number) => format!("{word} {}", field.value_word(number)),
            None => format!("no {word}"),
        },
    })
}

/// Which flow it is, before the packet changed it.
fn known(policy: &Policy, flow: &Flow) -> String {
    let tracker = policy.trackers.get(usize::from(flow.tracker)).map_or("", |one| one.name.as_str());
    let state = match flow.state {
        FLOW_NEW => "new",
        FLOW_REPLIED => "answered",
        FLOW_PROVEN => "proven",
        _ => "closing",
    };
    let direction = if flow.dir == DIR_ORIGINAL { "" } else { ", the way back" };
    format!("a flow of {tracker}, {state}{direction}")
}

/// What a stage went by.
pub(super) fn stage(
    policy: &Policy,
    step: &PathStep,
    exit: Option<&str>,
    fields: &Fields,
    flow: Option<&Flow>,
) -> String {
    let flow_word = || flow.map_or("no live flow".to_owned(), |flow| known(policy, flow));
    match (step.text.split_once(' '), exit) {
        (Some(("limit", name)), _) => {
            let limit = policy.limits.iter().find(|limit| limit.name == name);
            limit.map_or(String::new(), |limit| bucket(limit, fields, flow))
        }
        (Some(("track", name)), Some("full")) => {
            let tracker = policy.trackers.iter().find(|one| one.name == name);
            tracker.map_or(String::new(), |tracker| match tracker.key {
                TrackKey::Flow => format!("{} proven flows, its max", tracker.max),
                TrackKey::Certificate => format!("{} certificates or four times as many flows", tracker.max),
            })
        }
        (Some(("track" | "translate", _)), Some("invalid")) => match number(fields, Field::TcpFlags) {
            Some(flags) => format!("tcp.flags {}, {}", Field::TcpFlags.value_word(flags), flow_word()),
            None => flow_word(),
        },
        (Some(("translate", _)), Some("empty")) => {
            format!("no usable backend with an IPv{} address", if fields.v6 { 6 } else { 4 })
        }
        (Some(("translate", _)), Some("ports")) => "no source port is left".to_owned(),
        (Some(("track", _)), None) => flow.map_or("a new flow".to_owned(), |flow| known(policy, flow)),
        (Some(("translate", "back")), None) => flow_word(),
        _ => String::new(),
    }
}

/// The bucket of a limit that the packet spends from (section 3 of `docs/packet-path.md`).
fn bucket(limit: &Limit, fields: &Fields, flow: Option<&Flow>) -> String {
    let is_syn = fields.flags().is_none_or(|flags| flags & (FLAG_SYN | FLAG_ACK) == FLAG_SYN);
    let is_counted = match limit.unit {
        LimitUnit::Packets | LimitUnit::Bits => true,
        LimitUnit::Syns => is_syn && fields.flags().is_some(),
        LimitUnit::Connections => is_syn && (fields.flags().is_some() || flow.is_none()),
    };
    if !is_counted {
        return "not counted".to_owned();
    }
    let Some(LimitKey { source, v4, v6 }) = limit.key else { return "one bucket for all".to_owned() };
    let addr = if source { fields.src } else { fields.dst };
    if fields.v6 {
        let kept = u128::MAX.checked_shl(128 - u32::from(v6)).unwrap_or(0);
        let prefix = std::net::Ipv6Addr::from(u128::from_be_bytes(addr) & kept);
        format!("the bucket of {prefix}/{v6}")
    } else {
        let kept = u32::MAX.checked_shl(32 - u32::from(v4)).unwrap_or(0);
        let prefix = std::net::Ipv4Addr::from(v4_number(addr) & kept);
        format!("the bucket of {prefix}/{v4}")
    }
}

/// The setting that decided before the tree.
pub(super) fn before(policy: &Policy, reason: Option<Reason>) -> String {
    let settings = policy.before;
    let (name, setting) = match reason {
        Some(Reason::Neighbour) => ("neighbours", settings.neighbours),
        Some(Reason::OtherEthertype) => ("other", settings.other),
        Some(Reason::Fragment) => ("fragments", settings.fragments),
        Some(Reason::Udp6Checksum) => return "always dropped (RFC 8200, section 8.1)".to_owned(),
        _ => ("unparsed", settings.unparsed),
    };
    let word = match setting {
        Before::Drop => "drop",
        Before::Pass => "pass",
        Before::Match => "match",
    };
    format!("`{name} {word}`")
}
