//! Owns what takes a text of many thousand lines to be told: files, classes, tables, images and proofs beyond their bounds,
//! each an error with a place, soon and in little memory. Never how long it takes on an idle machine, which the bench of
//! limits says.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use policy_lang::diagnostic::Diagnostic;
use policy_lang::source::Loader;

/// Every list holds this text.
struct List(String);

impl Loader for List {
    fn load(&self, _: &Path) -> Result<String, String> {
        Ok(self.0.clone())
    }
}

/// Codes of the errors, each of which has a place within the text.
fn told(text: String, list: String) -> Vec<&'static str> {
    let length = text.len();
    let checked = policy_lang::check("p.lbp", text, &List(list));
    let mut told = checked.diagnostics;
    if let Some(policy) = &checked.policy {
        let analysed = compiler::analyse(policy);
        told.extend(compiler::prove::run(policy).diagnostics());
        if analysed.is_empty() {
            told.extend(compiler::compile(policy, &checked.sources).err().unwrap_or_default());
        }
        told.extend(analysed);
    }
    let is_placed = |one: &Diagnostic| one.primary.0.end as usize <= length;
    assert!(told.iter().all(is_placed), "{told:?}");
    let mut codes: Vec<&str> = told.iter().map(|one| one.code).collect();
    codes.dedup();
    codes
}

fn policy(items: &str, arms: impl Iterator<Item = String>) -> String {
    let mut text = format!("lbp 1\n{items}policy p {{ default drop }} =\n  match {{\n");
    arms.for_each(|arm| {
        let _ = writeln!(text, "    {arm} -> pass");
    });
    text + "    else -> drop\n  }\n"
}

/// A range in each of four fields; boxes that cut each other into ever more parts.
fn boxes(count: usize) -> impl Iterator<Item = String> {
    let mut rng = fastrand::Rng::with_seed(7);
    (0..count).map(move |_| {
        let mut pair = |high: u32| {
            let (one, other) = (rng.u32(1..high), rng.u32(1..high));
            (one.min(other), one.max(other))
        };
        let [src, dst] = [(); 2]
            .map(|()| pair(u32::MAX))
            .map(|(first, last)| format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last)));
        let [sport, dport] = [(); 2].map(|()| pair(65_535)).map(|(first, last)| format!("{first}-{last}"));
        format!("src in {src} and dst in {dst} and tcp.sport in {sport} and tcp.dport in {dport}")
    })
}

#[test]
fn a_file_beyond_eight_mib() {
    let padding = format!("# {}\n", "x".repeat(1 << 23));
    assert_eq!(told(policy(&padding, std::iter::empty()), String::new()), ["E0116"]);
}

#[test]
fn addresses_in_too_many_parts() {
    // Each arm asks for one address more than the one before it.
    let nested = (0..6_000).map(|at| format!("src in 10.0.0.0-{}", Ipv4Addr::from(0x0a00_0001 + at)));
    assert_eq!(told(policy("", nested), String::new()), ["E0903"]);
}

#[test]
fn boxes_that_cross_each_other() {
    assert_eq!(told(policy("", boxes(200)), String::new()), ["E0904"]);
}

#[test]
fn an_image_of_scattered_hosts() {
    let mut list = String::new();
    for at in 0..40_000u128 {
        let host = at.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 3 | 1 << 125;
        let _ = writeln!(list, "{}", Ipv6Addr::from(host));
    }
    let items = "set hosts : net from \"hosts.txt\" max 100_000\n";
    assert_eq!(told(policy(items, ["src in hosts".to_owned()].into_iter()), list), ["E0905"]);
}

#[test]
fn a_claim_of_boxes_that_cross_each_other() {
    let guard = boxes(1_000).collect::<Vec<_>>().join("\n    or ");
    let text = policy("", ["ttl == 9".to_owned()].into_iter())
        + &format!("assert \"boxes\" {{\n  never {guard} ends pass\n}}\n");
    assert_eq!(told(text, String::new()), ["E0702"]);
}
