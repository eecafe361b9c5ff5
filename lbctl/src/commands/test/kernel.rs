//! Owns a policy's tests in the loaded program: an image, clock, seed and key for each packet, under
//! `BPF_PROG_TEST_RUN`. Never attaches anything, and never judges an answer.

use compiler::expect::{self, Arrival, ByProgram, Put, Report};
use ebpf_runtime::lab::Gateway;
use ebpf_runtime::slow::Verifier;
use ebpf_runtime::trial::Trial;
use lb_abi::bundle::Image;
use lb_abi::mode::FEATURE_TEST;
use lb_abi::reason::{REASON_COUNT, REASONS, Reason};
use policy_lang::policy::Policy;
use policy_lang::source::Sources;

use crate::console::Failure;

/// Runs every test through evaluator, tables and program. Needs root; it happens in a namespace of its own.
pub fn run(policy: &Policy, sources: &Sources, image: &Image) -> Result<Report, Failure> {
    let gateway = Gateway::build().map_err(|error| Failure::new(error.to_string()))?;
    let ran = gateway.run(|ifindex| {
        let mut loaded: Option<Loaded> = None;
        let mut program = |arrival: Arrival<'_>| -> Result<Option<ByProgram>, Failure> {
            let failed = |error: ebpf_runtime::Error| Failure::new(error.to_string());
            match (arrival.image, &mut loaded) {
                (Put::Fresh(image), _) => {
                    loaded = Some(Loaded::new(&expect::with_test_keys(image)).map_err(failed)?)
                }
                (Put::Changed(image), Some(loaded)) => {
                    loaded.trial.swap(&expect::with_test_keys(image)).map_err(failed)?
                }
                _ => {}
            }
            let Some(loaded) = &mut loaded else { return Ok(None) };
            loaded.meet(arrival, ifindex).map_err(failed)?.map(Some).ok_or_else(|| {
                Failure::new(
                    "the loaded program did what it never does: this is a bug of lbctl, please report it",
                )
            })
        };
        expect::run_with(policy, sources, Some(image), &mut program)
    });
    ran.map_err(|error| Failure::new(error.to_string()))?
}

/// The program of one test, and what it has counted so far.
struct Loaded {
    trial: Trial,
    verifier: Verifier,
    reasons: [u64; REASON_COUNT],
}

impl Loaded {
    fn new(image: &Image) -> Result<Loaded, ebpf_runtime::Error> {
        let (trial, verifier) = (Trial::load(image, FEATURE_TEST)?, Verifier::of_image(image));
        Ok(Loaded { trial, verifier, reasons: [0; REASON_COUNT] })
    }

    /// `None` for a verdict that no program of ours gives where every way out is the way in.
    fn meet(&mut self, arrival: Arrival<'_>, ifindex: u32) -> Result<Option<ByProgram>, ebpf_runtime::Error> {
        self.trial.set_hash_key(arrival.key);
        self.trial.set_clock(arrival.clock);
        self.trial.set_wall(arrival.wall);
        self.trial.set_seed(arrival.seed);
        let ran = self.trial.run_through(arrival.frame, ifindex, &self.verifier)?;
        let before = std::mem::replace(&mut self.reasons, self.trial.reasons()?);
        let more = |index: usize| match (self.reasons.get(index), before.get(index)) {
            (Some(now), Some(before)) => now.saturating_sub(*before) as usize,
            _ => 0,
        };
        // By which way a signature is checked is the program's own affair.
        let by_the_way = [Reason::Punted, Reason::PuntedInOrder];
        let counted = REASONS
            .iter()
            .filter(|(reason, _)| !by_the_way.contains(reason))
            .flat_map(|&(reason, _)| std::iter::repeat_n(reason, more(reason as usize)))
            .collect();
        Ok(ran.seen(arrival.frame).map(|seen| ByProgram { seen, counted }))
    }
}
