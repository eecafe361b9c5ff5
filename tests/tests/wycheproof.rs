//! Owns the Wycheproof vectors of ECDSA over P-256 and SHA-256 that a trailer can carry: the agent's verifier and the
//! reference evaluator's accept exactly those that are valid. Never signatures of our own.

use compiler::packet::trailer;
use ebpf_runtime::slow::{Authority, Key, Remembered, Replays, Verdict, Verifier};
use lb_abi::image::VERIFY_INVALID;
use lb_abi::maps::{Punt, ReplayKey};
use lb_abi::trailer::{ID_AT, MAGICS, RESERVED_AT, SIGNATURE_AT, TRAILER_BYTES};
use p256::ecdsa::Signature;
use sha2::{Digest, Sha256};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

/// A message, the 64 bytes of r and s, the key's uncompressed point, and whether it is valid.
struct Vector {
    number: usize,
    message: Vec<u8>,
    signature: [u8; 64],
    key: Vec<u8>,
    is_valid: bool,
}

/// Vectors whose signature is r and s of 32 bytes each, and how many are not.
fn vectors(name: TestName, bytes: impl Fn(&[u8]) -> Option<[u8; 64]>) -> (Vec<Vector>, usize) {
    let set = TestSet::load(name).expect("the vectors are read");
    let (mut vectors, mut others) = (Vec::new(), 0);
    for group in &set.test_groups {
        for test in &group.tests {
            // A valid signature in a form that no trailer has would be left out here, and is none of ours.
            let Some(signature) = bytes(&test.sig) else {
                others += 1;
                continue;
            };
            vectors.push(Vector {
                number: test.tc_id,
                message: test.msg.to_vec(),
                signature,
                key: group.key.key.to_vec(),
                is_valid: test.result == TestResult::Valid,
            });
        }
    }
    (vectors, others)
}

fn payload(vector: &Vector) -> Vec<u8> {
    let mut payload = vector.message.clone();
    payload.extend(MAGICS[0]);
    payload.extend(Sha256::digest(&vector.key));
    payload.extend(vector.signature);
    payload.extend([7, 0, 0, 0]);
    payload
}

/// Every signature is new to it.
struct Forgetful;

impl Replays for Forgetful {
    fn remember(&self, _: &ReplayKey, _: u64, _: u64) -> std::io::Result<Remembered> {
        Ok(Remembered::First)
    }
}

/// Offset of the UDP payload in an IPv4 frame without options.
const HEADERS: usize = 42;

fn judge(vector: &Vector) {
    let payload = payload(vector);
    let (signed, trailer) = trailer(&payload).expect("a trailer");
    let by_evaluator = trailer.is_signed_by(&vector.key, signed);
    assert_eq!(by_evaluator, vector.is_valid, "vector {} by the evaluator", vector.number);

    let Ok(point) = <[u8; 65]>::try_from(vector.key.as_slice()) else {
        assert!(!vector.is_valid, "vector {} has a key of another form", vector.number);
        return;
    };
    let key = Key { hash: Sha256::digest(point).into(), point };
    let verifier = Verifier::new([Authority { identity: 1, replay: Some(1) }], [(0, key)]);
    let frame = [&[0; HEADERS][..], &payload].concat();
    let punt = Punt {
        len: frame.len() as u32,
        payload: HEADERS as u32,
        payload_len: payload.len() as u32,
        ..Punt::default()
    };
    let wanted = if vector.is_valid { Verdict::On } else { Verdict::Exit(VERIFY_INVALID) };
    assert_eq!(verifier.verdict(&punt, &frame, &Forgetful), wanted, "vector {} by the agent", vector.number);
}

#[test]
fn the_layout_is_that_of_the_vectors() {
    assert_eq!((SIGNATURE_AT + 64, ID_AT, RESERVED_AT + 3), (ID_AT, 100, TRAILER_BYTES));
}

#[test]
fn fixed_length_signatures() {
    let (vectors, others) = vectors(TestName::EcdsaSecp256r1Sha256P1363, |bytes| bytes.try_into().ok());
    assert!(vectors.len() > 200, "{} vectors, {others} of other lengths", vectors.len());
    assert!(vectors.iter().any(|vector| vector.is_valid) && vectors.iter().any(|vector| !vector.is_valid));
    vectors.iter().for_each(judge);
}

#[test]
fn der_signatures() {
    let fixed = |bytes: &[u8]| Some(Signature::from_der(bytes).ok()?.to_bytes().into());
    let (vectors, others) = vectors(TestName::EcdsaSecp256r1Sha256, fixed);
    assert!(vectors.len() > 150, "{} vectors, {others} in no form of ours", vectors.len());
    vectors.iter().for_each(judge);
}
