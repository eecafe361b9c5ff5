//! How long and how much memory `lbctl check` and `lbctl diff` take near the bounds of `docs/compiler.md`:
//! `cargo bench -p lb-tests --bench limits`, with a part of a row's name behind `--` for those rows only. Prints a table;
//! never judges a figure.
//!
//! Each round is a process of its own, so that the peak of its memory is that of one policy.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use policy_lang::diagnostic::Severity;
use policy_lang::policy::Policy;
use policy_lang::source::{Loader, Sources};
use tempfile::TempDir;

const ROUNDS: usize = 5;
/// As first argument: this process is a round of the policies behind it.
const ROUND: &str = "--round";
const PARTS: [&str; 5] = ["read", "analyse", "compile", "prove", "diff"];

/// The texts beside a policy.
struct Directory(PathBuf);

impl Loader for Directory {
    fn load(&self, name: &Path) -> Result<String, String> {
        fs::read_to_string(self.0.join(name)).map_err(|error| error.to_string())
    }
}

/// A policy to check, or two to tell apart.
struct Row {
    name: String,
    policies: Vec<PathBuf>,
}

/// What one round took.
struct Round {
    parts: [Duration; PARTS.len()],
    /// Of the processor; other processes cannot make it longer, but for their hold on the caches.
    busy: Duration,
    /// The most memory that was resident.
    peak_kb: u64,
    ended: String,
}

fn main() {
    let given: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if let Some((ROUND, policies)) = given.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return round(policies);
    }
    let wanted = given.first().map_or("", String::as_str);
    let desk = tempfile::tempdir().expect("a directory");
    println!(
        "{:<46} {:>13} {:>8}  {:>39} {:>5}  ended in",
        format!("ms, of {ROUNDS} rounds"),
        "min / median",
        "cpu min",
        PARTS.map(|part| format!("{part:>7}")).join(" "),
        "MB",
    );
    let [edge_small, edge_large] = [10_000, 1_000_000].map(|prefixes| (prefixes, edge(&desk, prefixes)));
    let [arms_small, arms_large] =
        [1_000, 20_000].map(|arms| (arms, policy(&desk, "boxes", three(arms, None))));
    let with_lists = |prefixes: u32| format!("edge.lbp, {prefixes} + {} prefixes", prefixes / 5);
    let three_fields = |arms: u32| format!("{arms} arms of source, destination, port");
    let show = |name: &str, policies: Vec<PathBuf>| {
        name.contains(wanted).then(|| shown(&Row { name: name.to_owned(), policies }))
    };
    show("edge.lbp as it is", vec![repository().join("edge.lbp")]);
    let edges = [edge_small, edge_large].map(|(size, path)| (size, show(&with_lists(size), vec![path])));
    let arms = [arms_small, arms_large]
        .map(|(size, path)| (size, show(&three_fields(size), vec![path.clone()]), path));
    let [_, (_, _, twenty)] = &arms;
    let other = policy(&desk, "other", three(20_000, Some(10_000)));
    show("diff of 20000 arms, one of them another", vec![twenty.clone(), other]);
    show("diff of 20000 arms and their copy", vec![twenty.clone(), twenty.clone()]);
    show("1000000 scattered IPv4 hosts in a list", vec![hosts(&desk)]);
    let by_port = (0..20_000).map(|at| format!("src in {} and tcp.dport == {}", scattered(at, 1), at % 500));
    show("20000 arms of a source and a port", vec![policy(&desk, "ports", by_port)]);
    show("5000 arms of overlapping prefixes", vec![policy(&desk, "nested", overlapping(5_000))]);
    let crossing = (0..20_000).flat_map(|at| {
        [1, 2].map(|salt| format!("{} in {}", ["src", "dst"][salt as usize - 1], scattered(at, salt)))
    });
    show("40000 arms of a source or a destination", vec![policy(&desk, "crossing", crossing)]);
    for count in [200, 2_000, 20_000] {
        show(&format!("{count} random boxes in four fields"), vec![policy(&desk, "random", boxes(count))]);
    }
    let [(few, small, _), (many, large, _)] = &arms;
    growth("arms", (*few, small), (*many, large));
    let [(few, small), (many, large)] = &edges;
    growth("prefixes", (*few, small), (*many, large));
}

/// How much longer the larger one takes, beside what n log n would.
fn growth(what: &str, small: (u32, &Option<Duration>), large: (u32, &Option<Duration>)) {
    let ((few, Some(small)), (many, Some(large))) = (small, large) else { return };
    let cost = |size: u32| f64::from(size) * f64::from(size).ln();
    println!(
        "growth from {few} to {many} {what}: {:.1} times (n log n: {:.1})",
        large.as_secs_f64() / small.as_secs_f64(),
        cost(many) / cost(few)
    );
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

/// `edge.lbp` with so many prefixes in its block list and a fifth of them in the geographic one.
fn edge(desk: &TempDir, prefixes: u32) -> PathBuf {
    let directory = desk.path().join(format!("edge-{prefixes}"));
    for name in ["common/bogons.lbp", "edge.lbp"] {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::copy(repository().join(name), path).expect("copied");
    }
    let blocked: String = (0..prefixes).map(|number| format!("{}\n", scattered(number, 1))).collect();
    let network = |number| Ipv4Addr::from(u32::from(scattered(number, 2)) & !0xff);
    let geographic: String = (0..prefixes / 5).map(|number| format!("{}/24\n", network(number))).collect();
    fs::create_dir_all(directory.join("lists")).expect("made");
    fs::write(directory.join("lists/blocklist.txt"), blocked).expect("written");
    fs::write(directory.join("lists/geo-eu.txt"), geographic).expect("written");
    directory.join("edge.lbp")
}

fn hosts(desk: &TempDir) -> PathBuf {
    let hosts: String = (0..1_000_000).map(|number| format!("{}\n", scattered(number, 1))).collect();
    fs::write(desk.path().join("hosts.txt"), hosts).expect("written");
    let list = "set hosts : net from \"hosts.txt\" max 1_000_000\n";
    written(desk, "hosts", list, ["src in hosts".to_owned()].into_iter())
}

/// An address, spread by Fibonacci hashing; different for each number.
fn scattered(number: u32, salt: u32) -> Ipv4Addr {
    Ipv4Addr::from((number ^ salt << 24).wrapping_mul(0x9e37_79b1))
}

/// Guards that overlap nowhere; one of them may ask for another port.
fn three(count: u32, other: Option<u32>) -> impl Iterator<Item = String> {
    (0..count).map(move |at| {
        let (src, dst) = (scattered(at, 1), scattered(at, 2));
        let port = if other == Some(at) { 501 } else { at % 500 };
        format!("src in {src} and dst in {dst} and tcp.dport == {port}")
    })
}

/// Prefixes of 10 to 28 bits within few networks, the longest first.
fn overlapping(count: usize) -> impl Iterator<Item = String> {
    let prefix = |number: u32| {
        let open = 4 + number % 19;
        let low = number.wrapping_mul(0x9e37_79b1) >> 8;
        (open, ((10 + number % 2) << 24 | low) >> open << open)
    };
    let prefixes: BTreeSet<(u32, u32)> = (0..).map(prefix).take(6 * count).collect();
    prefixes.into_iter().take(count).map(|(open, base)| {
        format!("src in {}/{} and tcp.dport == {}", Ipv4Addr::from(base), 32 - open, open)
    })
}

/// Guards of a range in each of four fields, that cut each other into ever more parts; the same each time.
fn boxes(count: usize) -> impl Iterator<Item = String> {
    let mut rng = fastrand::Rng::with_seed(count as u64);
    (0..count).map(move |_| {
        let mut pair = |high: u32| {
            let (one, other) = (rng.u32(1..high), rng.u32(1..high));
            (one.min(other), one.max(other))
        };
        let (src, dst) = (pair(u32::MAX), pair(u32::MAX));
        let (sport, dport) = (pair(65_535), pair(65_535));
        let address = |(first, last)| format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last));
        let ports = |(first, last): (u32, u32)| format!("{first}-{last}");
        format!(
            "src in {} and dst in {} and tcp.sport in {} and tcp.dport in {}",
            address(src),
            address(dst),
            ports(sport),
            ports(dport)
        )
    })
}

fn policy(desk: &TempDir, name: &str, guards: impl Iterator<Item = String>) -> PathBuf {
    written(desk, name, "", guards)
}

/// The file of a policy whose arms have these guards.
fn written(desk: &TempDir, name: &str, items: &str, guards: impl Iterator<Item = String>) -> PathBuf {
    let mut text = format!("lbp 1\n{items}policy limits {{ default drop }} =\n  match {{\n");
    let mut count = 0;
    for guard in guards {
        let _ = writeln!(text, "    {guard} -> pass");
        count += 1;
    }
    text.push_str("    else -> drop\n  }\n");
    let path = desk.path().join(format!("{name}-{count}.lbp"));
    fs::write(&path, text).expect("written");
    path
}

/// Runs the rounds of a row and prints its line; the least time of a round on the processor.
fn shown(row: &Row) -> Duration {
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| measured(&row.policies)).collect();
    let mut whole: Vec<Duration> = rounds.iter().map(|round| round.parts.iter().sum()).collect();
    whole.sort();
    let ms = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    let least = |part: usize| rounds.iter().map(|round| round.parts[part]).min().unwrap_or_default();
    let busy = rounds.iter().map(|round| round.busy).min().unwrap_or_default();
    let parts: Vec<String> = (0..PARTS.len()).map(|part| format!("{:>7}", ms(least(part)))).collect();
    println!(
        "{:<46} {:>13} {:>8}  {} {:>5}  {}",
        row.name,
        format!("{} / {}", ms(whole[0]), ms(whole[whole.len() / 2])),
        ms(busy),
        parts.join(" "),
        rounds.iter().map(|round| round.peak_kb).max().unwrap_or(0).div_ceil(1024),
        rounds.first().map_or("", |round| &round.ended),
    );
    busy
}

/// A round in a process of its own.
fn measured(policies: &[PathBuf]) -> Round {
    let this = env::current_exe().expect("this program");
    let run = Command::new(this).arg(ROUND).args(policies).output().expect("a process");
    let told = String::from_utf8_lossy(&run.stdout);
    let mut words = told.split_ascii_whitespace();
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let mut micros = || number().map(Duration::from_micros);
    let parts = [(); PARTS.len()].map(|()| micros());
    let (busy, peak) = (micros(), number());
    match (parts, busy, peak, words.next()) {
        (
            [Some(read), Some(analyse), Some(compile), Some(prove), Some(diff)],
            Some(busy),
            Some(peak_kb),
            Some(ended),
        ) => Round { parts: [read, analyse, compile, prove, diff], busy, peak_kb, ended: ended.to_owned() },
        _ => panic!("{policies:?}: {}", String::from_utf8_lossy(&run.stderr)),
    }
}

/// What `lbctl check` does with one policy, each part even where one before it found errors, and `lbctl diff` with two;
/// prints microseconds, the peak in KB, and the end.
fn round(paths: &[String]) {
    let busy_before = busy();
    let mut parts = [Duration::ZERO; PARTS.len()];
    let mut ended = String::from("well");
    let read = timed(&mut parts[0], || paths.iter().map(|path| read(path)).collect::<Vec<_>>());
    match read.as_slice() {
        [(policy, sources)] => {
            let mut found = policy_lang::validity(policy, 0);
            found.extend(timed(&mut parts[1], || compiler::analyse(policy)));
            match timed(&mut parts[2], || black_box(compiler::compile(policy, sources))) {
                Ok(image) => ended = format!("image-of-{:.1}-MB", image.words.len() as f64 * 4e-6),
                Err(refused) => found.extend(refused),
            }
            found.extend(timed(&mut parts[3], || compiler::prove::run(policy)).diagnostics());
            let errors: BTreeSet<&str> =
                found.iter().filter(|one| one.severity == Severity::Error).map(|one| one.code).collect();
            if !errors.is_empty() {
                ended = errors.into_iter().collect::<Vec<_>>().join(",");
            }
        }
        [old, new] => {
            let report = timed(&mut parts[4], || compiler::diff::run((&old.0, &old.1), (&new.0, &new.1)));
            ended = report
                .map_or("too-different".to_owned(), |report| format!("{}-changes", report.changes.len()));
        }
        _ => panic!("one policy or two"),
    }
    let parts = parts.map(|part| part.as_micros().to_string()).join(" ");
    println!("{parts} {} {} {ended}", (busy() - busy_before).as_micros(), peak_kb());
}

fn read(path: &str) -> (Policy, Sources) {
    let text = fs::read_to_string(path).expect("a policy");
    let directory = Directory(Path::new(path).parent().map(Path::to_path_buf).unwrap_or_default());
    let checked = policy_lang::check(path, text, &directory);
    let Some(policy) = checked.policy else { panic!("{path}: {:?}", checked.diagnostics.first()) };
    (policy, checked.sources)
}

fn timed<T>(taken: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = work();
    *taken = start.elapsed();
    made
}

/// The time of this thread on a processor (Documentation/scheduler/sched-stats.rst).
fn busy() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// `VmHWM` of `/proc/self/status`: the most memory that was resident.
fn peak_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}
