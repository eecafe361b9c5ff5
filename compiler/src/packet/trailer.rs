//! Owns the certificate trailer at the end of a UDP payload: its reading, its signature, and the keys that stand in for
//! certificates' own in tests. Never which certificates are accepted.

use lb_abi::trailer::{HASH_AT, ID_AT, MAGICS, RESERVED_AT, SIGNATURE_AT, TRAILER_BYTES};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use policy_lang::policy::{PacketSpec, Policy};
use sha2::{Digest, Sha256};

/// What a trailer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// Of the certificate (`Certificate::hash`).
    pub hash: [u8; 32],
    pub signature: [u8; 64],
    pub id: u8,
    /// 0 in every trailer that is accepted.
    pub reserved: [u8; 3],
}

/// The payload in front of its trailer, and the trailer; `None` without one.
pub fn trailer(payload: &[u8]) -> Option<(&[u8], Trailer)> {
    let (signed, trailer) = payload.split_at_checked(payload.len().checked_sub(TRAILER_BYTES)?)?;
    let found = Trailer {
        hash: *trailer.get(HASH_AT..)?.first_chunk()?,
        signature: *trailer.get(SIGNATURE_AT..)?.first_chunk()?,
        id: *trailer.get(ID_AT)?,
        reserved: *trailer.get(RESERVED_AT..)?.first_chunk()?,
    };
    MAGICS.contains(trailer.first_chunk()?).then_some((signed, found))
}

impl Trailer {
    /// Whether the signature of the payload in front is that of the key (SEC 1 section 2.3.3, uncompressed): ECDSA over
    /// P-256 and SHA-256 (FIPS 186-5, section 6.4).
    pub fn is_signed_by(&self, key: &[u8], signed: &[u8]) -> bool {
        let key = VerifyingKey::from_sec1_bytes(key);
        let signature = Signature::from_slice(&self.signature);
        key.is_ok_and(|key| {
            signature.is_ok_and(|signature| key.verify_prehash(&Sha256::digest(signed), &signature).is_ok())
        })
    }

    /// The signature in the one of its two forms that has the lower s: whoever has seen one can make the other.
    pub fn one_form(&self) -> [u8; 64] {
        let form = Signature::from_slice(&self.signature).map(|signature| signature.normalize_s());
        form.map_or(self.signature, |form| form.to_bytes().into())
    }
}

/// The key that signs for a certificate in an `expect`: the first of SHA-256("lbctl test key", hash, n) for n = 0, 1, …
/// (one byte) that is a P-256 scalar.
fn test_key(hash: &[u8; 32]) -> Option<SigningKey> {
    (0..=u8::MAX).find_map(|number| {
        let digest = Sha256::new().chain_update("lbctl test key").chain_update(hash).chain_update([number]);
        SigningKey::from_slice(&digest.finalize()).ok()
    })
}

/// What stands in for the public key of the certificate with this hash in tests, as `Certificate::key`.
pub fn test_public_key(hash: &[u8; 32]) -> Vec<u8> {
    test_key(hash).map(|key| key.verifying_key().to_sec1_point(false).as_bytes().to_vec()).unwrap_or_default()
}

/// The packet with the trailer that it asks for behind its payload.
pub(super) fn with_trailer(policy: &Policy, spec: &PacketSpec, payload: Vec<u8>) -> Option<Vec<u8>> {
    let signed = spec.signed?;
    let authority = policy.authorities.get(signed.authority.index())?;
    let certificate = authority.certificates.get(signed.certificate as usize)?;
    let signer = Signer { key: test_key(&certificate.hash)?, hash: certificate.hash, id: certificate.id };
    let mut payload = signer.sign(payload)?;
    if signed.forged {
        forge(&mut payload);
    }
    Some(payload)
}

/// Who signs payloads: a key, and what its trailers say that it is.
#[derive(Clone)]
pub struct Signer {
    pub key: SigningKey,
    /// As of `Certificate::hash`.
    pub hash: [u8; 32],
    pub id: u8,
}

impl Signer {
    /// The payload with its trailer behind; the same for the same payload (RFC 6979).
    pub fn sign(&self, mut payload: Vec<u8>) -> Option<Vec<u8>> {
        let signature: Signature = self.key.sign_prehash(&Sha256::digest(&payload)).ok()?;
        payload.extend(MAGICS.first()?);
        payload.extend(self.hash);
        payload.extend(signature.to_bytes());
        payload.extend([self.id, 0, 0, 0]);
        Some(payload)
    }
}

/// Spoils the signature of a payload that has a trailer.
pub fn forge(payload: &mut [u8]) {
    const BEHIND: usize = 5;
    if let Some(last) = payload.len().checked_sub(BEHIND).and_then(|at| payload.get_mut(at)) {
        *last ^= 1;
    }
}
