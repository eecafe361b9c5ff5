//! What must not take more than itself down: an agent that is killed, and a flood of bad signatures.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ebpf_runtime::agent::{self, Options};
use ebpf_runtime::apply::Swap;
use ebpf_runtime::lab::Lab;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::world::{AGENT, Agent, By, CONFINED, PATIENCE, Process, Setting, Signs, World, eventually};

/// Not a test: what `Process` starts.
#[test]
fn agent_of_its_own() {
    if std::env::var_os(AGENT).is_some() {
        if std::env::var_os(CONFINED).is_some() {
            refuse_network_namespaces();
        }
        agent::run(&Lab::run_dir(), "main", &Options::default(), &AtomicBool::new(false)).unwrap();
    }
}

/// As a service manager may do with `RestrictNamespaces=`: for this thread and those that it starts.
fn refuse_network_namespaces() {
    let flags = CloneFlags::CLONE_NEWNET;
    let network = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(flags.bits() as u64),
        flags.bits() as u64,
    );
    let rules = [(libc::SYS_unshare, vec![SeccompRule::new(vec![network.unwrap()]).unwrap()])];
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    assert_eq!(unshare(flags), Err(Errno::EPERM));
}

/// Then each packet goes back by a system call of its own.
#[test]
fn an_agent_without_namespaces_of_its_own_serves_in_order() {
    let world = World::new(By::Ring);
    world.apply(&Setting { flags: 0, ..Setting::new() });
    let agent = Process::start_confined(&world);
    let signs = Signs::number(1);
    let client = world.client(0, 5_000);
    let datagrams: Vec<Vec<u8>> = (0..200u32).map(|number| signs.sign(&number.to_be_bytes())).collect();
    for datagram in &datagrams {
        client.send(datagram);
        thread::sleep(Duration::from_micros(500));
    }
    let got = || world.got.lock().unwrap().clone();
    assert!(eventually(|| got().len() == datagrams.len()), "{:?}", world.slow());
    assert!(got().iter().map(|(_, datagram)| datagram).eq(&datagrams), "out of order");
    let slow = world.slow();
    assert_eq!((slow.accepted, slow.faults), (200, 0), "{slow:?}");
    agent.kill();
}

fn an_agent_is_killed(by: By) {
    let world = World::new(by);
    world.apply(&Setting { flags: lb_abi::image::AUTHORITY_ONCE, ..Setting::new() });
    let agent = Process::start(&world);
    let [one, two] = [1, 2].map(Signs::number);
    let known = world.client(0, 5_000);
    assert!(known.is_served(&one.sign(b"hello")));
    // In the midst of a stream of new flows.
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for port in 10_000..u16::MAX {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                world.client(1, port).send(&two.sign(&port.to_be_bytes()));
            }
        });
        thread::sleep(Duration::from_millis(200));
        agent.kill();
        over.store(true, Ordering::Relaxed);
    });
    assert!(known.is_served(&one.sign(b"no agent")), "established sessions go on");
    // What its predecessor had not taken yet, and new ones, wait for the next.
    let new = world.client(0, 5_001);
    new.send(&one.sign(b"waiting"));
    assert!(new.answer(Duration::from_millis(100)).is_none());
    let agent = Process::start(&world);
    assert_eq!(new.answer(PATIENCE), Some(one.sign(b"waiting")));
    assert!(known.is_served(&one.sign(b"another agent")));
    assert!(world.client(1, 9_999).is_served(&two.sign(b"new")));
    let got = world.got.lock().unwrap().clone();
    let once: BTreeSet<&Vec<u8>> = got.iter().map(|(_, datagram)| datagram).collect();
    assert_eq!(once.len(), got.len(), "none comes twice");
    assert_eq!(world.slow().faults, 0);
    agent.kill();
}

#[test]
fn an_agent_is_killed_by_the_ring_buffer() {
    an_agent_is_killed(By::Ring);
}

#[test]
fn an_agent_is_killed_by_sockets() {
    an_agent_is_killed(By::Sockets);
}

/// What waits in the ring buffer for an agent goes before what comes to that agent by its sockets, though it was judged by
/// a policy that is over and begins anew.
fn what_waited_for_an_agent_goes_first(by: By) {
    // More than the agent takes at once.
    const WAITING: usize = 300;
    let world = World::new(by);
    let mut setting = Setting { flags: 0, ..Setting::new() };
    world.apply(&setting);
    let signs = Signs::number(1);
    let client = world.client(0, 5_000);
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    let mut send = |pause: u64| {
        datagrams.push(signs.sign(&(datagrams.len() as u32).to_be_bytes()));
        client.send(&datagrams[datagrams.len() - 1]);
        thread::sleep(Duration::from_micros(pause));
    };
    (0..WAITING).for_each(|_| send(10));
    setting.certificates.truncate(2);
    assert_eq!(world.apply(&setting).swap, Swap::Half);
    let agent = thread::scope(|scope| {
        let agent = scope.spawn(|| Agent::start(&world));
        while !agent.is_finished() {
            send(300);
        }
        (0..50).for_each(|_| send(300));
        agent.join().unwrap()
    });
    let got = || world.got.lock().unwrap().clone();
    assert!(eventually(|| got().len() == datagrams.len()), "{:?}", world.slow());
    assert!(got().iter().map(|(_, datagram)| datagram).eq(&datagrams), "out of order");
    let slow = world.slow();
    assert_eq!((slow.anew, slow.by_socket > 0), (WAITING as u64, by == By::Sockets), "{slow:?}");
    agent.stop();
}

#[test]
fn what_waited_for_an_agent_goes_first_by_the_ring_buffer() {
    what_waited_for_an_agent_goes_first(By::Ring);
}

#[test]
fn what_waited_for_an_agent_goes_first_by_sockets() {
    what_waited_for_an_agent_goes_first(By::Sockets);
}

/// A flow that had packets in the hands of an agent that was killed does not wait for them.
#[test]
fn a_flow_of_a_killed_agent_gets_back_to_the_fast_path() {
    let world = World::new(By::Ring);
    world.apply(&Setting::new());
    let agent = Process::start(&world);
    let signs = Signs::number(1);
    let client = world.client(0, 5_000);
    for number in 0..2_000u16 {
        client.send(&signs.sign(&number.to_be_bytes()));
    }
    agent.kill();
    let agent = Agent::start(&world);
    // Whatever of them came through.
    thread::sleep(Duration::from_millis(300));
    while client.answer(Duration::from_millis(200)).is_some() {}
    assert!(client.is_served(&signs.sign(b"again")));
    assert!(client.is_served(&signs.sign(b"and again")));
    let before = world.slow();
    for round in 0..20u8 {
        assert!(client.is_served(&signs.sign(&[round; 7])));
    }
    let after = world.slow();
    assert_eq!((after.in_order, after.accepted), (before.in_order, before.accepted));
    agent.stop();
}

/// Sends as many forged datagrams as it can for so long, from many ports of one client; how many.
fn flood(world: &World, while_it_lasts: impl FnOnce()) -> u64 {
    let forged = Signs::number(1).claim(b"forged", &Signs::number(2));
    let over = AtomicBool::new(false);
    let clients: Vec<_> = (20_000..20_064).map(|port| world.client(1, port)).collect();
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                clients.iter().for_each(|client| client.send(&forged));
                sent += clients.len() as u64;
            }
            sent
        });
        while_it_lasts();
        over.store(true, Ordering::Relaxed);
        flood.join().unwrap()
    })
}

#[test]
fn a_full_queue_drops_and_counts_every_packet() {
    let (world, agent) = World::serving(By::Ring, &Setting::new());
    let sent = flood(&world, || thread::sleep(Duration::from_millis(1_000)));
    let done = || {
        let slow = world.slow();
        slow.accepted + slow.invalid + slow.in_order + slow.queue_full + slow.too_old
    };
    let punted = world.reason("signatures to check");
    assert!(eventually(|| done() == punted), "{punted} of {sent}: {:?}", world.slow());
    let slow = world.slow();
    assert_eq!((slow.faults, slow.sent), (0, 0), "{slow:?}");
    assert!(slow.queue_full > 0, "{sent} sent: {slow:?}");
    assert_eq!(
        world.reason("signature queue full"),
        sent - slow.invalid,
        "in the ring buffer or in the queue"
    );
    assert!(world.client(0, 5_000).is_served(&Signs::number(1).sign(b"after it")));
    agent.stop();
}

/// As a policy limits it unless it says otherwise.
#[test]
fn who_is_honest_gets_through_a_flood_of_bad_signatures() {
    let (world, agent) = World::serving(By::Ring, &Setting { checks: [2_000, 20_000], ..Setting::new() });
    let client = world.client(0, 5_000);
    let mut served = false;
    flood(&world, || {
        thread::sleep(Duration::from_millis(300));
        served = (0..200u8).any(|number| {
            client.send(&Signs::number(1).sign(&[number]));
            client.answer(Duration::from_millis(20)).is_some()
        });
    });
    assert!(served, "{:?}", world.slow());
    assert!(world.reason("signatures limited") > 0);
    agent.stop();
}
