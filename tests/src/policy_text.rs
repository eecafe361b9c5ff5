//! Owns random policies as text: every item, stage, field and form that the language has today, small enough that
//! most of them are accepted. Never looks at what the checker makes of it; the tests count what it refuses.

mod certificates;
mod guards;

use std::fmt::Write;
use std::ops::Range;

use fastrand::Rng;

/// Deepest nesting of `match` and `every` within one chain.
const DEPTH: u32 = 2;

/// A random policy. The same seed gives the same text.
pub fn policy_text(seed: u64) -> String {
    let mut author = Author { rng: Rng::with_seed(seed), ..Author::default() };
    author.items();
    author.write()
}

/// The same with an authority, and ways through `verify` to pools that go by certificates or have caps.
pub fn certified_text(seed: u64) -> String {
    let mut author = Author { rng: Rng::with_seed(seed), certified: true, ..Author::default() };
    author.items();
    author.write()
}

/// The text with each of the places, byte ranges of guards that no packet can satisfy, replaced by another comparison.
/// Chance writes such guards too often to know beforehand.
pub fn with_other_guards(text: &str, places: &[Range<usize>], seed: u64) -> String {
    let mut rng = Rng::with_seed(seed);
    let mut places = places.to_vec();
    places.sort_by_key(|place| (place.start, std::cmp::Reverse(place.end)));
    places.dedup_by(|inner, outer| inner.start < outer.end);
    let mut mended = text.to_owned();
    for place in places.into_iter().rev() {
        let first = rng.u32(20..1_400);
        let guard = format!("len in {{ {first}-{} }}", first + rng.u32(0..400));
        mended.replace_range(place, &guard);
    }
    mended
}

/// What earlier stages of a chain allow the later ones to be.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Scope {
    tracked: bool,
    translated: bool,
}

const START: Scope = Scope { tracked: false, translated: false };

#[derive(Default)]
struct Author {
    rng: Rng,
    text: String,
    trees: Vec<(String, String)>,
    sets: Vec<String>,
    vips: Vec<String>,
    limits: Vec<(String, bool)>,
    trackers: Vec<String>,
    pools: Vec<String>,
    /// Those behind `verify` alone.
    signed_trackers: Vec<String>,
    signed_pools: Vec<String>,
    certified: bool,
    counts: u32,
}

impl Author {
    fn items(&mut self) {
        self.text.push_str("lbp 1\n\n");
        for number in 0..self.rng.u32(0..4) {
            self.set(number);
        }
        for number in 0..self.rng.u32(0..3) {
            self.vip(number);
        }
        for number in 0..self.rng.u32(0..4) {
            self.limit(number);
        }
        let trackers = self.pick(&[0, 1, 1, 2, 2, 2]);
        (0..trackers).for_each(|number| self.tracker(number));
        if trackers > 0 {
            let pools = self.pick(&[0, 1, 1, 2]);
            (0..pools).for_each(|number| self.pool(number));
        }
        if self.certified {
            self.certificate_items();
        }
        let members: Vec<String> =
            self.pools.iter().chain(&self.signed_pools).map(|pool| format!("src in {pool}")).collect();
        if !members.is_empty() {
            let members = members.join(" or ");
            let _ = writeln!(self.text, "side servers when {members}\nside clients otherwise\n");
        }
        for number in 0..self.rng.u32(0..3) {
            let chain = self.chain(START, DEPTH);
            self.trees.push((format!("tree{number}"), chain));
        }
    }

    fn write(mut self) -> String {
        let settings = self.settings();
        let mut arms = Vec::new();
        if !self.pools.is_empty() || !self.signed_pools.is_empty() {
            let exit = self.maybe_exit("invalid", START);
            arms.push(format!("from servers -> translate back{exit} -> forward"));
        }
        if self.certified {
            self.certificate_arms(&mut arms);
        }
        if !self.pools.is_empty() && self.rng.u32(0..4) > 0 {
            let mut scope = START;
            let track = self.track(&mut scope).unwrap_or_default();
            let translate = self.translate(&mut scope).unwrap_or_default();
            let guard = self.pick(&["tcp.dport in { 80, 443 }", "proto in { tcp, udp }", "proto == tcp"]);
            arms.push(format!("{guard} -> {track} -> {translate} -> forward"));
        }
        for _ in 0..self.rng.u32(1..5) {
            let guard = self.guard(2);
            let chain = self.chain(START, DEPTH);
            arms.push(format!("{guard} -> {chain}"));
        }
        let tail = self.chain(START, DEPTH);
        // A tree that nobody enters may be refused, so the rest goes into arms of their own.
        for (name, _) in self.trees.clone() {
            if !arms.iter().any(|arm| arm.contains(&name)) && !tail.contains(&name) {
                let guard = self.guard(1);
                arms.push(format!("{guard} -> {name}"));
            }
        }
        let _ = writeln!(self.text, "policy random {settings} =\n  match {{");
        for arm in arms {
            let _ = writeln!(self.text, "    {arm}");
        }
        let _ = writeln!(self.text, "    else -> {tail}\n  }}\n");
        for (name, chain) in &self.trees {
            let _ = writeln!(self.text, "tree {name} =\n  {chain}\n");
        }
        self.text
    }

    fn settings(&mut self) -> String {
        let mut settings = vec!["default drop".to_owned()];
        if self.rng.u32(0..3) == 0 {
            settings.push(format!("unparsed {}", self.pick(&["drop", "pass"])));
        }
        if self.rng.u32(0..4) == 0 {
            settings.push(format!("neighbours {}", self.pick(&["drop", "pass"])));
        }
        if self.rng.u32(0..4) == 0 {
            settings.push(format!("other {}", self.pick(&["drop", "pass"])));
        }
        if self.rng.bool() {
            settings.push(format!("fragments {}", self.pick(&["drop", "pass", "match", "match"])));
        }
        format!("{{ {} }}", settings.join("; "))
    }

    // --- items --------------------------------------------------------------------------------------------

    fn set(&mut self, number: u32) {
        let members = self.prefixes(1..6);
        let name = format!("set{number}");
        let value = match self.rng.u32(0..4) {
            0 if !self.sets.is_empty() => format!("{} union {members}", self.one_of_sets()),
            1 if !self.sets.is_empty() => format!("{members} except {}", self.one_of_sets()),
            _ => members,
        };
        let _ = writeln!(self.text, "set {name} : net = {value}");
        self.sets.push(name);
    }

    fn vip(&mut self, number: u32) {
        let name = format!("vip{number}");
        let v4 = format!("203.0.113.{}", 10 + number);
        let v6 = format!("2001:db8:f::{}", 10 + number);
        let address = match self.rng.u32(0..3) {
            0 => v4,
            1 => v6,
            _ => format!("{v4}, {v6}"),
        };
        let ports = match self.rng.u32(0..4) {
            0 => String::new(),
            1 => "; ports udp 53".to_owned(),
            2 => format!("; ports tcp {}", 80 + number),
            _ => "; ports tcp 80, 443, 8000-8100".to_owned(),
        };
        let _ = writeln!(self.text, "vip {name} {{ address {address}{ports} }}");
        self.vips.push(name);
    }

    fn limit(&mut self, number: u32) {
        let name = format!("limit{number}");
        let keyed = self.rng.bool();
        let key = if keyed {
            let v4 = self.rng.u32(0..=32);
            let v6 = self.rng.u32(0..=128);
            format!("per {} v4 /{v4} v6 /{v6}; ", self.pick(&["src", "dst"]))
        } else {
            String::new()
        };
        let max = if keyed { "; max 4_096" } else { "" };
        let connections = self.rng.u32(0..4) == 0;
        let rate = match self.rng.u32(0..3) {
            _ if connections => self.rate("conn"),
            0 => {
                let kilobits = self.rng.u32(8..2_000);
                format!("rate {kilobits} Kbit/s; burst {} Kbit", self.rng.u32(16..64) + kilobits / 8)
            }
            1 => self.rate("syn"),
            _ => self.rate("pkt"),
        };
        let _ = writeln!(self.text, "limit {name} {{ {key}{rate}{max} }}");
        self.limits.push((name, connections));
    }

    fn rate(&mut self, unit: &str) -> String {
        let rate = self.pick(&[1, 7, 100, 333, 1_000, 250_000]);
        let burst = rate / 200 + self.rng.u32(1..12);
        let per = self.pick(&["s", "s", "min", "h"]);
        format!("rate {rate} {unit}/{per}; burst {burst}")
    }

    fn tracker(&mut self, number: u32) {
        let name = format!("flows{number}");
        let max = self.pick(&["2", "64", "10_000"]);
        let idle = self.pick(&["tcp 5m, udp 30s", "30s", "tcp 10s, udp 2s", "500ms"]);
        let half_open = self.pick(&["; half_open 5s", "; half_open 300ms", ""]);
        let _ = writeln!(self.text, "track {name} {{ idle {idle}{half_open}; max {max} }}");
        self.trackers.push(name);
    }

    fn pool(&mut self, number: u32) {
        let name = format!("pool{number}");
        let pick = match self.rng.u32(0..6) {
            4 if self.certified => "least-connections".to_owned(),
            0 => "random".to_owned(),
            1 => "source".to_owned(),
            2 => "maglev 1_009 by src".to_owned(),
            3 => "maglev 1_009 by flow".to_owned(),
            _ => "round-robin".to_owned(),
        };
        let source = match self.rng.u32(0..4) {
            0 => String::new(),
            1 => "; source 10.9.0.1, fd09::1; ports 10000-10003".to_owned(),
            2 => "; source 10.9.0.1, 10.9.0.2, fd09::1; ports 2000-60000".to_owned(),
            _ => "; source 10.9.0.3, fd09::3; ports 40000-40100".to_owned(),
        };
        let _ = write!(self.text, "pool {name} {{\n  pick {pick}; via nat{source}\n");
        for backend in 0..self.rng.u32(1..5) {
            let v4 = format!("10.{}.0.{}", number + 1, backend + 1);
            let v6 = format!("[fd0{}::{}]", number + 1, backend + 1);
            let port = if self.rng.bool() { format!(":{}", self.rng.u16(1..)) } else { String::new() };
            let address = match self.rng.u32(0..4) {
                0 => format!("{v4}{port}"),
                1 if port.is_empty() => v6.trim_matches(['[', ']']).to_owned(),
                1 => format!("{v6}{port}"),
                _ if port.is_empty() => format!("{v4}, {}", v6.trim_matches(['[', ']'])),
                _ => format!("{v4}{port}, {v6}{port}"),
            };
            let weight = match self.rng.u32(0..4) {
                0 => format!(" weight {}", self.rng.u32(1..6)),
                _ => String::new(),
            };
            let drain = if backend > 0 && self.rng.u32(0..6) == 0 { " drain" } else { "" };
            let cap = if self.certified { self.cap() } else { String::new() };
            let _ = writeln!(self.text, "  backend b{number}x{backend} {address}{weight}{drain}{cap}");
        }
        self.text.push_str("}\n");
        self.pools.push(name);
    }

    // --- chains -------------------------------------------------------------------------------------------

    fn chain(&mut self, mut scope: Scope, depth: u32) -> String {
        let mut stages = Vec::new();
        for _ in 0..self.rng.u32(0..3) {
            if let Some(stage) = self.stage(&mut scope) {
                stages.push(stage);
            }
        }
        if scope.tracked && !scope.translated && self.rng.u32(0..3) > 0 {
            stages.extend(self.translate(&mut scope));
        }
        stages.push(self.tail(scope, depth));
        stages.join(" -> ")
    }

    fn stage(&mut self, scope: &mut Scope) -> Option<String> {
        match self.rng.u32(0..5) {
            0 => {
                self.counts += 1;
                Some(format!("count seen{}", self.counts % 5))
            }
            1 | 2 => {
                let (limit, connections) = self.rng.choice(&self.limits)?.clone();
                if connections && (scope.tracked || self.trackers.is_empty()) {
                    return None;
                }
                let exit = self.exit_chain(*scope);
                let stage = format!("limit {limit} (exceed -> {exit})");
                if connections {
                    return Some(format!("{stage} -> {}", self.track(scope)?));
                }
                Some(stage)
            }
            _ if !scope.tracked => self.track(scope),
            _ => self.translate(scope),
        }
    }

    fn track(&mut self, scope: &mut Scope) -> Option<String> {
        let tracker = self.rng.choice(&self.trackers)?.clone();
        scope.tracked = true;
        let exits = self.exits(&["full", "invalid"], *scope);
        Some(format!("track {tracker}{exits}"))
    }

    fn translate(&mut self, scope: &mut Scope) -> Option<String> {
        if scope.translated {
            return None;
        }
        let pool = self.rng.choice(&self.pools)?.clone();
        scope.translated = true;
        let exits = self.exits(&["empty", "ports"], *scope);
        Some(format!("translate {pool}{exits}"))
    }

    fn tail(&mut self, scope: Scope, depth: u32) -> String {
        match self.rng.u32(0..10) {
            0 if depth > 0 => {
                let ways = self.rng.u32(1..4) + 1;
                let form = self.pick(&["", " by flow", " at random"]);
                let mut text = format!("every {ways}{form} {{");
                for way in 1..=ways {
                    let chain = self.chain(scope, depth - 1);
                    let _ = write!(text, "\n      {way} -> {chain}");
                }
                text + "\n    }"
            }
            1..=3 if depth > 0 => {
                let mut text = "match {".to_owned();
                for _ in 0..self.rng.u32(1..4) {
                    let guard = self.guard(1);
                    let chain = self.chain(scope, depth - 1);
                    let _ = write!(text, "\n      {guard} -> {chain}");
                }
                let chain = self.chain(scope, depth - 1);
                let _ = write!(text, "\n      else -> {chain}\n    }}");
                text
            }
            4 if !self.trees.is_empty() && scope == START => {
                let place = self.rng.usize(0..self.trees.len());
                self.trees[place].0.clone()
            }
            _ => self.end(scope).to_owned(),
        }
    }

    fn end(&mut self, scope: Scope) -> &'static str {
        if scope.translated || scope.tracked {
            return self.pick(&["forward", "forward", "forward", "forward", "pass", "drop", "reply echo"]);
        }
        self.pick(&["forward", "forward", "pass", "pass", "drop", "reply echo"])
    }

    fn exit_chain(&mut self, scope: Scope) -> String {
        match self.rng.u32(0..4) {
            0 => {
                self.counts += 1;
                format!("count seen{} -> {}", self.counts % 5, self.end(scope))
            }
            1 => self.end(scope).to_owned(),
            _ => "drop".to_owned(),
        }
    }

    fn exits(&mut self, names: &[&str], scope: Scope) -> String {
        let mut exits = Vec::new();
        for name in names {
            if self.rng.bool() {
                exits.push(format!("{name} -> {}", self.exit_chain(scope)));
            }
        }
        if exits.is_empty() { String::new() } else { format!(" ({})", exits.join(", ")) }
    }

    fn maybe_exit(&mut self, name: &str, scope: Scope) -> String {
        self.exits(&[name], scope)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.usize(0..choices.len())]
    }
}
