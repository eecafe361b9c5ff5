//! `track { key cert }`: how many sessions and flows there may be, how long they live, and the backend that each keeps.

use ebpf_runtime::trial::{Action, Count, FlowTable};
use lb_abi::hash::{scale, siphash13};
use lb_abi::image::*;
use lb_abi::maps::{BACKEND_ABSENT, BACKEND_ACTIVE, BACKEND_DRAINING, NextHop, RESUME_ON};
use lb_abi::mode::{FEATURE_FORWARD, FEATURE_HASH, FEATURE_LOAD};
use lb_abi::reason::Reason;

use crate::build::{Peer, Tree, ipv6, udp};
use crate::certified::{
    Certified, FULL, PEERS, PLENTY, Setting, answer, certificate, hash, signed, signed_from, trailer,
};
use crate::flows::{BACKEND6, Balancer, CLIENT6, SECOND, VIP6};

/// The exit that a frame takes once its signature was found right.
fn refused(certified: &mut Certified, frame: &[u8]) -> usize {
    let punt = certified.punt(frame);
    let before = certified.exits();
    assert_eq!(certified.resume(&punt, frame, RESUME_ON).0.action, Action::Drop);
    certified.only(&before)
}

fn served_by(certified: &mut Certified, frame: &[u8]) -> [u8; 4] {
    Certified::peer(&certified.served(frame))
}

fn flows(certified: &Certified) -> i64 {
    certified.balancer.trial.trackers().expect("trackers")[0].flows as i64
}

fn connections(certified: &Certified) -> Vec<i64> {
    certified.balancer.trial.backends().iter().map(|backend| backend.connections).collect()
}

#[test]
fn one_certificate_has_one_backend_from_wherever_it_comes() {
    let mut certified = Certified::new();
    assert_eq!(served_by(&mut certified, &signed(4000, 1, b"")), PEERS[0]);
    assert_eq!(served_by(&mut certified, &signed(4001, 2, b"")), PEERS[1], "another certificate");
    for client in 1..20 {
        assert_eq!(served_by(&mut certified, &signed_from([198, 51, 100, client], 1, 1, b"")), PEERS[0]);
    }
    let sessions = certified.balancer.trial.sessions().expect("sessions");
    let shape: Vec<[u32; 4]> =
        sessions.iter().map(|(key, value)| [key.tracker, key.cert, key.pool, value.backend]).collect();
    assert_eq!(shape, [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0], [0, 1, 1, 2]]);
    assert!(sessions.iter().all(|(_, session)| session.born == SECOND));
}

#[test]
fn a_session_keeps_its_backend_through_drain_and_loses_it_with_it() {
    let mut certified = Certified::new();
    served_by(&mut certified, &signed(4000, 1, b""));
    let state =
        |certified: &mut Certified, state| certified.balancer.trial.set_backend(0, state, NextHop::default());
    state(&mut certified, BACKEND_DRAINING);
    assert_eq!(served_by(&mut certified, &signed(4001, 1, b"")), PEERS[0]);
    state(&mut certified, BACKEND_ABSENT);
    let other = served_by(&mut certified, &signed(4002, 1, b""));
    assert_ne!(other, PEERS[0]);
    state(&mut certified, BACKEND_ACTIVE);
    assert_eq!(served_by(&mut certified, &signed(4003, 1, b"")), other, "it has another now");
}

#[test]
fn a_session_keeps_a_backend_that_is_drained_out_of_the_image() {
    let mut certified = Certified::new();
    served_by(&mut certified, &signed(4000, 1, b""));
    let mut setting = Setting::new();
    setting.peers[0].drains = true;
    certified.balancer.trial.swap(&setting.image()).expect("an image");
    certified.balancer.trial.set_wall(1_500 * SECOND as i64);
    assert_eq!(served_by(&mut certified, &signed(4001, 1, b"")), PEERS[0]);
    assert_ne!(served_by(&mut certified, &signed(4002, 2, b"")), PEERS[0]);
}

#[test]
fn a_session_has_its_backend_in_both_families() {
    let mut setting = Setting::new();
    setting.peers[0].v6 = Some(BACKEND6);
    setting.peers[0].drains = true;
    let mut other = BACKEND6;
    other[15] = 77;
    setting.peers[1].v6 = Some(other);
    let drained = setting.image();
    setting.peers[0].drains = false;
    let mut certified = setting.load();
    served_by(&mut certified, &signed(4000, 1, b""));
    let over6 = |sport| ipv6(CLIENT6, VIP6, 17, &udp(sport, 443, &trailer(1)), 6);
    assert_eq!(certified.served(&over6(4000))[38..54], BACKEND6);
    certified.balancer.trial.swap(&drained).expect("an image");
    certified.balancer.trial.set_wall(1_500 * SECOND as i64);
    assert_eq!(certified.served(&over6(4001))[38..54], BACKEND6, "it drains");
}

#[test]
fn a_session_idles_out_and_is_kept_by_either_direction() {
    let mut certified = Certified::new();
    served_by(&mut certified, &signed(4000, 1, b""));
    certified.balancer.forwarded(&answer(PEERS[0], 4000));
    // 30 s, and some; the answers alone keep it.
    for second in [20, 40, 60] {
        certified.at(second * SECOND);
        certified.balancer.forwarded(&answer(PEERS[0], 4000));
    }
    certified.at(80 * SECOND);
    assert_eq!(served_by(&mut certified, &signed(4001, 1, b"")), PEERS[0]);
    let born = |certified: &Certified| certified.balancer.trial.sessions().expect("sessions")[0].1.born;
    assert_eq!(born(&certified), SECOND);
    certified.at(120 * SECOND);
    assert_eq!(served_by(&mut certified, &signed(4002, 1, b"")), PEERS[1], "its backend is forgotten");
    assert_eq!(born(&certified), 120 * SECOND);
}

#[test]
fn there_are_as_many_sessions_as_the_tracker_may_have() {
    let mut setting = Setting { max: 2, ..Setting::new() };
    setting.certificates = [1, 2, 3, 200].map(certificate).to_vec();
    let mut certified = setting.load();
    served_by(&mut certified, &signed(4000, 1, b""));
    served_by(&mut certified, &signed(4000, 200, b""));
    assert_eq!(refused(&mut certified, &signed(4001, 2, b"")), FULL);
    served_by(&mut certified, &signed(4001, 1, b""));
    certified.at(60 * SECOND);
    served_by(&mut certified, &signed(4001, 2, b""));
    served_by(&mut certified, &signed(4001, 3, b""));
    assert_eq!(refused(&mut certified, &signed(4002, 1, b"")), FULL);
}

#[test]
fn there_are_four_times_as_many_flows_as_sessions() {
    let mut certified = Setting { max: 3, ..Setting::new() }.load();
    for n in 0..12 {
        served_by(&mut certified, &signed(4000 + n, 1, b""));
    }
    assert_eq!(flows(&certified), 12);
    assert_eq!(refused(&mut certified, &signed(5000, 1, b"")), FULL);
    assert_eq!(refused(&mut certified, &signed(5000, 2, b"")), FULL);
    certified.balancer.forwarded(&signed(4000, 1, b""));
}

#[test]
fn counts_go_down_where_a_flow_is_replaced() {
    let mut certified = Certified::new();
    let frame = signed(4000, 1, b"");
    served_by(&mut certified, &frame);
    assert_eq!((flows(&certified), connections(&certified)), (1, vec![1, 0, 0]));
    // Expired and begun anew, in the same place; the turn is the next one's.
    certified.at(60 * SECOND);
    assert_eq!(served_by(&mut certified, &frame), PEERS[1]);
    assert_eq!((flows(&certified), connections(&certified)), (1, vec![0, 1, 0]));
    certified.balancer.trial.set_backend(1, BACKEND_ABSENT, NextHop::default());
    assert_eq!(Certified::peer(&certified.balancer.forwarded(&frame)), PEERS[2]);
    assert_eq!((flows(&certified), connections(&certified)), (1, vec![0, 0, 1]));
}

#[test]
fn packets_are_counted_for_their_certificate_and_their_backend() {
    let mut certified = Certified::new();
    let frame = signed(4000, 1, b"");
    served_by(&mut certified, &frame);
    certified.balancer.forwarded(&frame);
    let answer = answer(PEERS[0], 4000);
    certified.balancer.forwarded(&answer);
    let trial = &certified.balancer.trial;
    let pairs = |counts: Vec<Count>| -> Vec<(u64, u64)> {
        counts.iter().map(|count| (count.packets, count.bytes)).collect()
    };
    let (out, back) = (2 * frame.len() as u64, answer.len() as u64);
    assert_eq!(pairs(trial.certificate_counts().expect("counts")), [(3, out + back), (0, 0), (0, 0)]);
    assert_eq!(pairs(trial.backend_counts().expect("counts")), [(2, out), (0, 0), (0, 0)]);
}

/// Several clients behind one address, or one client with another certificate: the backend is the certificate's own.
#[test]
fn a_flow_that_another_certificate_signs_begins_anew_with_that_ones_backend() {
    let mut certified = Certified::new();
    assert_eq!(served_by(&mut certified, &signed(4000, 1, b"")), PEERS[0]);
    // Without a session, it begins one with a backend of its turn.
    assert_eq!(served_by(&mut certified, &signed(4000, 2, b"")), PEERS[1]);
    for (_, flow) in certified.balancer.trial.flows(FlowTable::New).expect("flows") {
        assert_eq!((flow.cert, flow.backend), (2, 2));
    }
    // The flow was replaced: it is counted where it goes to now.
    assert_eq!((flows(&certified), connections(&certified)), (1, vec![0, 1, 0]));
    assert_eq!(served_by(&mut certified, &signed(4001, 2, b"")), PEERS[1]);
    // What comes by the first one again has to be checked again, and finds its own backend.
    assert_eq!(served_by(&mut certified, &signed(4000, 1, b"")), PEERS[0]);
    assert_eq!((flows(&certified), connections(&certified)), (2, vec![1, 1, 0]));
}

#[test]
fn a_tracker_of_sessions_refuses_what_has_no_certificate() {
    let mut tree = Tree::new();
    let (drop, forward) = (tree.end(END_DROP), tree.end(END_FORWARD));
    let tracker = tree.tracker(95_000, 28_000, 4_700, 10);
    tree.of_sessions(tracker, 1);
    let authority = tree.authority(0, &[certificate(1)], PLENTY, PLENTY);
    tree.verify(authority, drop, [drop; VERIFY_EXITS]);
    let entry = tree.node(OP_TRACK, [forward, drop, drop], [tracker, 0, 0]);
    let features = FEATURE_FORWARD | FEATURE_HASH | FEATURE_LOAD;
    let balancer = Balancer::of(&tree.finish(entry, features));
    balancer.dropped(&signed(4000, 1, b""));
    assert_eq!(balancer.reasons(), [(Reason::BadImage as usize, 1)]);
}

#[test]
fn without_key_cert_flows_carry_the_certificate_alone() {
    let mut certified = Setting { keyed: false, ..Setting::new() }.load();
    assert_eq!(served_by(&mut certified, &signed(4000, 1, b"")), PEERS[0]);
    assert_eq!(served_by(&mut certified, &signed(4001, 1, b"")), PEERS[1]);
    assert_eq!(certified.balancer.trial.sessions().expect("sessions"), []);
    assert_eq!((flows(&certified), connections(&certified)), (0, vec![1, 1, 0]));
    certified.balancer.forwarded(&signed(4000, 1, b"in session"));
}

#[test]
fn a_certificate_is_hashed_to_its_backend() {
    let peers = || (0..100).map(|n| Peer::new([10, 0, 3, n])).collect();
    let mut certified =
        Setting { pick: PICK_CERTIFICATE, keyed: false, peers: peers(), ..Setting::new() }.load();
    let first = served_by(&mut certified, &signed(4000, 1, b""));
    for n in 1..10 {
        assert_eq!(served_by(&mut certified, &signed_from([198, 51, 100, 1], n, 1, b"")), first);
    }
    assert_ne!(served_by(&mut certified, &signed(4001, 2, b"")), first);
    let bytes = hash(1);
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).collect();
    let slot = scale(siphash13([1, 2], [words[0], words[1], words[2], words[3]]), 100);
    assert_eq!(u32::from(first[3]), slot);
}
