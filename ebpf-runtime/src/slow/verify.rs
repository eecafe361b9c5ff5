//! Owns the answer to one question: did the holder of this certificate sign this datagram, and for the first time?
//! Never sends, counts or forgets anything; the data path has decided all else about the trailer before.

use std::io;

use lb_abi::bundle::Image;
use lb_abi::image::{VERIFY_INVALID, VERIFY_REPLAYED};
use lb_abi::maps::{PUNT_IN_SESSION, Punt, ReplayKey};
use lb_abi::trailer::{HASH_AT, SIGNATURE_AT, TRAILER_BYTES};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// What becomes of a packet at its `verify`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on behind the stage, with its certificate.
    On,
    /// It takes the exit `VERIFY_*`.
    Exit(u32),
    /// It names a certificate or an authority that this verifier does not know: of another generation.
    Anew,
    /// Nothing more can be remembered for `replay`: it is dropped.
    Full,
}

/// Where signatures that were accepted are remembered.
pub trait Replays {
    /// Remembers `key` until `until`, unless it is remembered at `now` (both in ns). An error is a store that is full.
    fn remember(&self, key: &ReplayKey, now: u64, until: u64) -> io::Result<Remembered>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remembered {
    First,
    Again,
}

/// An authority: its identity, and for how many ns its signatures are remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authority {
    pub identity: u64,
    pub replay: Option<u64>,
}

/// A certificate's hash as trailers name it, and its key: an uncompressed point (SEC 1, section 2.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub hash: [u8; 32],
    pub point: [u8; 65],
}

/// Authorities by ordinal and keys by dense number. Looks at nothing but its arguments, and may be shared by threads.
#[derive(Debug, Default)]
pub struct Verifier {
    authorities: Vec<Authority>,
    keys: Vec<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    hash: [u8; 32],
    key: UnparsedPublicKey<[u8; 65]>,
}

impl Verifier {
    pub fn new(
        authorities: impl IntoIterator<Item = Authority>,
        keys: impl IntoIterator<Item = (u32, Key)>,
    ) -> Verifier {
        let mut verifier = Verifier { authorities: authorities.into_iter().collect(), keys: Vec::new() };
        for (number, Key { hash, point }) in keys {
            let at = number as usize;
            if verifier.keys.len() <= at {
                verifier.keys.resize_with(at + 1, || None);
            }
            if let Some(place) = verifier.keys.get_mut(at) {
                *place = Some(Known { hash, key: UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point) });
            }
        }
        verifier
    }

    /// Of an image in which the dense number of a certificate is its ordinal, as in a new
    /// [`Trial`](crate::trial::Trial). Certificates whose key is to be generated are not known.
    pub fn of_image(image: &Image) -> Verifier {
        let authority = |authority: &lb_abi::bundle::Authority| Authority {
            identity: authority.identity,
            replay: authority.replay,
        };
        let keys = (0..).zip(&image.certificates).filter_map(|(number, certificate)| {
            Some((number, Key { hash: certificate.hash, point: certificate.key? }))
        });
        Verifier::new(image.authorities.iter().map(authority), keys)
    }

    /// The verdict on a punted frame. What is accepted is remembered in `replays` where the authority asks for it; the
    /// clock is the packet's own, `Punt::at`.
    pub fn verdict(&self, punt: &Punt, frame: &[u8], replays: &impl Replays) -> Verdict {
        if punt.flags & PUNT_IN_SESSION != 0 {
            return Verdict::On;
        }
        let start = punt.payload as usize;
        let payload = start.checked_add(punt.payload_len as usize).and_then(|end| frame.get(start..end));
        let parts = payload.and_then(|payload| payload.split_last_chunk::<TRAILER_BYTES>());
        let Some((signed, trailer)) = parts else { return Verdict::Exit(VERIFY_INVALID) };
        let known = self.keys.get(punt.cert as usize).and_then(Option::as_ref);
        let (Some(authority), Some(known)) = (self.authorities.get(punt.authority as usize), known) else {
            return Verdict::Anew;
        };
        // The data path has compared them, by a generation in which the number may have been another certificate's.
        if trailer.get(HASH_AT..HASH_AT + 32) != Some(known.hash.as_slice()) {
            return Verdict::Anew;
        }
        let signature = trailer.get(SIGNATURE_AT..).and_then(|rest| rest.first_chunk::<64>());
        let Some(signature) = signature.filter(|signature| known.key.verify(signed, *signature).is_ok())
        else {
            return Verdict::Exit(VERIFY_INVALID);
        };
        let Some(window) = authority.replay else { return Verdict::On };
        let remembered = replays.remember(
            &replay_key(authority.identity, signature),
            punt.at,
            punt.at.saturating_add(window),
        );
        match remembered {
            Ok(Remembered::First) => Verdict::On,
            Ok(Remembered::Again) => Verdict::Exit(VERIFY_REPLAYED),
            Err(_) => Verdict::Full,
        }
    }

    /// Under which key an accepted frame's signature is remembered, if its authority remembers any.
    pub fn remembered_under(&self, punt: &Punt, frame: &[u8]) -> Option<ReplayKey> {
        let authority = self.authorities.get(punt.authority as usize)?;
        authority.replay?;
        let end = (punt.payload as usize).checked_add(punt.payload_len as usize)?;
        let trailer = frame.get(end.checked_sub(TRAILER_BYTES)?..end)?;
        Some(replay_key(authority.identity, trailer.get(SIGNATURE_AT..)?.first_chunk::<64>()?))
    }
}

/// Order of P-256 (FIPS 186-5; SEC 2, section 2.4.2), big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Whoever sees (r, s) can make (r, n − s) of it, which is as valid: both are one signature.
fn replay_key(authority: u64, signature: &[u8; 64]) -> ReplayKey {
    let mut lower = *signature;
    if let Some(s) = lower.last_chunk_mut::<32>() {
        let other = subtract(&ORDER, s);
        if other < *s {
            *s = other;
        }
    }
    let hash = digest(&SHA256, &lower);
    let mut words = hash.as_ref().as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word));
    ReplayKey { authority, signature: std::array::from_fn(|_| words.next().unwrap_or_default()) }
}

/// `a − b` for `b` at most `a`.
fn subtract(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrow = false;
    for ((to, a), b) in difference.iter_mut().zip(a).zip(b).rev() {
        let (once, first) = a.overflowing_sub(*b);
        let (twice, second) = once.overflowing_sub(borrow.into());
        *to = twice;
        borrow = first || second;
    }
    difference
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{Signature, SigningKey};

    use super::*;

    /// A store of so many signatures.
    struct Memory(RefCell<HashMap<ReplayKey, u64>>, usize);

    impl Replays for Memory {
        fn remember(&self, key: &ReplayKey, now: u64, until: u64) -> io::Result<Remembered> {
            let mut known = self.0.borrow_mut();
            if known.get(key).is_some_and(|end| now <= *end) {
                return Ok(Remembered::Again);
            }
            if known.len() == self.1 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            known.insert(*key, until);
            Ok(Remembered::First)
        }
    }

    fn memory(room: usize) -> Memory {
        Memory(RefCell::default(), room)
    }

    fn signer(number: u8) -> SigningKey {
        SigningKey::from_slice(&[number; 32]).unwrap()
    }

    fn key(number: u8) -> Key {
        let point: [u8; 65] =
            signer(number).verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap();
        Key { hash: digest(&SHA256, &point).as_ref().try_into().unwrap(), point }
    }

    fn verifier(replay: Option<u64>) -> Verifier {
        Verifier::new([Authority { identity: 7, replay }], [(0, key(1)), (3, key(2))])
    }

    /// A frame of 42 bytes of headers, the payload, and the trailer.
    fn frame(payload: &[u8], named: &Key, by: u8) -> Vec<u8> {
        let signature: Signature = signer(by).sign(payload);
        let mut frame = vec![0; 42];
        frame.extend(payload);
        frame.extend(b"FSBL");
        frame.extend(named.hash);
        frame.extend(signature.to_bytes());
        frame.extend([0; 4]);
        frame
    }

    fn punt(frame: &[u8], cert: u32, at: u64) -> Punt {
        let payload_len = frame.len() as u32 - 42;
        Punt { len: frame.len() as u32, payload: 42, payload_len, cert, at, ..Punt::default() }
    }

    #[test]
    fn only_the_named_certificates_own_signature_is_accepted() {
        let verifier = verifier(None);
        let see = |frame: &[u8], cert| verifier.verdict(&punt(frame, cert, 0), frame, &memory(0));
        for payload in [&b""[..], b"hello", &[0x5a; 1400]] {
            assert_eq!(see(&frame(payload, &key(1), 1), 0), Verdict::On);
            assert_eq!(see(&frame(payload, &key(2), 2), 3), Verdict::On);
            assert_eq!(
                see(&frame(payload, &key(1), 2), 0),
                Verdict::Exit(VERIFY_INVALID),
                "signed by another"
            );
        }
        let good = frame(b"hello", &key(1), 1);
        for at in (42..47).chain(78..142) {
            let mut bad = good.clone();
            bad[at + usize::from(at >= 78) * 5] ^= 1;
            assert_eq!(see(&bad, 0), Verdict::Exit(VERIFY_INVALID), "byte {at}");
        }
    }

    #[test]
    fn a_number_of_another_generation_begins_anew() {
        let verifier = verifier(None);
        let first = frame(b"hello", &key(1), 1);
        for cert in [1, 3, 99] {
            assert_eq!(verifier.verdict(&punt(&first, cert, 0), &first, &memory(0)), Verdict::Anew, "{cert}");
        }
        let of_nobody = Punt { authority: 1, ..punt(&first, 0, 0) };
        assert_eq!(verifier.verdict(&of_nobody, &first, &memory(0)), Verdict::Anew);
    }

    #[test]
    fn a_payload_beyond_the_frame_is_invalid() {
        let verifier = verifier(None);
        let good = frame(b"hello", &key(1), 1);
        for (payload, payload_len) in [(42, 110), (42, 103), (u32::MAX, 104), (200, 104)] {
            let punt = Punt { payload, payload_len, ..punt(&good, 0, 0) };
            assert_eq!(verifier.verdict(&punt, &good, &memory(0)), Verdict::Exit(VERIFY_INVALID));
        }
    }

    #[test]
    fn a_signature_and_its_twin_are_accepted_once_in_a_window() {
        let verifier = verifier(Some(1000));
        let store = memory(1);
        let good = frame(b"hello", &key(1), 1);
        let mut twin = good.clone();
        let s = twin.len() - 36..twin.len() - 4;
        let other = subtract(&ORDER, good[s.clone()].try_into().unwrap());
        twin[s].copy_from_slice(&other);
        let see = |frame: &[u8], at| verifier.verdict(&punt(frame, 0, at), frame, &store);
        assert_eq!(see(&good, 5), Verdict::On);
        for at in [5, 1005] {
            assert_eq!(see(&good, at), Verdict::Exit(VERIFY_REPLAYED));
            assert_eq!(see(&twin, at), Verdict::Exit(VERIFY_REPLAYED));
        }
        assert_eq!(see(&frame(b"more", &key(1), 1), 6), Verdict::Full);
        store.0.borrow_mut().clear();
        assert_eq!(see(&twin, 1006), Verdict::On);
        assert_eq!(see(&good, 1007), Verdict::Exit(VERIFY_REPLAYED));
        let under = verifier.remembered_under(&punt(&good, 0, 0), &good).unwrap();
        assert_eq!(store.0.borrow().keys().collect::<Vec<_>>(), [&under]);
    }

    #[test]
    fn in_session_nothing_is_looked_at() {
        let verifier = verifier(Some(1000));
        let garbage = vec![0; 150];
        let punt = Punt { flags: PUNT_IN_SESSION, ..punt(&garbage, 0, 0) };
        assert_eq!(verifier.verdict(&punt, &garbage, &memory(0)), Verdict::On);
    }
}
