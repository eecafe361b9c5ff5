//! Owns UDP payloads with a certificate's trailer, as honest clients send them and as others try to. Never a frame around
//! them, and never what becomes of them.

use std::net::{IpAddr, Ipv4Addr};

use compiler::packet::{build_in, parse, payload};
use fastrand::Rng;
use lb_abi::trailer::{HASH_AT, ID_AT, MAGICS, RESERVED_AT, SIGNATURE_AT, TRAILER_BYTES};
use policy_lang::policy::{AuthorityId, PacketSpec, Policy, ProtoSpec, Signed};

/// Of one certificate, signed by the key that stands in for its own in tests.
#[derive(Clone, Debug)]
pub struct Payloads {
    honest: Vec<Vec<u8>>,
}

/// Certificates of an authority that clients have, and payloads that each of them signs: few, so that some come twice.
const CERTIFICATES: usize = 4;
const TEXTS: [&[u8]; 4] = [b"", b"a", b"to side B", b"a somewhat longer text, of an odd number of bytes"];

/// What clients of all the policy's authorities send.
pub fn clients(policy: &Policy) -> Vec<Payloads> {
    let mut clients = Vec::new();
    for (authority, item) in (0..).zip(&policy.authorities) {
        for certificate in 0..item.certificates.len().min(CERTIFICATES) {
            let signed = |text: &&[u8]| signed(policy, AuthorityId(authority), certificate as u32, text);
            clients.push(Payloads { honest: TEXTS.iter().map(signed).collect() });
        }
    }
    clients
}

/// `text` and the trailer of a certificate of the policy behind it.
pub fn signed(policy: &Policy, authority: AuthorityId, certificate: u32, text: &[u8]) -> Vec<u8> {
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let spec = PacketSpec {
        payload: text.to_vec(),
        signed: Some(Signed { authority, certificate, forged: false }),
        ..PacketSpec::new(host, host, ProtoSpec::Udp { sport: 1, dport: 1 })
    };
    let frame = build_in(policy, &spec);
    let fields = parse(&frame).expect("a packet of our own making");
    payload(&frame, &fields).expect("it has a payload").to_vec()
}

impl Payloads {
    /// Most are as they should be.
    pub fn choose(&self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.honest[rng.usize(0..self.honest.len())].clone();
        let trailer = bytes.len() - TRAILER_BYTES;
        let mut flip = |at: usize, rng: &mut Rng| bytes[at] ^= 1 << rng.u32(0..8);
        match rng.u32(0..32) {
            0 => flip(trailer + rng.usize(0..HASH_AT), rng),
            1 => flip(trailer + rng.usize(HASH_AT..SIGNATURE_AT), rng),
            2 | 3 => flip(trailer + rng.usize(SIGNATURE_AT..ID_AT), rng),
            4 => flip(trailer + ID_AT, rng),
            5 => flip(trailer + rng.usize(RESERVED_AT..TRAILER_BYTES), rng),
            6 if trailer > 0 => flip(rng.usize(0..trailer), rng),
            7 => bytes.push(rng.u8(..)),
            8 => {
                bytes.pop();
            }
            9 => bytes.extend_from_within(trailer..),
            10 => bytes[trailer..trailer + HASH_AT].copy_from_slice(&MAGICS[1]),
            11 => bytes.truncate(rng.usize(0..bytes.len())),
            _ => {}
        }
        bytes
    }
}
