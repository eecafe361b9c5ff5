//! Owns the opening of QUIC's Initial packets, version 1 (RFC 9000, section 17.2.2; RFC 9001, section 5): the CRYPTO frames of
//! what a client sends first. Never what they say, nor any later packet.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::{BlockEncrypt, Key};
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;

const VERSION: [u8; 4] = [0, 0, 0, 1];
/// RFC 9001, section 5.2.
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc,
    0xbb, 0x7f, 0x0a,
];
const LONGEST_ID: usize = 20;
const SAMPLE: usize = 16;

/// Why a datagram has no CRYPTO frames of a client's Initial packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoInitial {
    /// It begins with another packet, of another version perhaps.
    Other,
    /// It is truncated, not authentic, or holds what an Initial packet may not.
    Broken,
}

/// The CRYPTO frames of all Initial packets in a datagram, in order: offset and bytes. Behind the first packet, whatever is no
/// Initial packet is left aside.
pub(super) fn crypto(datagram: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, NoInitial> {
    let mut found = Vec::new();
    let mut rest = datagram;
    let mut is_first = true;
    while is_initial(rest) {
        let packet = Packet::read(rest).ok_or(NoInitial::Broken)?;
        let plain = packet.open().ok_or(NoInitial::Broken)?;
        frames(&plain, &mut found).ok_or(NoInitial::Broken)?;
        (rest, is_first) = (packet.behind, false);
    }
    if is_first { Err(NoInitial::Other) } else { Ok(found) }
}

/// Long header, fixed bit, type 0, version 1.
fn is_initial(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0xf0 == 0xc0) && packet.get(1..5) == Some(&VERSION)
}

struct Packet<'a> {
    /// All in front of the packet number.
    header: &'a [u8],
    /// Packet number and payload, protected.
    protected: &'a [u8],
    id: &'a [u8],
    behind: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(packet: &'a [u8]) -> Option<Packet<'a>> {
        let (id, rest) = short(packet.get(5..)?)?;
        let (_source, rest) = short(rest)?;
        let (token, rest) = number(rest)?;
        let (length, rest) = number(rest.get(token..)?)?;
        let (protected, behind) = rest.split_at_checked(length)?;
        let header = packet.get(..packet.len() - rest.len())?;
        (id.len() <= LONGEST_ID).then_some(Packet { header, protected, id, behind })
    }

    /// The payload; `None` if it is not authentic.
    fn open(&self) -> Option<Vec<u8>> {
        let keys = Keys::of(self.id)?;
        let mask = keys.mask(self.protected.get(4..4 + SAMPLE)?)?;
        let mut header = self.header.to_vec();
        let first = header.first_mut()?;
        *first ^= mask.first()? & 0x0f;
        let width = usize::from(*first & 3) + 1;
        let (hidden, sealed) = self.protected.split_at_checked(width)?;
        let shown: Vec<u8> = hidden.iter().zip(mask.iter().skip(1)).map(|(byte, mask)| byte ^ mask).collect();
        header.extend(&shown);
        let payload = Payload { msg: sealed, aad: &header };
        keys.cipher().decrypt(Nonce::from_slice(&keys.nonce(&shown)), payload).ok()
    }
}

/// What protects the Initial packets of a client.
struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    header: [u8; 16],
}

impl Keys {
    /// RFC 9001, sections 5.1 and 5.2, by the connection id that the packet goes to.
    fn of(id: &[u8]) -> Option<Keys> {
        let (_, initial) = Hkdf::<Sha256>::extract(Some(&SALT), id);
        let client: [u8; 32] = expand(&initial, "client in")?;
        let secret = Hkdf::from_prk(&client).ok()?;
        Some(Keys {
            key: expand(&secret, "quic key")?,
            iv: expand(&secret, "quic iv")?,
            header: expand(&secret, "quic hp")?,
        })
    }

    fn cipher(&self) -> Aes128Gcm {
        Aes128Gcm::new(Key::<Aes128>::from_slice(&self.key))
    }

    /// RFC 9001, section 5.4.3.
    fn mask(&self, sample: &[u8]) -> Option<[u8; SAMPLE]> {
        let mut block: [u8; SAMPLE] = sample.try_into().ok()?;
        Aes128::new(Key::<Aes128>::from_slice(&self.header)).encrypt_block((&mut block).into());
        Some(block)
    }

    /// A client's first packets have small numbers, so that the bytes sent are all of it.
    fn nonce(&self, number: &[u8]) -> [u8; 12] {
        let mut nonce = self.iv;
        nonce.iter_mut().rev().zip(number.iter().rev()).for_each(|(byte, number)| *byte ^= number);
        nonce
    }
}

/// HKDF-Expand-Label without context (RFC 8446, section 7.1).
fn expand<const N: usize>(secret: &Hkdf<Sha256>, label: &str) -> Option<[u8; N]> {
    let label = format!("tls13 {label}");
    let length = (N as u16).to_be_bytes();
    let mut out = [0; N];
    let parts = [&length[..], &[label.len() as u8], label.as_bytes(), &[0]];
    secret.expand_multi_info(&parts, &mut out).ok()?;
    Some(out)
}

/// The frames that an Initial packet may hold (RFC 9000, table 3); `None` for any other.
fn frames(mut rest: &[u8], found: &mut Vec<(usize, Vec<u8>)>) -> Option<()> {
    while let Some((kind, behind)) = rest.split_first() {
        rest = match kind {
            // PADDING, PING.
            0 | 1 => behind,
            2 | 3 => acknowledgement(behind, *kind == 3)?,
            6 => {
                let (offset, behind) = number(behind)?;
                let (length, behind) = number(behind)?;
                let (bytes, behind) = behind.split_at_checked(length)?;
                found.push((offset, bytes.to_vec()));
                behind
            }
            // CONNECTION_CLOSE: nothing comes behind it that matters.
            0x1c => return Some(()),
            _ => return None,
        };
    }
    Some(())
}

/// What is behind an ACK frame.
fn acknowledgement(rest: &[u8], has_ecn: bool) -> Option<&[u8]> {
    let (_largest, rest) = number(rest)?;
    let (_delay, rest) = number(rest)?;
    let (ranges, rest) = number(rest)?;
    let numbers = ranges.checked_mul(2)?.checked_add(if has_ecn { 4 } else { 1 })?;
    (0..numbers).try_fold(rest, |rest, _| number(rest).map(|(_, rest)| rest))
}

/// Bytes behind their length in one byte.
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// A variable-length integer (RFC 9000, section 16).
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let first = *bytes.first()?;
    let (written, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let number =
        written.iter().skip(1).fold(u64::from(first & 0x3f), |number, &byte| number << 8 | u64::from(byte));
    Some((usize::try_from(number).ok()?, rest))
}

#[cfg(test)]
pub(super) mod tests;
