//! Packets on their way through user space: who may send them there, in which order they come back, and how they go on.

use ebpf_runtime::trial::{Action, FlowTable};
use lb_abi::image::*;
use lb_abi::maps::{
    DIR_ORIGINAL, FLOW_IS_PENDING, PUNT_FRAME, PUNT_IN_SESSION, RESUME_ANEW, RESUME_EXIT, RESUME_ON,
};
use lb_abi::mode::{FEATURE_FORWARD, FEATURE_HASH, FEATURE_LOAD, FEATURE_XSK};
use lb_abi::reason::Reason;

use crate::build::{Peer, Tree, checksums_are_right, ipv6, udp};
use crate::certified::{Certified, FULL, PEERS, PLENTY, Setting, certificate, signed, signed_from, trailer};
use crate::flows::{CLIENT, SECOND, VIP6};

/// A bucket of so many a second and so many at once.
fn bucket(rate: u64, burst: u64) -> [u64; 2] {
    let interval = SECOND / rate * 64;
    [interval, interval * burst]
}

fn handed_over(certified: &mut Certified, frames: impl Iterator<Item = Vec<u8>>) -> usize {
    for frame in frames {
        certified.balancer.dropped(&frame);
    }
    certified.punts().len()
}

fn of(client: [u8; 4], count: u16) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(move |n| signed_from(client, 4000 + n, 1, b"payload"))
}

#[test]
fn a_source_has_a_bucket_of_its_own() {
    let mut certified = Setting { source: bucket(10, 5), ..Setting::new() }.load();
    assert_eq!(handed_over(&mut certified, of(CLIENT, 20)), 5);
    assert_eq!(certified.count(Reason::VerifyLimit), 15);
    assert_eq!(handed_over(&mut certified, of([192, 0, 2, 2], 20)), 5, "another address");
    certified.at(SECOND + SECOND / 5);
    assert_eq!(handed_over(&mut certified, of(CLIENT, 20)), 2);
    // IPv6: a /64 is one source.
    let over6 = |low: u8, net: u8| {
        let mut client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, net, 0, 0, 0, 0, 0, 0, 0, low];
        client[8] = low;
        (0..20).map(move |n| ipv6(client, VIP6, 17, &udp(4000 + n, 443, &trailer(1)), 6))
    };
    assert_eq!(handed_over(&mut certified, over6(1, 1)), 5);
    assert_eq!(handed_over(&mut certified, over6(2, 1)), 0);
    assert_eq!(handed_over(&mut certified, over6(1, 2)), 5);
}

#[test]
fn new_sources_and_returning_ones_have_half_of_the_rate_each() {
    let mut certified = Setting { all: bucket(100, 40), ..Setting::new() }.load();
    let strangers = |count: u8| (0..count).flat_map(|n| of([198, 51, 100, n], 1));
    assert_eq!(handed_over(&mut certified, strangers(60)), 20);
    assert_eq!(handed_over(&mut certified, of(CLIENT, 3)), 0, "a new source among many");
    // It tries again, at another tick: a flood of forged sources does not know that it should, nor could it.
    certified.at(SECOND + 5 * SECOND / 1_000);
    assert_eq!(handed_over(&mut certified, of(CLIENT, 3)), 3, "with all that it sends at this tick");
    certified.at(SECOND + 10 * SECOND / 1_000);
    assert_eq!(handed_over(&mut certified, of(CLIENT, 1)), 1);
    assert_eq!(handed_over(&mut certified, of([203, 0, 113, 9], 3)), 0);
    // After 4,000 ticks it is forgotten.
    certified.at(7 * SECOND);
    assert_eq!(handed_over(&mut certified, strangers(60)), 20);
    assert_eq!(handed_over(&mut certified, of(CLIENT, 1)), 0);
}

#[test]
fn a_full_ring_drops_the_newest() {
    let mut certified = Certified::new();
    let payload = vec![7; 1_300];
    let frames: Vec<Vec<u8>> = (0..4_000).map(|n| signed(n, 1, &payload)).collect();
    for frame in &frames {
        certified.balancer.dropped(frame);
    }
    let (taken, lost) = (certified.count(Reason::Punted), certified.count(Reason::VerifyQueue));
    assert_eq!(taken + lost, 4_000);
    assert!(lost > 0);
    let punts = certified.punts();
    assert_eq!(punts.len() as u64, taken);
    assert!(punts.iter().map(|(_, frame)| frame).eq(&frames[..punts.len()]));
    // There is room again.
    certified.punt(&frames[0]);
}

#[test]
fn without_a_socket_for_its_queue_a_packet_goes_by_the_ring() {
    let mut image = Setting::new().image();
    image.features |= FEATURE_XSK;
    let mut certified = Certified::of(&image);
    let frame = signed(4000, 1, b"payload");
    let punt = certified.punt(&frame);
    certified.accepted(&punt, &frame);
}

#[test]
fn the_longest_frame_goes_both_ways() {
    // A longer one in one piece only comes from a device in generic mode.
    let mut certified = Certified::new();
    let frame = signed(4000, 1, &vec![7; PUNT_FRAME - 42 - 104]);
    let punt = certified.punt(&frame);
    assert_eq!(punt.len as usize, PUNT_FRAME);
    // The route's MTU is 1,500.
    assert_eq!(certified.resume(&punt, &frame, RESUME_ON).0.action, Action::Drop);
    assert_eq!(certified.count(Reason::TooBig), 1);
}

#[test]
fn a_verdict_of_an_exit_takes_it() {
    let mut certified = Certified::new();
    let frame = signed(4000, 1, b"payload");
    for exit in 0..VERIFY_EXITS {
        let punt = certified.punt(&frame);
        let before = certified.exits();
        let (resumed, out) = certified.resume(&punt, &frame, RESUME_EXIT + exit as u32);
        assert_eq!((resumed.action, resumed.stale, out), (Action::Drop, false, frame.clone()));
        assert_eq!(certified.only(&before), exit);
    }
    assert_eq!(certified.balancer.states(FlowTable::New), [0u8; 0]);
}

#[test]
fn a_verdict_to_go_on_is_carried_out_by_the_same_code() {
    let mut certified = Certified::new();
    let frame = signed(4000, 1, b"payload");
    let punt = certified.punt(&frame);
    let (resumed, first) = certified.accepted(&punt, &frame);
    assert!(resumed.born && !resumed.stale);
    checksums_are_right(&first);
    // To the bit what the fast path makes of it.
    assert_eq!(certified.balancer.forwarded(&frame), first);
    let punt = certified.punt(&signed(4001, 1, b"payload"));
    assert!(!certified.accepted(&punt, &signed(4001, 1, b"payload")).0.born, "a second flow of the session");
}

#[test]
fn a_tracker_passed_before_is_planned_again() {
    let mut tree = Tree::new();
    let (drop, forward) = (tree.end(END_DROP), tree.end(END_FORWARD));
    let pool = tree.pool_of(PICK_ROUND_ROBIN, &PEERS.map(Peer::new));
    let tracker = tree.tracker(95_000, 28_000, 4_700, 10);
    let authority = tree.authority(AUTHORITY_ONCE, &[certificate(1)], PLENTY, PLENTY);
    let translate = tree.node(OP_TRANSLATE, [forward, drop, drop], [pool, 0, 0]);
    let verify = tree.verify(authority, translate, [drop; VERIFY_EXITS]);
    let entry = tree.node(OP_TRACK, [verify, drop, drop], [tracker, 0, 0]);
    let mut certified = Certified::of(&tree.finish(entry, FEATURE_FORWARD | FEATURE_HASH | FEATURE_LOAD));
    let frame = signed(4000, 1, b"payload");
    let punt = certified.punt(&frame);
    assert_eq!(punt.tracker, tracker);
    let (_, sent) = certified.accepted(&punt, &frame);
    assert_eq!(Certified::peer(&sent), PEERS[0]);
    assert_eq!(certified.balancer.states(FlowTable::New).len(), 2);
    assert_eq!(certified.balancer.forwarded(&frame), sent, "in session");
}

#[test]
fn another_generation_begins_anew() {
    let mut certified = Certified::new();
    let frame = signed(4000, 1, b"payload");
    let punt = certified.punt(&frame);
    let image = Setting::new().image();
    certified.balancer.trial.swap(&image).expect("the same flags and sizes");
    let before = certified.exits();
    let (resumed, out) = certified.resume(&punt, &frame, RESUME_ON);
    assert!(resumed.stale);
    assert_eq!((resumed.action, out), (Action::Drop, frame.clone()));
    assert_eq!(certified.exits(), before);
    // From the top it is handed over again, by the new generation's number, and not behind others in the ring.
    let (resumed, _) = certified.resume(&punt, &frame, RESUME_ANEW);
    assert_eq!((resumed.action, resumed.stale), (Action::Drop, false));
    assert_eq!(certified.punts(), []);
    let again = resumed.again.expect("a signature to check");
    assert_eq!((again.generation, again.len, again.node), (1, punt.len, punt.node));
    certified.accepted(&again, &frame);
    // What is in session by now is sent.
    assert_eq!(certified.resume(&punt, &frame, RESUME_ANEW).0.action, Action::Tx);
}

#[test]
fn what_begins_anew_has_paid_for_its_check() {
    let setting = || Setting { source: bucket(10, 2), ..Setting::new() };
    let mut certified = setting().load();
    let frames: Vec<Vec<u8>> = of(CLIENT, 3).collect();
    let (first, second) = (certified.punt(&frames[0]), certified.punt(&frames[1]));
    certified.balancer.dropped(&frames[2]);
    assert_eq!((certified.punts(), certified.count(Reason::VerifyLimit)), (vec![], 1));
    certified.balancer.trial.swap(&setting().image()).expect("the same flags and sizes");
    for (punt, frame) in [(first, &frames[0]), (second, &frames[1])] {
        let again = certified.resume(&punt, frame, RESUME_ANEW).0.again.expect("a signature to check");
        assert_eq!(again.generation, 1);
        certified.accepted(&again, frame);
    }
    assert_eq!(certified.count(Reason::VerifyLimit), 1);
}

#[test]
fn what_passes_behind_its_verify_is_the_frame_as_it_came() {
    let mut tree = Tree::new();
    let (drop, pass) = (tree.end(END_DROP), tree.end(END_PASS));
    let authority = tree.authority(AUTHORITY_ONCE, &[certificate(1)], PLENTY, PLENTY);
    let entry = tree.verify(authority, pass, [drop; VERIFY_EXITS]);
    let mut certified = Certified::of(&tree.finish(entry, FEATURE_FORWARD | FEATURE_HASH | FEATURE_LOAD));
    let frame = signed(4000, 1, b"payload");
    let punt = certified.punt(&frame);
    let (resumed, out) = certified.resume(&punt, &frame, RESUME_ON);
    assert_eq!((resumed.action, resumed.back, out), (Action::Pass, true, frame));
}

fn is_pending(certified: &Certified) -> bool {
    let flows = certified.balancer.trial.flows(FlowTable::New).expect("flows");
    let original = flows.iter().find(|(_, flow)| flow.dir == DIR_ORIGINAL).expect("a flow");
    original.1.flags & FLOW_IS_PENDING != 0
}

#[test]
fn packets_of_a_session_do_not_overtake_its_first_ones() {
    let mut certified = Certified::new();
    let frames: Vec<Vec<u8>> = (0..5u8).map(|n| signed(4000, 1, &[n])).collect();
    let (first, second) = (certified.punt(&frames[0]), certified.punt(&frames[1]));
    certified.accepted(&first, &frames[0]);
    assert!(is_pending(&certified));
    // The second one is not back yet: the third waits behind it, with nothing to check and nothing to pay.
    let third = certified.punt(&frames[2]);
    assert_eq!(third.flags, PUNT_IN_SESSION);
    assert_eq!((certified.count(Reason::Punted), certified.count(Reason::PuntedInOrder)), (2, 1));
    certified.accepted(&second, &frames[1]);
    let fourth = certified.punt(&frames[3]);
    certified.accepted(&third, &frames[2]);
    certified.accepted(&fourth, &frames[3]);
    assert!(is_pending(&certified), "nobody has asked since");
    certified.balancer.forwarded(&frames[4]);
    assert!(!is_pending(&certified));
}

#[test]
fn what_is_lost_in_user_space_is_not_waited_for() {
    let mut certified = Certified::new();
    let frames: Vec<Vec<u8>> = (0..6u8).map(|n| signed(4000, 1, &[n])).collect();
    let (first, _lost) = (certified.punt(&frames[0]), certified.punt(&frames[1]));
    certified.at(SECOND);
    certified.accepted(&first, &frames[0]);
    // The agent was at work a moment ago. That more of them come to wait does not make it wait for longer.
    for (n, at) in [(2, SECOND + SECOND / 2), (3, 2 * SECOND)] {
        certified.at(at);
        assert_eq!(certified.punt(&frames[n]).flags, PUNT_IN_SESSION);
        assert!(is_pending(&certified));
    }
    // 1,000 ticks after it was last done with one.
    certified.at(2 * SECOND + SECOND / 10);
    certified.balancer.forwarded(&frames[4]);
    assert!(!is_pending(&certified));
}

#[test]
fn in_session_packets_that_wait_spend_no_token() {
    let mut certified = Setting { source: bucket(10, 2), ..Setting::new() }.load();
    let frames: Vec<Vec<u8>> = (0..9u8).map(|n| signed(4000, 1, &[n])).collect();
    let (first, second) = (certified.punt(&frames[0]), certified.punt(&frames[1]));
    certified.accepted(&first, &frames[0]);
    for frame in &frames[2..] {
        assert_eq!(certified.punt(frame).flags, PUNT_IN_SESSION);
    }
    certified.accepted(&second, &frames[1]);
    assert_eq!(certified.count(Reason::VerifyLimit), 0);
}

#[test]
fn a_verdict_may_meet_a_full_tracker() {
    let mut certified = Setting { max: 0, ..Setting::new() }.load();
    let frame = signed(4000, 1, b"payload");
    let punt = certified.punt(&frame);
    let before = certified.exits();
    assert_eq!(certified.resume(&punt, &frame, RESUME_ON).0.action, Action::Drop);
    assert_eq!(certified.only(&before), FULL);
}
