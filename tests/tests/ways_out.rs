//! Owns the loaded program and its surroundings: next hops, MAC addresses, and every way in which there is none.
//! Never what the tree decides.

use std::net::IpAddr;

use ebpf_runtime::lab::{Arms, Lab, Plan};
use ebpf_runtime::trial::{Action, Trial};
use lb_abi::mode::FEATURE_TEST;
use lb_abi::reason::Reason;
use lb_tests::accepted::Accepted;
use lb_tests::balancer::{addresses, must_be_root, plan};
use lb_tests::frame::{Packet, SYN};
use lb_tests::traffic::START;

const ROUTER: &str = "lbp 1\npolicy router { default drop } = forward\n";

fn loaded(text: &str) -> Trial {
    let accepted = Accepted::new(text).unwrap_or_else(|why| panic!("{why}"));
    let mut trial = Trial::load(&accepted.image, FEATURE_TEST).unwrap_or_else(|error| panic!("{error}"));
    trial.set_clock(START);
    trial
}

/// A SYN that arrived from the first client, to be sent to `target`, with `payload` bytes behind its header.
fn to(lab: &Lab, target: IpAddr, payload: usize) -> Vec<u8> {
    let from = lab.clients[0].address_like(target).expect("of both families");
    Packet::tcp((from, 4_000), (target, 80), SYN, 1, 0).payload(&vec![0; payload]).bytes()
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Two arms: redirected to the other device, from its MAC to the host's.
#[test]
fn another_device_is_redirected_to() {
    must_be_root();
    let lab = Lab::build(&plan(Arms::Two)).unwrap();
    let arrived = lab.balancer.index(&lab.clients[0].by).unwrap();
    lab.balancer
        .run(|| {
            let trial = loaded(ROUTER);
            for backend in &lab.backends {
                for target in &backend.addresses {
                    let frame = to(&lab, *target, 0);
                    let ran = trial.run(&frame, arrived).unwrap();
                    assert_eq!(ran.action, Action::Redirect, "{target}");
                    assert_eq!(ran.frame[..6], backend.mac, "{target}");
                    assert_eq!(ran.frame[6..12], backend.balancer_mac, "{target}");
                    let ttl = if target.is_ipv4() { 22 } else { 21 };
                    assert_eq!(ran.frame[ttl], frame[ttl] - 1, "{target}");
                }
            }
        })
        .unwrap();
}

/// One arm: out of the device it came in by.
#[test]
fn the_same_device_is_sent_back_to() {
    must_be_root();
    let lab = Lab::build(&plan(Arms::One)).unwrap();
    let arrived = lab.balancer.index(&lab.devices[0]).unwrap();
    lab.balancer
        .run(|| {
            let trial = loaded(ROUTER);
            for target in &lab.backends[1].addresses {
                let ran = trial.run(&to(&lab, *target, 0), arrived).unwrap();
                assert_eq!(ran.action, Action::Tx, "{target}");
                assert_eq!(ran.frame[..6], lab.backends[1].mac, "{target}");
                assert_eq!(ran.frame[6..12], lab.backends[1].balancer_mac, "{target}");
            }
        })
        .unwrap();
}

/// No route, a neighbour that nobody knows, a packet larger than the MTU: each is dropped and counted as what it is.
#[test]
fn where_there_is_no_way_the_reason_is_counted() {
    must_be_root();
    let lab = Lab::build(&plan(Arms::Two)).unwrap();
    let device = &lab.clients[0].by;
    for (net, prefix) in [("192.0.2.0", 24), ("2001:db8:2::", 48)] {
        lab.balancer.route(device, addr(net), prefix, None).unwrap();
    }
    let arrived = lab.balancer.index(device).unwrap();
    lab.balancer
        .run(|| {
            let trial = loaded(ROUTER);
            let cases = [
                ("203.0.114.1", 0, Reason::NoRoute),
                ("2001:db8:77::1", 0, Reason::NoRoute),
                ("192.0.2.7", 0, Reason::NoNeighbour),
                ("2001:db8:2::7", 0, Reason::NoNeighbour),
                ("10.1.0.1", 1_461, Reason::TooBig),
                ("fd01::1", 1_441, Reason::TooBig),
            ];
            for (target, payload, reason) in cases {
                let before = trial.reasons().unwrap();
                let ran = trial.run(&to(&lab, addr(target), payload), arrived).unwrap();
                assert_eq!(ran.action, Action::Drop, "{target}");
                let mut wanted = before;
                wanted[reason as usize] += 1;
                assert_eq!(trial.reasons().unwrap(), wanted, "{target}: {reason:?}");
            }
            for (target, payload) in [("10.1.0.1", 1_460), ("fd01::1", 1_440)] {
                let ran = trial.run(&to(&lab, addr(target), payload), arrived).unwrap();
                assert_eq!(ran.action, Action::Redirect, "{target}: the MTU itself fits");
            }
        })
        .unwrap();
}

/// A neighbour that appears later is found within the time that a next hop is kept; one that is kept is not asked for.
#[test]
fn a_next_hop_is_kept_for_a_second() {
    must_be_root();
    let policy = "lbp 1
track flows { idle 30s; max 64 }
policy known { default drop } = track flows -> forward
";
    let lab = Lab::build(&Plan { clients: vec![addresses("198.51.100.9")], ..plan(Arms::Two) }).unwrap();
    let device = lab.clients[0].by.clone();
    lab.balancer.route(&device, addr("192.0.2.0"), 24, None).unwrap();
    let arrived = lab.balancer.index(&device).unwrap();
    let frame = to(&lab, addr("192.0.2.7"), 0);
    let mut trial = lab.balancer.run(|| loaded(policy)).unwrap();
    let mut run = |clock: u64| {
        trial.set_clock(clock);
        lab.balancer.run(|| trial.run(&frame, arrived)).unwrap().unwrap()
    };
    assert_eq!(run(START).action, Action::Drop);
    let (first, second) = ([2, 0, 0, 0, 0, 8], [2, 0, 0, 0, 0, 9]);
    lab.balancer.neighbour(&device, addr("192.0.2.7"), first).unwrap();
    let ran = run(START);
    assert_eq!((ran.action, &ran.frame[..6]), (Action::Tx, &first[..]));
    lab.balancer.neighbour(&device, addr("192.0.2.7"), second).unwrap();
    assert_eq!(run(START + 900_000_000).frame[..6], first, "within a second the kept one is used");
    assert_eq!(run(START + 1_100_000_000).frame[..6], second, "after it the kernel is asked again");
}
