//! Owns a million trailers that were changed on their way, through the loaded program and the agent's verifier: none is
//! accepted. Never a trailer that says what its signer meant.

use std::net::IpAddr;
use std::thread;

use ebpf_runtime::lab::Gateway;
use ebpf_runtime::slow::{Remembered, Replays, Verdict, Verifier};
use ebpf_runtime::trial::{Action, Trial};
use fastrand::Rng;
use lb_abi::maps::ReplayKey;
use lb_abi::mode::FEATURE_TEST;
use lb_abi::trailer::{HASH_AT, ID_AT, MAGICS, SIGNATURE_AT, TRAILER_BYTES};
use lb_tests::accepted::Accepted;
use lb_tests::balancer::must_be_root;
use lb_tests::certified::{PORT, policy};
use lb_tests::frame::Packet;
use lb_tests::signer::Signer;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const TRAILERS: usize = 1_000_000;

/// No signature was seen before.
struct Forgetful;

impl Replays for Forgetful {
    fn remember(&self, _: &ReplayKey, _: u64, _: u64) -> std::io::Result<Remembered> {
        Ok(Remembered::First)
    }
}

/// Something else than what was signed; magics of the other byte order mean the same and are left alone.
fn change(rng: &mut Rng, payload: &[u8]) -> Vec<u8> {
    let mut changed = payload.to_vec();
    while changed == payload {
        let trailer = changed.len() - TRAILER_BYTES;
        let signature = trailer + SIGNATURE_AT..trailer + ID_AT;
        match rng.u32(0..16) {
            0..=7 => {
                for _ in 0..rng.u32(1..4) {
                    let at = rng.usize(0..changed.len());
                    changed[at] ^= 1 << rng.u32(0..8);
                }
            }
            8 => changed[signature].fill_with(|| rng.u8(..)),
            9 => changed[signature].rotate_left(32),
            10 => changed[signature][rng.usize(0..2) * 32..][..32].fill([0, 0xff][rng.usize(0..2)]),
            11 => changed[trailer + HASH_AT..trailer + SIGNATURE_AT].fill_with(|| rng.u8(..)),
            12 => changed.insert(rng.usize(0..changed.len()), rng.u8(..)),
            13 => {
                changed.remove(rng.usize(0..changed.len()));
            }
            14 => changed.splice(..trailer, vec![rng.u8(..); rng.usize(0..64)]).for_each(drop),
            _ => changed.extend(vec![rng.u8(..); rng.usize(1..9)]),
        }
        if changed.len() < TRAILER_BYTES {
            changed = payload.to_vec();
        }
        let start = changed.len() - TRAILER_BYTES;
        if changed[start..].starts_with(&MAGICS[1]) {
            changed[start..start + HASH_AT].copy_from_slice(&MAGICS[0]);
        }
    }
    changed
}

#[test]
fn none_of_a_million_changed_trailers_is_accepted() {
    must_be_root();
    let signers = [Signer::new(0, 1), Signer::new(1, 2)];
    let text = policy(
        &signers.each_ref(),
        "verify every packet; checks 1_000_000 pkt/s; checks_per_source 1_000_000 pkt/s",
    );
    let accepted = Accepted::new(&text).unwrap();
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let share = TRAILERS.div_ceil(cpus);
    let checked: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..cpus)
            .map(|cpu| {
                let (accepted, signers) = (&accepted, &signers);
                scope.spawn(move || {
                    // A packet's state is its CPU's.
                    let mut set = CpuSet::new();
                    set.set(cpu).unwrap();
                    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
                    let gateway = Gateway::build().unwrap();
                    gateway.run(|ifindex| tried(accepted, signers, cpu as u64, share, ifindex)).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no trailer gets through")).sum()
    });
    println!("{checked} of {TRAILERS} signatures were checked, the others were not worth it");
    assert!(checked > TRAILERS / 4);
}

/// How many signatures were checked.
fn tried(accepted: &Accepted, signers: &[Signer; 2], seed: u64, count: usize, ifindex: u32) -> usize {
    let mut rng = Rng::with_seed(seed);
    let mut trial = Trial::load(&accepted.image, FEATURE_TEST).unwrap();
    let verifier = Verifier::of_image(&accepted.image);
    let (client, vip): (IpAddr, IpAddr) = ("198.51.100.9".parse().unwrap(), "203.0.113.10".parse().unwrap());
    let honest: Vec<Vec<u8>> = [&b""[..], b"a", b"a text of some length, as it may be sent"]
        .iter()
        .flat_map(|text| signers.iter().map(|signer| signer.sign(text)))
        .collect();
    let mut checked = 0;
    let mut verdict = |trial: &mut Trial, payload: &[u8], number: usize| {
        // As time goes on, buckets fill again.
        trial.set_clock((1 << 40) + number as u64 * 10_000);
        let frame = Packet::udp((client, 5_000), (vip, PORT)).payload(payload).bytes();
        let ran = trial.run(&frame, ifindex).unwrap();
        assert_eq!(ran.action, Action::Drop, "before any signature is checked: {payload:02x?}");
        let punts = trial.punts().unwrap();
        punts.first().map(|(punt, frame)| {
            checked += 1;
            verifier.verdict(punt, frame, &Forgetful)
        })
    };
    for payload in &honest {
        assert_eq!(verdict(&mut trial, payload, 0), Some(Verdict::On), "it is accepted as it was signed");
    }
    for number in 0..count {
        let payload = change(&mut rng, &honest[number % honest.len()]);
        let seen = verdict(&mut trial, &payload, number);
        assert_ne!(seen, Some(Verdict::On), "trailer {number} of seed {seed}: {payload:02x?}");
    }
    checked
}
