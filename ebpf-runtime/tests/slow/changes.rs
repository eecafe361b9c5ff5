//! What changes under the agent's feet: policies, generated keys, and the time of day.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aya::maps::{Array, Map, MapData};
use ebpf_runtime::apply::Swap;
use lb_abi::bundle::Certificate;
use lb_abi::image::{AUTHORITY_ONCE, END_PASS, VERIFY_EXPIRED, VERIFY_REVOKED};
use lb_abi::mode::FEATURE_REPLY;
use nix::mount::{MsFlags, mount, umount};
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey;

use crate::build::Tree;
use crate::world::{Agent, By, Setting, Signs, World, eventually};

/// Every packet is checked while one policy follows the other: none of them is lost, none comes twice, and
/// none overtakes another.
fn no_packet_is_lost_over_applies(by: By) {
    let every = |features: u32, certificates: usize| {
        let mut setting = Setting { flags: 0, ..Setting::new() };
        setting.features |= features;
        setting.certificates.truncate(certificates);
        setting
    };
    let (world, agent) = World::serving(by, &every(0, 3));
    let signs = Signs::number(1);
    let over = AtomicBool::new(false);
    let client = world.client(0, 5_000);
    let (sent, swaps) = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = Vec::new();
            while !over.load(Ordering::Relaxed) {
                sent.push(signs.sign(&(sent.len() as u32).to_be_bytes()));
                client.send(sent.last().unwrap());
                thread::sleep(Duration::from_micros(200));
            }
            sent
        });
        let changes = [(0, 2), (FEATURE_REPLY, 3), (FEATURE_REPLY, 1), (0, 2), (0, 3)];
        let apply = |(features, certificates)| {
            thread::sleep(Duration::from_millis(300));
            world.apply(&every(features, certificates)).swap
        };
        let swaps: Vec<Swap> = changes.into_iter().map(apply).collect();
        thread::sleep(Duration::from_millis(300));
        over.store(true, Ordering::Relaxed);
        (sender.join().unwrap(), swaps)
    });
    assert_eq!(swaps, [Swap::Half, Swap::Program, Swap::Half, Swap::Program, Swap::Half]);
    eventually(|| world.got.lock().unwrap().len() >= sent.len());
    let got: Vec<Vec<u8>> = world.got.lock().unwrap().iter().map(|(_, datagram)| datagram.clone()).collect();
    assert_eq!(got.len(), sent.len(), "{:?}", world.slow());
    // Those of a policy that is over begin anew, but not behind what came meanwhile.
    let number = |datagram: &Vec<u8>| u32::from_be_bytes(datagram[..4].try_into().unwrap());
    let order: Vec<u32> = got.iter().map(number).collect();
    let torn: Vec<&[u32]> = order.windows(2).filter(|two| two[1] != two[0] + 1).collect();
    assert_eq!(torn, [&[0u32; 0]; 0], "out of order of {}: {:?}", sent.len(), world.slow());
    let slow = world.slow();
    assert_eq!((slow.faults, slow.queue_full, slow.too_old), (0, 0, 0), "{slow:?}");
    agent.stop();
}

#[test]
fn no_packet_is_lost_over_applies_by_the_ring_buffer() {
    no_packet_is_lost_over_applies(By::Ring);
}

#[test]
fn no_packet_is_lost_over_applies_by_sockets() {
    no_packet_is_lost_over_applies(By::Sockets);
}

#[test]
fn sessions_go_on_over_an_apply_and_end_with_their_certificate() {
    let (world, agent) = World::serving(By::Ring, &Setting::new());
    let [one, two] = [1, 2].map(Signs::number);
    let clients = [world.client(0, 5_000), world.client(1, 5_001)];
    assert!(clients[0].is_served(&one.sign(b"1")) && clients[1].is_served(&two.sign(b"2")));
    let mut other = Setting::new();
    other.features |= FEATURE_REPLY;
    other.certificates.remove(0);
    assert_eq!(world.apply(&other).swap, Swap::Program);
    assert!(clients[1].is_served(&two.sign(b"3")));
    let slow = world.slow();
    assert_eq!((slow.accepted, slow.sessions), (2, 1), "the second goes on, the first is gone: {slow:?}");
    assert!(clients[0].is_ignored(&one.sign(b"4")));
    // It comes back under another number, and nothing of its former session with it.
    assert_eq!(world.apply(&Setting::new()).swap, Swap::Program);
    assert!(clients[0].is_served(&one.sign(b"5")));
    assert!(clients[1].is_served(&two.sign(b"6")));
    assert_eq!((world.slow().accepted, world.slow().sessions_begun), (3, 3));
    agent.stop();
}

#[test]
fn sockets_come_back_after_a_policy_that_checks_nothing() {
    let setting = Setting::new();
    let (world, agent) = World::serving(By::Sockets, &setting);
    let signs = Signs::number(1);
    assert!(world.client(0, 5_000).is_served(&signs.sign(b"by a socket")));
    let mut tree = Tree::new();
    let pass = tree.end(END_PASS);
    world.apply_image(&tree.finish(pass, setting.features));
    // The agent looks every 20 ms, and takes a tenth of a second to open sockets.
    thread::sleep(Duration::from_millis(300));
    world.apply(&setting);
    thread::sleep(Duration::from_millis(300));
    let by_socket = || world.slow().by_socket;
    let mut ports = 5_001..5_100;
    let before = by_socket();
    assert!(ports.any(|port| {
        assert!(world.client(0, port).is_served(&signs.sign(&port.to_be_bytes())), "{:?}", world.slow());
        by_socket() > before
    }));
    assert_eq!(world.slow().faults, 0);
    agent.stop();
}

#[test]
fn a_generated_key_outlives_the_agent() {
    let generated = Certificate { key: None, hash: [7; 32], ..Signs::number(9).certificate() };
    let setting = Setting { certificates: vec![generated], ..Setting::new() };
    let (world, agent) = World::serving(By::Ring, &setting);
    let key = || {
        let read = || {
            let directory = fs::read_dir("/run/lbctl")
                .unwrap()
                .flatten()
                .find(|entry| entry.file_name().to_string_lossy().starts_with("main@"));
            let path = directory.unwrap().path().join("keys/authority0-9.key");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        SigningKey::from_pkcs8_pem(&world.lab.balancer.run(read).unwrap()).unwrap()
    };
    let signs = Signs::with(9, key());
    let client = world.client(0, 5_000);
    assert!(client.is_served(&signs.sign(b"hello")));
    agent.stop();
    let agent = Agent::start(&world);
    assert!(key() == key() && Signs::with(9, key()).hash() == signs.hash());
    assert!(client.is_served(&signs.sign(b"in session")));
    assert!(world.client(0, 5_001).is_served(&signs.sign(b"anew")));
    assert_eq!((world.slow().accepted, world.slow().sessions_begun), (2, 1));
    let mut other = Setting { flags: AUTHORITY_ONCE, ..setting };
    other.certificates.push(Signs::number(1).certificate());
    world.apply(&other);
    assert!(client.is_served(&signs.sign(b"over an apply")));
    assert!(world.client(0, 5_002).is_served(&Signs::number(1).sign(b"another")));
    assert!(world.client(0, 5_003).is_served(&signs.sign(b"known still")));
    agent.stop();
}

/// An apply that could not write its record, or was killed before it did, has switched all the same.
#[test]
fn what_follows_an_apply_that_was_not_finished_is_served() {
    let (world, agent) = World::serving(By::Sockets, &Setting::new());
    let signs = Signs::number(1);
    assert!(world.client(0, 5_000).is_served(&signs.sign(b"before")));
    // Nothing is renamed to what is mounted.
    let mounted = |mounts: bool| {
        let change = || {
            let mut directories = fs::read_dir("/run/lbctl").unwrap().flatten();
            let ours = directories.find(|entry| entry.file_name().to_string_lossy().starts_with("main@"));
            let record = ours.unwrap().path().join("record.json");
            match mounts {
                true => mount(Some(&record), &record, None::<&str>, MsFlags::MS_BIND, None::<&str>),
                false => umount(&record),
            }
        };
        world.lab.balancer.run(change).unwrap().unwrap();
    };
    mounted(true);
    let mut other = Setting::new();
    other.features |= FEATURE_REPLY;
    let applied = world.apply(&other);
    assert_eq!((applied.swap, applied.warnings.len()), (Swap::Program, 1), "{:?}", applied.warnings);
    for port in 5_001..5_010 {
        assert!(world.client(0, port).is_served(&signs.sign(&[port as u8])), "{:?}", world.slow());
    }
    mounted(false);
    assert_eq!(world.apply(&Setting::new()).swap, Swap::Program);
    assert!(world.client(0, 5_010).is_served(&signs.sign(b"after it")));
    let slow = world.slow();
    assert_eq!(
        (slow.accepted, slow.by_socket, slow.faults),
        (11, slow.accepted + slow.in_order, 0),
        "{slow:?}"
    );
    agent.stop();
}

/// What the first device began ends once its certificate is what `changed` makes of it; its packets take `exit` then.
fn a_session_ends_when(exit: u32, changed: impl FnOnce(Certificate) -> Certificate) {
    let (world, agent) = World::serving(By::Ring, &Setting::new());
    let [one, two] = [1, 2].map(Signs::number);
    let clients = [world.client(0, 5_000), world.client(1, 5_001)];
    assert!(clients[0].is_served(&one.sign(b"1")) && clients[1].is_served(&two.sign(b"2")));
    let held = world.held.write().unwrap();
    clients[0].send(&one.sign(b"answered too late"));
    assert!(eventually(|| world.got.lock().unwrap().len() == 3), "{:?}", world.slow());
    let mut setting = Setting::new();
    setting.certificates[0] = changed(one.certificate());
    world.apply(&setting);
    let over = || world.sessions().iter().all(|session| session.id == two.id);
    assert!(eventually(over), "{:?}", world.sessions());
    assert!(eventually(|| world.status().trackers[0].flows == 1), "{:?}", world.status());
    drop(held);
    // What the backend echoes has the trailer too, and nothing translates it back any more.
    assert!(eventually(|| world.exit(exit) == 1), "{:?}", world.status().tallies);
    assert!(clients[0].answer(Duration::from_millis(200)).is_none());
    assert!(clients[0].is_ignored(&one.sign(b"no more")) && world.exit(exit) == 2);
    assert!(clients[1].is_served(&two.sign(b"others go on")));
    assert_eq!((world.slow().sessions, world.slow().accepted), (1, 2));
    agent.stop();
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

#[test]
fn a_session_ends_when_its_certificate_expires() {
    // Late enough to be valid when it is applied, on all but the slowest machines.
    a_session_ends_when(VERIFY_EXPIRED, |c| Certificate { valid: Some((now() - 60, now() + 3)), ..c });
}

#[test]
fn a_session_ends_when_the_policy_revokes_its_certificate() {
    a_session_ends_when(VERIFY_REVOKED, |c| Certificate { revoked: true, ..c });
}

/// The wall clock of the machine is not ours to set: what the data path was told of it is.
#[test]
fn a_clock_that_jumps_is_noticed_within_a_second() {
    const YEARS: i64 = 10 * 365 * 86_400 * 1_000_000_000;
    let certificate =
        Certificate { valid: Some((now() - 60, now() + 3_600)), ..Signs::number(1).certificate() };
    let setting = Setting { certificates: vec![certificate], flags: 0, ..Setting::new() };
    let (world, agent) = World::serving(By::Ring, &setting);
    let signs = Signs::number(1);
    let jump = |by: i64| {
        let set = || {
            let directory = fs::read_dir("/run/lbctl/bpf").unwrap().flatten().next().unwrap().path();
            let map = MapData::from_pin(directory.join("load-1/CONTROL")).unwrap();
            let mut control = Array::<_, [u64; 16]>::try_from(Map::Array(map)).unwrap();
            let mut words = control.get(&0, 0).unwrap();
            let at = std::mem::offset_of!(lb_abi::maps::Control, wall) / 8;
            words[at] = words[at].wrapping_add_signed(by);
            control.set(0, words, 0).unwrap();
        };
        world.lab.balancer.run(set).unwrap();
    };
    for by in [YEARS, -YEARS] {
        jump(by);
        thread::sleep(Duration::from_millis(900));
        assert!(world.client(0, 5_000).is_served(&signs.sign(b"in time")), "{:?}", world.status().tallies);
    }
    agent.stop();
    jump(YEARS);
    assert!(world.client(0, 5_000).is_ignored(&signs.sign(b"too late")));
}
