//! The program on every CPU at once over one set of maps: what is counted, spent and remembered stays exact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ebpf_runtime::trial::{Action, FlowTable, Trial};
use lb_abi::image::*;
use lb_abi::maps::{Flow, FlowKey};
use lb_abi::mode::FEATURE_TEST;
use lb_abi::reason::Reason;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::build::{ACK, RST, SYN, Tree, ipv4, tcp, udp};
use crate::flows::{BACKEND, Balancer, CLIENT, SECOND, SOURCE, VIP};

/// The CPUs that this thread may run on, four at most.
fn cpus() -> Vec<usize> {
    let all = sched_getaffinity(Pid::from_raw(0)).expect("an affinity");
    (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false)).take(4).collect()
}

/// `work` with the ordinal of a CPU, on all of them, begun at once.
fn on_every_cpu<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let cpus = cpus();
    let start = Barrier::new(cpus.len());
    let on = |ordinal: usize, cpu: usize| {
        let mut one = CpuSet::new();
        one.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one)).expect("a CPU of its own");
        start.wait();
        work(ordinal)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (cpus.iter().enumerate())
            .map(|(ordinal, &cpu)| {
                let on = &on;
                scope.spawn(move || on(ordinal, cpu))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
    })
}

fn from(client: [u8; 4]) -> Vec<u8> {
    ipv4(client, VIP, 6, &tcp(4000, 80, ACK, 1, 1), 16)
}

fn packets(trial: &Trial) -> Vec<u64> {
    trial.counters().expect("counters").iter().map(|count| count.packets).collect()
}

#[test]
fn every_way_gets_its_turn_and_each_packet_is_counted() {
    const EACH: u32 = 500_000;
    let mut tree = Tree::new();
    let ends = [END_PASS, END_DROP, END_PASS].map(|end| tree.end(end));
    for end in ends {
        tree.counted(end, "way");
    }
    let entry = tree.every(&ends);
    let trial = Trial::load(&tree.finish(entry, 0), 0).expect("root");
    let frame = from(CLIENT);
    let cpus = on_every_cpu(|_| trial.run_repeat(&frame, 0, EACH).expect("a run")).len() as u64;
    let total = cpus * u64::from(EACH);
    assert_eq!(packets(&trial), [total.div_ceil(3), (total + 1) / 3, total / 3]);
    let bytes: u64 = trial.counters().expect("counters").iter().map(|count| count.bytes).sum();
    assert_eq!(bytes, total * frame.len() as u64);
}

/// `limit` of so many packets a second; what passes is counter 0, what exceeds is counter 1.
fn limited(key: u32, rate: u64, burst: u64, features: u32) -> Trial {
    let mut tree = Tree::new();
    let interval = SECOND * 64 / rate;
    let limit = tree.limit(LIMIT_PACKETS, key, interval, burst * interval);
    let (pass, drop) = (tree.end(END_PASS), tree.end(END_DROP));
    tree.counted(pass, "pass");
    tree.counted(drop, "exceed");
    let entry = tree.node(OP_LIMIT, [pass, drop, 0], [limit, 0, 0]);
    Trial::load(&tree.finish(entry, 0), features).expect("root")
}

/// While the clock stands still a bucket is a number that all CPUs count down.
#[test]
fn a_bucket_overshoots_by_one_packet_a_cpu_at_most() {
    const BURST: u64 = 100_000;
    for (key, buckets) in [(LIMIT_KEY_NONE, 1), (LIMIT_KEY_SRC, 3)] {
        let mut trial = limited(key, 1_000, BURST, FEATURE_TEST);
        trial.set_clock(SECOND);
        let trial = trial;
        let cpus = on_every_cpu(|_| {
            for bucket in 0..buckets {
                let frame = from([192, 0, bucket, 1]);
                trial.run_repeat(&frame, 0, BURST as u32).expect("a run");
            }
        });
        let (cpus, buckets) = (cpus.len() as u64, u64::from(buckets));
        let counts = packets(&trial);
        assert_eq!(counts.iter().sum::<u64>(), cpus * buckets * BURST, "{counts:?}");
        let over = counts[0].checked_sub(buckets * BURST).expect("the whole burst passes");
        assert!(over <= cpus * buckets, "{over} packets too many of {buckets} buckets");
    }
}

#[test]
fn a_rate_holds_over_all_cpus() {
    const RATE: u64 = 200_000;
    const BURST: u64 = 40_000;
    /// A step of the coarse clock, at 100 Hz.
    const STEP: Duration = Duration::from_millis(10);
    let allowed = |time: Duration| BURST as f64 + RATE as f64 * time.as_secs_f64();
    for key in [LIMIT_KEY_NONE, LIMIT_KEY_SRC] {
        // Tokens that nobody fetches while a busy machine pauses for longer than a burst lasts are lost: one run of
        // several must get them all, and none may get more.
        let whole = (0..8).any(|_| {
            let trial = limited(key, RATE, BURST, 0);
            let frame = from(CLIENT);
            let start = Instant::now();
            let least = on_every_cpu(|_| {
                while start.elapsed() < Duration::from_millis(400) {
                    trial.run_repeat(&frame, 0, 10_000).expect("a run");
                }
                start.elapsed()
            });
            let most = start.elapsed() + STEP;
            let least = least.into_iter().min().expect("a CPU");
            let passed = packets(&trial)[0] as f64;
            assert!(passed <= allowed(most) + 4.0, "{passed} of {}", allowed(most));
            passed >= 0.95 * allowed(least)
        });
        assert!(whole, "no run of eight got 95 of 100 packets");
    }
}

fn inward(client: [u8; 4], sport: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    ipv4(client, VIP, 6, &tcp(sport, 443, flags, seq, ack), 16)
}

fn outward(dport: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    ipv4(BACKEND, SOURCE, 6, &tcp(8443, dport, flags, seq, ack), 16)
}

/// The source port of a forwarded frame; `None` for one that was dropped.
fn sent(balancer: &Balancer, frame: &[u8]) -> Option<u16> {
    let ran = balancer.trial.run(frame, balancer.ifindex).expect("a run");
    (ran.action == Action::Tx).then(|| u16::from_be_bytes([ran.frame[34], ran.frame[35]]))
}

/// The three packets of a handshake; the port that the balancer speaks from.
fn handshake(balancer: &Balancer, client: [u8; 4], sport: u16) -> Option<u16> {
    let port = sent(balancer, &inward(client, sport, SYN, 100, 0))?;
    sent(balancer, &outward(port, SYN | ACK, 500, 101))?;
    sent(balancer, &inward(client, sport, ACK, 101, 501))?;
    Some(port)
}

/// Panics unless each entry has its pair. Gives the number of pairs.
fn pairs(balancer: &Balancer, table: FlowTable) -> u64 {
    let flows: BTreeMap<Vec<u8>, (FlowKey, Flow)> = balancer
        .trial
        .flows(table)
        .expect("flows")
        .into_iter()
        .map(|entry| (bytes(&entry.0), entry))
        .collect();
    for (key, flow) in flows.values() {
        let (_, pair) = flows.get(&bytes(&reverse(key, flow))).expect("no half of a pair");
        let (own, of_pair) = (bytes(key), bytes(&reverse(&reverse(key, flow), pair)));
        assert_eq!(own, of_pair, "the pair leads back");
    }
    flows.len() as u64 / 2
}

fn reverse(key: &FlowKey, flow: &Flow) -> FlowKey {
    FlowKey { src: flow.dst, dst: flow.src, sport: flow.dport, dport: flow.sport, ..*key }
}

fn bytes(key: &FlowKey) -> Vec<u8> {
    let ports = [key.sport.to_be_bytes(), key.dport.to_be_bytes()].concat();
    [&key.src[..], &key.dst, &ports, &[key.proto]].concat()
}

fn proven(balancer: &Balancer) -> u64 {
    balancer.trial.proven().expect("numbers").iter().sum()
}

fn reason(balancer: &Balancer, reason: Reason) -> u64 {
    balancer.trial.reasons().expect("reasons")[reason as usize]
}

#[test]
fn no_two_flows_have_the_same_port() {
    const EACH: u16 = 1_000;
    let balancer = Balancer::with_ports(100_000, 5_000);
    let ports = balancer
        .lab
        .balancer
        .run(|| {
            on_every_cpu(|cpu| {
                let client = [192, 0, 2, 10 + cpu as u8];
                // Another flow that takes the port at this very moment costs a packet, which a client sends again.
                (0..EACH)
                    .map(|n| (0..10).find_map(|_| handshake(&balancer, client, 1_024 + n)).expect("a port"))
                    .collect::<Vec<u16>>()
            })
        })
        .expect("a namespace")
        .concat();
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len(), "a port twice");
    assert_eq!(pairs(&balancer, FlowTable::Proven), ports.len() as u64);
    assert_eq!(proven(&balancer), ports.len() as u64);
    assert_eq!(reason(&balancer, Reason::Proven), ports.len() as u64);
    assert_eq!(pairs(&balancer, FlowTable::New), 0);
}

/// The same packets on every CPU at the same moment, as when a client sends again and a device spreads by packet.
#[test]
fn a_flow_on_every_cpu_at_once_is_one_flow() {
    const FLOWS: u16 = 1_000;
    let balancer = Balancer::with_ports(100_000, 20_000);
    let step = Barrier::new(cpus().len());
    let run = |frame: &[u8]| {
        step.wait();
        sent(&balancer, frame)
    };
    balancer
        .lab
        .balancer
        .run(|| {
            on_every_cpu(|_| {
                for sport in 1_024..1_024 + FLOWS {
                    run(&inward(CLIENT, sport, SYN, 100, 0));
                    step.wait();
                    // What the client's packets leave with now, whoever of the two was last.
                    let port = run(&inward(CLIENT, sport, SYN, 100, 0)).expect("a flow");
                    run(&outward(port, SYN | ACK, 500, 101));
                    run(&inward(CLIENT, sport, ACK, 101, 501));
                }
            })
        })
        .expect("a namespace");
    assert_eq!(proven(&balancer), u64::from(FLOWS));
    assert_eq!(pairs(&balancer, FlowTable::Proven), u64::from(FLOWS));
    // Closed, and begun anew at the same moment.
    balancer
        .lab
        .balancer
        .run(|| {
            on_every_cpu(|_| {
                for sport in 1_024..1_024 + FLOWS {
                    run(&inward(CLIENT, sport, RST, 101, 0));
                    run(&inward(CLIENT, sport, SYN, 900, 0));
                }
            })
        })
        .expect("a namespace");
    assert_eq!(pairs(&balancer, FlowTable::Proven), proven(&balancer));
}

/// Queries and answers of the same flows at the same moment: what is answered moves to its own table while others look.
#[test]
fn a_flow_that_moves_while_others_use_it_loses_no_packet() {
    const FLOWS: u16 = 1_000;
    let balancer = Balancer::with_ports(100_000, 20_000);
    let step = Barrier::new(cpus().len());
    let query = |sport: u16| ipv4(CLIENT, VIP, 17, &udp(sport, 443, b"query"), 6);
    let answer = |port: u16| ipv4(BACKEND, SOURCE, 17, &udp(8443, port, b"answer"), 6);
    let lost: usize = balancer
        .lab
        .balancer
        .run(|| {
            on_every_cpu(|cpu| {
                let mut lost = 0;
                for sport in 1_024..1_024 + FLOWS {
                    if cpu == 0 {
                        sent(&balancer, &query(sport)).expect("a flow");
                    }
                    step.wait();
                    let port = sent(&balancer, &query(sport)).expect("a port");
                    step.wait();
                    // One CPU only asks, the others only answer.
                    for _ in 0..4 {
                        let frame = if cpu == 0 { query(sport) } else { answer(port) };
                        let left = sent(&balancer, &frame);
                        lost += usize::from(left != Some(if cpu == 0 { port } else { 443 }));
                    }
                    step.wait();
                }
                lost
            })
        })
        .expect("a namespace")
        .into_iter()
        .sum();
    assert_eq!(lost, 0);
    assert_eq!(pairs(&balancer, FlowTable::New), 0);
    assert_eq!(pairs(&balancer, FlowTable::Answered), u64::from(FLOWS));
}
