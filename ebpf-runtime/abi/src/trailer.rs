//! Owns the layout of the certificate trailer at the end of a UDP payload. Never which trailers are accepted.

/// Magic 4, hash 32, signature 64, key id 1, reserved 3.
pub const TRAILER_BYTES: usize = 104;
/// As it stands on the wire; the second is the same number from a sender of the other byte order.
pub const MAGICS: [[u8; 4]; 2] = [*b"FSBL", *b"LBSF"];
/// Hash of the certificate: SHA-256 of its DER, or of a bare key's uncompressed point.
pub const HASH_AT: usize = 4;
/// r and s of ECDSA over P-256 and SHA-256 of the payload in front of the trailer, 32 bytes each, big-endian.
pub const SIGNATURE_AT: usize = 36;
pub const ID_AT: usize = 100;
/// Three bytes, 0 in every trailer that is accepted.
pub const RESERVED_AT: usize = 101;
