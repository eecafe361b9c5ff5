//! Random policies, random traffic: evaluator, compiled tables and loaded program must agree on every packet.
//!
//! `LBCTL_SEED=N` replays one run, `LBCTL_PACKETS=N` says how many packets it has. What a run finds is written to
//! `tests/cases/replay/`, made as small as it goes, and is replayed for ever from there.

use std::path::{Path, PathBuf};

use compiler::compile;
use lb_abi::bundle::Image;
use lb_tests::case::Case;
use lb_tests::differential::{Divergence, Played, compare};
use lb_tests::kernel::Network;
use lb_tests::policy_text::policy_text;
use lb_tests::{oracle, shrink, walker};
use policy_lang::policy::Policy;
use policy_lang::source::Sources;

/// Packets of an ordinary run, and of one policy.
const PACKETS: usize = 100_000;
const PACKETS_EACH: usize = 600;
/// Of random policies the language and the compiler must accept so many.
const ACCEPTED: f64 = 0.6;

struct NoFiles;

impl policy_lang::source::Loader for NoFiles {
    fn load(&self, _: &Path) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

/// Typed, compiled; or why not.
fn accept(text: &str) -> Result<(Policy, Sources, Image), String> {
    let checked = policy_lang::check("random.lbp", text.to_owned(), &NoFiles);
    let Some(policy) = checked.policy else {
        let first =
            checked.diagnostics.iter().find(|one| one.severity == policy_lang::diagnostic::Severity::Error);
        return Err(first.map_or_else(String::new, |one| format!("{}: {}", one.code, one.message)));
    };
    match compile(&policy, &checked.sources) {
        Ok(image) => Ok((policy, checked.sources, image)),
        Err(refused) => Err(refused.iter().map(|one| format!("{}: {}", one.code, one.message)).collect()),
    }
}

/// Holds the tables and the loaded program against what the evaluator made of the case.
fn judge(case: &Case, right: &Played, image: &Image, network: &Network) -> Result<(), Divergence> {
    compare(right, "the compiled tables", &walker::play(case, image))?;
    let loaded = network.play(case, image).map_err(|error| Divergence(format!("the kernel: {error}")))?;
    compare(right, "the loaded program", &loaded)
}

/// Makes a diverging case small, writes it down, and says so.
fn report(case: &Case, seed: u64, network: &Network) -> ! {
    let judged = |case: &Case| {
        let (policy, sources, image) = accept(&case.policy).map_err(Divergence)?;
        let right = oracle::play(case, &policy, &sources).identified(&image);
        judge(case, &right, &image, network)
    };
    let small = shrink::shrink(case, |case| judged(case).is_err());
    let why = judged(&small).expect_err("it still diverges").to_string();
    let path = small.write(&replays(), &format!("seed-{seed}"), &why).expect("the case is written");
    let (policy, ..) = accept(&small.policy).expect("it was accepted before");
    let last = small.frames().saturating_sub(1);
    panic!("seed {seed}: {why}\nwritten to {}\n{}", path.display(), oracle::explain(&small, &policy, last));
}

fn replays() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/replay")
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_policies_mean_the_same_everywhere() {
    let packets = number("LBCTL_PACKETS").map_or(PACKETS, |packets| packets as usize);
    let first = number("LBCTL_SEED").unwrap_or(1);
    println!("LBCTL_SEED={first} LBCTL_PACKETS={packets}");
    let network = Network::new();
    let (mut done, mut accepted, mut refused) = (0, 0u32, Vec::new());
    let mut seed = first;
    while done < packets {
        let text = policy_text(seed);
        match accept(&text) {
            Err(why) => refused.push(format!("{seed}: {why}")),
            Ok((policy, sources, image)) => {
                accepted += 1;
                // Every other run draws at random, the others take each first choice.
                let mut case = Case::new(text, seed % 2 * seed);
                let right =
                    oracle::explore(&mut case, &policy, &sources, seed, PACKETS_EACH.min(packets - done))
                        .identified(&image);
                done += right.seen.len();
                if judge(&case, &right, &image, &network).is_err() {
                    report(&case, seed, &network);
                }
            }
        }
        seed += 1;
    }
    let rate = f64::from(accepted) / (f64::from(accepted) + refused.len() as f64);
    println!(
        "{done} packets, {accepted} policies, {:.0} % accepted; refused:\n{}",
        rate * 100.0,
        refused.join("\n")
    );
    assert!(rate >= ACCEPTED || accepted < 20, "only {:.0} % of the policies were accepted", rate * 100.0);
}

/// What once diverged never does again.
#[test]
fn every_kept_case_means_the_same_everywhere() {
    let network = Network::new();
    let cases = Case::read_all(&replays()).expect("the kept cases");
    for (name, case) in &cases {
        let (policy, sources, image) = accept(&case.policy).unwrap_or_else(|why| panic!("{name}: {why}"));
        let right = oracle::play(case, &policy, &sources).identified(&image);
        judge(case, &right, &image, &network).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    println!("{} cases", cases.len());
}
