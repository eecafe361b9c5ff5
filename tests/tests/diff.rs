//! Owns differences in meaning held against what happens: a packet that two policies treat otherwise lies in a region that is
//! told, and a witness that is said to show a difference shows it, in the evaluator and in the loaded program.
//! Never how they are shown.

use std::fmt::Write;

use compiler::diff::{Region, Report};
use compiler::eval::{Evaluator, Run, State, Verdict};
use compiler::packet;
use fastrand::Rng;
use lb_tests::accepted::{Accepted, random, written};
use lb_tests::case::Case;
use lb_tests::kernel::Network;
use lb_tests::traffic::{START, Step, Traffic};
use lb_tests::vocabulary::Vocabulary;

const PAIRS: u64 = 40;
const PACKETS_EACH: usize = 300;
const WITNESSES_IN_THE_KERNEL: usize = 40;

/// The text with one thing changed: an arm of a `match` gone, two of them swapped, or an end another one.
fn changed(text: &str, rng: &mut Rng) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let arms: Vec<usize> = (0..lines.len())
        .filter(|&at| lines[at].starts_with("    ") && lines[at].contains(" -> ") && !lines[at].contains('{'))
        .filter(|&at| {
            !lines[at].trim_start().starts_with(|first: char| first.is_ascii_digit() || first == '}')
        })
        .filter(|&at| !lines[at].contains("else") && !lines[at].contains("translate back"))
        .collect();
    let Some(&at) = rng.choice(&arms) else { return text.replace("-> pass", "-> drop") };
    let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    match rng.u32(0..3) {
        0 => drop(lines.remove(at)),
        1 if arms.contains(&(at + 1)) => lines.swap(at, at + 1),
        _ => {
            let (from, to) = if lines[at].ends_with("drop") { ("drop", "pass") } else { ("pass", "drop") };
            let end = lines[at].rfind(from).unwrap_or(lines[at].len());
            lines[at].replace_range(end.., to);
        }
    }
    lines.join("\n") + "\n"
}

/// Pairs of accepted policies, the second one a little changed.
fn pairs(first: u64) -> impl Iterator<Item = (String, Accepted, Accepted)> {
    (first..).filter_map(|seed| {
        let (text, old) = random(seed).ok()?;
        let new = Accepted::new(&changed(&text, &mut Rng::with_seed(seed))).ok()?;
        Some((text, old, new))
    })
}

fn diff(old: &Accepted, new: &Accepted) -> Report {
    compiler::diff::run((&old.policy, &old.sources), (&new.policy, &new.sources)).expect("they are small")
}

fn run(accepted: &Accepted, frame: &[u8]) -> Run {
    let mut state = State { clock: START, ..State::new([0; 2]) };
    Evaluator::new(&accepted.policy).run(&mut state, frame)
}

fn differ(old: &Run, new: &Run) -> bool {
    (old.verdict, &old.frame) != (new.verdict, &new.frame)
}

/// A policy that passes what is in the region, of the items that the text declares; `None`: every packet is in it.
fn asks(text: &str, region: &Region) -> Option<Accepted> {
    let guard = &region.guard.whole;
    if guard == "every packet" {
        return None;
    }
    let items = text.split("policy random").next().unwrap_or_default();
    let mut asks = items.to_owned();
    let _ = writeln!(
        asks,
        "policy asks {{ default drop; fragments match }} =\n  match {{\n    {guard} -> pass\n    else -> drop\n  }}"
    );
    match Accepted::new(&asks) {
        Ok(accepted) => Some(accepted),
        // A guard that always holds leaves nothing to the arm behind it.
        Err(why) if why.contains("else") => None,
        Err(why) => panic!("{why}\n{asks}"),
    }
}

#[test]
fn packets_that_are_treated_otherwise_lie_in_a_region() {
    let (mut met, mut told) = (0, 0);
    for (seed, (text, old, new)) in (0..PAIRS).zip(pairs(0)) {
        let report = diff(&old, &new);
        if report.more_changes > 0 || report.changes.iter().any(|change| change.more != Some(0)) {
            continue;
        }
        told += report.changes.len();
        let regions = report.changes.iter().flat_map(|change| &change.regions);
        // A certificate is known behind a `verify` alone: no policy of one match can ask for it.
        if regions.clone().any(|region| region.guard.whole.contains("cert.")) {
            continue;
        }
        let asked: Vec<Option<Accepted>> = regions.map(|region| asks(&text, region)).collect();
        let mut traffic = Traffic::new(seed, Vocabulary::of(&old.policy));
        for _ in 0..PACKETS_EACH {
            let Step::Frame(frame) = traffic.next_step() else { continue };
            let (before, after) = (run(&old, &frame), run(&new, &frame));
            if !differ(&before, &after) {
                continue;
            }
            met += 1;
            let is_in = |asked: &Option<Accepted>| {
                asked.as_ref().is_none_or(|asked| run(asked, &frame).verdict == Verdict::Pass)
            };
            assert!(
                asked.iter().any(is_in),
                "{:?} and {:?}, but in no region of {report:#?}\n{text}",
                before.path,
                after.path
            );
        }
    }
    assert!(met > 50 && told > 20, "{met} packets, {told} changes");
}

#[test]
fn a_policy_is_equal_to_itself() {
    for seed in 0..40 {
        let Ok((text, accepted)) = random(seed) else { continue };
        let spaced = Accepted::new(&text.replace(" -> ", "  ->  ")).expect("white space is free");
        for report in [diff(&accepted, &accepted), diff(&accepted, &spaced)] {
            assert!(
                report.is_equal() && report.observed.is_empty() && report.lost.is_empty(),
                "{report:#?}\n{text}"
            );
        }
    }
    for name in ["nat.lbp", "firewall.lbp", "firewall-tree-demo.lbp"] {
        let accepted = Accepted::new(&written(name)).expect("it is accepted");
        let report = diff(&accepted, &accepted);
        assert!(report.is_equal() && report.observed.is_empty() && report.lost.is_empty(), "{report:#?}");
    }
}

#[test]
fn a_witness_differs_in_the_evaluator_and_in_the_kernel() {
    let network = Network::new();
    let mut seen = 0;
    for (text, old, new) in pairs(1_000) {
        let report = diff(&old, &new);
        for region in report.changes.iter().flat_map(|change| &change.regions) {
            let witness = &region.witness;
            let frames = [packet::build(&witness.packets.0), packet::build(&witness.packets.1)];
            let runs = (run(&old, &frames[0]), run(&new, &frames[1]));
            assert_eq!(differ(&runs.0, &runs.1), witness.at_once.is_some(), "{region:#?}\n{text}");
            if witness.at_once.is_none() || seen == WITNESSES_IN_THE_KERNEL {
                continue;
            }
            seen += 1;
            let [before, after] = [(&old, &frames[0]), (&new, &frames[1])].map(|(accepted, frame)| {
                let case = Case {
                    key: [0; 2],
                    steps: vec![Step::Frame(frame.clone())],
                    ..Case::new(text.clone(), 0)
                };
                network.play(&case, &accepted.image).expect("the kernel runs it").seen
            });
            assert_ne!(before, after, "{region:#?}\n{text}");
        }
        if seen == WITNESSES_IN_THE_KERNEL {
            return;
        }
    }
}
