use lb_abi::image::FLAG_ACK;
use policy_lang::policy::{PacketSpec, ProtoSpec};
use proptest::prelude::*;

use crate::packet::*;

fn any_spec() -> impl Strategy<Value = PacketSpec> {
    let addrs = prop_oneof![
        (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (a.into(), b.into())),
        (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(a, b)| (a.into(), b.into())),
    ];
    let proto = prop_oneof![
        (any::<u16>(), any::<u16>(), 0u8..16, any::<u32>(), any::<u32>())
            .prop_map(|(sport, dport, flags, seq, ack)| ProtoSpec::Tcp { sport, dport, flags, seq, ack }),
        (any::<u16>(), any::<u16>()).prop_map(|(sport, dport)| ProtoSpec::Udp { sport, dport }),
        (any::<u8>(), any::<u8>(), any::<u16>()).prop_map(|(kind, code, id)| ProtoSpec::Icmp {
            kind,
            code,
            id
        }),
        (any::<u8>(), any::<u8>(), any::<u16>()).prop_map(|(kind, code, id)| ProtoSpec::Icmp6 {
            kind,
            code,
            id
        }),
        any::<u8>().prop_map(ProtoSpec::Other),
    ];
    let rest = (any::<u8>(), 0u8..64, proptest::option::of(0u16..4096), 0u32..3, any::<Vec<u8>>());
    (addrs, proto, rest).prop_map(|((src, dst), proto, (ttl, dscp, vlan, frag, payload))| PacketSpec {
        ttl,
        dscp,
        vlan,
        frag,
        payload,
        ..PacketSpec::new(src, dst, proto)
    })
}

proptest! {
    #[test]
    fn no_prefix_of_any_packet_panics(spec in any_spec(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut frame = build(&spec);
        let at = at.index(frame.len());
        frame[at] = byte;
        for length in 0..=frame.len() {
            let prefix = &frame[..length];
            if let Ok(fields) = parse(prefix) {
                prop_assert!(fields.ip <= fields.transport && fields.transport <= fields.end);
                prop_assert!(fields.end <= length);
            }
            verify_checksums(prefix);
        }
    }

    #[test]
    fn no_bytes_panic(frame in any::<Vec<u8>>()) {
        let _ = parse(&frame);
    }

    #[test]
    fn whole_built_packets_have_right_checksums(spec in any_spec()) {
        // Under these numbers the random payload would stand for a header, and its checksum for nothing.
        prop_assume!(!matches!(spec.proto, ProtoSpec::Other(1 | 6 | 17 | 58)));
        let frame = build(&spec);
        if parse(&frame).is_ok() {
            prop_assert!(verify_checksums(&frame));
        }
    }

    #[test]
    fn hashes_agree_with_those_of_the_packet_path(spec in any_spec(), key in any::<[u64; 2]>()) {
        let Ok(fields) = parse(&build(&spec)) else { return Ok(()) };
        let tuple = flow_key(&fields);
        let (mut a, mut b) = ((tuple.src, tuple.sport), (tuple.dst, tuple.dport));
        if b < a {
            std::mem::swap(&mut a, &mut b);
        }
        let ports = u64::from(a.1) << 48 | u64::from(b.1) << 32 | u64::from(tuple.proto);
        let half = |addr: [u8; 16], at: usize| u64::from_be_bytes(addr[at..at + 8].try_into().unwrap());
        let v4 = |addr: [u8; 16]| half(addr, 8) & 0xffff_ffff;
        let (flow, source) = if fields.v6 {
            let words = [half(a.0, 0), half(a.0, 8), half(b.0, 0), half(b.0, 8), ports];
            let source = [half(tuple.src, 0), half(tuple.src, 8)];
            (lb_abi::hash::siphash13(key, words), lb_abi::hash::siphash13(key, source))
        } else {
            let words = [v4(a.0) << 32 | v4(b.0), ports];
            (lb_abi::hash::siphash13(key, words), lb_abi::hash::siphash13(key, [v4(tuple.src)]))
        };
        prop_assert_eq!(flow_hash(key, &fields), flow);
        prop_assert_eq!(source_hash(key, &fields), source);
    }

    #[test]
    fn both_directions_hash_alike(spec in any_spec(), key in any::<[u64; 2]>()) {
        let (ProtoSpec::Tcp { sport, dport, .. } | ProtoSpec::Udp { sport, dport }) = spec.proto else { return Ok(()) };
        let back = PacketSpec {
            src: spec.dst,
            dst: spec.src,
            proto: ProtoSpec::Tcp { sport: dport, dport: sport, flags: FLAG_ACK as u8, seq: 0, ack: 0 },
            ..spec.clone()
        };
        let there = PacketSpec {
            proto: ProtoSpec::Tcp { sport, dport, flags: FLAG_ACK as u8, seq: 0, ack: 0 },
            ..spec
        };
        if let (Ok(there), Ok(back)) = (parse(&build(&there)), parse(&build(&back))) {
            prop_assert_eq!(flow_hash(key, &there), flow_hash(key, &back));
        }
    }
}
