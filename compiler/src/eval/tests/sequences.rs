//! What holds after every packet of any sequence.

use std::collections::BTreeMap;

use lb_abi::maps::DIR_ORIGINAL;
use proptest::prelude::*;

use super::*;
use crate::packet::verify_checksums;

const POLICY: &str = "track flows { idle tcp 10s, udp 4s; half_open 2s; max 2 }
track others { idle 5s; max 1 }
pool app { pick random; via nat; source 10.0.0.5; ports 1000-1003
  backend a 10.0.1.1:80
  backend b 10.0.1.2:80
}
pool direct { pick round-robin; via nat; backend c 10.0.2.1:80 }
side B when src in app or src in direct
side A otherwise
policy p { default drop } = match {
  from B -> translate back (invalid -> track others -> forward) -> forward
  dst == 203.0.113.1 -> track flows -> translate app (empty -> drop) -> forward
  dst == 203.0.113.2 -> track others -> translate direct (empty -> drop) -> forward
  else -> track flows -> forward
}";

#[derive(Clone, Debug)]
enum Step {
    Packet {
        src: usize,
        dst: usize,
        udp: bool,
        flags: u8,
        ack: bool,
    },
    /// The answer to the packet that left last.
    Answer {
        flags: u8,
    },
    Wait(u64),
    Absent(u32, bool),
}

const ADDRESSES: [&str; 5] =
    ["192.0.2.1:40", "192.0.2.2:40", "203.0.113.1:80", "203.0.113.2:80", "10.0.2.1:80"];

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![Just(1u8), Just(3), Just(2), Just(6), Just(8), 0u8..16];
    prop_oneof![
        6 => (0usize..5, 0usize..5, any::<bool>(), flags.clone(), any::<bool>())
            .prop_map(|(src, dst, udp, flags, ack)| Step::Packet { src, dst, udp, flags, ack }),
        4 => flags.prop_map(|flags| Step::Answer { flags }),
        2 => (0u64..6_000).prop_map(Step::Wait),
        1 => (0u32..3, any::<bool>()).prop_map(|(backend, gone)| Step::Absent(backend, gone)),
    ]
}

/// Every entry has its pair in the same table, no key is in two tables, and the proven ones are counted.
fn assert_whole(state: &State) {
    let tables = [&state.flows_new, &state.flows_answered, &state.flows_proven];
    let mut proven = BTreeMap::new();
    for (number, table) in tables.iter().enumerate() {
        for (key, flow) in *table {
            let other =
                FlowKey { src: flow.dst, dst: flow.src, sport: flow.dport, dport: flow.sport, ..*key };
            let pair = table.get(&other).expect("half a pair");
            assert_eq!((pair.src, pair.sport), (key.dst, key.dport));
            assert_eq!((pair.dst, pair.dport), (key.src, key.sport));
            assert_ne!(pair.dir, flow.dir);
            let shared = |flow: &Flow| {
                (flow.state, flow.fins, flow.timeout, flow.half_open, flow.tracker, flow.backend, flow.pool)
            };
            assert_eq!(shared(pair), shared(flow));
            assert!(tables.iter().enumerate().all(|(at, other)| at == number || !other.contains_key(key)));
            if number == 2 && flow.dir == DIR_ORIGINAL {
                *proven.entry(u32::from(flow.tracker)).or_insert(0) += 1;
            }
        }
    }
    let counted: BTreeMap<u32, u64> = state
        .proven
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(&tracker, &count)| (tracker, count))
        .collect();
    assert_eq!(counted, proven);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_flow_tables_stay_whole(steps in proptest::collection::vec(step(), 1..60), seed in 0u64..3) {
        let mut world = World::new(POLICY);
        world.state.seed = seed;
        let mut left: Option<PacketSpec> = None;
        for step in steps {
            let packet = match step {
                Step::Wait(milliseconds) => {
                    world.wait(Duration::from_millis(milliseconds));
                    continue;
                }
                Step::Absent(backend, true) => {
                    world.state.absent.insert(backend);
                    continue;
                }
                Step::Absent(backend, false) => {
                    world.state.absent.remove(&backend);
                    continue;
                }
                Step::Packet { src, dst, udp: true, .. } => udp(ADDRESSES[src], ADDRESSES[dst]),
                Step::Packet { src, dst, flags, ack, .. } => {
                    let (src, dst) = ends(ADDRESSES[src], ADDRESSES[dst]);
                    let (sport, dport, ack) = (src.port(), dst.port(), u32::from(ack) * 501);
                    spec(src, dst, ProtoSpec::Tcp { sport, dport, flags, seq: 500, ack })
                }
                Step::Answer { flags } => {
                    let Some(PacketSpec { src, dst, proto, .. }) = &left else { continue };
                    match *proto {
                        ProtoSpec::Udp { sport, dport } => spec(
                            SocketAddr::new(*dst, dport),
                            SocketAddr::new(*src, sport),
                            ProtoSpec::Udp { sport: dport, dport: sport },
                        ),
                        ProtoSpec::Tcp { sport, dport, .. } => spec(
                            SocketAddr::new(*dst, dport),
                            SocketAddr::new(*src, sport),
                            ProtoSpec::Tcp { sport: dport, dport: sport, flags, seq: 500, ack: 501 },
                        ),
                        _ => continue,
                    }
                }
            };
            let before = world.state.clone();
            let run = world.run(&packet);
            assert_whole(&world.state);
            match &run.frame {
                Some(frame) => {
                    prop_assert_eq!(run.verdict, Verdict::Forward);
                    prop_assert!(verify_checksums(frame));
                    let (src, dst) = ends_of(frame);
                    let proto = match packet.proto {
                        ProtoSpec::Udp { .. } => ProtoSpec::Udp { sport: src.port(), dport: dst.port() },
                        _ => ProtoSpec::Tcp { sport: src.port(), dport: dst.port(), flags: 0, seq: 0, ack: 0 },
                    };
                    // What leaves has a way back to where it came from.
                    let answer = spec(dst, src, match proto {
                        ProtoSpec::Udp { sport, dport } => ProtoSpec::Udp { sport: dport, dport: sport },
                        _ => ProtoSpec::Tcp { sport: dst.port(), dport: src.port(), flags: 2, seq: 0, ack: 0 },
                    });
                    let back = world.entry(&answer).expect("no way back");
                    let (client, vip) = ends_of(&build(&packet));
                    let translated = (src, dst) != (client, vip);
                    if translated {
                        let ip = |addr: [u8; 16]| std::net::Ipv6Addr::from(addr).to_canonical();
                        prop_assert_eq!(SocketAddr::new(ip(back.dst), back.dport), client);
                        prop_assert_eq!(SocketAddr::new(ip(back.src), back.sport), vip);
                    }
                    left = Some(spec(src, dst, proto));
                }
                None if run.reason == Some(Reason::PortRace) => {}
                None => {
                    prop_assert_eq!(&world.state.flows_new, &before.flows_new);
                    prop_assert_eq!(&world.state.flows_answered, &before.flows_answered);
                    prop_assert_eq!(&world.state.flows_proven, &before.flows_proven);
                }
            }
        }
    }
}
