//! Owns the step from what a flow balancer's file says to items of the language. Never the types of those items, and
//! never what is done with packets.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::flows::{Flows, Mapping};
use super::items::{declaration, one, setting, word};
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
    pub mappings: Vec<&'f Mapping>,
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
