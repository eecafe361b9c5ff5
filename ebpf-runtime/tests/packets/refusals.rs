//! What never enters the tree, by its reason.

use ebpf_runtime::trial::{Action, Trial};
use lb_abi::image::{BEFORE_DROP, BEFORE_MATCH, BEFORE_PASS, END_PASS, H_FRAGMENTS, H_UNPARSED};
use lb_abi::reason::{REASONS, Reason};

use crate::build::{ACK, SYN, Tree, echo, ipv4, ipv6, tcp, udp};

const A: [u8; 4] = [192, 0, 2, 1];
const B: [u8; 4] = [192, 0, 2, 2];
const A6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const B6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// A tree of one counted `pass`.
fn passing(unparsed: u32, fragments: u32) -> Trial {
    let mut tree = Tree::new();
    tree.set(H_UNPARSED, unparsed);
    tree.set(H_FRAGMENTS, fragments);
    let end = tree.end(END_PASS);
    let end = tree.counted(end, "all");
    Trial::load(&tree.finish(end, 0), 0).expect("root, and a kernel from 6.1 on")
}

fn tree_packets(trial: &Trial) -> u64 {
    trial.counters().expect("counters").iter().map(|count| count.packets).sum()
}

fn reason_of(trial: &mut Trial, frame: &[u8]) -> (Action, Option<Reason>) {
    let before = trial.reasons().expect("reasons");
    let action = trial.run(frame, 0).expect("a run").action;
    let after = trial.reasons().expect("reasons");
    let grown: Vec<Reason> = REASONS
        .iter()
        .map(|(reason, _)| *reason)
        .filter(|reason| after[*reason as usize] != before[*reason as usize])
        .collect();
    assert!(grown.len() <= 1, "{grown:?} at once");
    (action, grown.first().copied())
}

fn tcp4() -> Vec<u8> {
    ipv4(A, B, 6, &tcp(4000, 80, SYN, 1, 0), 16)
}

/// The IPv6 packet with extension headers between.
fn chained(headers: &[(u8, Vec<u8>)], proto: u8, layer4: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (n, (_, bytes)) in headers.iter().enumerate() {
        let next = headers.get(n + 1).map_or(proto, |(number, _)| *number);
        payload.push(next);
        payload.extend(&bytes[1..]);
    }
    payload.extend(layer4);
    let first = headers.first().map_or(proto, |(number, _)| *number);
    let mut frame = ipv6(A6, B6, first, &payload, 0);
    // The checksum went into the first header: take it out again.
    frame.truncate(54);
    frame.extend(payload);
    frame
}

fn options(number: u8, units: u8) -> (u8, Vec<u8>) {
    let mut bytes = vec![0; 8 + 8 * units as usize];
    bytes[1] = units;
    (number, bytes)
}

#[test]
fn each_refusal_has_its_reason() {
    let mut trial = passing(BEFORE_DROP, BEFORE_DROP);
    let patched = |patches: &[(usize, u8)]| {
        let mut frame = tcp4();
        for (at, byte) in patches {
            frame[*at] = *byte;
        }
        frame
    };
    let tagged = |tags: usize| {
        let mut frame = tcp4();
        for _ in 0..tags {
            frame.splice(12..12, [0x81, 0, 0, 7]);
        }
        frame
    };
    let cut = |mut frame: Vec<u8>, length: usize| {
        frame.truncate(length);
        frame
    };
    let udp6 = ipv6(A6, B6, 17, &udp(1, 2, b"x"), 6);
    let mut unsummed = udp6.clone();
    unsummed[60..62].copy_from_slice(&[0, 0]);
    let mut solicitation = ipv6(A6, B6, 58, &[135; 24], 2);
    solicitation[21] = 255;
    let mut from_mapped = udp6.clone();
    from_mapped[22..38].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
    let mut routing = options(43, 0);
    routing.1[3] = 1;
    let fragment = |bits: u8| (44, vec![0, 0, 0, bits, 0, 0, 0, 1]);
    let long_udp = ipv4(A, B, 17, &[0, 1, 0, 2, 0, 99, 0, 0], 6);
    let segment = tcp(4000, 80, ACK, 1, 1);
    let cases = [
        ("tag cut off", cut(tagged(1), 16), Some(Reason::ShortFrame)),
        ("three tags", tagged(3), Some(Reason::VlanDepth)),
        ("two tags", tagged(2), None),
        ("ARP", patched(&[(13, 6)]), Some(Reason::Neighbour)),
        ("LLDP", patched(&[(12, 0x88), (13, 0xcc)]), Some(Reason::OtherEthertype)),
        ("LLC", patched(&[(12, 0), (13, 38)]), Some(Reason::OtherEthertype)),
        ("version 6 in 0x0800", patched(&[(14, 0x65)]), Some(Reason::IpVersion)),
        ("IHL 2", patched(&[(14, 0x42)]), Some(Reason::Ipv4Header)),
        ("IHL beyond the frame", patched(&[(14, 0x4f)]), Some(Reason::Ipv4Header)),
        ("total below the header", patched(&[(17, 19)]), Some(Reason::IpLength)),
        ("total beyond the frame", patched(&[(17, 41)]), Some(Reason::IpLength)),
        ("TCP data offset 4", patched(&[(46, 0x40)]), Some(Reason::Layer4Header)),
        ("TCP options beyond the packet", patched(&[(46, 0x60)]), Some(Reason::Layer4Header)),
        ("total cuts TCP", patched(&[(17, 39)]), Some(Reason::Layer4Header)),
        ("UDP longer than the packet", long_udp, Some(Reason::Layer4Header)),
        ("ICMP cut off", ipv4(A, B, 1, &echo(8)[..7], 2), Some(Reason::Layer4Header)),
        ("first fragment", patched(&[(20, 0x20)]), Some(Reason::Fragment)),
        ("later fragment", patched(&[(20, 0), (21, 1)]), Some(Reason::Fragment)),
        (
            "version 4 in 0x86dd",
            {
                let mut f = udp6.clone();
                f[14] = 0x45;
                f
            },
            Some(Reason::IpVersion),
        ),
        ("IPv6 payload beyond the frame", cut(udp6.clone(), udp6.len() - 1), Some(Reason::IpLength)),
        ("mapped source", from_mapped, Some(Reason::MappedAddress)),
        ("UDP over IPv6 without checksum", unsummed, Some(Reason::Udp6Checksum)),
        ("neighbour solicitation", solicitation, Some(Reason::Neighbour)),
        (
            "one of each header",
            chained(&[options(0, 0), options(43, 0), options(60, 1), options(135, 0)], 6, &segment),
            None,
        ),
        (
            "hop-by-hop second",
            chained(&[options(60, 0), options(0, 0)], 6, &segment),
            Some(Reason::Ipv6Chain),
        ),
        ("routing type 0 with a segment left", chained(&[routing], 6, &segment), Some(Reason::Ipv6Chain)),
        ("eight headers", chained(&vec![options(60, 0); 8], 6, &segment), None),
        ("nine headers", chained(&vec![options(60, 0); 9], 6, &segment), Some(Reason::Ipv6Chain)),
        ("256 bytes of headers", chained(&[options(60, 31)], 6, &segment), None),
        ("264 bytes of headers", chained(&[options(60, 32)], 6, &segment), Some(Reason::Ipv6Chain)),
        (
            "chain beyond the payload",
            chained(&[options(60, 0)], 60, &[6, 9, 0, 0, 0, 0, 0, 0]),
            Some(Reason::Ipv6Chain),
        ),
        ("two fragment headers", chained(&[fragment(1), fragment(1)], 6, &segment), Some(Reason::Ipv6Chain)),
        ("first fragment over IPv6", chained(&[fragment(1)], 6, &segment), Some(Reason::Fragment)),
        ("later fragment over IPv6", chained(&[fragment(8)], 6, &[0; 4]), Some(Reason::Fragment)),
        ("atomic fragment", chained(&[fragment(0)], 6, &segment), None),
        ("ESP", chained(&[], 50, &[0; 3]), None),
        ("ICMPv6 over IPv4", ipv4(A, B, 58, &[1, 2, 3, 4], 2), None),
    ];
    for (name, frame, reason) in cases {
        let before = tree_packets(&trial);
        let (action, counted) = reason_of(&mut trial, &frame);
        assert_eq!(counted, reason, "{name}");
        let passes = matches!(reason, None | Some(Reason::Neighbour));
        assert_eq!(action, if passes { Action::Pass } else { Action::Drop }, "{name}");
        assert_eq!(tree_packets(&trial) - before, u64::from(reason.is_none()), "{name}");
    }
}

#[test]
fn no_prefix_of_a_packet_enters_the_tree() {
    let mut trial = passing(BEFORE_DROP, BEFORE_DROP);
    let seeds = [
        tcp4(),
        ipv4(A, B, 17, &udp(1000, 53, b"question"), 6),
        ipv4(A, B, 1, &echo(8), 2),
        ipv6(A6, B6, 6, &tcp(4000, 80, SYN, 1, 0), 16),
        ipv6(A6, B6, 17, &udp(1000, 53, b"question"), 6),
        ipv6(A6, B6, 58, &echo(128), 2),
    ];
    for frame in &seeds {
        for length in 14..frame.len() {
            let (action, reason) = reason_of(&mut trial, &frame[..length]);
            assert_eq!(action, Action::Drop, "{length} bytes of {frame:02x?}");
            assert!(reason.is_some(), "{length} bytes of {frame:02x?}");
        }
        assert_eq!(reason_of(&mut trial, frame), (Action::Pass, None));
    }
    assert_eq!(tree_packets(&trial), seeds.len() as u64);
}

#[test]
fn the_settings_decide_but_for_the_missing_checksum() {
    let mut trial = passing(BEFORE_PASS, BEFORE_MATCH);
    let mut broken = tcp4();
    broken[14] = 0x42;
    assert_eq!(reason_of(&mut trial, &broken), (Action::Pass, Some(Reason::Ipv4Header)));
    let mut later = tcp4();
    later[21] = 1;
    assert_eq!(reason_of(&mut trial, &later), (Action::Pass, Some(Reason::Fragment)));
    assert_eq!(tree_packets(&trial), 1, "the tree decides on fragments, and on nothing else here");
    let mut unsummed = ipv6(A6, B6, 17, &udp(1, 2, b"x"), 6);
    unsummed[60..62].copy_from_slice(&[0, 0]);
    assert_eq!(reason_of(&mut trial, &unsummed), (Action::Drop, Some(Reason::Udp6Checksum)));
}
