//! Owns ten thousand damaged policies and inventories: each gives findings with places or a policy that can be compiled,
//! proved, run and explained, and never a panic. Never the language's own tests of chosen texts, nor files.
//!
//! `LBCTL_SEED=N` starts from another seed, `LBCTL_MUTANTS=N` says how many there are; a run is the same on every machine.
//! One in five is an inventory.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use lb_tests::accepted::{random, written};
use lb_tests::any_text::{Came, Texts, examine, examine_import, examine_included};
use lb_tests::mutate::mutant;

/// Damaged texts of an ordinary run.
const MUTANTS: u64 = 10_000;

/// For one text, on a busy machine and without optimisation.
const LONGEST: Duration = Duration::from_secs(20);

const POLICIES: [&str; 6] =
    ["edge.lbp", "hero.lbp", "firewall-tree-demo.lbp", "firewall.lbp", "nat.lbp", "sessions.lbp"];

/// What the policies and the bad examples include, and one that leads back to the text itself.
fn files() -> Texts {
    let mut files = BTreeMap::from([(PathBuf::from("p.lbp"), "lbp 1\ninclude \"p.lbp\"\n".to_owned())]);
    let certificates = ["device-0.pem", "device-1.pem", "device-2.pub", "device-4.pem", "revoked.txt"];
    let certificates = certificates.map(|name| format!("certs/{name}"));
    let lists = ["common/bogons.lbp", "lists/blocklist.txt", "lists/geo-eu.txt"].map(str::to_owned);
    for name in lists.iter().chain(&certificates) {
        files.insert(name.into(), written(name));
    }
    for below in bad("txt").into_iter().chain(bad("lbp")) {
        let name = below.file_name().expect("a file");
        if below.parent().is_some_and(|parent| parent.ends_with("files")) {
            files.insert(Path::new("files").join(name), text(&below));
        }
    }
    Texts(files)
}

fn bad(ending: &str) -> Vec<PathBuf> {
    below("cases/bad", ending)
}

fn below(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("the directory can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn damaged_policies_are_told_or_carried_out() {
    let (first, count) = (number("LBCTL_SEED").unwrap_or(0), number("LBCTL_MUTANTS").unwrap_or(MUTANTS));
    let mut texts: Vec<String> = POLICIES.iter().map(|name| written(name)).collect();
    texts.extend((0..20).filter_map(|seed| random(seed).ok()).map(|(text, _)| text));
    let policies = texts.len();
    texts.extend(bad("lbp").iter().map(|path| text(path)));
    let inventories: Vec<String> = bad("toml")
        .iter()
        .chain(&below("cases/import", "yaml"))
        .chain(&below("cases/import", "toml"))
        .map(|path| text(path))
        .collect();
    assert!(inventories.len() >= 10, "there are inventories to damage");
    let corpus = Corpus { texts: &texts, policies, inventories: &inventories, files: &files() };
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let came = std::thread::scope(|scope| {
        let run = |thread| {
            move || corpus.run((first..first + count).skip(thread as usize).step_by(threads as usize))
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        let mut came: BTreeMap<Came, u64> = BTreeMap::new();
        for thread in running {
            let of_thread = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            of_thread.into_iter().for_each(|(how_far, times)| *came.entry(how_far).or_default() += times);
        }
        came
    });
    println!("{came:?}");
    // Mutants that are all refused, or all carried out, would say little.
    if count >= MUTANTS {
        let enough = [Came::Refused, Came::Compiled].iter().all(|kind| came.get(kind) >= Some(&(count / 20)));
        assert!(enough, "{came:?}");
    }
}

#[derive(Clone, Copy)]
struct Corpus<'a> {
    texts: &'a [String],
    /// The first so many are whole policies, which are damaged more often than the bad examples behind them.
    policies: usize,
    inventories: &'a [String],
    files: &'a Texts,
}

impl Corpus<'_> {
    /// How many of the mutants of these seeds came how far.
    fn run(self, seeds: impl Iterator<Item = u64>) -> BTreeMap<Came, u64> {
        let others: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        let inventories: Vec<&str> = self.inventories.iter().map(String::as_str).collect();
        let mut came = BTreeMap::new();
        for seed in seeds {
            let mut rng = Rng::with_seed(seed);
            let is_inventory = rng.u32(0..5) == 0;
            let text = if is_inventory {
                let of = inventories[rng.usize(0..inventories.len())];
                mutant(&mut rng, of, &inventories)
            } else {
                let among = if rng.u32(0..4) == 0 { self.texts.len() } else { self.policies };
                let of = others[rng.usize(0..among)];
                mutant(&mut rng, of, &others)
            };
            let start = Instant::now();
            let examined = catch_unwind(AssertUnwindSafe(|| match is_inventory {
                true => examine_included(&text).max(examine_import(&text)),
                false => examine(&text, self.files),
            }));
            let took = start.elapsed();
            let Ok(how_far) = examined else { panic!("mutant {seed} (see the panic above):\n{text}") };
            assert!(took < LONGEST, "mutant {seed} took {took:?}:\n{text}");
            *came.entry(how_far).or_default() += 1;
        }
        came
    }
}
