//! `verify`, as far as the program decides: its exits, what is in session, and what it hands over.

use ebpf_runtime::trial::{Action, FlowTable, Trial};
use lb_abi::image::*;
use lb_abi::maps::{
    CERTIFICATE_ABSENT, Certificate, DIR_ORIGINAL, FLOW_IS_PENDING, FLOW_IS_SESSION, PUNT_IN_SESSION,
    PUNT_MAGIC, RESUME_ON,
};
use lb_abi::mode::{FEATURE_HASH, FEATURE_TEST};
use lb_abi::reason::Reason;
use lb_abi::trailer::MAGICS;

use crate::build::{SYN, Tree, checksums_are_right, ipv4, tcp, udp};
use crate::certified::{Certified, NOW, PEERS, PLENTY, Setting, answer, certificate, hash, signed, trailer};
use crate::flows::{CLIENT, SECOND, VIP};

const MISSING: usize = VERIFY_MISSING as usize;
const INVALID: usize = VERIFY_INVALID as usize;
const EXPIRED: usize = VERIFY_EXPIRED as usize;
const REVOKED: usize = VERIFY_REVOKED as usize;

fn datagram(payload: &[u8]) -> Vec<u8> {
    ipv4(CLIENT, VIP, 17, &udp(4000, 443, payload), 6)
}

fn changed(at: usize, to: u8) -> Vec<u8> {
    let mut bytes = trailer(1);
    bytes[at] = to;
    datagram(&bytes)
}

#[test]
fn what_has_no_trailer_at_its_end_is_missing_one() {
    let mut certified = Certified::new();
    let mut later = signed(4000, 1, b"payload");
    later[20] = 0x20;
    let cases = [
        ipv4(CLIENT, VIP, 6, &tcp(4000, 443, SYN, 1, 0), 16),
        datagram(b""),
        datagram(&trailer(1)[1..]),
        datagram(&[&trailer(1)[..], b"!"].concat()),
        changed(0, b'X'),
        changed(3, b'X'),
    ];
    for frame in cases {
        assert_eq!(certified.exit(&frame), MISSING, "{frame:02x?}");
    }
    // A trailer that reaches beyond the datagram's own length, into what stands behind it in the packet.
    let mut short = signed(4000, 1, b"payload");
    short[39] -= 1;
    assert_eq!(certified.exit(&short), MISSING);
}

#[test]
fn what_names_no_certificate_of_the_authority_is_invalid() {
    let mut certified = Certified::new();
    let mut cases =
        vec![changed(100, 3), changed(100, 2), changed(4, !hash(1)[0]), changed(35, !hash(1)[31])];
    cases.extend([101, 102, 103].map(|at| changed(at, 1)));
    cases.extend((4..36).map(|at| changed(at, hash(1)[at - 4] ^ 0x80)));
    for frame in cases {
        assert_eq!(certified.exit(&frame), INVALID, "{frame:02x?}");
    }
    certified.balancer.trial.set_certificate(
        0,
        Certificate {
            state: CERTIFICATE_ABSENT,
            hash: hash(1),
            not_after: i64::MAX,
            ..Certificate::default()
        },
    );
    assert_eq!(certified.exit(&signed(4000, 1, b"")), INVALID);
}

#[test]
fn a_certificate_is_valid_from_its_first_second_to_its_last() {
    let mut certified = Certified::new();
    let wall = |certified: &mut Certified, ns: i64| {
        certified.balancer.trial.set_wall(ns - SECOND as i64);
    };
    let frame = signed(4000, 1, b"");
    let (first, last) = (1_000 * SECOND as i64, 2_001 * SECOND as i64 - 1);
    for (ns, valid) in
        [(first - 1, false), (first, true), (last, true), (last + 1, false), (i64::MAX / 2, false)]
    {
        wall(&mut certified, ns);
        if valid {
            certified.punt(&frame);
        } else {
            assert_eq!(certified.exit(&frame), EXPIRED, "{ns}");
        }
    }
}

#[test]
fn a_revoked_one_is_revoked_whatever_the_time() {
    let mut setting = Setting::new();
    setting.certificates[0].revoked = true;
    let mut certified = setting.load();
    let frame = signed(4000, 1, b"");
    assert_eq!(certified.exit(&frame), REVOKED);
    certified.balancer.trial.set_wall(i64::MAX / 2);
    assert_eq!(certified.exit(&frame), REVOKED);
}

#[test]
fn a_signature_to_check_is_handed_over_with_all_that_is_known() {
    let mut certified = Certified::new();
    for magic in MAGICS {
        let mut bytes = trailer(200);
        bytes[..4].copy_from_slice(&magic);
        let frame = datagram(&[b"payload", &bytes[..]].concat());
        let punt = certified.punt(&frame);
        assert_eq!((punt.magic, punt.len as usize), (PUNT_MAGIC, frame.len()));
        assert_eq!((punt.ifindex, punt.queue), (certified.balancer.ifindex, 0));
        assert_eq!((punt.cert, punt.authority, punt.flags, punt.tracker), (2, 0, 0, 0));
        assert_eq!((punt.payload, punt.payload_len), (42, 7 + 104));
        assert_eq!((punt.generation, punt.at), (0, SECOND));
    }
    assert_eq!(certified.count(Reason::Punted), 2);
    assert_eq!(certified.balancer.states(FlowTable::New), [0u8; 0], "nothing is committed");
    // An empty payload is one.
    assert_eq!(certified.punt(&signed(4000, 1, b"")).payload_len, 104);
}

#[test]
fn once_per_session_the_flow_is_held_to_its_tuple_and_certificate() {
    let mut certified = Certified::new();
    let first = signed(4000, 1, b"first");
    let sent = certified.served(&first);
    checksums_are_right(&sent);
    assert_eq!(Certified::peer(&sent), PEERS[0]);
    let flows = certified.balancer.trial.flows(FlowTable::New).expect("flows");
    assert_eq!(flows.len(), 2);
    for (_, flow) in &flows {
        assert_eq!(flow.cert, 1);
        assert_ne!(flow.flags & FLOW_IS_SESSION, 0);
        assert_eq!(flow.flags & FLOW_IS_PENDING != 0, flow.dir == DIR_ORIGINAL);
    }
    // The signature is another's, and is not looked at any more.
    let second = signed(4000, 1, b"second, and forged");
    assert_eq!(Certified::peer(&certified.balancer.forwarded(&second)), PEERS[0]);
    certified.balancer.forwarded(&answer(PEERS[0], 4000));
    certified.balancer.forwarded(&second);
    let flows = certified.balancer.trial.flows(FlowTable::Answered).expect("flows");
    assert!(flows.iter().all(|(_, flow)| flow.flags == FLOW_IS_SESSION && flow.cert == 1), "{flows:?}");
    // Other ports, another certificate, no trailer.
    certified.punt(&signed(4001, 1, b"second"));
    assert_eq!(certified.punt(&signed(4000, 2, b"second")).cert, 1);
    assert_eq!(certified.exit(&datagram(b"none")), MISSING);
    // A certificate that is over ends its session.
    certified.balancer.trial.set_wall(3_000 * SECOND as i64);
    assert_eq!(certified.exit(&second), EXPIRED);
    certified.balancer.trial.set_wall(NOW * SECOND as i64);
    // So does idleness.
    certified.at(60 * SECOND);
    assert_eq!(certified.punt(&second).flags, 0);
}

#[test]
fn every_packet_is_handed_over_where_the_policy_says_so() {
    let mut certified = Setting { flags: 0, ..Setting::new() }.load();
    for _ in 0..3 {
        certified.served(&signed(4000, 1, b"payload"));
    }
    assert_eq!(certified.count(Reason::Punted), 3);
}

#[test]
fn only_the_direction_that_was_verified_is_in_session() {
    let mut certified = Setting { back: false, ..Setting::new() }.load();
    certified.served(&signed(4000, 1, b"first"));
    let reply = ipv4(PEERS[0], CLIENT, 17, &udp(443, 4000, &trailer(1)), 6);
    assert_eq!(certified.punt(&reply).flags & PUNT_IN_SESSION, 0);
}

#[test]
fn the_field_cert_is_what_was_accepted_or_what_the_flow_began_with() {
    let mut tree = Tree::new();
    let mut classes = vec![0; Field::Cert.domain() as usize + 1];
    (classes[0], classes[1]) = (1, 2);
    tree.field(Field::Cert, &classes);
    let ends: Vec<u32> = (0..6)
        .map(|_| {
            let end = tree.end(END_DROP);
            tree.counted(end, "by class")
        })
        .collect();
    let row = tree.words(&ends[..3]);
    let behind = tree.node(OP_DECIDE, [0; 3], [Field::Cert.bit(), row, 0]);
    let authority = tree.authority(0, &[certificate(1), certificate(2)], PLENTY, PLENTY);
    let verify = tree.verify(authority, behind, [ends[5]; VERIFY_EXITS]);
    let row = tree.words(&[verify, ends[3], ends[4]]);
    let entry = tree.node(OP_DECIDE, [0; 3], [Field::Cert.bit(), row, 0]);
    let mut trial = Trial::load(&tree.finish(entry, FEATURE_HASH), FEATURE_TEST).expect("root");
    trial.set_clock(SECOND);
    trial.set_wall(NOW * SECOND as i64);
    for (id, expected) in [(1, 1), (2, 2)] {
        let frame = signed(4000, id, b"payload");
        assert_eq!(trial.run(&frame, 0).expect("a run").action, Action::Drop);
        let (punt, frame) = trial.punts().expect("a ring").remove(0);
        trial.resume(&punt, &frame, RESUME_ON).expect("a run");
        let counts: Vec<u64> =
            trial.counters().expect("counters").iter().map(|count| count.packets).collect();
        assert_eq!(counts[expected], 1, "{counts:?}");
    }
}
