//! Owns running cases through the loaded program under `BPF_PROG_TEST_RUN`, in a network where every packet has a way
//! out, with what an agent does for it done at once. Never attaches anything.

use compiler::expect::with_test_keys;
use ebpf_runtime::lab::Gateway;
use ebpf_runtime::slow::Verifier;
use ebpf_runtime::trial::{FlowTable, Trial};
use lb_abi::bundle::Image;
use lb_abi::image::Field;
use lb_abi::maps::{BACKEND_ABSENT, NextHop};
use lb_abi::mode::{FEATURE_LOAD, FEATURE_TEST};
use lb_abi::reason::Reason;

use crate::balancer::must_be_root;
use crate::case::Case;
use crate::differential::{Played, Sessions, in_order, named};
use crate::oracle;
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
    let verifier = Verifier::of_image(&with_test_keys(image));
    trial.set_hash_key(case.key);
    trial.set_seed(case.seed);
    trial.set_clock(START);
    trial.set_wall(oracle::WALL);
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
                // Flows that expired unseen are the agent's to take off.
                if image.features & FEATURE_LOAD != 0 {
                    trial.recount()?;
                }
                let ran = trial.run_through(frame, ifindex, &verifier)?;
                let action = ran.action;
                seen.push(
                    ran.seen(frame).unwrap_or_else(|| panic!("{action:?} of {}", crate::case::hex(frame))),
                );
            }
        }
    }
    let flows = |table| trial.flows(table).map(in_order);
    let mut reasons = trial.reasons()?;
    // How a signature came to be checked is nothing that the evaluator knows of.
    reasons[Reason::Punted as usize] = 0;
    reasons[Reason::PuntedInOrder as usize] = 0;
    Ok(Played {
        seen,
        reasons,
        tallies: named(image, trial.tallies()?.iter().map(|count| (count.packets, count.bytes))),
        flows: [flows(FlowTable::New)?, flows(FlowTable::Answered)?, flows(FlowTable::Proven)?],
        proven: trial.proven()?,
        sessions: sessions(&trial, case)?,
    })
}

/// Sessions that live at the end of the case, with the backends they have.
fn sessions(trial: &Trial, case: &Case) -> Result<Sessions, ebpf_runtime::Error> {
    let tick = oracle::end(case);
    let all = trial.sessions()?;
    let is_live = |last: u32, timeout: u32| tick.wrapping_sub(last) <= timeout;
    let mut sessions = Sessions::new();
    for (key, session) in all.iter().filter(|(key, _)| key.pool == 0) {
        if !is_live(session.last, session.timeout) {
            continue;
        }
        let own = all.iter().filter(|(other, _)| (other.tracker, other.cert) == (key.tracker, key.cert));
        let backends = own
            .filter(|(other, kept)| other.pool != 0 && kept.born == session.born)
            .map(|(other, kept)| (other.pool - 1, kept.backend.wrapping_sub(1)));
        sessions.insert((key.tracker, key.cert), (session.last, session.timeout, backends.collect()));
    }
    Ok(sessions)
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
