//! Owns the keyed hash of a flow and the random draw, the only two functions whose values evaluator and packet path
//! must share. Never keeps state.

/// Secret of an instance: SipHash key words `k0`, `k1`.
pub type Key = [u64; 2];

#[inline(always)]
const fn round(mut v: [u64; 4]) -> [u64; 4] {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
    v
}

/// SipHash-1-3 (Aumasson and Bernstein 2012, with the rounds of Linux' hsiphash on 64-bit) of whole words,
/// as over their little-endian bytes.
#[inline(always)]
pub const fn siphash13<const N: usize>(key: Key, words: [u64; N]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut i = 0;
    while i < N {
        v[3] ^= words[i];
        v = round(v);
        v[0] ^= words[i];
        i += 1;
    }
    let last = ((N as u64 * 8) & 0xff) << 56;
    v[3] ^= last;
    v = round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    v = round(round(round(v)));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// Random word number `n` of a state seeded with `seed`; always 0 without a seed, so that tests start at the first
/// choice. splitmix64 (Steele, Lea, Flood 2014), upper half.
#[inline(always)]
pub const fn draw(seed: u64, n: u64) -> u32 {
    if seed == 0 {
        return 0;
    }
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 32) as u32
}

/// Scales a 64-bit hash to `0..n` by its upper 32 bits (Lemire 2016); 0 for `n` = 0.
#[inline(always)]
pub const fn scale(hash: u64, n: u32) -> u32 {
    (((hash >> 32) * n as u64) >> 32) as u32
}
