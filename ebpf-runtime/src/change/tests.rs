//! What only the inside of an instance can bring about: state of another version, and kernel objects behind our back.

use std::net::IpAddr;
use std::path::PathBuf;

use lb_abi::bundle::Image;
use lb_abi::image::END_PASS;

use super::common::counting;
use crate::Error;
use crate::apply::{Applied, ApplyOptions, Swap};
use crate::instance::Instance;
use crate::lab::{Arms, HOST_DEVICE, Lab, Plan};
use crate::net;
use crate::paths::Paths;
use crate::pinned;
use crate::status::Status;

fn network() -> Lab {
    let plan = Plan {
        arms: Arms::Two,
        balancer: vec![],
        clients: vec![vec![IpAddr::from([192, 0, 2, 1])]],
        backends: vec![vec![IpAddr::from([10, 0, 0, 1])]],
    };
    Lab::build(&plan).unwrap()
}

fn options() -> ApplyOptions {
    let mut options = ApplyOptions::new([0; 32], vec!["wan0".to_owned()]);
    options.hash_key = PathBuf::from("/run/hash.key");
    options
}

fn apply(lab: &Lab, image: &Image, options: &ApplyOptions) -> Result<Applied, Error> {
    lab.balancer.run(|| Instance::open(&Lab::run_dir(), "main")?.apply(image, options)).unwrap()
}

fn status(lab: &Lab) -> Status {
    lab.balancer.run(|| Instance::status(&Lab::run_dir(), "main").unwrap()).unwrap()
}

fn inside<T: Send>(lab: &Lab, work: impl FnOnce(&Paths) -> T + Send) -> T {
    lab.balancer.run(|| work(&Paths::new(&Lab::run_dir().prepare().unwrap(), "main").unwrap())).unwrap()
}

/// Id of the program on `wan0`, as the kernel says.
fn program(lab: &Lab) -> u32 {
    let links = lab.balancer.run(net::links).unwrap().unwrap();
    links.into_iter().find(|link| link.name == "wan0").unwrap().programs[0].1
}

#[test]
fn state_of_another_schema_is_refused_unless_it_may_be_given_up() {
    let lab = network();
    let image = counting(&[1], END_PASS);
    let first = apply(&lab, &image, &options()).unwrap();
    let link = |lab: &Lab| inside(lab, |paths| pinned::links(paths).unwrap()[0].ifindex);
    let before = link(&lab);
    inside(&lab, |paths| {
        pinned::plane(paths, 1).unwrap().unwrap().set_control(|control| control.schema = 99);
    });
    let error = apply(&lab, &image, &options()).unwrap_err();
    assert!(matches!(error, Error::Schema { found: 99, .. }), "{error}");
    assert_eq!(program(&lab), first.program_id);
    let fresh = apply(&lab, &image, &ApplyOptions { fresh_state: true, ..options() }).unwrap();
    assert_eq!((fresh.generation, fresh.swap), (2, Swap::Fresh));
    assert_eq!((program(&lab), link(&lab)), (fresh.program_id, before));
    assert_eq!(apply(&lab, &image, &options()).unwrap().swap, Swap::Half);
}

#[test]
fn a_damaged_record_is_refused_unless_state_may_be_given_up() {
    let lab = network();
    let image = counting(&[1], END_PASS);
    let first = apply(&lab, &image, &options()).unwrap();
    inside(&lab, |paths| std::fs::write(paths.record(), "{").unwrap());
    assert!(matches!(apply(&lab, &image, &options()), Err(Error::Record { .. })));
    assert_eq!(program(&lab), first.program_id);
    let fresh = apply(&lab, &image, &ApplyOptions { fresh_state: true, ..options() }).unwrap();
    assert_eq!((fresh.generation, fresh.swap), (2, Swap::Fresh));
    assert_eq!(status(&lab).generation, 2);
}

#[test]
fn a_damaged_record_can_be_detached() {
    let lab = network();
    apply(&lab, &counting(&[1], END_PASS), &options()).unwrap();
    inside(&lab, |paths| std::fs::write(paths.record(), "{").unwrap());
    let detached = lab.balancer.run(|| Instance::open(&Lab::run_dir(), "main")?.detach()).unwrap().unwrap();
    assert_eq!(detached.devices, ["wan0"]);
}

#[test]
fn another_hash_key_is_another_program() {
    let lab = network();
    let image = counting(&[1], END_PASS);
    apply(&lab, &image, &options()).unwrap();
    let other = ApplyOptions { hash_key: PathBuf::from("/run/other.key"), ..options() };
    assert_eq!(apply(&lab, &image, &other).unwrap().swap, Swap::Program);
    assert_eq!(apply(&lab, &image, &other).unwrap().swap, Swap::Half);
}

#[test]
fn a_peer_with_too_large_an_mtu_is_told_apart_from_a_driver_without_xdp() {
    let lab = network();
    lab.clients[0].namespace.mtu(HOST_DEVICE, 9000).unwrap();
    let error = apply(&lab, &counting(&[1], END_PASS), &options()).unwrap_err();
    assert!(matches!(&error, Error::Mtu { device, max: 3506, .. } if device == "wan0"), "{error}");
}

#[test]
fn a_lost_record_leaves_no_device_without_a_program() {
    let lab = network();
    let image = counting(&[1], END_PASS);
    let first = apply(&lab, &image, &options()).unwrap();
    inside(&lab, |paths| std::fs::remove_file(paths.record()).unwrap());
    assert!(matches!(apply(&lab, &image, &options()), Err(Error::Record { .. })));
    assert_eq!(program(&lab), first.program_id);
    let fresh = apply(&lab, &image, &ApplyOptions { fresh_state: true, ..options() }).unwrap();
    assert_eq!((fresh.generation, fresh.swap), (2, Swap::Fresh));
    let loads = inside(&lab, |paths| std::fs::read_dir(&paths.pins).unwrap().flatten().count());
    assert_eq!(loads, 2, "links and one load");
}
