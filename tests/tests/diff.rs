//! Owns differences in meaning held against what happens: a packet that two policies treat otherwise lies in a region that is
//! told, and a witness that is said to show a difference shows it, in the evaluator and in the loaded program.
//! Never how they are shown.

use compiler::diff::{Region, Report};
use compiler::eval::{Evaluator, Run, Verdict};
use compiler::packet;
use fastrand::Rng;
use lb_tests::accepted::{Accepted, random, written};
use lb_tests::case::Case;
use lb_tests::kernel::Network;
use lb_tests::oracle;
use lb_tests::policy_text::certified_text;
use lb_tests::traffic::{Step, Traffic};
use lb_tests::vocabulary::Vocabulary;

const PAIRS: usize = 40;
const CERTIFIED_PAIRS: usize = 12;
const PACKETS_EACH: usize = 300;
const WITNESSES_IN_THE_KERNEL: usize = 40;

/// The text with one thing changed: an arm of a `match` gone, two of them swapped, or an end another one. Of arms that ask
/// for certificates, where there are any.
fn changed(text: &str, rng: &mut Rng) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let arms: Vec<usize> = (0..lines.len())
        .filter(|&at| lines[at].starts_with("    ") && lines[at].contains(" -> ") && !lines[at].contains('{'))
        .filter(|&at| {
            !lines[at].trim_start().starts_with(|first: char| first.is_ascii_digit() || first == '}')
        })
        .filter(|&at| !lines[at].contains("else") && !lines[at].contains("translate back"))
        .collect();
    let of_certificates: Vec<usize> =
        arms.iter().copied().filter(|&at| lines[at].contains("cert.")).collect();
    let arm = rng.choice(&of_certificates).or_else(|| rng.choice(&arms)).copied();
    let Some(at) = arm else { return text.replace("-> pass", "-> drop") };
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

/// Pairs of accepted policies, the second one a little changed: any, or those that ask for certificates.
fn pairs(first: u64, certified: bool) -> impl Iterator<Item = (u64, String, Accepted, Accepted)> {
    // One of three has an authority, and half of these ask for its certificates.
    let asks = |seed: &u64| seed.is_multiple_of(3) && certified_text(*seed).contains("cert.id");
    let seeds = (first..).filter(move |seed| !certified || asks(seed));
    seeds.filter_map(|seed| {
        let (text, old) = random(seed).ok()?;
        let new = Accepted::new(&changed(&text, &mut Rng::with_seed(seed))).ok()?;
        Some((seed, text, old, new))
    })
}

fn diff(old: &Accepted, new: &Accepted) -> Report {
    compiler::diff::run((&old.policy, &old.sources), (&new.policy, &new.sources)).expect("they are small")
}

fn run(accepted: &Accepted, frame: &[u8]) -> Run {
    let mut state = oracle::state(&Case { key: [0; 2], ..Case::new(String::new(), 0) });
    Evaluator::new(&accepted.policy).run(&mut state, frame)
}

fn differ(old: &Run, new: &Run) -> bool {
    (old.verdict, &old.frame) != (new.verdict, &new.frame)
}

const EVERY_PACKET: &str = "every packet";
const VERIFY: &str =
    "verify devices (missing -> drop, invalid -> drop, expired -> drop, revoked -> drop, replayed -> drop)";

/// Which packets are in a region.
enum Asks {
    All,
    None,
    /// Those that this policy passes.
    Passed(Box<Accepted>),
    /// A certificate is known behind a `verify` alone: what `certified` passes is asked there, everything else without.
    Certified {
        certified: Box<Accepted>,
        behind: Box<Asks>,
        without: Box<Asks>,
    },
}

impl Asks {
    /// Of the items that the text declares.
    fn of(text: &str, region: &Region) -> Asks {
        let guard = &*region.guard.whole;
        if !is_of_certificates(region) {
            return Asks::guard(text, "", guard);
        }
        let certified = Accepted::new(&asking(text, &format!("{VERIFY} -> pass"))).expect("nothing is asked");
        let without = without_certificates(guard);
        Asks::Certified {
            certified: Box::new(certified),
            behind: Box::new(Asks::guard(text, &format!("{VERIFY} -> "), guard)),
            without: Box::new(without.map_or(Asks::None, |guard| Asks::guard(text, "", &guard))),
        }
    }

    fn guard(text: &str, before: &str, guard: &str) -> Asks {
        if guard == EVERY_PACKET {
            return Asks::All;
        }
        let asks = asking(text, &format!("{before}match {{\n    {guard} -> pass\n    else -> drop\n  }}"));
        match Accepted::new(&asks) {
            Ok(accepted) => Asks::Passed(Box::new(accepted)),
            // A guard that always holds leaves nothing to the arm behind it.
            Err(why) if why.contains("else") => Asks::All,
            Err(why) if why.starts_with("E0415") => Asks::None,
            Err(why) => panic!("{why}\n{asks}"),
        }
    }

    fn has(&self, frame: &[u8]) -> bool {
        match self {
            Asks::All => true,
            Asks::None => false,
            Asks::Passed(by) => passes(by, frame),
            Asks::Certified { certified, behind, .. } if passes(certified, frame) => behind.has(frame),
            Asks::Certified { without, .. } => without.has(frame),
        }
    }
}

/// A policy of this chain with the items that the text declares.
fn asking(text: &str, chain: &str) -> String {
    let items = text.split("policy random").next().unwrap_or_default();
    format!("{items}policy asks {{ default drop; fragments match }} =\n  {chain}\n")
}

fn passes(accepted: &Accepted, frame: &[u8]) -> bool {
    run(accepted, frame).verdict == Verdict::Pass
}

fn is_of_certificates(region: &Region) -> bool {
    region.guard.whole.contains("cert.")
}

/// What a guard asks of a packet that has no certificate, for which no comparison with one holds; `None`: it fails.
fn without_certificates(guard: &str) -> Option<String> {
    let (of_certificates, others): (Vec<&str>, Vec<&str>) =
        guard.split(" and ").partition(|one| one.contains("cert."));
    let is_held = of_certificates.iter().all(|one| one.starts_with("not (cert."));
    let others = if others.is_empty() { EVERY_PACKET.to_owned() } else { others.join(" and ") };
    is_held.then_some(others)
}

#[test]
fn packets_that_are_treated_otherwise_lie_in_a_region() {
    let (mut met, mut told, mut certified) = (0, 0, 0);
    for (seed, text, old, new) in pairs(0, false).take(PAIRS).chain(pairs(0, true).take(CERTIFIED_PAIRS)) {
        let report = diff(&old, &new);
        if report.more_changes > 0 || report.changes.iter().any(|change| change.more != Some(0)) {
            continue;
        }
        told += report.changes.len();
        let regions: Vec<&Region> = report.changes.iter().flat_map(|change| &change.regions).collect();
        let asked: Vec<Asks> = regions.iter().map(|region| Asks::of(&text, region)).collect();
        let mut traffic = Traffic::new(seed, Vocabulary::of(&old.policy));
        for _ in 0..PACKETS_EACH {
            let Step::Frame(frame) = traffic.next_step() else { continue };
            let (before, after) = (run(&old, &frame), run(&new, &frame));
            if !differ(&before, &after) {
                continue;
            }
            met += 1;
            let lies_in = asked.iter().position(|asks| asks.has(&frame));
            let Some(region) = lies_in.map(|at| regions[at]) else {
                panic!("{:?} and {:?}, but in no region of {report:#?}\n{text}", before.path, after.path)
            };
            certified += u64::from(is_of_certificates(region));
        }
    }
    println!("{met} packets, {certified} of them in regions of certificates, {told} changes");
    assert!(
        met > 50 && told > 20 && certified > 0,
        "{met} packets, {certified} by certificate, {told} changes"
    );
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
    let (mut seen, mut certified) = (0, 0);
    for (_, text, old, new) in pairs(1_000, true).take(CERTIFIED_PAIRS).chain(pairs(1_000, false)) {
        let report = diff(&old, &new);
        for region in report.changes.iter().flat_map(|change| &change.regions) {
            let witness = &region.witness;
            let frames = [
                packet::build_in(&old.policy, &witness.packets.0),
                packet::build_in(&new.policy, &witness.packets.1),
            ];
            let runs = (run(&old, &frames[0]), run(&new, &frames[1]));
            assert_eq!(differ(&runs.0, &runs.1), witness.at_once.is_some(), "{region:#?}\n{text}");
            if witness.at_once.is_none() || seen == WITNESSES_IN_THE_KERNEL {
                continue;
            }
            seen += 1;
            certified += usize::from(is_of_certificates(region));
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
            break;
        }
    }
    println!("{certified} of {seen} in regions of certificates");
    assert!(certified > 0, "no witness of a region of certificates");
}
