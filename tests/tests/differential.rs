//! Owns random traffic under random policies and under the written ones: evaluator, compiled tables and loaded program must
//! agree on every packet. Never a policy of its own making by hand.
//!
//! `LBCTL_SEED=N` starts from another seed, `LBCTL_PACKETS=N` says how many packets there are. What a run finds is written
//! to `tests/cases/replay/`, made as small as it goes, and is replayed for ever from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lb_abi::bundle::{Image, TallyKind};
use lb_abi::image::{
    ENTRY_LEAF, ENTRY_OFFSET, ENTRY_PACKED16, ENTRY_TAG, Field, H_ENTRY, H_FIELD, H_SRC6, N_P1, ROW_OFFSET,
    ROW_SPARSE,
};
use lb_abi::reason::REASONS;
use lb_abi::seen::Seen;
use lb_tests::accepted::{Accepted, random, written};
use lb_tests::case::Case;
use lb_tests::certificate_text::certificate_text;
use lb_tests::differential::{Divergence, Played, compare};
use lb_tests::kernel::Network;
use lb_tests::many_arms::ManyArms;
use lb_tests::traffic::Step;
use lb_tests::{oracle, shrink, walker};

/// Packets of an ordinary run, and of one policy.
const PACKETS: usize = 100_000;
const PACKETS_EACH: usize = 1_000;
/// Of random policies the language and the compiler must accept so many.
const ACCEPTED: f64 = 0.9;

/// Reasons that these tests do not bring about: the network has a way out for all, no table is full, no entry evicted,
/// no clock stands still for a thousand answers, nothing is broken, no image bans or rejects yet, and user space is quick.
const NOT_HERE: &[&str] = &[
    "answer longer than the packet",
    "answers limited",
    "ban set full",
    "flow pair repaired",
    "flow table refused",
    "image fault",
    "kept in order",
    "larger than the MTU",
    "neighbour unresolved",
    "no image",
    "no route",
    "not to be answered",
    "replay table full",
    "session table refused",
    "signature queue full",
    "signatures limited",
    "signatures to check",
    "too long to verify",
    "too many steps",
];

/// Holds the tables and the loaded program against what the evaluator made of the case.
fn judge(case: &Case, right: &Played, image: &Image, network: &Network) -> Result<(), Divergence> {
    compare(right, "the compiled tables", &walker::play(case, image))?;
    let loaded = network.play(case, image).map_err(|error| Divergence(format!("the kernel: {error}")))?;
    compare(right, "the loaded program", &loaded)
}

/// Makes a diverging case small, writes it down, and fails.
fn report(case: &Case, name: &str, network: &Network) -> ! {
    let judged = |case: &Case| {
        let accepted = Accepted::new(&case.policy).map_err(Divergence)?;
        judge(case, &oracle::play(case, &accepted), &accepted.image, network)
    };
    let small = shrink::shrink(case, |case| judged(case).is_err());
    let Err(why) = judged(&small) else { panic!("{name} diverges once and then no more") };
    let path = small.write(&replays(), name, &why.to_string()).expect("the case is written");
    let accepted = Accepted::new(&small.policy).expect("it was accepted before");
    let last = oracle::explain(&small, &accepted, small.frames().saturating_sub(1));
    panic!("{name}: {why}\nwritten to {}\n{last}", path.display());
}

fn replays() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/replay")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Random traffic of `packets` frames under an accepted policy; fails with a case where anybody disagrees.
fn agree(
    name: &str,
    text: String,
    accepted: &Accepted,
    seed: u64,
    packets: usize,
    network: &Network,
) -> Played {
    // Every other run draws at random, the others take each first choice.
    let mut case = Case::new(text, seed % 2 * seed);
    let right = oracle::explore(&mut case, accepted, seed, packets);
    if judge(&case, &right, &accepted.image, network).is_err() {
        report(&case, name, network);
    }
    right
}

/// What a run met on its way, so that one that meets little is noticed.
#[derive(Default)]
struct Met {
    dropped: u64,
    passed: u64,
    sent: u64,
    reasons: BTreeMap<&'static str, u64>,
    /// Tallies of `every`, exits and named counters, by label without names and numbers.
    tallies: BTreeMap<String, u64>,
    /// Flow entries left in the tables new, answered, proven.
    flows: [usize; 3],
}

impl Met {
    fn add(&mut self, played: &Played) {
        for seen in &played.seen {
            match seen {
                Seen::Drop => self.dropped += 1,
                Seen::Pass => self.passed += 1,
                Seen::Sent(_) => self.sent += 1,
            }
        }
        for (reason, name) in REASONS {
            *self.reasons.entry(name).or_default() += played.reasons[*reason as usize];
        }
        for ((_, label, _), count) in played.tallies.iter().filter(|((kind, ..), _)| *kind != TallyKind::Arm)
        {
            let label: String = label.chars().filter(|letter| !letter.is_ascii_digit()).collect();
            *self.tallies.entry(label).or_default() += count.packets;
        }
        for (sum, flows) in self.flows.iter_mut().zip(&played.flows) {
            *sum += flows.len();
        }
    }

    /// An ordinary run that met less than this has become blind, and must not pass for one that found nothing.
    fn demand(&self, packets: u64) {
        assert!(
            self.passed * 10 > packets && self.sent * 10 > packets,
            "{} passed, {} sent",
            self.passed,
            self.sent
        );
        let missing = |name: &&str| self.reasons[*name] == 0 && !NOT_HERE.contains(name);
        let missing: Vec<&str> = self.reasons.keys().copied().filter(missing).collect();
        assert!(missing.is_empty(), "no packet met {missing:?}");
        for exit in ["(exceed)", "(full)", "(empty)", "(ports)", "track flows (invalid)", "back (invalid)"] {
            assert!(self.tallies.keys().any(|label| label.ends_with(exit)), "no packet left by {exit}");
        }
        assert!(self.flows.iter().all(|entries| *entries > 100), "flow entries: {:?}", self.flows);
    }

    fn show(&self) {
        println!(
            "{} dropped, {} passed, {} sent; flow entries {:?}",
            self.dropped, self.passed, self.sent, self.flows
        );
        for (name, count) in &self.reasons {
            println!("{count:>8} {name}");
        }
        for (label, count) in &self.tallies {
            println!("{count:>8} {label}");
        }
    }
}

#[test]
fn random_policies_mean_the_same_everywhere() {
    let packets = number("LBCTL_PACKETS").map_or(PACKETS, |packets| packets as usize);
    let first = number("LBCTL_SEED").unwrap_or(1);
    println!("LBCTL_SEED={first} LBCTL_PACKETS={packets}");
    let network = Network::new();
    let (mut done, mut refused) = (0, Vec::new());
    let (mut seed, mut accepted, mut met) = (first, 0, Met::default());
    while done < packets {
        match random(seed) {
            Err(why) => refused.push(format!("{seed}: {why}")),
            Ok((text, policy)) => {
                let some = PACKETS_EACH.min(packets - done);
                met.add(&agree(&format!("seed-{seed}"), text, &policy, seed, some, &network));
                accepted += 1;
                done += some;
            }
        }
        seed += 1;
    }
    met.show();
    if packets >= PACKETS {
        met.demand(packets as u64);
    }
    let rate = f64::from(accepted) / (f64::from(accepted) + refused.len() as f64);
    println!("{done} packets under {accepted} policies; {} refused:\n{}", refused.len(), refused.join("\n"));
    assert!(rate >= ACCEPTED, "only {:.0} % of the policies were accepted", rate * 100.0);
}

#[test]
fn written_policies_mean_the_same_everywhere() {
    let network = Network::new();
    let seed = number("LBCTL_SEED").unwrap_or(1);
    for name in ["firewall-tree-demo.lbp", "nat.lbp", "firewall.lbp", "hero.lbp", "sessions.lbp"] {
        let text = written(name);
        let accepted = Accepted::new(&text).unwrap_or_else(|why| panic!("{name}: {why}"));
        for seed in [2 * seed, 2 * seed + 1] {
            agree(
                &format!("{}-{seed}", name.replace(".lbp", "")),
                text.clone(),
                &accepted,
                seed,
                3_000,
                &network,
            );
        }
    }
}

/// Policies about certificates alone, under clients that sign.
#[test]
fn certificates_mean_the_same_everywhere() {
    let network = Network::new();
    let first = number("LBCTL_SEED").unwrap_or(1);
    let rounds = number("LBCTL_PACKETS").map_or(60, |packets| packets.div_ceil(PACKETS_EACH as u64));
    let (mut met, mut refused) = (Met::default(), Vec::new());
    for seed in first..first + rounds {
        let text = certificate_text(seed);
        match Accepted::new(&text) {
            Ok(accepted) => {
                met.add(&agree(
                    &format!("certificates-{seed}"),
                    text,
                    &accepted,
                    seed,
                    PACKETS_EACH,
                    &network,
                ));
            }
            Err(why) => refused.push(format!("{seed}: {why}")),
        }
    }
    met.show();
    println!("{} refused:\n{}", refused.len(), refused.join("\n"));
    assert!(refused.len() as u64 * 10 <= rounds, "too many refused");
    if rounds >= 60 {
        assert!(met.sent > 3_000, "{} sent", met.sent);
        for exit in ["missing", "invalid", "expired", "revoked", "replayed", "full", "empty"] {
            let label = format!("({exit})");
            assert!(met.tallies.keys().any(|name| name.ends_with(&label)), "no packet left by {label}");
        }
        for counter in ["first", "known", "no_room"] {
            assert!(met.tallies.get(counter).is_some_and(|count| *count > 0), "nothing counted as {counter}");
        }
    }
}

/// Decisions too large for the random policies: sparse rows, and classes that take two bytes in the tables of addresses.
/// A divergence is not made smaller: it shows on the frame it names, as nothing here has state.
#[test]
fn many_arms_mean_the_same_everywhere() {
    let network = Network::new();
    for (count, frames) in [(100, 2_000), (600, 6_000)] {
        let mut many = ManyArms::new(count);
        let mut case = Case::new(many.policy(), 0);
        case.steps = (0..frames).map(|_| Step::Frame(many.frame())).collect();
        let accepted = Accepted::new(&case.policy).unwrap_or_else(|why| panic!("{count} arms: {why}"));
        let right = oracle::play(&case, &accepted);
        judge(&case, &right, &accepted.image, &network).unwrap_or_else(|why| panic!("{count} arms: {why}"));

        let met = right.tallies.keys().filter(|(kind, ..)| *kind == TallyKind::Arm).count();
        let arms = accepted.image.tallies.iter().filter(|tally| tally.kind == TallyKind::Arm).count();
        let sent = right.seen.iter().filter(|seen| **seen != Seen::Drop).count();
        println!("{met} of {arms} arms met, {sent} of {frames} frames not dropped");
        assert!(met * 10 > arms * 9 && sent * 4 > frames, "{met} arms met, {sent} frames not dropped");
        let words = &accepted.image.words;
        // Sources are the first field, more than 64 classes of them, and each leads to a row of destinations.
        let sources = words[words[H_ENTRY] as usize + N_P1];
        let rows = &words[(sources & ROW_OFFSET) as usize..][..64];
        let forms = [
            rows.iter().any(|row| row & ROW_SPARSE != 0),
            row_of_wide_classes(words, words[H_FIELD + Field::Src as usize], 1 << 16),
            row_of_wide_classes(words, words[H_SRC6], 1 << 16),
        ];
        assert_eq!(forms, [count == 600; 3], "{count} arms: sparse rows, and classes beyond 255");
    }
}

/// Whether a row that classes of two bytes are packed in is found below an entry word.
fn row_of_wide_classes(words: &[u32], entry: u32, slots: usize) -> bool {
    if entry & ENTRY_LEAF != 0 {
        return false;
    }
    match entry & ENTRY_TAG {
        0 => {
            let row = &words[(entry & ENTRY_OFFSET) as usize..][..slots];
            row.iter().any(|&entry| row_of_wide_classes(words, entry, 256))
        }
        tag => tag == ENTRY_PACKED16,
    }
}

/// What once diverged never does again.
#[test]
fn every_kept_case_means_the_same_everywhere() {
    let network = Network::new();
    let cases = Case::read_all(&replays()).expect("the kept cases");
    for (name, case) in &cases {
        let accepted = Accepted::new(&case.policy).unwrap_or_else(|why| panic!("{name}: {why}"));
        let right = oracle::play(case, &accepted);
        judge(case, &right, &accepted.image, &network).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    println!("{} cases", cases.len());
}
