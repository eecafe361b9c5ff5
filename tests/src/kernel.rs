//! Owns running cases through the loaded program under `BPF_PROG_TEST_RUN`, in a network where every packet has a way
//! out. Never attaches anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ebpf_runtime::lab::{Arms, Lab, Plan};
use ebpf_runtime::trial::{Action, FlowTable, Trial};
use lb_abi::bundle::Image;
use lb_abi::image::Field;
use lb_abi::maps::{BACKEND_ABSENT, NextHop};
use lb_abi::mode::FEATURE_TEST;

use crate::balancer::must_be_root;
use crate::case::Case;
use crate::differential::{Played, Seen, in_order, named};
use crate::frame::SENDER_MAC;
use crate::traffic::{START, Step};

/// A namespace whose one device has default routes of both families to a neighbour it knows.
#[derive(Debug)]
pub struct Network {
    lab: Lab,
    ifindex: u32,
}

impl Network {
    /// Builds it. Without root this fails with a message that says so.
    pub fn new() -> Network {
        must_be_root();
        Network::build().unwrap_or_else(|error| panic!("{error}"))
    }

    fn build() -> Result<Network, ebpf_runtime::lab::Error> {
        let lab = Lab::build(&Plan {
            arms: Arms::Two,
            balancer: Vec::new(),
            clients: vec![Vec::new()],
            backends: Vec::new(),
        })?;
        let device = &lab.devices[0];
        let gateways: [(IpAddr, IpAddr); 2] = [
            (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(169, 254, 9, 9).into()),
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 9, 9).into()),
        ];
        for (everything, gateway) in gateways {
            lab.balancer.route(device, everything, 0, Some(gateway))?;
            lab.balancer.neighbour(device, gateway, SENDER_MAC)?;
        }
        let ifindex = lab.balancer.index(device)?;
        Ok(Network { lab, ifindex })
    }

    /// Loads the image and runs the case.
    pub fn play(&self, case: &Case, image: &Image) -> Result<Played, ebpf_runtime::Error> {
        let played = self.lab.balancer.run(|| self.played(case, image));
        played.unwrap_or_else(|error| panic!("{error}"))
    }

    fn played(&self, case: &Case, image: &Image) -> Result<Played, ebpf_runtime::Error> {
        let mut trial = Trial::load(image, FEATURE_TEST)?;
        trial.set_hash_key(case.key);
        trial.set_seed(case.seed);
        trial.set_clock(START);
        let mut seen = Vec::new();
        let mut current = image.clone();
        for step in &case.steps {
            match step {
                Step::Clock(ns) => trial.set_clock(*ns),
                Step::Backend { ordinal, there } => {
                    let was = image.backends.get(*ordinal as usize).map_or(BACKEND_ABSENT, |one| one.state);
                    let state = if *there { was } else { BACKEND_ABSENT };
                    trial.set_backend(*ordinal, state, NextHop::default());
                }
                Step::Apply { program: false } => trial.swap(&current)?,
                Step::Apply { program: true } => {
                    current = with_other_flags(image, &current);
                    trial.swap(&current)?;
                }
                Step::Frame(frame) => seen.push(self.frame(&mut trial, frame)?),
            }
        }
        let flows = |table| trial.flows(table).map(in_order);
        Ok(Played {
            seen,
            reasons: trial.reasons()?,
            tallies: named(image, trial.tallies()?.iter().map(|count| (count.packets, count.bytes))),
            flows: [flows(FlowTable::New)?, flows(FlowTable::Answered)?, flows(FlowTable::Proven)?],
            proven: trial.proven()?,
        })
    }

    fn frame(&self, trial: &mut Trial, frame: &[u8]) -> Result<Seen, ebpf_runtime::Error> {
        let ran = trial.run(frame, self.ifindex)?;
        Ok(match ran.action {
            Action::Drop => Seen::Drop,
            Action::Pass if ran.frame == frame => Seen::Pass,
            // Every way out of this network is the way in.
            Action::Pass | Action::Tx => Seen::Sent(ran.frame.into_iter().skip(12).collect()),
            Action::Aborted | Action::Redirect => panic!("{:?} of {}", ran.action, crate::case::hex(frame)),
        })
    }
}

impl Default for Network {
    fn default() -> Network {
        Network::new()
    }
}

/// The image as it was or, if that is what runs, with a field more than it looks at: another program, the same meaning.
fn with_other_flags(image: &Image, current: &Image) -> Image {
    if image.fields != current.fields {
        return image.clone();
    }
    let unused = [Field::Dscp, Field::Ttl, Field::Len, Field::IcmpCode, Field::Vlan]
        .into_iter()
        .find(|field| image.fields & field.bit() == 0)
        .map_or(0, Field::bit);
    Image { fields: image.fields | unused, ..image.clone() }
}
