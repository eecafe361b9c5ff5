//! Owns the step from what a flow balancer's file says to items of the language, and to the tree that does what that
//! balancer does. Never the types of those items.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use super::flows::{Flows, Mapping};
use super::items::{declaration, one, quoted, setting, word};
use crate::ast::{Item, Word};

/// Flows at once.
const FLOWS: &str = "65_536";
/// Seconds, where the file does not say.
const IDLE: u64 = 300;
/// Source ports, below those that Linux hands out by itself.
const PORTS: (u16, u16) = (10_240, 32_767);

/// One host that names are mapped to.
pub(super) struct Target<'f> {
    pub pool: String,
    address: SocketAddr,
    /// At least one.
    mappings: Vec<&'f Mapping>,
}

impl Flows {
    /// Hosts in the order of their first name; names of one host share a pool, as its port is the same.
    pub(super) fn targets(&self) -> Vec<Target<'_>> {
        let mut targets: Vec<Target<'_>> = Vec::new();
        let mut at: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for mapping in &self.mappings {
            let address = SocketAddr::new(mapping.address.value, mapping.port.value as u16);
            if let Some(target) = at.get(&address).and_then(|&index| targets.get_mut(index)) {
                target.mappings.push(mapping);
                continue;
            }
            at.insert(address, targets.len());
            let stem = pool_name(&mapping.name.value);
            let twins = taken.entry(stem.clone()).or_default();
            *twins += 1;
            let pool = if *twins == 1 { stem } else { format!("{stem}__{twins}") };
            targets.push(Target { pool, address, mappings: vec![mapping] });
        }
        targets
    }

    pub(super) fn items(&self) -> Vec<Item> {
        let idle = self.idle.map_or(IDLE, |idle| idle.value);
        let idle = (format!("{idle}s"), self.idle.map_or(self.port.span, |idle| idle.span));
        let device =
            Word { quoted: !plain(&self.device.value), ..word(&self.device.value, self.device.span) };
        let mut items = vec![
            declaration(
                "interface",
                word("uplink", self.device.span),
                vec![setting("device", self.device.span, vec![vec![device]])],
            ),
            declaration(
                "vip",
                word("listen", self.address.span),
                vec![
                    one("address", &self.address.value.to_string(), self.address.span),
                    setting(
                        "ports",
                        self.port.span,
                        vec![vec![
                            word("udp", self.port.span),
                            word(&self.port.value.to_string(), self.port.span),
                        ]],
                    ),
                ],
            ),
            declaration(
                "mapper",
                word("hello", self.port.span),
                vec![
                    one("reads", "dtls", self.port.span),
                    one("max", FLOWS, self.port.span),
                    one("idle", &idle.0, idle.1),
                ],
            ),
            declaration(
                "track",
                word("conns", self.port.span),
                vec![one("idle", &idle.0, idle.1), one("max", FLOWS, self.port.span)],
            ),
        ];
        items.extend(self.targets().iter().zip(1..).map(|(target, number)| self.pool(target, number)));
        items
    }

    fn pool(&self, target: &Target<'_>, number: usize) -> Item {
        let first = target.mappings.first().map_or(self.port.span, |mapping| mapping.name.span);
        let place = target.mappings.first().map_or(self.port.span, |mapping| mapping.address.span);
        let ports = source_ports(self.port.value as u16);
        declaration(
            "pool",
            word(&target.pool, first),
            vec![
                one("pick", "round-robin", first),
                one("via", "nat", first),
                one("source", &self.address.value.to_string(), self.address.span),
                one("ports", &format!("{}-{}", ports.0, ports.1), self.port.span),
                setting(
                    "backend",
                    place,
                    vec![vec![word(&format!("t{number}"), place), word(&target.address.to_string(), place)]],
                ),
            ],
        )
    }

    /// The whole policy but for its declarations: UDP to the address and port is the balancer's, and everything else
    /// this host's.
    pub(super) fn tree(&self, policy: &str) -> String {
        let targets = self.targets();
        let pools: Vec<&str> = targets.iter().map(|target| target.pool.as_str()).collect();
        let pools = match pools.as_slice() {
            [one] => (*one).to_owned(),
            all => format!("{{ {} }}", all.join(", ")),
        };
        let mut text = format!(
            "side B when src in {pools}
side A otherwise

# What is not for the balancer goes to this host, as it does without one; `else -> drop` makes it a firewall.
policy {policy} {{ default drop; unparsed pass; other pass; fragments match }} =
  match {{
    from B -> translate back (invalid -> pass) -> forward
    iface == uplink and to listen
      -> map hello (missing -> count no_name -> drop, invalid -> count bad_hello -> drop, full -> count no_flow_left -> drop)
      -> by_name
    else -> pass
  }}

# An exact name goes before one with a star, and the longer of two stars before the shorter.
tree by_name =
  match {{
"
        );
        let mut arms: Vec<(&str, Vec<&str>)> = Vec::new();
        for target in &targets {
            let exact = |mapping: &&&Mapping| !mapping.name.value.starts_with('*');
            let names: Vec<&str> =
                target.mappings.iter().filter(exact).map(|mapping| mapping.name.value.as_str()).collect();
            if !names.is_empty() {
                arms.push((&target.pool, names));
            }
        }
        let mut stars: Vec<(&str, &str)> = Vec::new();
        let mut other = None;
        for target in &targets {
            for mapping in &target.mappings {
                match mapping.name.value.as_str() {
                    "*" => other = Some(target.pool.as_str()),
                    name if name.starts_with('*') => stars.push((&target.pool, name)),
                    _ => {}
                }
            }
        }
        stars.sort_by_key(|(_, name)| std::cmp::Reverse(name.len()));
        arms.extend(stars.into_iter().map(|(pool, name)| (pool, vec![name])));
        for (pool, names) in arms {
            let guard = match names.as_slice() {
                [name] if !name.starts_with('*') => format!("sni == {}", quoted(name)),
                all => format!(
                    "sni in {{ {} }}",
                    all.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
                ),
            };
            let _ = writeln!(text, "    {guard} -> {}", way(pool));
        }
        let otherwise = other.map_or_else(|| "count unknown_name -> drop".to_owned(), way);
        let port = self.port.value;
        let _ = write!(
            text,
            "    else -> {otherwise}
  }}

assert \"nobody comes to a host without its name\" {{
  never udp.dport == {port} reaches by_name without hello
}}
"
        );
        text
    }
}

fn way(pool: &str) -> String {
    format!(
        "track conns (full -> drop, invalid -> drop) -> translate {pool} (empty -> drop, ports -> drop) -> forward"
    )
}

/// `a.example` is `to_a_example`, and `*.example` is `to_any_example`; so is no word of the language a name.
fn pool_name(name: &str) -> String {
    let word: String =
        name.replace('*', "any").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("to_{word}")
}

/// The larger part of the range that leaves out the port that clients send to.
fn source_ports(listen: u16) -> (u16, u16) {
    let (first, last) = PORTS;
    match listen {
        _ if listen < first || listen > last => PORTS,
        _ if listen - first > last - listen => (first, listen - 1),
        _ => (listen + 1, last),
    }
}

/// Whether a device's name can stand without quotes.
fn plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_ports_leave_the_listening_port_out() {
        for listen in [1, 10_239, 10_240, 10_241, 20_000, 32_766, 32_767, 32_768, u16::MAX] {
            let (first, last) = source_ports(listen);
            assert!(first >= PORTS.0 && last <= PORTS.1 && last - first > 11_000, "{listen}");
            assert!(listen < first || listen > last, "{listen}");
        }
    }

    #[test]
    fn a_host_is_one_pool_whatever_its_names() {
        assert_eq!(pool_name("sni.test.123.com"), "to_sni_test_123_com");
        assert_eq!(pool_name("*.example"), "to_any_example");
        assert_eq!(pool_name("*"), "to_any");
    }
}
