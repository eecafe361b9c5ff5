//! What a flood of bad signatures costs the packets of a session, which the program forwards by itself, beside a flood of
//! as many packets without a trailer, which it drops by itself: `cargo bench -p lb-tests --bench verify_flood`. Needs root
//! and two CPUs: packets are sent, and judged by the program, on the first; the agent has the second to itself; backends
//! are programs that drop. `-- program`, `pace`, `turn`: those tables alone. Prints tables; never judges a figure.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::sys::{Stats, enable_stats};
use ebpf_runtime::lab::{ConstantProgram, FrameSocket, HOST_DEVICE, Verdict};
use lb_tests::balancer::Balancer;
use lb_tests::certified::{self, PORT, asks, client, policy, service};
use lb_tests::flood::{Forger, udp};
use lb_tests::frame::Packet;
use lb_tests::signer::Signer;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(400);
/// Flows in session, all of one certificate.
const FLOWS: usize = 64;
/// Packets of the session a second, where that is given.
const PACE: f64 = 50_000.0;
/// Frames of a flood between two packets that are timed.
const BETWEEN: usize = 16;

/// `XDP_REDIRECT`.
const REDIRECT: u32 = 4;

const KINDS: [&str; 3] = ["no flood", "without a trailer", "bad signatures"];
const NONE: usize = 0;
const PLAIN: usize = 1;
const BAD: usize = 2;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let wanted = |what: &str| words.is_empty() || words.iter().any(|word| word == what);
    for (name, settings) in [
        ("20,000 signatures checked a second, 2,000 of a source", "verify once per session"),
        (
            "as many checked as one core can",
            "verify once per session; checks 4_000_000 pkt/s; checks_per_source 4_000_000 pkt/s",
        ),
    ] {
        println!("\n== {name}");
        let mut world = World::new(settings);
        if wanted("program") {
            world.program();
            world.kernel_statistics();
        }
        if wanted("pace") {
            world.throughput("the session at 50,000/s", Some(PACE));
        }
        if wanted("turn") {
            world.throughput("the session and the flood in turn", None);
        }
    }
}

fn pin(cpu: usize) {
    let mut cpus = CpuSet::new();
    if cpus.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus)).is_err() {
        println!("no CPU {cpu}: the figures share one");
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// The first over the second, round by round: neighbours in time have the same neighbours on the machine.
fn paired(ours: &[f64], theirs: &[f64]) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
}

struct World {
    balancer: Balancer,
    /// One of each flow.
    session: Vec<Vec<u8>>,
    socket: FrameSocket,
    /// By kind.
    floods: [Option<Forger>; 3],
    _open: Vec<UdpSocket>,
    _sink: ConstantProgram,
}

/// What was sent.
#[derive(Clone, Copy, Default)]
struct Sent {
    session: u64,
    flood: u64,
}

impl World {
    fn new(settings: &str) -> World {
        // The agent is a child and stays where it was started.
        pin(1);
        let (known, other) = (Signer::new(0, 1), Signer::new(1, 2));
        let (balancer, servers) = certified::balancer(&policy(&[&known, &other], settings));
        pin(0);
        let host = &balancer.lab.clients[0];
        let payload = known.sign(b"a session");
        let begin = |_| {
            let socket = client(&host.namespace, service(), Duration::from_secs(1));
            // Answered twice: the second packet finds that none is in user space any more.
            assert!(asks(&socket, &payload) && asks(&socket, &payload), "{}", balancer.agent_log());
            socket
        };
        let open: Vec<UdpSocket> = (0..FLOWS).map(begin).collect();
        drop(servers);
        let sink = ConstantProgram::load(Verdict::Drop).expect("a program");
        for backend in &balancer.lab.backends {
            backend.namespace.attach(HOST_DEVICE, &sink).expect("a device");
        }
        let to = (service().ip(), PORT);
        let frame = |socket: &UdpSocket| {
            let port = socket.local_addr().expect("a socket").port();
            let from = host.address_like(to.0).expect("an address");
            let mut frame = Packet::udp((from, port), to).payload(&payload).bytes();
            frame[..6].copy_from_slice(&host.balancer_mac);
            frame[6..12].copy_from_slice(&host.mac);
            frame
        };
        let session = open.iter().map(frame).collect();
        let mut bad = other.sign(b"a flood..");
        let signature = bad.len() - 20;
        bad[signature] ^= 1;
        let plain = vec![0; bad.len()];
        let flood = |payload: &[u8]| Some(Forger::new(host, &udp(to, payload)));
        let floods = [None, flood(&plain), flood(&bad)];
        let socket = FrameSocket::open(&host.namespace, HOST_DEVICE).expect("a raw socket");
        World { session, socket, floods, _open: open, _sink: sink, balancer }
    }

    fn arrived(&self) -> u64 {
        let backends = self.balancer.lab.backends.iter();
        backends.map(|backend| backend.namespace.frames(HOST_DEVICE).expect("counts").received).sum()
    }

    /// What the agent still has to check belongs to nobody's round.
    fn settle(&self) {
        let state = || self.balancer.status()["slow_path"].to_string();
        let mut before = state();
        loop {
            thread::sleep(Duration::from_millis(50));
            let now = state();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Sends the session's packets at a pace, or one for each of the flood, and the flood as fast as it goes.
    fn send(&mut self, kind: usize, pace: Option<f64>) -> Sent {
        let mut sent = Sent::default();
        let mut frames = self.session.iter().cycle();
        let began = Instant::now();
        loop {
            let elapsed = began.elapsed();
            if elapsed > ROUND {
                return sent;
            }
            if pace.is_none_or(|pace| (sent.session as f64) < pace * elapsed.as_secs_f64()) {
                // What a full queue refuses is lost, too.
                let _refused = self.socket.send(frames.next().expect("a flow"));
                sent.session += 1;
            }
            if let Some(forger) = &mut self.floods[kind] {
                sent.flood += u64::from(forger.send());
            }
        }
    }

    /// The one that packets come to. `aya` opens no pinned `Xdp` (its `XdpAttachType` is not to be had), and a run does
    /// not ask of which kind it takes a program for.
    fn open_program(&self) -> SchedClassifier {
        let open = || {
            let instance = std::fs::read_dir("/run/lbctl/bpf").expect("pins").flatten().next();
            let path = instance.expect("an instance").path().join("load-1/program");
            SchedClassifier::from_pin(path).expect("a program")
        };
        self.balancer.lab.balancer.run(open).expect("a namespace")
    }

    /// Durations of packets of the session by `BPF_PROG_TEST_RUN` on the program and the maps of the instance, one by one
    /// between the frames of a flood, on the CPU that runs both. The kernel's two looks at the clock are in them.
    fn durations(&mut self, program: &SchedClassifier, kind: usize) -> Vec<f64> {
        let (session, flood) = (&self.session, &mut self.floods[kind]);
        let run = || {
            let mut took = Vec::new();
            let began = Instant::now();
            for frame in session.iter().cycle() {
                if began.elapsed() > ROUND {
                    break;
                }
                if let Some(forger) = flood {
                    for _ in 0..BETWEEN {
                        forger.send();
                    }
                }
                let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
                let ran = program.test_run(options).expect("a run");
                assert_eq!(ran.return_value, REDIRECT, "not forwarded");
                took.push(ran.duration.as_nanos() as f64);
            }
            took
        };
        self.balancer.lab.balancer.run(run).expect("a namespace")
    }

    fn program(&mut self) {
        let program = self.open_program();
        let mut rounds: [Vec<(f64, f64)>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (kind, found) in rounds.iter_mut().enumerate() {
                let took = self.durations(&program, kind);
                found.push((least(took.iter().copied()), median(took)));
                self.settle();
            }
        }
        println!(
            "\n{:<44} {:>8} {:>8} {:>8}",
            "ns for a packet in session, between 16 of", "min", "median", "ratio"
        );
        let medians = rounds.map(|rounds| {
            (rounds.iter().map(|r| r.1).collect::<Vec<_>>(), least(rounds.iter().map(|r| r.0)))
        });
        for (name, (all, min)) in KINDS.iter().zip(&medians) {
            let ratio = paired(all, &medians[PLAIN].0);
            println!("{name:<44} {min:>8.0} {:>8.0} {ratio:>8.3}", median(all.iter().copied()));
        }
    }

    /// What a frame of a flood takes by the kernel's own account of the program, with its interrupts.
    fn kernel_statistics(&mut self) {
        let _counting = enable_stats(Stats::RunTime).expect("statistics");
        let program = self.open_program();
        let so_far = || {
            let info = program.info().expect("a program");
            (info.run_time().as_nanos() as f64, info.run_count() as f64)
        };
        let mut rounds: [Vec<f64>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for kind in [PLAIN, BAD] {
                let before = so_far();
                self.send(kind, Some(0.0));
                thread::sleep(Duration::from_millis(5));
                let after = so_far();
                rounds[kind].push((after.0 - before.0) / (after.1 - before.1));
                self.settle();
            }
        }
        println!("\n{:<44} {:>8} {:>8}", "ns for a frame of the flood alone", "min", "median");
        for kind in [PLAIN, BAD] {
            let all = &rounds[kind];
            println!(
                "{:<44} {:>8.0} {:>8.0}",
                KINDS[kind],
                least(all.iter().copied()),
                median(all.iter().copied())
            );
        }
    }

    fn throughput(&mut self, what: &str, pace: Option<f64>) {
        let mut rounds: [Vec<(f64, f64)>; 3] = Default::default();
        let mut totals = [Sent::default(); 3];
        let mut lost = [0; 3];
        for _ in 0..ROUNDS {
            for kind in 0..KINDS.len() {
                let before = self.arrived();
                let sent = self.send(kind, pace);
                thread::sleep(Duration::from_millis(5));
                let arrived = self.arrived() - before;
                rounds[kind].push((arrived as f64, sent.flood as f64));
                totals[kind].session += sent.session;
                totals[kind].flood += sent.flood;
                lost[kind] += sent.session.saturating_sub(arrived);
                self.settle();
            }
        }
        println!(
            "\n{what:<34} {:>9} {:>9} {:>9} {:>8} {:>10}",
            "min/s", "median/s", "lost", "ratio", "flood/s"
        );
        let forwarded = [NONE, PLAIN, BAD].map(|kind| rounds[kind].iter().map(|r| r.0).collect::<Vec<_>>());
        for (kind, name) in KINDS.iter().enumerate() {
            let seconds = ROUND.as_secs_f64();
            println!(
                "{name:<34} {:>9.0} {:>9.0} {:>8.3}% {:>8.3} {:>10.0}",
                least(forwarded[kind].iter().copied()) / seconds,
                median(forwarded[kind].iter().copied()) / seconds,
                100.0 * lost[kind] as f64 / totals[kind].session as f64,
                paired(&forwarded[kind], &forwarded[PLAIN]),
                median(rounds[kind].iter().map(|r| r.1)) / seconds
            );
        }
    }
}
