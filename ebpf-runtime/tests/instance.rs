//! Instances on real devices: attach, swap, refuse, recover, detach, each in a network of its own.

mod common;
#[path = "common/frame.rs"]
mod frame;

use std::net::IpAddr;
use std::path::PathBuf;

use common::counting;
use ebpf_runtime::Error;
use ebpf_runtime::apply::{Applied, ApplyOptions, Mode, Swap};
use ebpf_runtime::instance::Instance;
use ebpf_runtime::lab::{Arms, ConstantProgram, FrameSocket, HOST_DEVICE, Lab, Plan, Verdict};
use ebpf_runtime::run_dir::RunDir;
use ebpf_runtime::status::Status;
use frame::udp;
use lb_abi::bundle::Image;
use lb_abi::image::{END_DROP, END_PASS};

/// A balancer with one client on `wan0` and one backend on `lan0`.
fn network() -> Lab {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let plan = Plan {
        arms: Arms::Two,
        balancer: vec![address("198.51.100.1")],
        clients: vec![vec![address("192.0.2.1")]],
        backends: vec![vec![address("10.0.0.1")]],
    };
    Lab::build(&plan).unwrap()
}

fn options(devices: &[&str]) -> ApplyOptions {
    let devices = devices.iter().map(|device| (*device).to_owned()).collect();
    let mut options = ApplyOptions::new([7; 32], devices);
    options.hash_key = PathBuf::from("/run/hash.key");
    options
}

fn apply_with(lab: &Lab, image: &Image, options: &ApplyOptions) -> Result<Applied, Error> {
    lab.balancer.run(|| Instance::open(&Lab::run_dir(), "main")?.apply(image, options)).unwrap()
}

fn apply(lab: &Lab, image: &Image, devices: &[&str]) -> Applied {
    apply_with(lab, image, &options(devices)).unwrap()
}

fn status(lab: &Lab) -> Result<Status, Error> {
    lab.balancer.run(|| Instance::status(&Lab::run_dir(), "main")).unwrap()
}

fn send(lab: &Lab, frames: usize) {
    let socket = FrameSocket::open(&lab.clients[0].namespace, HOST_DEVICE).unwrap();
    for _ in 0..frames {
        socket.send(&udp()).unwrap();
    }
}

/// Packets by tally, in order. Frames sent on a veth are counted before `send` returns.
fn packets(lab: &Lab) -> Vec<u64> {
    status(lab).unwrap().tallies.iter().map(|tally| tally.packets).collect()
}

/// Everything below the run directory, with what is pinned.
fn files(lab: &Lab) -> Vec<String> {
    fn walk(directory: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), found);
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    lab.balancer.run(|| walk(Lab::run_dir().path(), &mut found)).unwrap();
    // The kernel's own, in every bpffs.
    found.retain(|path| !path.ends_with(".debug"));
    found
}

#[test]
fn attaches_counts_and_detaches() {
    let lab = network();
    let applied = apply(&lab, &counting(&[1], END_PASS), &["wan0", "lan0"]);
    assert_eq!((applied.generation, applied.swap), (1, Swap::First));
    assert_eq!(applied.devices, ["wan0", "lan0"]);
    let before = packets(&lab)[0];
    send(&lab, 5);
    let report = status(&lab).unwrap();
    assert!(report.tallies[0].packets >= before + 5, "{report:?}");
    assert_eq!(report.id, "07".repeat(32));
    for device in &report.devices {
        assert_eq!(
            (device.mode, device.program),
            (Some(Mode::Native), Some(applied.program_id)),
            "{device:?}"
        );
        assert_eq!(device.problem, None);
    }
    assert!(report.program.memory > 0 && report.program.verified_instructions.is_some());

    let detached = lab.balancer.run(|| Instance::open(&Lab::run_dir(), "main")?.detach()).unwrap().unwrap();
    assert_eq!(detached.devices, ["wan0", "lan0"]);
    assert!(matches!(status(&lab), Err(Error::NothingApplied(_))));
    assert_eq!(files(&lab), Vec::<String>::new());
}

fn detach_devices(lab: &Lab, devices: &[&str]) -> Result<Vec<String>, Error> {
    let devices: Vec<String> = devices.iter().map(|device| (*device).to_owned()).collect();
    let detach = || Instance::open_existing(&Lab::run_dir(), "main")?.detach_devices(&devices);
    lab.balancer.run(detach).unwrap().map(|detached| detached.devices)
}

#[test]
fn one_device_is_let_go_and_the_others_keep_what_they_have() {
    let lab = network();
    let nothing = detach_devices(&lab, &["wan0"]);
    assert!(matches!(nothing, Err(Error::NothingApplied(_))), "{nothing:?}");
    assert_eq!(files(&lab), Vec::<String>::new());

    let applied = apply(&lab, &counting(&[1], END_PASS), &["wan0", "lan0"]);
    send(&lab, 3);
    let before = packets(&lab)[0];
    for (devices, refused) in [
        (&["lan0", "wan0"][..], "would have no device left"),
        (&["lan0", "host9"], "no device is called"),
        (&["lan0", "lo"], "device lo is none of instance main"),
    ] {
        let error = detach_devices(&lab, devices).unwrap_err().to_string();
        assert!(error.contains(refused), "{error}");
        assert_eq!(status(&lab).unwrap().devices.len(), 2);
    }

    assert_eq!(detach_devices(&lab, &["lan0", "lan0"]).unwrap(), ["lan0"]);
    let report = status(&lab).unwrap();
    let left: Vec<(&str, Option<u32>)> =
        report.devices.iter().map(|device| (device.name.as_str(), device.program)).collect();
    assert_eq!(left, [("wan0", Some(applied.program_id))]);
    assert_eq!(report.generation, applied.generation);
    send(&lab, 4);
    assert!(packets(&lab)[0] >= before + 4);
    // Free for another instance, and for this one again.
    let other = lab.balancer.run(|| {
        Instance::open(&Lab::run_dir(), "other")?.apply(&counting(&[1], END_PASS), &options(&["lan0"]))
    });
    assert_eq!(other.unwrap().unwrap().devices, ["lan0"]);
}

#[test]
fn a_device_that_is_gone_is_let_go_by_its_name() {
    let lab = network();
    apply(&lab, &counting(&[1], END_PASS), &["wan0", "lan0"]);
    lab.balancer.delete("lan0").unwrap();
    assert_eq!(detach_devices(&lab, &["lan0"]).unwrap(), ["lan0"]);
    let report = status(&lab).unwrap();
    assert_eq!(report.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["wan0"]);
}

#[test]
fn a_second_generation_is_one_store_and_keeps_its_counts() {
    let lab = network();
    let first = apply(&lab, &counting(&[1, 2], END_PASS), &["wan0"]);
    send(&lab, 3);
    let before = packets(&lab);
    let second = apply(&lab, &counting(&[2, 3], END_PASS), &["wan0"]);
    assert_eq!((second.generation, second.swap), (2, Swap::Half));
    assert_eq!(second.program_id, first.program_id);
    let after = packets(&lab);
    assert!(after[0] >= before[1] && after[1] < before[1], "{before:?} {after:?}");
    send(&lab, 4);
    assert!(packets(&lab)[1] >= 4);
}

#[test]
fn a_larger_image_comes_as_a_new_program_with_the_old_counts() {
    let lab = network();
    let first = apply(&lab, &counting(&[1], END_PASS), &["wan0", "lan0"]);
    send(&lab, 3);
    let before = packets(&lab)[0];
    assert!(before >= 3);
    // More counters than the first table holds, in an image that outgrows its half; only the first is ever passed.
    let mut image = counting(&(1..=20).collect::<Vec<_>>(), END_PASS);
    let extra = 1000..1600;
    image.words.resize(4096, 0);
    for identity in extra {
        let tally = image.tallies.len() as u32;
        image.counters.push(lb_abi::bundle::Counter { identity, tallies: vec![tally] });
        image.tallies.push(image.tallies[0].clone());
        image.tallies[tally as usize].identity = 10_000 + identity;
    }
    let second = apply(&lab, &image, &["wan0", "lan0"]);
    assert_eq!(second.swap, Swap::Program);
    assert_ne!(second.program_id, first.program_id);
    assert!(packets(&lab)[0] >= before);
    send(&lab, 2);
    assert!(packets(&lab)[0] >= before + 2);
    for device in status(&lab).unwrap().devices {
        assert_eq!(device.program, Some(second.program_id));
    }
    // And on the third, what the first program counted is still there.
    apply(&lab, &counting(&[1], END_PASS), &["wan0", "lan0"]);
    assert!(packets(&lab)[0] >= before + 2);
}

#[test]
fn devices_come_and_go_with_an_apply() {
    let lab = network();
    apply(&lab, &counting(&[1], END_PASS), &["wan0"]);
    let applied = apply(&lab, &counting(&[1], END_PASS), &["lan0"]);
    assert_eq!((applied.devices, applied.detached), (vec!["lan0".to_owned()], vec!["wan0".to_owned()]));
    let links = lab.balancer.run(ebpf_runtime::net::links).unwrap().unwrap();
    let programs = |name: &str| links.iter().find(|link| link.name == name).unwrap().programs.len();
    assert_eq!((programs("wan0"), programs("lan0")), (0, 1));
}

#[test]
fn a_mode_is_what_was_asked_for() {
    let lab = network();
    let mut generic = options(&["wan0"]);
    generic.mode = Mode::Generic;
    apply_with(&lab, &counting(&[1], END_PASS), &generic).unwrap();
    assert_eq!(status(&lab).unwrap().devices[0].mode, Some(Mode::Generic));
    let native = apply(&lab, &counting(&[1], END_PASS), &["wan0"]);
    assert_eq!(native.warnings.len(), 1, "{:?}", native.warnings);
    assert_eq!(status(&lab).unwrap().devices[0].mode, Some(Mode::Native));
    // A dummy device has no native mode, and gets no other either.
    let Err(Error::NativeRefused { .. }) =
        apply_with(&lab, &counting(&[1], END_PASS), &options(&["wan0", "lo"]))
    else {
        panic!("lo has no native mode");
    };
    let devices = status(&lab).unwrap().devices;
    assert_eq!((devices.len(), devices[0].program), (1, Some(native.program_id)));
}

#[test]
fn a_foreign_program_is_refused_and_left_alone() {
    let lab = network();
    let foreign = ConstantProgram::load(Verdict::Pass).unwrap();
    lab.balancer.attach("lan0", &foreign).unwrap();
    let error = apply_with(&lab, &counting(&[1], END_DROP), &options(&["lan0"])).unwrap_err();
    assert!(matches!(&error, Error::ForeignProgram { device, .. } if device == "lan0"), "{error}");
    let left = || std::fs::read_dir(Lab::run_dir().path()).unwrap().flatten().map(|entry| entry.file_name());
    assert_eq!(lab.balancer.run(|| left().collect::<Vec<_>>()).unwrap(), ["bpf"]);
    let applied = apply(&lab, &counting(&[1], END_PASS), &["wan0"]);
    let error = apply_with(&lab, &counting(&[1], END_DROP), &options(&["wan0", "lan0"])).unwrap_err();
    assert!(matches!(&error, Error::ForeignProgram { device, .. } if device == "lan0"), "{error}");
    let report = status(&lab).unwrap();
    assert_eq!((report.generation, report.devices[0].program), (1, Some(applied.program_id)));
}

#[test]
fn an_unknown_device_is_answered_with_those_alike() {
    let lab = network();
    let error = apply_with(&lab, &counting(&[1], END_PASS), &options(&["wan1"])).unwrap_err();
    assert_eq!(error.to_string(), "no device is called \"wan1\"; did you mean one of wan0, lan0?");
}

#[test]
fn another_instance_keeps_its_device() {
    let lab = network();
    apply(&lab, &counting(&[1], END_PASS), &["wan0"]);
    let other = |devices: &[&str]| {
        let options = options(devices);
        lab.balancer
            .run(|| Instance::open(&Lab::run_dir(), "other")?.apply(&counting(&[1], END_PASS), &options))
            .unwrap()
    };
    assert!(matches!(other(&["wan0"]), Err(Error::OtherInstance { instance, .. }) if instance == "main"));
    other(&["lan0"]).unwrap();
    let names = lab.balancer.run(|| Instance::list(&Lab::run_dir())).unwrap().unwrap();
    assert_eq!(names, ["main", "other"]);
}

#[test]
fn a_locked_instance_is_busy() {
    let lab = network();
    lab.balancer
        .run(|| {
            let held = Instance::open(&Lab::run_dir(), "main").unwrap();
            let error = Instance::open(&Lab::run_dir(), "main").unwrap_err();
            assert!(matches!(error, Error::Busy { .. }), "{error}");
            drop(held);
            Instance::open(&Lab::run_dir(), "main").unwrap();
        })
        .unwrap();
}

#[test]
fn a_vanished_device_is_told_and_can_be_left_behind() {
    let lab = network();
    apply(&lab, &counting(&[1], END_PASS), &["wan0", "lan0"]);
    lab.balancer.delete("lan0").unwrap();
    let devices = status(&lab).unwrap().devices;
    assert_eq!(devices[1].problem.as_deref(), Some("there is no such device any more"));
    apply(&lab, &counting(&[1], END_PASS), &["wan0"]);
    assert_eq!(status(&lab).unwrap().devices.len(), 1);
    lab.balancer.delete("wan0").unwrap();
    let detached = lab.balancer.run(|| Instance::open(&Lab::run_dir(), "main")?.detach()).unwrap().unwrap();
    assert_eq!(detached.devices, Vec::<String>::new());
    assert_eq!(files(&lab), Vec::<String>::new());
}

#[test]
fn nothing_is_made_for_a_bad_name() {
    let lab = network();
    let error = lab.balancer.run(|| Instance::open(&RunDir::at("/run/nowhere"), "../x").map(drop)).unwrap();
    assert!(matches!(error, Err(Error::InstanceName(_))));
    assert!(!lab.balancer.run(|| std::path::Path::new("/run/nowhere").exists()).unwrap());
}
