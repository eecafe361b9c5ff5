//! Owns which addresses are never routed (RFC 1812, section 5.3.7; RFC 4291, sections 2.4 and 2.5). Never a policy's
//! own blocks.

use lb_abi::maps::Addr;

use crate::{addr, packet::Packet};

/// Whether the packet came from or goes to such an address.
#[inline(always)]
pub fn is_martian(p: &Packet) -> bool {
    if p.v6 == 0 { v4(&p.key.src) || v4(&p.key.dst) } else { v6(&p.key.src) || v6(&p.key.dst) }
}

/// 0/8, 127/8, 224/3: this network, loopback, and multicast, reserved and broadcast.
#[inline(always)]
fn v4(address: &Addr) -> bool {
    let first = address[12];
    first == 0 || first == 127 || first >= 224
}

/// ::, ::1, fe80::/10, ff00::/8: unspecified, loopback, link-local, multicast.
#[inline(always)]
fn v6(address: &Addr) -> bool {
    let [high, low] = addr::read(address).map(u64::from_be);
    (high == 0 && low <= 1) || high >> 54 == 0xfe80 >> 6 || high >> 56 == 0xff
}
