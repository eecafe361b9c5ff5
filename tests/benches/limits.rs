//! How long checking and compiling take near the bounds of `docs/compiler.md`: `cargo bench -p lb-tests --bench limits`.
//! Prints a table, minimum and median of several rounds; never judges a figure.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use policy_lang::diagnostic::Severity;
use policy_lang::source::Loader;

const ROUNDS: usize = 7;
const HOSTS: u32 = 1_000_000;
const ARMS: u32 = 20_000;
const PREFIXES: u32 = 5_000;

/// The one list that a policy includes.
struct List(String);

impl Loader for List {
    fn load(&self, _: &Path) -> Result<String, String> {
        Ok(self.0.clone())
    }
}

fn main() {
    let hosts = (0..HOSTS).map(|number| format!("{}\n", scattered(number, 1))).collect();
    let list = "set hosts : net from \"hosts.txt\" max 1_000_000\n";
    println!(
        "{:<44} {:>15} {:>17} {:>9} {:>7}",
        "min / median of 7 rounds, in ms", "check", "compile", "MB", "errors"
    );
    time("1,000,000 scattered IPv4 hosts in a list", list, ["src in hosts".to_owned()].into_iter(), hosts);
    let no_list = String::new;
    let by_port = (0..ARMS).map(|at| format!("src in {} and tcp.dport == {}", scattered(at, 1), at % 500));
    time("20,000 arms of a source and a port", "", by_port, no_list());
    let by_both = (0..ARMS).map(|at| {
        let (src, dst) = (scattered(at, 1), scattered(at, 2));
        format!("src in {src} and dst in {dst} and tcp.dport == {}", at % 500)
    });
    time("20,000 arms of source, destination and port", "", by_both, no_list());
    time("5,000 arms of overlapping prefixes", "", overlapping(), no_list());
    let crossing = (0..ARMS)
        .flat_map(|at| [format!("src in {}", scattered(at, 1)), format!("dst in {}", scattered(at, 2))]);
    time("40,000 arms of a source or a destination", "", crossing, no_list());
}

/// An address of a unicast block, spread by Fibonacci hashing; different for each number.
fn scattered(number: u32, salt: u32) -> Ipv4Addr {
    Ipv4Addr::from((number ^ salt << 24).wrapping_mul(0x9e37_79b1))
}

/// Prefixes of 10 to 28 bits within few networks, the longest first.
fn overlapping() -> impl Iterator<Item = String> {
    let prefix = |number: u32| {
        let open = 4 + number % 19;
        let low = number.wrapping_mul(0x9e37_79b1) >> 8;
        (open, ((10 + number % 2) << 24 | low) >> open << open)
    };
    let prefixes: BTreeSet<(u32, u32)> = (0..).map(prefix).take(6 * PREFIXES as usize).collect();
    let some = prefixes.into_iter().take(PREFIXES as usize);
    some.map(|(open, base)| {
        format!("src in {}/{} and tcp.dport == {}", Ipv4Addr::from(base), 32 - open, open)
    })
}

/// Checks and compiles a policy of these guards, and prints a line.
fn time(name: &str, items: &str, guards: impl Iterator<Item = String>, list: String) {
    let mut text = format!("lbp 1\n{items}policy limits {{ default drop }} =\n  match {{\n");
    for guard in guards {
        let _ = writeln!(text, "    {guard} -> pass");
    }
    text.push_str("    else -> drop\n  }\n");
    let list = List(list);
    let (mut checks, mut compiles, mut found, mut told) = (Vec::new(), Vec::new(), String::new(), 0);
    for _ in 0..ROUNDS {
        let copy = text.clone();
        let start = Instant::now();
        let checked = black_box(policy_lang::check("limits.lbp", copy, &list));
        let analysed = black_box(checked.policy.as_ref().map(compiler::analyse));
        checks.push(start.elapsed());
        told = analysed.iter().flatten().filter(|one| one.severity == Severity::Error).count();
        let Some(policy) = checked.policy else { panic!("{name}: {:?}", checked.diagnostics.first()) };
        let start = Instant::now();
        let compiled = black_box(compiler::compile(&policy, &checked.sources));
        compiles.push(start.elapsed());
        found = match compiled {
            Ok(image) => format!("{:.1}", image.words.len() as f64 * 4e-6),
            Err(refused) => refused.first().map_or("", |one| one.code).to_owned(),
        };
    }
    println!("{name:<44} {:>15} {:>17} {found:>9} {told:>7}", shown(&mut checks), shown(&mut compiles));
}

fn shown(times: &mut [Duration]) -> String {
    times.sort();
    format!("{} / {}", times[0].as_millis(), times[times.len() / 2].as_millis())
}
