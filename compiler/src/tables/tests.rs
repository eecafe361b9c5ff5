//! Random policies and packets: evaluator and tables must agree on every verdict, reason, frame and backend.

use proptest::prelude::*;

use super::run;
use crate::eval::{Evaluator, State};
use crate::packet::build;
use crate::random::{Dice, compiled, packet};

const KEY: lb_abi::hash::Key = [7, 11];

fn agree(choices: &[u32], packets: &[u32], seed: u64) -> Result<(), TestCaseError> {
    let (policy, image) = compiled(choices)?;
    let evaluator = Evaluator::new(&policy);
    let (mut by_tree, mut by_tables) = (State::new(KEY), State::new(KEY));
    by_tree.seed = seed;
    by_tables.seed = seed;
    for choices in packets.chunks(12) {
        let spec = packet(&mut Dice::new(choices));
        let frame = build(&spec);
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
        agree(&choices, &packets, seed)?;
    }
}
