//! Owns the network of these tests: a balancer that only certificates get through, clients, and backends that answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use ebpf_runtime::agent::{self, Options};
use ebpf_runtime::apply::{Applied, ApplyOptions};
use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::{Arms, Lab, Plan, Server};
use ebpf_runtime::sessions::Session;
use ebpf_runtime::status::{SlowPath, Status};
use lb_abi::bundle::{Certificate, Image};
use lb_abi::image::*;
use lb_abi::mode::{FEATURE_FORWARD, FEATURE_HASH, FEATURE_LOAD};
use lb_abi::trailer::MAGICS;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

use crate::build::{Peer, Tree};

pub const CLIENTS: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];
pub const PEERS: [[u8; 4]; 3] = [[10, 0, 2, 1], [10, 0, 2, 2], [10, 0, 2, 3]];
pub const VIP: [u8; 4] = [203, 0, 113, 10];
pub const PORT: u16 = 443;

/// How the packets get to the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    Ring,
    Sockets,
}

/// A client's certificate: its id, and the key of that number.
pub struct Signs {
    pub id: u8,
    key: SigningKey,
}

impl Signs {
    pub fn number(id: u8) -> Signs {
        Signs { id, key: SigningKey::from_slice(&[id; 32]).unwrap() }
    }

    pub fn with(id: u8, key: SigningKey) -> Signs {
        Signs { id, key }
    }

    pub fn point(&self) -> [u8; 65] {
        self.key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap()
    }

    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.point()).into()
    }

    /// The payload with its trailer.
    pub fn sign(&self, payload: &[u8]) -> Vec<u8> {
        self.claim(payload, self)
    }

    /// The payload as if `by` had this certificate.
    pub fn claim(&self, payload: &[u8], by: &Signs) -> Vec<u8> {
        let signature: Signature = by.key.sign(payload);
        let mut datagram = payload.to_vec();
        datagram.extend(MAGICS[0]);
        datagram.extend(self.hash());
        datagram.extend(signature.to_bytes());
        datagram.extend([self.id, 0, 0, 0]);
        datagram
    }

    pub fn certificate(&self) -> Certificate {
        Certificate {
            identity: 300 + u64::from(self.id),
            authority: 0,
            id: self.id,
            hash: self.hash(),
            key: Some(self.point()),
            valid: None,
            revoked: false,
            name: format!("device {}", self.id),
        }
    }
}

/// What differs from policy to policy.
pub struct Setting {
    pub flags: u32,
    pub replay: Option<u64>,
    pub certificates: Vec<Certificate>,
    /// Signatures a second, of each source and of all.
    pub checks: [u64; 2],
    /// Another one is another program.
    pub features: u32,
    /// What is signed well is for the balancer itself.
    pub passes: bool,
}

impl Setting {
    pub fn new() -> Setting {
        Setting {
            flags: AUTHORITY_ONCE,
            replay: None,
            certificates: [1, 2, 3].map(|id| Signs::number(id).certificate()).to_vec(),
            checks: [1_000_000; 2],
            features: FEATURE_FORWARD | FEATURE_HASH | FEATURE_LOAD,
            passes: false,
        }
    }

    pub fn image(&self) -> Image {
        let mut tree = Tree::new();
        let ends: Vec<u32> = (0..9)
            .map(|exit| {
                let end = tree.end(END_DROP);
                tree.counted(end, &format!("exit {exit}"))
            })
            .collect();
        let forward = tree.end(END_FORWARD);
        let pool = tree.pool_of(PICK_ROUND_ROBIN, &PEERS.map(Peer::new));
        let tracker = tree.tracker(95_000, 28_000, 4_700, 1_000);
        tree.of_sessions(tracker, self.certificates.len() as u32);
        // 1/64 ns for one, and what comes in 100 ms.
        let [source, all] = self.checks.map(|checks| {
            let interval = 64_000_000_000 / checks;
            [interval, (interval * 16).max(6_400_000_000)]
        });
        let authority = tree.authority(self.flags, &self.certificates, source, all);
        let translate = tree.node(OP_TRANSLATE, [forward, ends[7], ends[8]], [pool, 0, 0]);
        let track = tree.node(OP_TRACK, [translate, ends[5], ends[6]], [tracker, 0, 0]);
        let next = if self.passes { tree.end(END_PASS) } else { track };
        let verify = tree.verify(authority, next, [ends[0], ends[1], ends[2], ends[3], ends[4]]);
        let entry = tree.node(OP_TRANSLATE_BACK, [forward, verify, 0], [0; 3]);
        let mut image = tree.finish(entry, self.features);
        for authority in &mut image.authorities {
            authority.replay = self.replay;
            authority.checks = self.checks[1];
        }
        image
    }
}

/// What the backends got, in the order in which it came, with the backend.
pub type Got = Arc<Mutex<Vec<(usize, Vec<u8>)>>>;

pub struct World {
    pub lab: Lab,
    by: By,
    pub got: Got,
    /// Backends that got something answer once nobody writes here.
    pub held: Arc<RwLock<()>>,
    _servers: Vec<Server>,
}

impl World {
    /// The network, without a policy.
    pub fn new(by: By) -> World {
        let plan = Plan {
            arms: Arms::Two,
            balancer: vec![VIP.into()],
            clients: CLIENTS.map(|client| vec![client.into()]).to_vec(),
            backends: PEERS.map(|peer| vec![peer.into()]).to_vec(),
        };
        let lab = Lab::build(&plan).unwrap();
        let got: Got = Arc::default();
        let held: Arc<RwLock<()>> = Arc::default();
        let serve = |number: usize| {
            let (got, held) = (Arc::clone(&got), Arc::clone(&held));
            let address = SocketAddr::new(IpAddr::from(PEERS[number]), PORT);
            let answer = move |datagram: &[u8], _| {
                got.lock().unwrap().push((number, datagram.to_vec()));
                drop(held.read().unwrap());
                datagram.to_vec()
            };
            Server::udp(&lab.backends[number].namespace, address, answer).unwrap()
        };
        let servers = (0..PEERS.len()).map(serve).collect();
        World { lab, by, got, held, _servers: servers }
    }

    /// With a policy and an agent.
    pub fn serving(by: By, setting: &Setting) -> (World, Agent) {
        let world = World::new(by);
        world.apply(setting);
        let agent = Agent::start(&world);
        (world, agent)
    }

    pub fn apply(&self, setting: &Setting) -> Applied {
        self.apply_image(&setting.image())
    }

    pub fn apply_image(&self, image: &Image) -> Applied {
        let mut options = ApplyOptions::new([0; 32], self.lab.devices.clone());
        options.hash_key = PathBuf::from("/run/hash.key");
        options.af_xdp = self.by == By::Sockets;
        let apply = || Instance::open(&Lab::run_dir(), "main").unwrap().apply(image, &options);
        self.lab.balancer.run(apply).unwrap().unwrap()
    }

    pub fn status(&self) -> Status {
        self.lab.balancer.run(|| Instance::status(&Lab::run_dir(), "main").unwrap()).unwrap()
    }

    pub fn slow(&self) -> SlowPath {
        self.status().slow_path.unwrap()
    }

    pub fn sessions(&self) -> Vec<Session> {
        self.lab.balancer.run(|| Instance::sessions(&Lab::run_dir(), "main").unwrap()).unwrap()
    }

    pub fn reason(&self, name: &str) -> u64 {
        self.status().reasons.iter().find(|reason| reason.reason == name).map_or(0, |reason| reason.packets)
    }

    pub fn exit(&self, exit: u32) -> u64 {
        let label = format!("exit {exit}");
        self.status().tallies.iter().find(|tally| tally.label == label).map_or(0, |tally| tally.packets)
    }

    pub fn client(&self, number: usize, port: u16) -> Client {
        let open = || {
            let socket = UdpSocket::bind((Ipv4Addr::from(CLIENTS[number]), port))?;
            socket.connect((Ipv4Addr::from(VIP), PORT))?;
            Ok::<_, std::io::Error>(socket)
        };
        Client { socket: self.lab.clients[number].namespace.run(open).unwrap().unwrap() }
    }

    pub fn instance<T: Send>(&self, work: impl FnOnce(&mut Instance) -> T + Send) -> T {
        self.lab
            .balancer
            .run(|| work(&mut Instance::open_existing(&Lab::run_dir(), "main").unwrap()))
            .unwrap()
    }
}

pub struct Client {
    socket: UdpSocket,
}

impl Client {
    pub fn send(&self, datagram: &[u8]) {
        self.socket.send(datagram).unwrap();
    }

    /// The next answer that comes in this time.
    pub fn answer(&self, wait: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(wait)).unwrap();
        let mut buffer = vec![0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }

    /// Whether what was sent comes back.
    pub fn is_served(&self, datagram: &[u8]) -> bool {
        self.send(datagram);
        self.answer(PATIENCE).is_some_and(|answer| answer == datagram)
    }

    /// Sends what is to be dropped; whether nothing came back.
    pub fn is_ignored(&self, datagram: &[u8]) -> bool {
        self.send(datagram);
        self.answer(Duration::from_millis(200)).is_none()
    }
}

/// An agent on a thread of this process.
pub struct Agent {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::io::Result<Result<(), ebpf_runtime::Error>>>,
}

impl Agent {
    pub fn start(world: &World) -> Agent {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let run = move || agent::run(&Lab::run_dir(), "main", &Options::default(), &flag);
        let thread = world.lab.balancer.spawn(run).unwrap();
        assert!(eventually(|| world.status().agent.is_some()), "no agent shows");
        // It takes its sockets a moment after its lock.
        thread::sleep(Duration::from_millis(100));
        Agent { stop, thread }
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap().unwrap();
    }
}

/// An agent in a process of its own, to be killed.
pub struct Process(Child);

/// Tells the test of this name that it is to be an agent.
pub const AGENT: &str = "LBCTL_TEST_AGENT";
/// And that it is to be refused network namespaces.
pub const CONFINED: &str = "LBCTL_TEST_CONFINED";

impl Process {
    pub fn start(world: &World) -> Process {
        Process::start_with(world, &[])
    }

    /// One that gets no network namespace of its own.
    pub fn start_confined(world: &World) -> Process {
        Process::start_with(world, &[CONFINED])
    }

    fn start_with(world: &World, told: &[&str]) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["faults::agent_of_its_own", "--exact", "--nocapture"]).env(AGENT, "1");
        command.envs(told.iter().map(|word| (word, "1")));
        command.stdout(Stdio::null());
        world.lab.balancer.place(&mut command).unwrap();
        let child = command.spawn().unwrap();
        let shows = || world.status().agent == Some(child.id());
        assert!(eventually(shows), "no agent shows");
        thread::sleep(Duration::from_millis(100));
        Process(child)
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long is waited for what has to happen: a machine with others on it may be slow.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn eventually(mut happened: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if happened() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}
