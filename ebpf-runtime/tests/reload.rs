//! Reloading under traffic: every frame meets the old generation or the new one, and every count survives.

mod common;
#[path = "common/frame.rs"]
mod frame;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::counting;
use ebpf_runtime::apply::{ApplyOptions, Swap};
use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::{Arms, FrameSocket, HOST_DEVICE, Lab, Plan};
use frame::udp;
use lb_abi::bundle::Image;
use lb_abi::image::END_DROP;
use lb_abi::mode::FEATURE_FORWARD;

/// Drops everything, counted by identity 1; whatever comes past the program reaches the stack instead.
fn image(step: u32) -> Image {
    let mut image = counting(&[1, u64::from(100 + step)], END_DROP);
    // Neighbour discovery too, or it would be taken for a frame that came past.
    image.words[lb_abi::image::H_NEIGHBOURS] = lb_abi::image::BEFORE_DROP;
    // Every third step needs another program.
    image.features = if step % 3 == 2 { FEATURE_FORWARD } else { 0 };
    if step > 12 {
        // And from here on larger tables of counters.
        let tally = image.tallies[0].clone();
        for identity in 10_000..10_400 {
            image
                .counters
                .push(lb_abi::bundle::Counter { identity, tallies: vec![image.tallies.len() as u32] });
            image.tallies.push(lb_abi::bundle::Tally { identity, ..tally.clone() });
        }
    }
    image
}

#[test]
fn no_frame_bypasses_a_reload_and_none_is_counted_twice() {
    let plan = Plan {
        arms: Arms::Two,
        balancer: vec![],
        clients: vec![vec![IpAddr::from([192, 0, 2, 1])]],
        backends: vec![],
    };
    let lab = Lab::build(&plan).unwrap();
    let mut options = ApplyOptions::new([0; 32], vec!["wan0".to_owned()]);
    options.hash_key = PathBuf::from("/run/hash.key");
    let apply = |step: u32| {
        let applied = lab
            .balancer
            .run(|| Instance::open(&Lab::run_dir(), "main").unwrap().apply(&image(step), &options));
        applied.unwrap().unwrap()
    };
    // Frames that came in by the device, and those that the policy counted, at one moment.
    let both = || {
        loop {
            let before = lab.balancer.frames("wan0").unwrap().received;
            let status = lab.balancer.run(|| Instance::status(&Lab::run_dir(), "main").unwrap()).unwrap();
            if lab.balancer.frames("wan0").unwrap().received == before {
                return (before, status.tallies[0].packets);
            }
        }
    };
    apply(0);
    let (received_before, counted_before) = both();
    let over = AtomicBool::new(false);
    let socket = FrameSocket::open(&lab.clients[0].namespace, HOST_DEVICE).unwrap();
    let mut swaps = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                socket.send(&udp()).unwrap();
            }
        });
        swaps.extend((1..=24).map(|step| apply(step).swap));
        over.store(true, Ordering::Relaxed);
    });
    // The last frames may still be in the device's queue.
    std::thread::sleep(Duration::from_millis(100));
    let (received, counted) = both();
    assert!(swaps.contains(&Swap::Half) && swaps.contains(&Swap::Program), "{swaps:?}");
    assert!(received - received_before > 10_000, "no traffic to speak of");
    assert_eq!(
        counted - counted_before,
        received - received_before,
        "a frame without a program, or counted twice"
    );
}
