//! Random policies and packets: evaluator and tables must agree on every verdict, reason, frame and backend.

use lb_abi::bundle::Image;
use policy_lang::policy::Policy;
use proptest::prelude::*;

use super::run;
use crate::eval::{Evaluator, State};
use crate::packet::build_in;
use crate::random::{Dice, certified, compiled, packet, signed};

const KEY: lb_abi::hash::Key = [7, 11];

fn agree((policy, image): (Policy, Image), packets: &[u32], seed: u64) -> Result<(), TestCaseError> {
    let evaluator = Evaluator::new(&policy);
    let (mut by_tree, mut by_tables) = (State::new(KEY), State::new(KEY));
    by_tree.seed = seed;
    by_tables.seed = seed;
    (by_tree.test_keys, by_tables.test_keys) = (true, true);
    for choices in packets.chunks(12) {
        let mut spec = packet(&mut Dice::new(choices));
        if !policy.authorities.is_empty() {
            spec = signed(choices, spec);
        }
        let frame = build_in(&policy, &spec);
        let expected = evaluator.run(&mut by_tree, &frame);
        let found = run(&image, &mut by_tables, &frame);
        let what = |run: &crate::eval::Run| (run.verdict, run.reason, run.counted.clone(), run.sent);
        prop_assert_eq!(what(&expected), what(&found), "{:?}\n{:#?}\n{:#?}", spec, expected.path, found.path);
        prop_assert_eq!(expected.frame, found.frame);
        by_tree.clock += 40_000_000;
        by_tables.clock += 40_000_000;
    }
    prop_assert_eq!(by_tree.limits, by_tables.limits);
    prop_assert_eq!(by_tree.draws, by_tables.draws);
    prop_assert_eq!(by_tree.sessions, by_tables.sessions);
    prop_assert_eq!(by_tree.signatures, by_tables.signatures);
    prop_assert_eq!(by_tree.learned, by_tables.learned);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn evaluator_and_tables_agree(
        choices in prop::collection::vec(any::<u32>(), 100..600),
        packets in prop::collection::vec(any::<u32>(), 12 * 30),
        seed in 0u64..3,
    ) {
        agree(compiled(&choices)?, &packets, seed)?;
    }

    #[test]
    fn evaluator_and_tables_agree_on_certificates(
        choices in prop::collection::vec(any::<u32>(), 100..600),
        packets in prop::collection::vec(any::<u32>(), 12 * 30),
        seed in 0u64..3,
    ) {
        agree(certified(&choices)?, &packets, seed)?;
    }
}
