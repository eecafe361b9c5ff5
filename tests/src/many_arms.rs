//! Owns policies of hundreds of arms, sources of both families crossed with ports and destinations, and frames that
//! fall into those arms and just beside them. Never a stage that keeps state: here the decision alone is large.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

use crate::frame::{Packet, SYN};

/// Addresses are numbers of the family's width.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Arm {
    /// Bits that the source leaves open; narrow arms come first, so that none hides a later one.
    open: u32,
    ports: (u16, u16),
    src: u128,
    v6: bool,
    tcp: bool,
    /// A /24 or a /64.
    dst: Option<u128>,
}

/// A policy and the traffic that fits it.
#[derive(Clone, Debug)]
pub struct ManyArms {
    arms: Vec<Arm>,
    rng: Rng,
}

impl ManyArms {
    /// About `count` arms; the same for the same count.
    pub fn new(count: usize) -> ManyArms {
        let mut rng = Rng::with_seed(count as u64);
        let mut arms: Vec<Arm> = (0..count).map(|_| arm(&mut rng)).collect();
        arms.sort_by_key(|arm| (arm.open, arm.ports.1 - arm.ports.0, arm.dst.is_none(), arm.clone()));
        arms.dedup();
        ManyArms { arms, rng }
    }

    pub fn policy(&self) -> String {
        let mut text = "lbp 1\npolicy many { default drop } =\n  match {\n".to_owned();
        for (number, arm) in self.arms.iter().enumerate() {
            let protocol = if arm.tcp { "tcp" } else { "udp" };
            let prefix = if arm.v6 { 128 } else { 32 } - arm.open;
            let _ = write!(text, "    src in {}/{prefix}", address(arm.v6, arm.src));
            if let Some(dst) = arm.dst {
                let _ = write!(text, " and dst in {}/{}", address(arm.v6, dst), if arm.v6 { 64 } else { 24 });
            }
            let _ = write!(text, " and {protocol}.dport in {}-{} -> ", arm.ports.0, arm.ports.1);
            let _ = match number % 5 {
                0 => writeln!(text, "forward"),
                1 => writeln!(text, "drop"),
                2 => writeln!(text, "count c{} -> forward", number % 7),
                3 => writeln!(text, "match {{ {protocol}.sport in 0-1023 -> drop; else -> pass }}"),
                _ => writeln!(text, "pass"),
            };
        }
        text + "    tcp.dport == 443 -> pass\n    else -> drop\n  }\n"
    }

    /// A frame whose fields come from one arm, but now and then from another or from beside it.
    pub fn frame(&mut self) -> Vec<u8> {
        let arm = self.arm();
        let other = if self.rng.u32(0..4) == 0 { self.arm() } else { arm.clone() };
        let inside = self.rng.u128(..) & ((1 << arm.open) - 1);
        let beside = self.rng.u128(0..64) / 62;
        let src = (arm.src | inside).wrapping_add(beside);
        let dst = match if self.rng.u32(0..8) == 0 { self.arm() } else { arm.clone() } {
            Arm { v6, dst: Some(dst), .. } if v6 == arm.v6 => dst | self.rng.u128(0..256),
            _ if arm.v6 => 0x2001_0db8_00ff << 80 | 1,
            _ => 0xc633_6409,
        };
        let ports = [other.ports.0, other.ports.1, other.ports.1.wrapping_add(1), self.rng.u16(..)];
        let dport = ports[[0, 0, 1, 1, 2, 3][self.rng.usize(0..6)]];
        let src = (address(arm.v6, src), self.rng.u16(900..1_200));
        let dst = (address(arm.v6, dst), dport);
        let tcp = arm.tcp != (self.rng.u32(0..16) == 0);
        let packet =
            if tcp { Packet::tcp(src, dst, SYN, 0, 0) } else { Packet::udp(src, dst).payload(&[1, 2]) };
        packet.bytes()
    }

    fn arm(&mut self) -> Arm {
        self.arms[self.rng.usize(0..self.arms.len())].clone()
    }
}

fn arm(rng: &mut Rng) -> Arm {
    let v6 = rng.u32(0..3) == 0;
    // Hosts of few networks, so that last rows are full, and prefixes above them.
    let (base, net, opens): (u128, u32, &[u32]) = if v6 {
        (0x2001_0db8 << 96, 64, &[0, 0, 0, 8, 64, 80])
    } else {
        (0x0a00_0000, 8, &[0, 0, 0, 3, 8, 16])
    };
    let open = opens[rng.usize(0..opens.len())];
    let src = base | rng.u128(0..3) << net << 8 | rng.u128(0..2) << net | rng.u128(0..256);
    let first = rng.u16(0..2_000);
    let dst = if v6 { 0x2001_0db8_00ff << 80 } else { 0xc633_6400 };
    let step = if v6 { 64 } else { 8 };
    Arm {
        open,
        ports: (first, first + [0, 0, 1, 50, 1_000][rng.usize(0..5)]),
        src: src >> open << open,
        v6,
        tcp: rng.u32(0..3) > 0,
        dst: (rng.u32(0..3) == 0).then(|| dst + (rng.u128(0..100) << step)),
    }
}

fn address(v6: bool, number: u128) -> IpAddr {
    if v6 { Ipv6Addr::from(number).into() } else { Ipv4Addr::from(number as u32).into() }
}
