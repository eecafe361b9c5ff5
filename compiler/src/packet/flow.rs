//! Owns a packet's flow key and the two keyed hashes (section 2 of `docs/packet-path.md`). Never the flow tables.
//! SipHash comes from a library here, so that the ABI's own has a check that shares no code with it.

use std::hash::Hasher;

use lb_abi::hash::Key;
use lb_abi::image::FRAG_LATER;
use lb_abi::maps::FlowKey;
use siphasher::sip::SipHasher13;

use super::{
    Fields, ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, ICMP6_ECHO_REPLY, ICMP6_ECHO_REQUEST, Layer4, v4_number,
};

/// The 5-tuple of a packet.
pub fn flow_key(fields: &Fields) -> FlowKey {
    let (sport, dport) = match fields.layer4 {
        _ if fields.frag == FRAG_LATER => (0, 0),
        Layer4::Tcp { sport, dport, .. } | Layer4::Udp { sport, dport, .. } => (sport, dport),
        Layer4::Icmp { kind: ICMP_ECHO_REQUEST, id, .. } => (id, 0),
        Layer4::Icmp { kind: ICMP_ECHO_REPLY, id, .. } => (0, id),
        Layer4::Icmp6 { kind: ICMP6_ECHO_REQUEST, id, .. } => (id, 0),
        Layer4::Icmp6 { kind: ICMP6_ECHO_REPLY, id, .. } => (0, id),
        _ => (0, 0),
    };
    FlowKey { src: fields.src, dst: fields.dst, sport, dport, proto: fields.proto, pad: [0; 3] }
}

/// Hash of the flow, the same in both directions.
pub fn flow_hash(secret: Key, fields: &Fields) -> u64 {
    let key = flow_key(fields);
    let (one, other) = ((key.src, key.sport), (key.dst, key.dport));
    let (a, b) = if one <= other { (one, other) } else { (other, one) };
    let ports = u64::from(a.1) << 48 | u64::from(b.1) << 32 | u64::from(key.proto);
    if fields.v6 {
        let ([a_high, a_low], [b_high, b_low]) = (halves(a.0), halves(b.0));
        siphash(secret, &[a_high, a_low, b_high, b_low, ports])
    } else {
        let addrs = u64::from(v4_number(a.0)) << 32 | u64::from(v4_number(b.0));
        siphash(secret, &[addrs, ports])
    }
}

/// Hash of the source address.
pub fn source_hash(secret: Key, fields: &Fields) -> u64 {
    if fields.v6 {
        siphash(secret, &halves(fields.src))
    } else {
        siphash(secret, &[u64::from(v4_number(fields.src))])
    }
}

/// Hash of a certificate: over the 32 bytes of its hash as they stand.
pub fn certificate_hash(secret: Key, hash: &[u8; 32]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(secret[0], secret[1]);
    hasher.write(hash);
    hasher.finish()
}

/// Hash of a SYN cookie: over the tuple in the packet's direction, the client's initial sequence number, and a word more.
pub fn cookie_hash(secret: Key, fields: &Fields, isn: u32, more: u64) -> u64 {
    let key = flow_key(fields);
    let last = u64::from(key.sport) << 48 | u64::from(key.dport) << 32 | u64::from(isn);
    if fields.v6 {
        let ([s_high, s_low], [d_high, d_low]) = (halves(key.src), halves(key.dst));
        siphash(secret, &[s_high, s_low, d_high, d_low, last, more])
    } else {
        let addrs = u64::from(v4_number(key.src)) << 32 | u64::from(v4_number(key.dst));
        siphash(secret, &[addrs, last, more])
    }
}

fn halves(addr: [u8; 16]) -> [u64; 2] {
    let number = u128::from_be_bytes(addr);
    [(number >> 64) as u64, number as u64]
}

fn siphash(secret: Key, words: &[u64]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(secret[0], secret[1]);
    for word in words {
        hasher.write(&word.to_le_bytes());
    }
    hasher.finish()
}
