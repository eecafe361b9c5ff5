mod properties;

use lb_abi::image::{FLAG_SYN, FRAG_FIRST, FRAG_LATER, FRAG_NONE, Field};
use lb_abi::reason::Reason;
use policy_lang::policy::{PacketSpec, ProtoSpec};

use super::*;

fn spec(src: &str, dst: &str, proto: ProtoSpec) -> PacketSpec {
    PacketSpec::new(src.parse().unwrap(), dst.parse().unwrap(), proto)
}

fn tcp_spec(v6: bool) -> PacketSpec {
    let (src, dst) = if v6 { ("2001:db8::9", "2001:db8::1") } else { ("192.0.2.9", "198.51.100.1") };
    spec(src, dst, ProtoSpec::Tcp { sport: 4000, dport: 443, flags: FLAG_SYN as u8, seq: 7, ack: 0 })
}

fn udp_spec(v6: bool) -> PacketSpec {
    PacketSpec { proto: ProtoSpec::Udp { sport: 53, dport: 5353 }, payload: b"odd".to_vec(), ..tcp_spec(v6) }
}

/// An IPv6 packet with these extension headers in front of `proto`; each is its type and its bytes, the next header
/// (first byte) filled in here.
fn chain(headers: &[(u8, Vec<u8>)], proto: u8, rest: &[u8]) -> Vec<u8> {
    let mut frame = build(&PacketSpec { proto: ProtoSpec::Other(proto), ..tcp_spec(true) });
    let mut payload = Vec::new();
    for (index, (_, bytes)) in headers.iter().enumerate() {
        let next = headers.get(index + 1).map_or(proto, |(kind, _)| *kind);
        payload.push(next);
        payload.extend(&bytes[1..]);
    }
    payload.extend(rest);
    frame[20] = headers.first().map_or(proto, |(kind, _)| *kind);
    frame.extend(&payload);
    frame[18..20].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    frame
}

fn options(kind: u8) -> (u8, Vec<u8>) {
    (kind, vec![0; 8])
}

fn fragment(place: u16) -> (u8, Vec<u8>) {
    let [high, low] = place.to_be_bytes();
    (44, vec![0, 0, high, low, 0, 0, 0, 1])
}

const UDP_HEADER: [u8; 8] = [0, 53, 0x14, 0xe9, 0, 8, 1, 1];

#[test]
fn a_built_packet_parses_to_what_was_asked_for() {
    for v6 in [false, true] {
        let frame = build(&PacketSpec { ttl: 9, dscp: 46, vlan: Some(100), ..tcp_spec(v6) });
        let fields = parse(&frame).unwrap();
        assert_eq!(fields.src, addr(tcp_spec(v6).src));
        assert_eq!(fields.dst, addr(tcp_spec(v6).dst));
        assert_eq!((fields.v6, fields.proto, fields.ttl, fields.dscp), (v6, TCP, 9, 46));
        assert_eq!((fields.vlan, fields.frag, fields.ip), (Some(100), FRAG_NONE, 18));
        assert_eq!(fields.len, if v6 { 60 } else { 40 });
        assert_eq!(fields.layer4, Layer4::Tcp { sport: 4000, dport: 443, flags: FLAG_SYN, seq: 7, ack: 0 });
    }
}

#[test]
fn built_checksums_are_right_and_a_changed_byte_is_noticed() {
    let echo = ProtoSpec::Icmp { kind: 8, code: 0, id: 77 };
    let echo6 = ProtoSpec::Icmp6 { kind: 128, code: 0, id: 77 };
    let specs = [
        tcp_spec(false),
        tcp_spec(true),
        udp_spec(false),
        udp_spec(true),
        PacketSpec { proto: echo, ..udp_spec(false) },
        PacketSpec { proto: echo6, ..udp_spec(true) },
    ];
    for spec in specs {
        let frame = build(&spec);
        assert!(verify_checksums(&frame), "{spec:?}");
        let transport = parse(&frame).unwrap().transport;
        let mut wrong = frame.clone();
        wrong[transport + 4] ^= 1;
        assert!(!verify_checksums(&wrong), "{spec:?}");
        if !spec.src.is_ipv6() {
            let mut wrong = frame;
            wrong[14 + 8] ^= 1;
            assert!(!verify_checksums(&wrong), "{spec:?}");
        }
    }
}

#[test]
fn udp_without_a_checksum_is_legal_over_ipv4_only() {
    for v6 in [false, true] {
        let mut frame = build(&udp_spec(v6));
        let transport = parse(&frame).unwrap().transport;
        frame[transport + 6..transport + 8].fill(0);
        if v6 {
            assert_eq!(parse(&frame), Err(Reason::Udp6Checksum));
        } else {
            assert!(parse(&frame).is_ok() && verify_checksums(&frame));
        }
    }
}

#[test]
fn every_prefix_is_refused_with_the_reason_of_what_it_cuts() {
    let frame = build(&PacketSpec { vlan: Some(5), ..tcp_spec(false) });
    for length in 0..frame.len() {
        let expected = match length {
            0..18 => Reason::ShortFrame,
            18..38 => Reason::Ipv4Header,
            _ => Reason::IpLength,
        };
        assert_eq!(parse(&frame[..length]), Err(expected), "{length}");
    }
    let frame = build(&tcp_spec(true));
    for length in 14..frame.len() {
        assert_eq!(parse(&frame[..length]), Err(Reason::IpLength), "{length}");
    }
}

#[test]
fn layer_4_must_fit_the_ip_packet_not_the_frame() {
    for v6 in [false, true] {
        for (spec, whole) in [(tcp_spec(v6), 20), (udp_spec(v6), 11)] {
            for kept in 0..whole {
                let mut frame = build(&spec);
                let (at, header) = if v6 { (14 + 4, 0) } else { (14 + 2, 20) };
                frame[at..at + 2].copy_from_slice(&(header + kept as u16).to_be_bytes());
                assert_eq!(parse(&frame), Err(Reason::Layer4Header), "{kept} {spec:?}");
            }
        }
    }
}

#[test]
fn padding_behind_the_total_length_is_legal() {
    let mut frame = build(&tcp_spec(false));
    let fields = parse(&frame).unwrap();
    frame.extend([0xff; 6]);
    assert_eq!(parse(&frame), Ok(fields));
    assert!(verify_checksums(&frame));
}

#[test]
fn a_length_beyond_16_bits_is_refused() {
    for (payload, long) in [(0xffff - 40u16, false), (0xffff - 39, true), (0xffff, true)] {
        let mut frame = build(&udp_spec(true));
        frame.resize(14 + 40 + usize::from(payload), 0);
        frame[18..20].copy_from_slice(&payload.to_be_bytes());
        assert_eq!(parse(&frame).err(), long.then_some(Reason::IpLength), "{payload}");
    }
}

#[test]
fn ipv4_headers_that_contradict_themselves_are_refused() {
    let set = |at: usize, byte: u8| {
        let mut frame = build(&tcp_spec(false));
        frame[14 + at] = byte;
        parse(&frame).map(|_| ())
    };
    assert_eq!(set(0, 0x65), Err(Reason::IpVersion));
    assert_eq!(set(0, 0x44), Err(Reason::Ipv4Header));
    assert_eq!(set(0, 0x4f), Err(Reason::Ipv4Header));
    assert_eq!(set(3, 19), Err(Reason::IpLength));
    assert_eq!(set(3, 41), Err(Reason::IpLength));
    assert_eq!(set(3, 20), Err(Reason::Layer4Header));
    // Data offset of TCP: 4 words, then more than there are.
    assert_eq!(set(20 + 12, 0x40), Err(Reason::Layer4Header));
    assert_eq!(set(20 + 12, 0x60), Err(Reason::Layer4Header));
}

#[test]
fn ipv4_options_are_skipped() {
    let mut frame = build(&tcp_spec(false));
    frame[14] = 0x46;
    frame[17] = 44;
    frame.splice(34..34, [1, 1, 1, 1]);
    let fields = parse(&frame).unwrap();
    assert_eq!((fields.transport, fields.ports()), (38, Some((4000, 443))));
}

#[test]
fn up_to_two_tags_and_the_outer_one_counts() {
    let mut frame = build(&PacketSpec { vlan: Some(7), ..tcp_spec(false) });
    frame.splice(12..12, [0x88, 0xa8, 0xf0, 0x2a]);
    assert_eq!(parse(&frame).unwrap().vlan, Some(0x2a));
    frame.splice(12..12, [0x81, 0, 0, 1]);
    assert_eq!(parse(&frame), Err(Reason::VlanDepth));
}

#[test]
fn other_ethertypes_and_arp_never_reach_the_tree() {
    let ethertype = |ethertype: [u8; 2]| {
        let mut frame = build(&tcp_spec(false));
        frame[12..14].copy_from_slice(&ethertype);
        parse(&frame).map(|_| ())
    };
    assert_eq!(ethertype([0x08, 0x06]), Err(Reason::Neighbour));
    assert_eq!(ethertype([0x88, 0xcc]), Err(Reason::OtherEthertype));
    assert_eq!(ethertype([0x00, 0x2e]), Err(Reason::OtherEthertype));
    assert_eq!(ethertype([0x86, 0xdd]), Err(Reason::IpVersion));
}

#[test]
fn fragments_keep_their_kind_and_a_later_one_has_no_layer_4() {
    for v6 in [false, true] {
        let first = parse(&build(&PacketSpec { frag: FRAG_FIRST, ..tcp_spec(v6) })).unwrap();
        assert_eq!((first.frag, first.proto, first.ports()), (FRAG_FIRST, TCP, Some((4000, 443))));
        let later = parse(&build(&PacketSpec { frag: FRAG_LATER, ..tcp_spec(v6) })).unwrap();
        assert_eq!((later.frag, later.proto, later.layer4), (FRAG_LATER, TCP, Layer4::Absent));
        assert_eq!((flow_key(&later).sport, flow_key(&later).dport), (0, 0));
        assert_eq!(later.value(Field::Dport), Some(65_536));
        assert_eq!(later.value(Field::TcpFlags), Some(16));
    }
}

#[test]
fn the_first_fragment_of_a_udp_datagram_may_announce_more_than_it_holds() {
    for v6 in [false, true] {
        let mut frame = build(&PacketSpec { frag: FRAG_FIRST, ..udp_spec(v6) });
        let transport = parse(&frame).unwrap().transport;
        frame[transport + 4] = 0x10;
        assert!(parse(&frame).is_ok());
        frame[transport + 4..transport + 6].copy_from_slice(&[0, 7]);
        assert_eq!(parse(&frame), Err(Reason::Layer4Header));
    }
}

#[test]
fn extension_headers_are_walked_to_the_protocol() {
    let (hop, destination, routing, mobility) = (options(0), options(60), options(43), options(135));
    let ah = (51, vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let headers = [hop, destination, routing, mobility, ah, fragment(0)];
    let fields = parse(&chain(&headers, UDP, &UDP_HEADER)).unwrap();
    assert_eq!((fields.proto, fields.ports(), fields.frag), (UDP, Some((53, 5353)), FRAG_NONE));
    assert_eq!(fields.transport, 14 + 40 + 8 * 5 + 12);
}

#[test]
fn esp_and_no_next_header_end_the_chain() {
    for proto in [50, 59] {
        let fields = parse(&chain(&[options(60)], proto, &[0; 3])).unwrap();
        assert_eq!((fields.proto, fields.layer4), (proto, Layer4::Absent));
    }
}

#[test]
fn chains_too_long_wrong_or_cut_are_refused() {
    let refused = |headers: &[(u8, Vec<u8>)]| parse(&chain(headers, UDP, &UDP_HEADER)).map(|_| ());
    assert_eq!(refused(&vec![options(60); 8]), Ok(()));
    assert_eq!(refused(&vec![options(60); 9]), Err(Reason::Ipv6Chain));
    let long = |units: u8| (60, [vec![0, units], vec![0; usize::from(units) * 8 + 6]].concat());
    assert_eq!(refused(&[long(31)]), Ok(()));
    assert_eq!(refused(&[long(32)]), Err(Reason::Ipv6Chain));
    assert_eq!(refused(&[options(60), options(0)]), Err(Reason::Ipv6Chain));
    assert_eq!(refused(&[(43, vec![0, 0, 0, 1, 0, 0, 0, 0])]), Err(Reason::Ipv6Chain));
    assert_eq!(refused(&[(43, vec![0, 0, 2, 1, 0, 0, 0, 0])]), Ok(()));
    assert_eq!(refused(&[fragment(0), fragment(0)]), Err(Reason::Ipv6Chain));
    assert_eq!(refused(&[(60, vec![0, 9, 0, 0, 0, 0, 0, 0])]), Err(Reason::Ipv6Chain));
    assert_eq!(parse(&chain(&[], 60, &[])).map(|_| ()), Err(Reason::Ipv6Chain));
}

#[test]
fn a_later_fragment_ends_the_chain_with_its_next_header() {
    let fields = parse(&chain(&[fragment(8)], 60, &[0xff; 4])).unwrap();
    assert_eq!((fields.frag, fields.proto), (FRAG_LATER, 60));
    let atomic = parse(&chain(&[fragment(0)], UDP, &UDP_HEADER)).unwrap();
    assert_eq!(atomic.frag, FRAG_NONE);
    let first = parse(&chain(&[fragment(1)], UDP, &UDP_HEADER)).unwrap();
    assert_eq!(first.frag, FRAG_FIRST);
}

#[test]
fn neighbour_discovery_needs_hop_limit_255() {
    let solicitation = |ttl, kind, frag| {
        let proto = ProtoSpec::Icmp6 { kind, code: 0, id: 0 };
        parse(&build(&PacketSpec { ttl, frag, proto, ..tcp_spec(true) })).map(|_| ())
    };
    assert_eq!(solicitation(255, 132, FRAG_NONE), Ok(()));
    assert_eq!(solicitation(255, 133, FRAG_NONE), Err(Reason::Neighbour));
    assert_eq!(solicitation(255, 137, FRAG_NONE), Err(Reason::Neighbour));
    assert_eq!(solicitation(255, 138, FRAG_NONE), Ok(()));
    assert_eq!(solicitation(254, 135, FRAG_NONE), Ok(()));
    assert_eq!(solicitation(255, 135, FRAG_FIRST), Ok(()));
}

#[test]
fn icmp_of_the_other_family_has_no_header() {
    let proto = ProtoSpec::Icmp6 { kind: 135, code: 0, id: 0 };
    let fields = parse(&build(&PacketSpec { ttl: 255, proto, ..tcp_spec(false) })).unwrap();
    assert_eq!(fields.layer4, Layer4::Absent);
    let proto = ProtoSpec::Icmp { kind: 8, code: 0, id: 0 };
    let fields = parse(&build(&PacketSpec { proto, ..tcp_spec(true) })).unwrap();
    assert_eq!((fields.layer4, fields.value(Field::IcmpType)), (Layer4::Absent, Some(256)));
}

#[test]
fn a_mapped_address_in_an_ipv6_header_is_refused() {
    for (src, dst) in [("::ffff:192.0.2.1", "2001:db8::1"), ("2001:db8::1", "::ffff:192.0.2.1")] {
        let spec = PacketSpec { src: src.parse().unwrap(), dst: dst.parse().unwrap(), ..tcp_spec(true) };
        assert_eq!(parse(&build(&spec)), Err(Reason::MappedAddress));
    }
}

#[test]
fn echo_request_and_reply_have_reversed_flow_keys() {
    let key = |kind, v6| {
        let proto = if v6 {
            ProtoSpec::Icmp6 { kind, code: 0, id: 9 }
        } else {
            ProtoSpec::Icmp { kind, code: 0, id: 9 }
        };
        let key = flow_key(&parse(&build(&PacketSpec { proto, ..tcp_spec(v6) })).unwrap());
        (key.sport, key.dport)
    };
    assert_eq!((key(8, false), key(0, false), key(3, false)), ((9, 0), (0, 9), (0, 0)));
    assert_eq!((key(128, true), key(129, true), key(1, true)), ((9, 0), (0, 9), (0, 0)));
}

#[test]
fn the_builder_survives_any_length_and_mixed_families() {
    let long = build(&PacketSpec { payload: vec![1; 70_000], ..udp_spec(false) });
    assert_eq!(parse(&long).unwrap().len, 65_535);
    assert!(verify_checksums(&long));
    let long = build(&PacketSpec { payload: vec![1; 70_000], frag: FRAG_FIRST, ..tcp_spec(true) });
    assert_eq!(parse(&long).unwrap().len, 65_535);
    let mixed = PacketSpec { src: "192.0.2.1".parse().unwrap(), ..tcp_spec(true) };
    assert_eq!(parse(&build(&mixed)), Err(Reason::MappedAddress));
}

#[test]
fn mending_equals_computing_afresh() {
    let frame = build(&tcp_spec(false));
    let header = &frame[14..34];
    let mut other = header.to_vec();
    other[8] = 63;
    other[10..12].fill(0);
    let fresh = !super::checksum::ones_complement_sum(0, &other);
    let old = u16::from_be_bytes([header[10], header[11]]);
    assert_eq!(mend(old, &header[8..10], &other[8..10]), fresh);
}
