//! Owns the bytes that change in a packet that leaves: tuple, TTL, checksums (section 4 of `docs/packet-path.md`).
//! Never MAC addresses: the environment decides those.

use policy_lang::policy::Via;

use super::wrap::{strip, wrap};
use super::{Plan, TCP_CHECKSUM, Translation};
use crate::packet::{Fields, Layer4, mend};

pub(super) const UDP_CHECKSUM: usize = 6;
pub(super) const IPV4_CHECKSUM: usize = 10;

/// The frame as it leaves: trailer cut off, tuple rewritten, TTL less one, and what goes around it, as planned. What
/// goes to a backend's MAC address alone keeps its TTL. `hash` is the packet's flow hash.
pub(super) fn forward(frame: &[u8], fields: &Fields, plan: &Plan, hash: u64) -> Vec<u8> {
    let (mut out, fields) = if plan.strip { strip(frame, fields) } else { (frame.to_vec(), *fields) };
    let wrapped = plan.translation.and_then(|translation| translation.wrap);
    if wrapped.is_some_and(|around| around.via == Via::L2dsr) {
        return out;
    }
    if let Some(tuple) = plan.translation.filter(|tuple| tuple.wrap.is_none()) {
        rewrite_tuple(&mut out, &fields, &tuple);
    }
    if let (Layer4::Tcp { seq, .. }, true) = (fields.layer4, plan.shift != 0) {
        let (old, new) = (seq.to_be_bytes(), seq.wrapping_add(plan.shift).to_be_bytes());
        write(&mut out, fields.transport + 4, &new);
        mend_at(&mut out, fields.transport + TCP_CHECKSUM, &old, &new);
    }
    let at = fields.ip + if fields.v6 { 7 } else { 8 };
    set_ttl(&mut out, &fields, at, fields.ttl.wrapping_sub(1));
    match wrapped {
        Some(around) => wrap(&out, &fields, &around, hash),
        None => out,
    }
}

/// Writes a TTL or hop limit and mends the IPv4 header's checksum.
pub(super) fn set_ttl(out: &mut [u8], fields: &Fields, at: usize, ttl: u8) {
    let old: [u8; 2] = read(out, at);
    let new = [ttl, old[1]];
    write(out, at, &[ttl]);
    if !fields.v6 {
        mend_at(out, fields.ip + IPV4_CHECKSUM, &old, &new);
    }
}

fn rewrite_tuple(out: &mut [u8], fields: &Fields, tuple: &Translation) {
    // IPv4 addresses are the last four bytes of the mapped ones.
    let (addrs_at, skip) = if fields.v6 { (fields.ip + 8, 0) } else { (fields.ip + 12, 12) };
    let old_addrs: Vec<u8> =
        [fields.src, fields.dst].iter().flat_map(|addr| addr.iter().skip(skip).copied()).collect();
    let new_addrs: Vec<u8> =
        [tuple.src, tuple.dst].iter().flat_map(|addr| addr.iter().skip(skip).copied()).collect();
    let (sport, dport) = fields.ports().unwrap_or_default();
    let old_ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    let new_ports = [tuple.sport.to_be_bytes(), tuple.dport.to_be_bytes()].concat();
    write(out, addrs_at, &new_addrs);
    write(out, fields.transport, &new_ports);
    if !fields.v6 {
        mend_at(out, fields.ip + IPV4_CHECKSUM, &old_addrs, &new_addrs);
    }
    let (old, new) = ([old_addrs, old_ports].concat(), [new_addrs, new_ports].concat());
    match fields.layer4 {
        Layer4::Tcp { .. } => mend_at(out, fields.transport + TCP_CHECKSUM, &old, &new),
        // RFC 768: 0 says that there is no checksum, so a computed 0 is sent as its other form.
        Layer4::Udp { checksum, .. } if checksum != 0 => {
            // Not as it arrived, if the trailer was cut off.
            let stripped = u16::from_be_bytes(read(out, fields.transport + UDP_CHECKSUM));
            let mended = mend(stripped, &old, &new);
            write(
                out,
                fields.transport + UDP_CHECKSUM,
                &(if mended == 0 { 0xffff } else { mended }).to_be_bytes(),
            );
        }
        _ => {}
    }
}

pub(super) fn mend_at(out: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let mended = mend(u16::from_be_bytes(read(out, at)), old, new);
    write(out, at, &mended.to_be_bytes());
}

pub(super) fn read<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|found| found.try_into().ok()).unwrap_or([0; N])
}

pub(super) fn write(out: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in out.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}
