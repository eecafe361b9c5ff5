//! Owns the bytes of a packet that is forwarded: MACs, TTL, addresses, ports and their checksums. Never the decision.

use core::mem::offset_of;

use lb_abi::{image::Field, maps::NextHop, reason::Reason};

use crate::{
    addr,
    frame::Frame,
    packet::Packet,
    parse::{TCP, UDP},
    plan::LEAVES_AS_IS,
};

/// A change to a checksum, `Σ(~m + m')` of RFC 1624, equation 3. One's complement sums don't care for byte order nor
/// for whether the words are of 16 or of 32 bits (RFC 1071, section 2), so words are taken as they lie in memory.
#[derive(Clone, Copy)]
pub struct Change(u64);

impl Change {
    pub const NONE: Change = Change(0);

    #[inline(always)]
    pub fn word16(self, old: u16, new: u16) -> Change {
        Change(self.0 + (!old) as u64 + new as u64)
    }

    #[inline(always)]
    pub fn word32(self, old: u32, new: u32) -> Change {
        Change(self.0 + (!old) as u64 + new as u64)
    }

    /// `HC' = ~(~HC + Σ)`, both as they lie in memory.
    #[inline(always)]
    pub fn apply(self, checksum: u16) -> u16 {
        let mut sum = self.0 + (!checksum) as u64;
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        !(sum as u16)
    }
}

/// Writes the packet as it leaves. `Err` is the number of a reason, and can't come: all ranges were there when the
/// packet was parsed.
#[inline(always)]
pub fn rewrite(frame: &Frame, p: &mut Packet) -> Result<(), u32> {
    const SHORT: u32 = Reason::ShortFrame as u32;
    let ethernet = frame.at::<14>(0).ok_or(SHORT)?;
    // Both addresses in the order of the header, in the words in which they were written: a load of two words just
    // stored waits until they are in the cache.
    const _: () = assert!(offset_of!(NextHop, dmac) == 4 && offset_of!(NextHop, smac) == 10);
    let hop = core::ptr::from_ref(&p.plan.hop).cast::<u32>();
    for n in 0..3 {
        // SAFETY: a next hop is four aligned words long.
        ethernet.put32(4 * n, unsafe { hop.add(1 + n).read_volatile() });
    }
    let l3 = p.l3 & 0x1f;
    let translated = p.plan.leaves != LEAVES_AS_IS;
    let ttl = p.get(Field::Ttl) as u8;
    if p.v6 == 0 {
        let ip = frame.at::<20>(l3).ok_or(SHORT)?;
        let (src, dst) = (ip.raw32(12), ip.raw32(16));
        let mut change = Change::NONE.word16(ip.raw16(8), ip.raw16(8).wrapping_sub(1));
        ip.put8(8, ttl.wrapping_sub(1));
        if translated {
            let new_src = addr::words32(&p.plan.out.src)[3];
            let new_dst = addr::words32(&p.plan.out.dst)[3];
            let addresses = Change::NONE.word32(src, new_src).word32(dst, new_dst);
            change = change.word32(src, new_src).word32(dst, new_dst);
            ip.put32(12, new_src);
            ip.put32(16, new_dst);
            layer4(frame, p, addresses)?;
        }
        ip.put16(10, change.apply(ip.raw16(10)));
    } else {
        let ip = frame.at::<40>(l3).ok_or(SHORT)?;
        ip.put8(7, ttl.wrapping_sub(1));
        if translated {
            let mut addresses = Change::NONE;
            let (src, dst) = (addr::words32(&p.plan.out.src), addr::words32(&p.plan.out.dst));
            for n in 0..4 {
                addresses =
                    addresses.word32(ip.raw32(8 + 4 * n), src[n]).word32(ip.raw32(24 + 4 * n), dst[n]);
                ip.put32(8 + 4 * n, src[n]);
                ip.put32(24 + 4 * n, dst[n]);
            }
            layer4(frame, p, addresses)?;
        }
    }
    Ok(())
}

/// Ports, and the checksum that covers them and the addresses.
#[inline(always)]
fn layer4(frame: &Frame, p: &Packet, addresses: Change) -> Result<(), u32> {
    const SHORT: u32 = Reason::ShortFrame as u32;
    let l4 = p.l4 & 0x1ff;
    let ports = p.plan.out.sport.to_be() as u32 | (p.plan.out.dport.to_be() as u32) << 16;
    match p.proto {
        TCP => {
            let tcp = frame.at::<20>(l4).ok_or(SHORT)?;
            let change = addresses.word32(tcp.raw32(0), ports);
            tcp.put32(0, ports);
            tcp.put16(16, change.apply(tcp.raw16(16)));
        }
        UDP => {
            let udp = frame.at::<8>(l4).ok_or(SHORT)?;
            let checksum = udp.raw16(6);
            let change = addresses.word32(udp.raw32(0), ports);
            udp.put32(0, ports);
            // RFC 768: 0 says that there is none, which a sum of 0 must not.
            if checksum != 0 {
                let mended = change.apply(checksum);
                udp.put16(6, if mended == 0 { 0xffff } else { mended });
            }
        }
        _ => {}
    }
    Ok(())
}
