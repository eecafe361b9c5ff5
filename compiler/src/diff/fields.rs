//! Owns which of the language's fields a product asks for, and what is known of a field whatever its values. Never a value.

use lb_abi::image::Field;
use policy_lang::policy;

use crate::lower::axis::Axis;

/// By the language's words.
pub(super) const TCP: &str = "tcp";
pub(super) const UDP: &str = "udp";

/// The language's fields for one of the image's, as the protocols allow.
pub(super) fn field_names(
    field: Field,
    protocols: Option<&[String]>,
    v6: Option<bool>,
) -> Vec<policy::Field> {
    use policy::Field as Word;
    let only = match protocols {
        Some([one]) => Some(one.as_str()),
        _ => None,
    };
    let is_either = protocols.is_some_and(|all| all.iter().all(|one| one == TCP || one == UDP));
    let ports = |tcp, udp, either| match only {
        Some(TCP) => vec![tcp],
        Some(UDP) => vec![udp],
        _ if is_either => vec![either],
        _ => vec![tcp, udp],
    };
    let icmp = |icmp, icmp6| match (only, v6) {
        (Some("icmp"), _) | (None, Some(false)) => vec![icmp],
        (Some("icmp6"), _) | (None, Some(true)) => vec![icmp6],
        _ => vec![icmp, icmp6],
    };
    match field {
        Field::Src => vec![Word::Src],
        Field::Dst => vec![Word::Dst],
        Field::Dport => ports(Word::TcpDport, Word::UdpDport, Word::Dport),
        Field::Sport => ports(Word::TcpSport, Word::UdpSport, Word::Sport),
        Field::Proto => vec![Word::Proto],
        Field::TcpFlags => vec![Word::TcpFlags],
        Field::IcmpType => icmp(Word::IcmpType, Word::Icmp6Type),
        Field::IcmpCode => icmp(Word::IcmpCode, Word::Icmp6Code),
        Field::Len => vec![Word::Len],
        Field::Ttl => vec![Word::Ttl],
        Field::Dscp => vec![Word::Dscp],
        Field::Vlan => vec![Word::Vlan],
        Field::Frag => vec![Word::Frag],
        Field::Flow => vec![Word::Flow],
        Field::Cert => vec![Word::Cert],
    }
}

/// Every packet has it.
pub(super) fn is_everywhere(axis: Axis) -> bool {
    let Axis::Of(field) = axis else { return axis == Axis::Iface };
    let others = [
        Field::Dport,
        Field::Sport,
        Field::TcpFlags,
        Field::IcmpType,
        Field::IcmpCode,
        Field::Vlan,
        Field::Cert,
    ];
    !others.contains(&field)
}

/// Its values are names, and what has none is no value.
pub(super) fn is_named(axis: Axis) -> bool {
    !matches!(axis, Axis::Of(field) if field != Field::Flow && field != Field::Cert)
}

/// `tcp.dport` is of TCP alone.
pub(super) fn implies_protocol(field: policy::Field) -> bool {
    field.word().contains('.')
}
