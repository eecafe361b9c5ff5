//! Owns clients with keys of their own: what they sign, and how a policy names them. Never lbctl's own signing, so that one
//! cannot hide the other's faults.

use lb_abi::trailer::MAGICS;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

/// A bare key under an id.
#[derive(Clone, Debug)]
pub struct Signer {
    key: SigningKey,
    pub id: u8,
    pub hash: [u8; 32],
}

impl Signer {
    /// The same number gives the same key.
    pub fn new(id: u8, number: u8) -> Signer {
        let mut scalar = [0x55; 32];
        scalar[31] = number;
        let key = SigningKey::from_slice(&scalar).expect("a scalar of P-256");
        let hash = Sha256::digest(key.verifying_key().to_sec1_point(false).as_bytes()).into();
        Signer { key, id, hash }
    }

    /// The setting of an authority that names it.
    pub fn setting(&self) -> String {
        let point = self.key.verifying_key().to_sec1_point(false);
        let digits: String = point.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("key {} 0x{digits}", self.id)
    }

    /// `text` with the trailer behind it.
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        let signature: Signature = self.key.sign_prehash(&Sha256::digest(text)).expect("a signature");
        let mut payload = text.to_vec();
        payload.extend(MAGICS[0]);
        payload.extend(self.hash);
        payload.extend(signature.to_bytes());
        payload.extend([self.id, 0, 0, 0]);
        payload
    }
}
