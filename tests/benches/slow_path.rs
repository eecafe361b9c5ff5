//! What the way through user space takes: `cargo bench -p lb-tests --bench slow_path`. Needs root and two CPUs: packets are
//! sent, and judged by the program, on the first; the agent has the second to itself. `-- carrier` measures one part
//! alone: `signatures`, `checked`, `carrier` or `latency`. Prints tables; never judges a figure.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use ebpf_runtime::agent::{self, Options};
use ebpf_runtime::apply::ApplyOptions;
use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::{
    Arms, ConstantProgram, FrameSocket, HOST_DEVICE, Lab, Plan, Server, Verdict as Constant,
};
use ebpf_runtime::slow::{Remembered, Replays, Verdict, Verifier};
use ebpf_runtime::status::{SlowPath, Status};
use lb_abi::maps::{Punt, ReplayKey, TICK_SHIFT};
use lb_tests::accepted::Accepted;
use lb_tests::frame::Packet;
use lb_tests::signer::Signer;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const SERVICE: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)), 443);
const ROUNDS: usize = 5;

fn main() {
    pin(0);
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let by_both = |work: fn(bool)| move || [false, true].into_iter().for_each(work);
    let parts: [(&str, &dyn Fn()); 4] = [
        ("signatures", &signatures),
        ("checked", &by_both(end_to_end)),
        ("carrier", &by_both(carrier)),
        ("latency", &by_both(latency)),
    ];
    for (name, work) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            work();
        }
    }
}

fn pin(cpu: usize) {
    let mut cpus = CpuSet::new();
    if cpus.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus)).is_err() {
        println!("no CPU {cpu}: the figures share one");
    }
}

fn min_and_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

fn policy(signer: &Signer, verify: &str) -> String {
    format!(
        "lbp 1\nauthority devices {{ {}; verify {verify}; checks 4_000_000 pkt/s; checks_per_source 4_000_000 pkt/s }}\n\
         track sessions {{ key cert; idle 300s; max 1_000 }}\n\
         pool backends {{ pick round-robin; via nat; backend b0 {BACKEND} }}\n\
         policy bench {{ default drop }} = match {{\n  src in backends -> translate back -> forward\n  \
         udp.dport == 443 -> verify devices -> track sessions -> translate backends -> forward\n  else -> drop\n}}\n",
        signer.setting()
    )
}

struct Nothing;

impl Replays for Nothing {
    fn remember(&self, _: &ReplayKey, _: u64, _: u64) -> std::io::Result<Remembered> {
        Ok(Remembered::First)
    }
}

/// The verifier on the hot path beside the one that signs and makes keys.
fn signatures() {
    println!("signatures/s on one core            max      median   (of {} rounds)", 3 * ROUNDS);
    let signer = Signer::new(1, 1);
    let accepted = Accepted::new(&policy(&signer, "every packet")).expect("a policy");
    let verifier = Verifier::of_image(&accepted.image);
    let point = accepted.image.certificates[0].key.expect("a key");
    let key = VerifyingKey::from_sec1_bytes(&point).expect("a point");
    for length in [32, 1_200] {
        let signed = signer.sign(&vec![7; length]);
        let frame = [vec![0; 42], signed.clone()].concat();
        let punt = Punt { payload: 42, payload_len: signed.len() as u32, ..Punt::default() };
        let ring = || {
            assert_eq!(verifier.verdict(black_box(&punt), black_box(&frame), &Nothing), Verdict::On);
        };
        let signature = Signature::from_slice(&signed[length + 36..length + 100]).expect("a signature");
        let p256 = || key.verify(black_box(&signed[..length]), &signature).expect("a good one");
        let rates = [rate(ring), rate(p256)];
        for (name, (median, most)) in ["ring (the agent's)", "p256 and sha2"].into_iter().zip(rates) {
            println!("{name:<20} {length:>5} bytes {most:>11.0} {median:>11.0}");
        }
        println!(
            "{:<20} {length:>5} bytes {:>11.2} {:>11.2}",
            "ratio",
            rates[0].1 / rates[1].1,
            rates[0].0 / rates[1].0
        );
    }
}

/// Median and greatest rate of a second's work in rounds.
fn rate(work: impl Fn()) -> (f64, f64) {
    let round = |_| {
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_millis(100) {
            (0..50).for_each(|_| work());
            count += 50;
        }
        f64::from(count) / began.elapsed().as_secs_f64()
    };
    let rates: Vec<f64> = (0..3 * ROUNDS).map(round).collect();
    let most = rates.iter().copied().fold(0.0, f64::max);
    (min_and_median(rates).1, most)
}

/// A balancer under a policy, with an agent on the second CPU.
struct World {
    lab: Lab,
    signer: Signer,
    stop: Arc<AtomicBool>,
    agent: Option<thread::JoinHandle<std::io::Result<Result<(), ebpf_runtime::Error>>>>,
}

impl World {
    fn new(verify: &str, by_socket: bool) -> World {
        let plan = Plan {
            arms: Arms::Two,
            balancer: vec![SERVICE.0],
            clients: vec![vec![CLIENT.into()]],
            backends: vec![vec![BACKEND.into()]],
        };
        let lab = Lab::build(&plan).expect("a lab: needs root");
        let signer = Signer::new(1, 1);
        let accepted = Accepted::new(&policy(&signer, verify)).expect("a policy");
        let mut options = ApplyOptions::new([0; 32], lab.devices.clone());
        options.hash_key = PathBuf::from("/run/hash.key");
        options.af_xdp = by_socket;
        let apply = || Instance::open(&Lab::run_dir(), "main")?.apply(&accepted.image, &options);
        lab.balancer.run(apply).expect("a namespace").expect("an apply");
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let run = move || {
            pin(1);
            agent::run(&Lab::run_dir(), "main", &Options { workers: Some(1) }, &until)
        };
        let agent = Some(lab.balancer.spawn(run).expect("a thread"));
        thread::sleep(Duration::from_millis(500));
        World { lab, signer, stop, agent }
    }

    /// Has the backend's device drop what arrives: what its stack does with it would be charged to the core of the agent,
    /// where a real backend has cores of its own. Its device counts.
    fn silence_backend(&self) {
        let program = ConstantProgram::load(Constant::Drop).expect("a program");
        self.lab.backends[0].namespace.attach(HOST_DEVICE, &program).expect("attached");
    }

    fn arrived(&self) -> u64 {
        self.lab.backends[0].namespace.frames(HOST_DEVICE).expect("counts").received
    }

    fn status(&self) -> Status {
        self.lab
            .balancer
            .run(|| Instance::status(&Lab::run_dir(), "main"))
            .expect("a namespace")
            .expect("a status")
    }

    fn slow(&self) -> SlowPath {
        self.status().slow_path.expect("certificates")
    }

    fn frames(&self, count: u16) -> Vec<Vec<u8>> {
        let host = &self.lab.clients[0];
        let frame = |port| {
            let signed = self.signer.sign(&u16::to_be_bytes(port));
            let mut frame = Packet::udp((CLIENT.into(), 10_000 + port), SERVICE).payload(&signed).bytes();
            frame[..6].copy_from_slice(&host.balancer_mac);
            frame[6..12].copy_from_slice(&host.mac);
            frame
        };
        (0..count).map(frame).collect()
    }

    fn socket(&self) -> FrameSocket {
        FrameSocket::open(&self.lab.clients[0].namespace, HOST_DEVICE).expect("a raw socket")
    }

    /// Waits until the agent has done with all it was given.
    fn settled(&self, done: impl Fn(&SlowPath) -> u64) -> u64 {
        let mut before = u64::MAX;
        loop {
            let now = done(&self.slow());
            if now == before {
                return now;
            }
            before = now;
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(agent) = self.agent.take() {
            agent.join().expect("the agent ends").expect("a namespace").expect("well");
        }
    }
}

fn name(by_socket: bool) -> &'static str {
    if by_socket { "AF_XDP" } else { "ring buffer" }
}

/// Sends the frames over and over at `rate` for `time`; how many were sent.
fn send(socket: &FrameSocket, frames: &[Vec<u8>], rate: f64, time: Duration) -> u64 {
    let began = Instant::now();
    let mut sent = 0u64;
    for frame in frames.iter().cycle() {
        let elapsed = began.elapsed();
        if elapsed > time {
            break;
        }
        // At most a little behind, so that no burst makes up for a pause.
        if (sent as f64) > rate * elapsed.as_secs_f64() {
            std::hint::spin_loop();
            while (sent as f64) > rate * began.elapsed().as_secs_f64() {}
        }
        sent += u64::from(socket.send(frame).is_ok());
    }
    sent
}

/// Off the device, checked and out again, as many as one core takes: with one thread that checks.
fn end_to_end(by_socket: bool) {
    println!(
        "\nchecked and sent on, {}: offered/s, arrived/s: median, max (of {ROUNDS} rounds)",
        name(by_socket)
    );
    let world = World::new("every packet", by_socket);
    world.silence_backend();
    let frames = world.frames(64);
    let socket = world.socket();
    for offered in [10_000.0, 12_000.0, 14_000.0, 16_000.0, 20_000.0, 60_000.0] {
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            let (before, began) = (world.arrived(), Instant::now());
            send(&socket, &frames, offered, Duration::from_millis(1_500));
            // While the queue is not empty the core has no pause.
            rates.push((world.arrived() - before) as f64 / began.elapsed().as_secs_f64());
            world.settled(|slow| slow.accepted + slow.queue_full);
        }
        let most = rates.iter().copied().fold(0.0, f64::max);
        println!("{offered:>12.0} {:>12.0} {most:>12.0}", min_and_median(rates).1);
    }
}

/// All the way through user space but for the signature: packets in session that have to keep their place behind one
/// that, as far as their flows know, is not done with yet.
fn carrier(by_socket: bool) {
    println!("\npunted in session, {}: wanted/s, sent/s, arrived/s, lost of sent", name(by_socket));
    let world = World::new("once per session", by_socket);
    world.silence_backend();
    let frames = world.frames(32);
    let socket = world.socket();
    for rate in [50_000.0, 100_000.0, 150_000.0, 200_000.0, 250_000.0, 300_000.0, 400_000.0] {
        let mut through = Vec::new();
        let (mut sent, mut lost) = (0, 0);
        for _ in 0..ROUNDS {
            for frame in &frames {
                socket.send(frame).expect("a frame");
                thread::sleep(Duration::from_millis(1));
            }
            world.settled(|slow| slow.sent);
            world.hold_back();
            let (before, began) = (world.arrived(), Instant::now());
            let now = send(&socket, &frames, rate, Duration::from_millis(700));
            let took = began.elapsed();
            world.settled(|slow| slow.sent);
            let after = world.arrived();
            through.push((after - before) as f64 / took.as_secs_f64());
            sent += now;
            lost += now.saturating_sub(after - before);
            world.end_sessions();
        }
        let offered = sent as f64 / (0.7 * ROUNDS as f64);
        println!(
            "{rate:>12.0} {offered:>12.0} {:>12.0} {lost:>10} ({:.2} %)",
            min_and_median(through).1,
            100.0 * lost as f64 / sent as f64
        );
    }
}

impl World {
    /// Has every flow believe that many of its packets are in user space.
    fn hold_back(&self) {
        let hold = || {
            let instance =
                std::fs::read_dir("/run/lbctl/bpf").expect("pins").flatten().next().expect("an instance");
            let map = MapData::from_pin(instance.path().join("load-1/PENDING")).expect("a map");
            let mut pending = Array::<_, [u64; 3]>::try_from(Map::Array(map)).expect("an array");
            // As if one of them had come just now: what is older than a second is taken for lost.
            let clock =
                nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).expect("a clock");
            let tick = (clock.tv_sec() as u64 * 1_000_000_000 + clock.tv_nsec() as u64) >> TICK_SHIFT;
            for slot in 0..pending.len() {
                let mut value = pending.get(&slot, 0).expect("a slot");
                if value[0] != 0 {
                    // On a little-endian machine the second word is `punted` and, above it, `done`.
                    let done = value[1] >> 32;
                    value[1] = (done << 32) | ((done + (1 << 30)) & 0xffff_ffff);
                    value[2] = tick & 0xffff_ffff;
                    pending.set(slot, value, 0).expect("a slot");
                }
            }
        };
        self.lab.balancer.run(hold).expect("a namespace");
    }

    fn end_sessions(&self) {
        let hash: String = self.signer.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let drop = || Instance::open_existing(&Lab::run_dir(), "main")?.drop_session(&hash);
        self.lab.balancer.run(drop).expect("a namespace").expect("a session");
    }
}

/// From a client's socket to the backend's and back, on an idle machine.
fn latency(by_socket: bool) {
    let world = World::new("once per session", by_socket);
    let address = SocketAddr::new(BACKEND.into(), SERVICE.1);
    let _server = Server::udp_echo(&world.lab.backends[0].namespace, address).expect("a server");
    let client = &world.lab.clients[0].namespace;
    let signed = world.signer.sign(b"hello");
    let measure = || {
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for port in 0..300u16 {
            let socket = UdpSocket::bind((CLIENT, 20_000 + port)).expect("a socket");
            socket.connect(SERVICE).expect("a way");
            socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
            let trip = || {
                let began = Instant::now();
                socket.send(&signed).expect("a datagram");
                socket.recv(&mut [0; 2_048]).expect("an answer");
                began.elapsed().as_secs_f64() * 1e6
            };
            first.push(trip());
            thread::sleep(Duration::from_millis(2));
            trip();
            later.push(trip());
        }
        (min_and_median(first), min_and_median(later))
    };
    let (first, later) = client.run(measure).expect("a namespace");
    println!(
        "\nround trip over veth, {}: first packet min {:.0} µs, median {:.0}; later ones min {:.0}, median {:.0}; added {:.0}",
        name(by_socket),
        first.0,
        first.1,
        later.0,
        later.1,
        first.1 - later.1
    );
}
