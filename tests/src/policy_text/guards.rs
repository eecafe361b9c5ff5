//! Owns the guards of random policies, and the values that they compare with. Never what follows a guard.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::Author;

impl Author {
    pub(super) fn guard(&mut self, depth: u32) -> String {
        match self.rng.u32(0..6) {
            0 | 1 if depth > 0 => {
                let (left, right) = (self.guard_part(depth - 1), self.guard_part(depth - 1));
                format!("{left} and {right}")
            }
            2 if depth > 0 => {
                let (left, right) = (self.guard_part(depth - 1), self.guard_part(depth - 1));
                format!("{left} or {right}")
            }
            3 if depth > 0 => format!("not ({})", self.guard(depth - 1)),
            4 if self.rng.bool() => {
                let port = self.port_set();
                let field = self.pick(&["dport", "sport"]);
                format!("proto in {{ tcp, udp }} and {field} in {port}")
            }
            _ => self.test(),
        }
    }

    fn guard_part(&mut self, depth: u32) -> String {
        let part = self.guard(depth);
        if part.contains(" and ") || part.contains(" or ") { format!("({part})") } else { part }
    }

    fn test(&mut self) -> String {
        let negated = self.rng.u32(0..5) == 0;
        let (equal, within) = if negated { ("!=", "not in") } else { ("==", "in") };
        match self.rng.u32(0..16) {
            0 | 1 => {
                let field = self.pick(&["src", "dst"]);
                if !self.sets.is_empty() && self.rng.bool() {
                    return format!("{field} {within} {}", self.one_of_sets());
                }
                let prefixes = self.prefixes(1..4);
                format!("{field} {within} {prefixes}")
            }
            2 if !self.vips.is_empty() => format!("to {}", self.rng.choice(&self.vips).expect("not empty")),
            3 if !self.trackers.is_empty() => {
                format!("flow in {}", self.rng.choice(&self.trackers).expect("not empty"))
            }
            4 => format!("proto {equal} {}", self.pick(&["tcp", "udp", "icmp", "icmp6", "47"])),
            5 | 6 => {
                let field = self.pick(&["tcp.dport", "tcp.sport", "udp.dport", "udp.sport"]);
                format!("{field} {within} {}", self.port_set())
            }
            7 => {
                let field = self.pick(&["tcp.dport", "udp.dport"]);
                format!("{field} {equal} {}", self.pick(&["80", "443", "53", "0", "65535"]))
            }
            8 => format!("tcp.flags {equal} {}", self.pick(&["syn", "syn-ack", "ack", "rst", "fin"])),
            9 => format!("icmp.type {equal} {}", self.pick(&["echo-request", "echo-reply", "3"])),
            10 => format!("icmp6.type {equal} {}", self.pick(&["echo-request", "echo-reply", "1"])),
            11 => format!("icmp.code {equal} {}", self.rng.u32(0..4)),
            12 => {
                let first = self.rng.u32(0..1400);
                format!("len {within} {{ {first}-{} }}", first + self.rng.u32(0..200))
            }
            13 => format!("ttl {within} {{ {}-{} }}", self.rng.u32(0..64), self.rng.u32(64..256)),
            14 => format!("dscp {equal} {}", self.rng.u32(0..64)),
            _ => match self.rng.bool() {
                true => format!("vlan {equal} {}", self.pick(&["0", "1", "7", "4095"])),
                false => format!("frag {equal} {}", self.pick(&["none", "first", "later"])),
            },
        }
    }

    fn port_set(&mut self) -> String {
        let first = self.pick(&[0u16, 22, 53, 80, 255, 256, 443, 1000, 32768, 65000]);
        let last = first.saturating_add(self.rng.u16(1..600));
        match self.rng.u32(0..3) {
            0 => format!("{{ {first}-{last} }}"),
            1 => format!("{{ {first}, {last} }}"),
            _ => format!("{{ {first}-{last}, 65535 }}"),
        }
    }

    pub(super) fn prefixes(&mut self, count: Range<usize>) -> String {
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..self.rng.usize(count) {
            parts.push(if self.rng.u32(0..3) == 0 { self.prefix6() } else { self.prefix4() });
        }
        format!("{{ {} }}", parts.join(", "))
    }

    fn prefix4(&mut self) -> String {
        let base = self.pick(&[0xc633_6400u32, 0xcb00_7100, 0xc000_0200, 0x0a00_0000, 0x0808_0800]);
        let length = self.pick(&[8u32, 12, 15, 16, 17, 20, 23, 24, 25, 28, 31, 32]);
        let addr = base | self.rng.u32(0..256);
        if self.rng.u32(0..6) == 0 {
            let last = addr.saturating_add(self.rng.u32(0..300));
            return format!("{}-{}", Ipv4Addr::from(addr), Ipv4Addr::from(last));
        }
        let masked = addr & (u32::MAX << (32 - length));
        if length == 32 {
            Ipv4Addr::from(addr).to_string()
        } else {
            format!("{}/{length}", Ipv4Addr::from(masked))
        }
    }

    fn prefix6(&mut self) -> String {
        let base = 0x2001_0db8u128 << 96;
        let addr = base | u128::from(self.rng.u32(0..4)) << 64 | u128::from(self.rng.u32(0..256));
        let length = self.pick(&[16u32, 32, 33, 40, 48, 63, 64, 65, 96, 120, 127, 128]);
        let masked = addr & (u128::MAX << (128 - length));
        match length {
            128 => Ipv6Addr::from(addr).to_string(),
            _ => format!("{}/{length}", Ipv6Addr::from(masked)),
        }
    }

    pub(super) fn one_of_sets(&mut self) -> String {
        let place = self.rng.usize(0..self.sets.len());
        self.sets[place].clone()
    }
}
