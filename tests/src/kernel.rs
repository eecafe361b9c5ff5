//! Owns running cases through the loaded program under `BPF_PROG_TEST_RUN`, in a network where every packet has a way
//! out. Never attaches anything.

use ebpf_runtime::lab::Gateway;
use ebpf_runtime::trial::{FlowTable, Trial};
use lb_abi::bundle::Image;
use lb_abi::image::Field;
use lb_abi::maps::{BACKEND_ABSENT, NextHop};
use lb_abi::mode::FEATURE_TEST;

use crate::balancer::must_be_root;
use crate::case::Case;
use crate::differential::{Played, in_order, named};
use crate::traffic::{START, Step};

/// Where the program runs.
#[derive(Debug)]
pub struct Network(Gateway);

impl Network {
    /// Builds it. Without root this fails with a message that says so.
    pub fn new() -> Network {
        must_be_root();
        Network(Gateway::build().unwrap_or_else(|error| panic!("{error}")))
    }

    /// Loads the image and runs the case.
    pub fn play(&self, case: &Case, image: &Image) -> Result<Played, ebpf_runtime::Error> {
        let played = self.0.run(|ifindex| played(case, image, ifindex));
        played.unwrap_or_else(|error| panic!("{error}"))
    }
}

fn played(case: &Case, image: &Image, ifindex: u32) -> Result<Played, ebpf_runtime::Error> {
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
            Step::Frame(frame) => {
                let ran = trial.run(frame, ifindex)?;
                let action = ran.action;
                seen.push(
                    ran.seen(frame).unwrap_or_else(|| panic!("{action:?} of {}", crate::case::hex(frame))),
                );
            }
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
