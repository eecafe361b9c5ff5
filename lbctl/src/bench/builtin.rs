//! Owns the policy that `lbctl bench` measures without a file, and the block list it names.
//! Never a figure.

use std::fmt::Write;
use std::path::Path;

use lb_abi::hash::draw;
use policy_lang::source::Loader;

pub const NAME: &str = "builtin.lbp";
pub const POLICY: &str = include_str!("builtin.lbp");

/// Loads `blocked.txt`: a million prefixes, the same in every run.
pub struct Lists;

const PREFIXES: u64 = 1_000_000;
/// Of single addresses, how many stand in one /24, as they do in published lists.
const TOGETHER: u64 = 16;

impl Loader for Lists {
    fn load(&self, name: &Path) -> Result<String, String> {
        if name == Path::new("blocked.txt") { Ok(blocked()) } else { Err("no such file".into()) }
    }
}

/// Half networks of 24 bits, half single addresses; none of them an address that the policy itself uses.
fn blocked() -> String {
    let mut text = String::with_capacity(17 << 20);
    for n in 0..PREFIXES / 2 {
        let [a, b, c] = network(1, n);
        let _ = writeln!(text, "{a}.{b}.{c}.0/24");
        let [a, b, c] = network(2, n / TOGETHER);
        // Neighbours in steps of 16, so that they do not merge.
        let _ = writeln!(text, "{a}.{b}.{c}.{}", n % TOGETHER * 16);
    }
    text
}

/// A /24 below 20.0.0.0 to 169.255.255.0.
fn network(seed: u64, n: u64) -> [u32; 3] {
    let random = draw(seed, n);
    [20 + (random >> 16) % 150, random >> 8 & 255, random & 255]
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Short;

    impl Loader for Short {
        fn load(&self, name: &Path) -> Result<String, String> {
            Lists.load(name).map(|list| list.lines().take(100).flat_map(|line| [line, "\n"]).collect())
        }
    }

    #[test]
    fn it_does_what_it_says_and_has_a_packet_for_every_mix() {
        let checked = policy_lang::check(NAME, POLICY.to_owned(), &Short);
        let policy = checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        let report = compiler::expect::run(&policy, &checked.sources, None);
        assert!(report.passed(), "{report:?}");
        let found = super::super::mixes::find(&policy);
        assert_eq!(found.missing.len(), 0);
        assert!(found.flows.is_some_and(|start| start.many().len() == 65_536));
    }

    #[test]
    fn the_block_list_has_a_million_lines() {
        assert_eq!(blocked().lines().count(), 1_000_000);
    }
}
