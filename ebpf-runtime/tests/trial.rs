//! The program without a device: loading, swapping, counting.

mod common;
#[path = "common/frame.rs"]
mod frame;

use common::counting;
use ebpf_runtime::trial::{Action, Count, Trial};
use frame::udp;
use lb_abi::image::{END_DROP, END_PASS};
use lb_abi::mode::FEATURE_TEST;
use lb_abi::reason::Reason;

#[test]
fn runs_and_counts_a_frame() {
    let trial = Trial::load(&counting(&[1], END_PASS), FEATURE_TEST).unwrap();
    let ran = trial.run(&udp(), 0).unwrap();
    assert_eq!((ran.action, ran.frame), (Action::Pass, udp()));
    assert_eq!(trial.counters().unwrap(), [Count { packets: 1, bytes: 42 }]);
    assert_eq!(trial.tallies().unwrap(), [Count { packets: 1, bytes: 42 }]);
    assert!(trial.verified_instructions().unwrap() > 0);
}

#[test]
fn counts_a_reason_before_the_tree() {
    let trial = Trial::load(&counting(&[1], END_PASS), 0).unwrap();
    assert_eq!(trial.run(&udp()[..20], 0).unwrap().action, Action::Drop);
    assert_eq!(
        trial.reasons().unwrap()[Reason::IpLength as usize]
            + trial.reasons().unwrap()[Reason::Ipv4Header as usize],
        1
    );
    assert_eq!(trial.counters().unwrap(), [Count::default()]);
}

#[test]
fn a_swap_of_halves_keeps_what_has_an_identity() {
    let mut trial = Trial::load(&counting(&[1, 2], END_PASS), 0).unwrap();
    trial.run(&udp(), 0).unwrap();
    trial.swap(&counting(&[2, 3], END_DROP)).unwrap();
    assert_eq!(trial.run(&udp(), 0).unwrap().action, Action::Drop);
    let counted = trial.counters().unwrap();
    assert_eq!(counted.iter().map(|count| count.packets).collect::<Vec<_>>(), [2, 1]);
    // What 1 had counted is forgotten with its tally; back again it starts at 0, in a number of its own.
    trial.swap(&counting(&[1, 2, 3], END_PASS)).unwrap();
    let counted = trial.counters().unwrap();
    assert_eq!(counted.iter().map(|count| count.packets).collect::<Vec<_>>(), [0, 2, 1]);
}

#[test]
fn a_larger_image_gets_a_new_program_with_the_old_counts() {
    let many: Vec<u64> = (0..600).collect();
    let mut trial = Trial::load(&counting(&[5], END_PASS), 0).unwrap();
    trial.run(&udp(), 0).unwrap();
    trial.swap(&counting(&many[..20], END_PASS)).unwrap();
    assert_eq!(trial.counters().unwrap()[5], Count { packets: 1, bytes: 42 });
    // 600 nodes are more than a packet may walk, so that nothing runs; but their counters need a larger map.
    trial.swap(&counting(&many, END_PASS)).unwrap();
    assert_eq!(trial.counters().unwrap()[5], Count { packets: 1, bytes: 42 });
}

#[test]
fn a_mix_holds_no_more_templates_than_there_is_room_for() {
    let mut bare = Trial::load(&counting(&[1], END_PASS), 0).unwrap();
    bare.set_templates(&[udp()]).unwrap();
    assert!(bare.set_templates(&[udp(), udp()]).is_err());
}
