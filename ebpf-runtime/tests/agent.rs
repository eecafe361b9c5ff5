//! The agent of an instance: next hops follow the network, one agent at a time, traffic stays when it goes.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::counting;
use ebpf_runtime::apply::ApplyOptions;
use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::{Arms, Lab, Plan};
use ebpf_runtime::status::Status;
use ebpf_runtime::{Error, agent};
use lb_abi::bundle::{Backend, Image, Pool};
use lb_abi::image::END_PASS;
use lb_abi::maps::BACKEND_ACTIVE;

const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NOWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn network() -> Lab {
    let plan = Plan {
        arms: Arms::Two,
        balancer: vec![],
        clients: vec![vec![IpAddr::from([192, 0, 2, 1])]],
        backends: vec![vec![BACKEND.into()]],
    };
    Lab::build(&plan).unwrap()
}

/// A pool of two backends, one of which has no route.
fn image() -> Image {
    let mut image = counting(&[1], END_PASS);
    image.pools.push(Pool { identity: 1, name: "web".to_owned() });
    for (identity, addr) in [(11, BACKEND), (12, NOWHERE)] {
        let addr = addr.to_ipv6_mapped().octets();
        let name = format!("b{identity}");
        image.backends.push(Backend { identity, pool: 0, name, addr, port: 0, state: BACKEND_ACTIVE });
    }
    image
}

fn apply(lab: &Lab, image: &Image) -> Vec<String> {
    let mut options = ApplyOptions::new([0; 32], vec!["wan0".to_owned()]);
    options.hash_key = PathBuf::from("/run/hash.key");
    let applied =
        lab.balancer.run(|| Instance::open(&Lab::run_dir(), "main").unwrap().apply(image, &options)).unwrap();
    applied.unwrap().warnings
}

fn status(lab: &Lab) -> Status {
    lab.balancer.run(|| Instance::status(&Lab::run_dir(), "main").unwrap()).unwrap()
}

/// MAC of the backend's next hop as packets are sent to it, "" without one.
fn mac(lab: &Lab) -> String {
    let status = status(lab);
    status.pools[0].backends[0].next_hop.as_ref().map(|next_hop| next_hop.mac.clone()).unwrap_or_default()
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// How long is waited for what has to happen: a machine with others on it may be slow.
const PATIENCE: Duration = Duration::from_secs(10);

fn eventually(mut happened: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if happened() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

struct Agent {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::io::Result<Result<(), Error>>>,
}

impl Agent {
    fn start(lab: &Lab) -> Agent {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = lab
            .balancer
            .spawn(move || agent::run(&Lab::run_dir(), "main", &agent::Options::default(), &flag))
            .unwrap();
        assert!(eventually(|| status(lab).agent.is_some()), "no agent shows");
        Agent { stop, thread }
    }

    fn stop(self) -> Result<(), Error> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap()
    }
}

#[test]
fn apply_resolves_next_hops_and_warns_of_those_it_cannot() {
    let lab = network();
    let warnings = apply(&lab, &image());
    assert_eq!(warnings, ["backend 203.0.113.9 has no route; its packets are dropped until there is one"]);
    assert_eq!(mac(&lab), text(lab.backends[0].mac));
    assert_eq!(status(&lab).pools[0].backends[1].next_hop.as_ref().map(|hop| hop.mac.clone()), None);
}

#[test]
fn next_hops_follow_neighbours_and_applies() {
    let lab = network();
    apply(&lab, &counting(&[1], END_PASS));
    let agent = Agent::start(&lab);
    assert_eq!(status(&lab).agent, Some(std::process::id()));
    // The agent learns of backends that come with a later generation.
    apply(&lab, &image());
    let other = [2, 0xff, 0, 0, 0, 9];
    lab.balancer.neighbour(&lab.backends[0].by, BACKEND.into(), other).unwrap();
    assert!(eventually(|| mac(&lab) == text(other)), "{}", mac(&lab));
    // Without its device there is no way to the backend.
    lab.balancer.down(&lab.backends[0].by).unwrap();
    assert!(eventually(|| mac(&lab).is_empty()), "{}", mac(&lab));
    agent.stop().unwrap();
    assert_eq!(status(&lab).agent, None);
    assert!(status(&lab).devices[0].program.is_some(), "the data path stays");
}

#[test]
fn a_second_agent_is_busy_and_a_detach_ends_the_first() {
    let lab = network();
    let error = lab
        .balancer
        .run(|| agent::run(&Lab::run_dir(), "main", &agent::Options::default(), &AtomicBool::new(true)))
        .unwrap();
    assert!(matches!(error, Err(Error::NothingApplied(_))));
    apply(&lab, &image());
    let agent = Agent::start(&lab);
    let second = lab
        .balancer
        .run(|| agent::run(&Lab::run_dir(), "main", &agent::Options::default(), &AtomicBool::new(true)))
        .unwrap();
    assert!(matches!(second, Err(Error::AgentBusy { .. })));
    lab.balancer.run(|| Instance::open(&Lab::run_dir(), "main").unwrap().detach()).unwrap().unwrap();
    assert!(eventually(|| agent.thread.is_finished()));
    agent.stop().unwrap();
    let left = lab.balancer.run(|| std::fs::read_dir("/run/lbctl").unwrap().flatten().count()).unwrap();
    assert_eq!(left, 1, "only the bpffs stays");
}
