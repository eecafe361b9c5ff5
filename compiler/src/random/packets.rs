//! Owns packets over the values that random policies ask for. Never a policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy_lang::policy::{PacketSpec, ProtoSpec};

use super::{BACKEND4, Dice, V4, V6};

/// Packets between all pairs of the addresses that guards name, one of each kind.
pub fn every_packet() -> Vec<PacketSpec> {
    let v4: Vec<IpAddr> = V4.iter().map(|&addr| Ipv4Addr::from(addr).into()).collect();
    let v6: Vec<IpAddr> = V6.iter().map(|&addr| Ipv6Addr::from(addr).into()).collect();
    let tcp = |dport, flags| ProtoSpec::Tcp { sport: 1_000, dport, flags, seq: 0, ack: 0 };
    let kinds = [
        tcp(22, 1),
        tcp(80, 1),
        tcp(443, 2),
        tcp(9, 0),
        ProtoSpec::Udp { sport: 22, dport: 443 },
        ProtoSpec::Udp { sport: 80, dport: 22 },
        ProtoSpec::Icmp { kind: 8, code: 0, id: 7 },
        ProtoSpec::Icmp6 { kind: 128, code: 0, id: 7 },
        ProtoSpec::Other(47),
    ];
    let mut all = Vec::new();
    for addrs in [v4, v6] {
        for (&src, &dst) in addrs.iter().flat_map(|src| addrs.iter().map(move |dst| (src, dst))) {
            all.extend(kinds.iter().map(|proto| PacketSpec::new(src, dst, proto.clone())));
        }
    }
    all
}

pub fn packet(dice: &mut Dice<'_>) -> PacketSpec {
    let v4: Vec<IpAddr> =
        V4.iter().map(|&addr| Ipv4Addr::from(addr).into()).chain([BACKEND4.into()]).collect();
    let v6: Vec<IpAddr> = V6.iter().map(|&addr| Ipv6Addr::from(addr).into()).collect();
    let from = if dice.below(3) > 0 { v4 } else { v6 };
    let ports = [22, 80, 443, 1_000, 1_001, 8_080];
    let (sport, dport) = (dice.of(&ports), dice.of(&ports));
    let proto = match dice.below(8) {
        0..=3 => ProtoSpec::Tcp {
            sport,
            dport,
            flags: dice.of(&[1, 1, 2, 3, 6, 8]),
            seq: dice.below(2) as u32,
            ack: dice.below(2) as u32,
        },
        4 | 5 => ProtoSpec::Udp { sport, dport },
        6 if from[0].is_ipv4() => ProtoSpec::Icmp { kind: dice.of(&[8, 0, 3]), code: 0, id: 7 },
        6 => ProtoSpec::Icmp6 { kind: dice.of(&[128, 129, 1]), code: 0, id: 7 },
        _ => ProtoSpec::Other(47),
    };
    PacketSpec {
        ttl: dice.of(&[64, 64, 64, 64, 64, 255, 1]),
        dscp: dice.of(&[0, 0, 46]),
        vlan: dice.of(&[None, None, Some(5), Some(4_095)]),
        frag: dice.of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]),
        payload: vec![0; dice.of(&[0, 8, 20])],
        ..PacketSpec::new(dice.of(&from), dice.of(&from), proto)
    }
}
