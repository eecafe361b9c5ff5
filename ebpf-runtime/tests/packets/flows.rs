//! `track`, `translate`, `translate back` and `forward`: what leaves, with right checksums, and what is remembered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ebpf_runtime::lab::{Arms, Lab, Plan};
use ebpf_runtime::trial::{Action, FlowTable, Ran, Trial};
use lb_abi::bundle::Image;
use lb_abi::image::*;
use lb_abi::maps::{FLOW_CLOSING, FLOW_PROVEN, FLOW_REPLIED};
use lb_abi::mode::{FEATURE_FORWARD, FEATURE_TEST};
use lb_abi::reason::Reason;

use crate::build::{ACK, FIN, RST, SYN, Tree, checksums_are_right, ipv4, ipv6, tcp, udp};

pub const CLIENT: [u8; 4] = [192, 0, 2, 1];
pub const VIP: [u8; 4] = [203, 0, 113, 10];
pub const BACKEND: [u8; 4] = [10, 0, 2, 11];
pub const SOURCE: [u8; 4] = [10, 0, 0, 5];
pub const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
pub const BACKEND6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 9, 9];
pub const SECOND: u64 = 1_000_000_000;

/// A balancer in a network where a default route leads everywhere.
pub struct Balancer {
    pub lab: Lab,
    pub ifindex: u32,
    pub trial: Trial,
}

impl Balancer {
    /// The way in tracks and translates; what belongs to a translated flow goes back first.
    fn new(max: u32) -> Balancer {
        Balancer::with_ports(max, 2)
    }

    /// With as many source ports, from 10,000.
    pub fn with_ports(max: u32, ports: u32) -> Balancer {
        let mut tree = Tree::new();
        // 100, 30 and 5 s in ticks, about.
        let tracker = tree.tracker(95_000, 28_000, 4_700, max);
        let pool = tree.pool((BACKEND, 8443), (BACKEND6, 0), (SOURCE, 10_000), ports);
        let (drop, forward) = (tree.end(END_DROP), tree.end(END_FORWARD));
        let translate = tree.node(OP_TRANSLATE, [forward, drop, drop], [pool, 0, 0]);
        let track = tree.node(OP_TRACK, [translate, drop, drop], [tracker, 0, 0]);
        let entry = tree.node(OP_TRANSLATE_BACK, [forward, track, 0], [0; 3]);
        Balancer::of(&tree.finish(entry, FEATURE_FORWARD))
    }

    pub fn of(image: &Image) -> Balancer {
        let network =
            Plan { arms: Arms::Two, balancer: Vec::new(), clients: vec![Vec::new()], backends: Vec::new() };
        let lab = Lab::build(&network).expect("a lab: needs root");
        let device = &lab.devices[0];
        let gateways: [(IpAddr, IpAddr); 2] = [
            (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(169, 254, 9, 9).into()),
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 9, 9).into()),
        ];
        for (everything, gateway) in gateways {
            lab.balancer.route(device, everything, 0, Some(gateway)).expect("a route");
            lab.balancer.neighbour(device, gateway, NEIGHBOUR).expect("a neighbour");
        }
        let ifindex = lab.balancer.index(device).expect("an index");
        let mut trial =
            lab.balancer.run(|| Trial::load(image, FEATURE_TEST)).expect("a namespace").expect("root");
        trial.set_clock(SECOND);
        Balancer { lab, ifindex, trial }
    }

    pub fn run(&self, frame: &[u8]) -> Ran {
        let (trial, ifindex) = (&self.trial, self.ifindex);
        self.lab.balancer.run(|| trial.run(frame, ifindex)).expect("a namespace").expect("a run")
    }

    /// What a forwarded frame became; its checksums and MACs are right.
    pub fn forwarded(&self, frame: &[u8]) -> Vec<u8> {
        let ran = self.run(frame);
        assert_eq!(ran.action, Action::Tx, "{:?}", self.reasons());
        checksums_are_right(&ran.frame);
        assert_eq!(ran.frame[..6], NEIGHBOUR);
        ran.frame
    }

    pub fn dropped(&self, frame: &[u8]) {
        let ran = self.run(frame);
        assert_eq!((ran.action, ran.frame.as_slice()), (Action::Drop, frame));
    }

    pub fn reasons(&self) -> Vec<(usize, u64)> {
        let reasons = self.trial.reasons().expect("reasons");
        reasons.iter().copied().enumerate().filter(|(_, count)| *count != 0).collect()
    }

    pub fn states(&self, table: FlowTable) -> Vec<u8> {
        self.trial.flows(table).expect("flows").iter().map(|(_, flow)| flow.state).collect()
    }

    fn open(&self, sport: u16, reply_port: u16) {
        self.forwarded(&inward(sport, SYN, 100, 0));
        self.forwarded(&outward(reply_port, SYN | ACK, 500, 101));
        self.forwarded(&inward(sport, ACK, 101, 501));
    }
}

fn inward(sport: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    ipv4(CLIENT, VIP, 6, &tcp(sport, 443, flags, seq, ack), 16)
}

fn outward(dport: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    ipv4(BACKEND, SOURCE, 6, &tcp(8443, dport, flags, seq, ack), 16)
}

#[test]
fn a_connection_is_translated_both_ways_and_proven() {
    let balancer = Balancer::new(10);
    let there = balancer.forwarded(&inward(4000, SYN, 100, 0));
    assert_eq!(there[26..34], [SOURCE, BACKEND].concat());
    assert_eq!(there[34..38], [10_000u16.to_be_bytes(), 8443u16.to_be_bytes()].concat());
    assert_eq!(there[22], 63);
    let back = balancer.forwarded(&outward(10_000, SYN | ACK, 500, 101));
    assert_eq!(back[26..34], [VIP, CLIENT].concat());
    assert_eq!(back[34..38], [443u16.to_be_bytes(), 4000u16.to_be_bytes()].concat());
    assert_eq!(balancer.states(FlowTable::New), [FLOW_REPLIED; 2]);
    balancer.dropped(&inward(4000, ACK, 101, 999));
    balancer.forwarded(&inward(4000, ACK, 101, 501));
    assert_eq!(balancer.states(FlowTable::Proven), [FLOW_PROVEN; 2]);
    assert_eq!(balancer.states(FlowTable::New), [0u8; 0]);
    assert_eq!(balancer.trial.proven().expect("numbers"), [1]);
    assert_eq!(balancer.reasons(), [(Reason::Proven as usize, 1)]);
}

#[test]
fn a_reset_closes_only_with_the_expected_sequence_number() {
    let balancer = Balancer::new(10);
    balancer.open(4000, 10_000);
    balancer.forwarded(&outward(10_000, ACK, 501, 150));
    balancer.forwarded(&inward(4000, RST, 149, 0));
    assert_eq!(balancer.states(FlowTable::Proven), [FLOW_PROVEN; 2]);
    balancer.forwarded(&inward(4000, RST, 150, 0));
    assert_eq!(balancer.states(FlowTable::Proven), [FLOW_CLOSING; 2]);
    // The client comes back with the same ports: the old pair goes, and its count with it.
    balancer.forwarded(&inward(4000, SYN, 900, 0));
    assert_eq!(balancer.states(FlowTable::Proven), [0u8; 0]);
    assert_eq!(balancer.trial.proven().expect("numbers"), [0]);
}

#[test]
fn fins_of_both_sides_close() {
    let balancer = Balancer::new(10);
    balancer.open(4000, 10_000);
    balancer.forwarded(&inward(4000, FIN | ACK, 101, 501));
    assert_eq!(balancer.states(FlowTable::Proven), [FLOW_PROVEN; 2]);
    balancer.forwarded(&outward(10_000, FIN | ACK, 501, 102));
    assert_eq!(balancer.states(FlowTable::Proven), [FLOW_CLOSING; 2]);
}

#[test]
fn source_ports_end_and_come_back_with_time() {
    let mut balancer = Balancer::new(10);
    balancer.forwarded(&inward(4000, SYN, 100, 0));
    balancer.forwarded(&inward(4001, SYN, 100, 0));
    balancer.dropped(&inward(4002, SYN, 100, 0));
    balancer.trial.set_clock(10 * SECOND);
    balancer.forwarded(&inward(4002, SYN, 100, 0));
}

#[test]
fn a_full_tracker_takes_no_new_flow_and_keeps_what_it_has() {
    let balancer = Balancer::new(1);
    balancer.open(4000, 10_000);
    balancer.dropped(&inward(4001, SYN, 100, 0));
    balancer.forwarded(&inward(4000, ACK, 101, 501));
}

#[test]
fn datagrams_are_answered_and_keep_what_the_checksum_says() {
    let balancer = Balancer::new(10);
    let mut query = ipv4(CLIENT, VIP, 17, &udp(4000, 443, b"odd"), 6);
    let there = balancer.forwarded(&query);
    assert_eq!(there[26..34], [SOURCE, BACKEND].concat());
    balancer.forwarded(&ipv4(BACKEND, SOURCE, 17, &udp(8443, 10_000, b"answer"), 6));
    assert_eq!(balancer.states(FlowTable::Answered), [FLOW_REPLIED; 2]);
    query[40..42].copy_from_slice(&[0, 0]);
    let ran = balancer.run(&query);
    assert_eq!((ran.action, &ran.frame[40..42]), (Action::Tx, &[0, 0][..]), "none stays none");
}

#[test]
fn over_ipv6_the_client_keeps_its_address() {
    let balancer = Balancer::new(10);
    let there = balancer.forwarded(&ipv6(CLIENT6, VIP6, 6, &tcp(4000, 443, SYN, 100, 0), 16));
    assert_eq!(there[22..54], [CLIENT6, BACKEND6].concat());
    assert_eq!((there[21], &there[54..58]), (63, &[0x0f, 0xa0, 0x01, 0xbb][..]));
    let back = balancer.forwarded(&ipv6(BACKEND6, CLIENT6, 6, &tcp(443, 4000, SYN | ACK, 7, 101), 16));
    assert_eq!(back[22..54], [VIP6, CLIENT6].concat());
}

#[test]
fn what_must_not_be_forwarded_is_not() {
    let balancer = Balancer::new(10);
    let mut old = inward(4000, SYN, 1, 0);
    old[22] = 1;
    let mut fragment = inward(4000, SYN, 1, 0);
    fragment[20] = 0x20;
    let echo = ipv4(CLIENT, VIP, 1, &crate::build::echo(8), 2);
    let martian = ipv4([127, 0, 0, 1], VIP, 6, &tcp(4000, 443, SYN, 1, 0), 16);
    for (frame, reason) in [
        (old, Reason::Ttl),
        (martian, Reason::Martian),
        (fragment, Reason::Fragment),
        (echo, Reason::Untranslatable),
    ] {
        balancer.dropped(&frame);
        let count = balancer.trial.reasons().expect("reasons")[reason as usize];
        assert_eq!(count, 1, "{reason:?}");
    }
    assert_eq!(balancer.states(FlowTable::New), [0u8; 0], "nothing is committed for them");
}
