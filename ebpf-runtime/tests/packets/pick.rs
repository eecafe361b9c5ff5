//! Backends that are absent or full, and the one with the fewest connections.

use lb_abi::image::*;
use lb_abi::maps::{BACKEND_ABSENT, BACKEND_ACTIVE, NextHop};
use lb_abi::mode::{FEATURE_FORWARD, FEATURE_HASH, FEATURE_LOAD};
use lb_abi::reason::Reason;

use crate::build::{ACK, Peer, RST, SYN, Tree, ipv4, ipv6, tcp, udp};
use crate::certified::PEERS;
use crate::flows::{BACKEND6, Balancer, CLIENT, CLIENT6, SECOND, VIP, VIP6};

fn balancer(pick: u32, peers: &[Peer], features: u32) -> Balancer {
    let mut tree = Tree::new();
    let (drop, forward) = (tree.end(END_DROP), tree.end(END_FORWARD));
    let empty = tree.end(END_DROP);
    let empty = tree.counted(empty, "empty");
    let pool = tree.pool_of(pick, peers);
    let tracker = tree.tracker(95_000, 28_000, 4_700, 10_000);
    let translate = tree.node(OP_TRANSLATE, [forward, empty, drop], [pool, 0, 0]);
    let entry = tree.node(OP_TRACK, [translate, drop, drop], [tracker, 0, 0]);
    Balancer::of(&tree.finish(entry, FEATURE_FORWARD | features))
}

fn query(sport: u16) -> Vec<u8> {
    ipv4(CLIENT, VIP, 17, &udp(sport, 443, b"query"), 6)
}

/// Last bytes of the backends that new flows from these ports go to.
fn picked(balancer: &Balancer, ports: std::ops::Range<u16>) -> Vec<u8> {
    ports.map(|port| balancer.forwarded(&query(port))[33]).collect()
}

fn empty(balancer: &Balancer) -> u64 {
    balancer.trial.counters().expect("counters")[0].packets
}

fn peers() -> Vec<Peer> {
    PEERS.map(Peer::new).to_vec()
}

#[test]
fn an_absent_backend_hands_on_to_the_next_one() {
    for features in [0, FEATURE_LOAD] {
        let mut balancer = balancer(PICK_ROUND_ROBIN, &peers(), features);
        assert_eq!(picked(&balancer, 0..6), [1, 2, 3, 1, 2, 3]);
        balancer.trial.set_backend(2, BACKEND_ABSENT, NextHop::default());
        assert_eq!(picked(&balancer, 6..12), [1, 2, 1, 1, 2, 1]);
        balancer.trial.set_backend(0, BACKEND_ABSENT, NextHop::default());
        assert_eq!(picked(&balancer, 12..15), [2, 2, 2]);
        balancer.trial.set_backend(1, BACKEND_ABSENT, NextHop::default());
        balancer.dropped(&query(15));
        assert_eq!(empty(&balancer), 1);
    }
}

#[test]
fn a_full_backend_hands_on_to_the_next_one() {
    let mut peers = peers();
    (peers[0].max, peers[1].max) = (1, 2);
    let mut balancer = balancer(PICK_ROUND_ROBIN, &peers, FEATURE_LOAD);
    assert_eq!(picked(&balancer, 0..9), [1, 2, 3, 2, 3, 3, 3, 3, 3]);
    balancer.trial.set_backend(2, BACKEND_ABSENT, NextHop::default());
    balancer.dropped(&query(9));
    assert_eq!(empty(&balancer), 1);
    // Known flows stay where they are, and make room when they are over and replaced.
    assert_eq!(picked(&balancer, 0..2), [1, 2]);
    balancer.trial.set_clock(60 * SECOND);
    balancer.dropped(&query(20));
    balancer.trial.set_backend(2, BACKEND_ACTIVE, NextHop::default());
    assert_eq!(picked(&balancer, 0..1), [3], "the turn after the two that were spent in vain");
    assert_eq!(picked(&balancer, 21..22), [1]);
}

#[test]
fn a_cap_is_for_both_addresses_of_a_backend() {
    let mut peers = peers();
    peers[0].v6 = Some(BACKEND6);
    peers[0].max = 2;
    let balancer = balancer(PICK_ROUND_ROBIN, &peers, FEATURE_LOAD);
    let over6 = |sport| ipv6(CLIENT6, VIP6, 17, &udp(sport, 443, b"query"), 6);
    balancer.forwarded(&over6(1));
    balancer.forwarded(&over6(2));
    balancer.dropped(&over6(3));
    assert_eq!(empty(&balancer), 1);
    // Turns 3 to 5 of the pool, which both families share: 1 would be first.
    assert_eq!(picked(&balancer, 0..3), [2, 2, 3]);
}

#[test]
fn the_fewest_connections_for_its_weight() {
    let mut peers = peers();
    peers[1].weight = 3;
    let mut balancer = balancer(PICK_LEAST, &peers, FEATURE_LOAD);
    let all = picked(&balancer, 0..10);
    assert_eq!(all, [1, 2, 3, 2, 2, 1, 2, 3, 2, 2]);
    balancer.trial.set_backend(1, BACKEND_ABSENT, NextHop::default());
    assert_eq!(picked(&balancer, 10..13), [1, 3, 1]);
    for ordinal in [0, 2] {
        balancer.trial.set_backend(ordinal, BACKEND_ABSENT, NextHop::default());
    }
    balancer.dropped(&query(20));
    assert_eq!(empty(&balancer), 1);
}

#[test]
fn the_fewest_connections_below_the_cap() {
    let mut peers = peers();
    (peers[0].max, peers[1].max, peers[2].max) = (1, 2, 1);
    let balancer = balancer(PICK_LEAST, &peers, FEATURE_LOAD);
    assert_eq!(picked(&balancer, 0..4), [1, 2, 3, 2]);
    balancer.dropped(&query(4));
}

#[test]
fn there_is_no_certificate_to_hash() {
    let balancer = balancer(PICK_CERTIFICATE, &peers(), FEATURE_HASH);
    balancer.dropped(&query(1));
    assert_eq!(balancer.reasons(), [(Reason::BadImage as usize, 1)]);
}

#[test]
fn a_thousand_backends_are_looked_through() {
    let mut peers: Vec<Peer> = (0..MAX_PICKED).map(|n| Peer::new([10, 1, (n >> 8) as u8, n as u8])).collect();
    peers.iter_mut().for_each(|peer| peer.max = 1);
    for pick in [PICK_LEAST, PICK_ROUND_ROBIN] {
        let balancer = balancer(pick, &peers, FEATURE_LOAD);
        for n in 0..MAX_PICKED as u16 {
            let sent = balancer.forwarded(&query(n));
            assert_eq!(sent[32..34], n.to_be_bytes(), "{pick}");
        }
        balancer.dropped(&query(5_000));
        assert_eq!(empty(&balancer), 1);
    }
    // Around, from the last to the one before it.
    let mut balancer = balancer(PICK_ROUND_ROBIN, &peers, FEATURE_LOAD);
    for n in 0..MAX_PICKED as u32 {
        if n != 777 {
            balancer.trial.set_backend(n, BACKEND_ABSENT, NextHop::default());
        }
    }
    assert_eq!(balancer.forwarded(&query(1))[32..34], 777u16.to_be_bytes());
    assert_eq!(balancer.trial.backends()[777].connections, 1);
}

#[test]
fn connections_come_down_when_a_flow_closes() {
    let balancer = balancer(PICK_LEAST, &peers(), FEATURE_LOAD);
    let there = |flags, seq, ack| ipv4(CLIENT, VIP, 6, &tcp(4000, 443, flags, seq, ack), 16);
    let back = |flags, seq, ack| ipv4(PEERS[0], CLIENT, 6, &tcp(443, 4000, flags, seq, ack), 16);
    let first = || balancer.trial.backends()[0].connections;
    balancer.forwarded(&there(SYN, 100, 0));
    assert_eq!(first(), 1);
    // The reply is not behind `translate back` here, so it is dropped at `translate`; a reset by the client closes.
    balancer.dropped(&back(SYN | ACK, 500, 101));
    balancer.forwarded(&there(RST, 101, 0));
    assert_eq!(first(), 0);
    // Closing already, and begun anew.
    balancer.forwarded(&there(RST, 101, 0));
    assert_eq!(first(), 0);
    balancer.forwarded(&there(SYN, 900, 0));
    assert_eq!(first(), 1);
}
