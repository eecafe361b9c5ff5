//! Owns the slot tables of pools: which backend a pick's index means. Never a hash of a packet, which needs the
//! instance's key; the hashes here are public, so that every node builds the same tables.

use sha2::{Digest, Sha256};

/// Slots of `pick source`, a prime: at most 1 % imbalance up to 655 backends.
pub const SOURCE_SLOTS: u32 = 65_537;
/// Most turns that weights in their lowest terms may add up to.
pub const MAX_TURNS: u64 = 65_536;

/// A backend that takes new flows. `weight` is at least 1.
#[derive(Clone, Debug)]
pub struct Candidate<'p> {
    pub name: &'p str,
    pub weight: u32,
    /// Its ordinal in the image.
    pub backend: u32,
}

/// The sum of weights in their lowest terms.
pub fn turn_count(candidates: &[Candidate<'_>]) -> u64 {
    weights(candidates).iter().sum::<i64>() as u64
}

/// A round of turns, each backend as often as its weight.
pub fn round(candidates: &[Candidate<'_>]) -> Vec<u32> {
    let weights = weights(candidates);
    let mut credits = vec![0; weights.len()];
    let count = weights.iter().sum::<i64>();
    (0..count).map(|_| candidates[turn(&weights, &mut credits)].backend).collect()
}

/// Who takes the next turn of the smooth weighted round robin of nginx (`ngx_http_upstream_round_robin.c`): every backend
/// gains its weight, and the first of those with most takes the turn and pays the sum.
fn turn(weights: &[i64], credits: &mut [i64]) -> usize {
    let mut best = 0;
    for (at, weight) in weights.iter().enumerate() {
        credits[at] += weight;
        if credits[at] > credits[best] {
            best = at;
        }
    }
    credits[best] -= weights.iter().sum::<i64>();
    best
}

/// Weights in their lowest terms.
fn weights(candidates: &[Candidate<'_>]) -> Vec<i64> {
    let divisor = candidates.iter().fold(0, |divisor, candidate| gcd(divisor, candidate.weight)).max(1);
    candidates.iter().map(|candidate| i64::from(candidate.weight / divisor)).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The table of Maglev (Eisenbud and others, NSDI 2016, section 3.4): turn by turn a backend takes the next free slot of
/// its own permutation. `size` is prime; nobody's turn without candidates.
pub fn maglev(candidates: &[Candidate<'_>], size: u32) -> Vec<u32> {
    if candidates.is_empty() {
        return Vec::new();
    }
    let weights = weights(candidates);
    let mut credits = vec![0; weights.len()];
    // Next slot and step of each permutation.
    let mut walks: Vec<(u64, u64)> =
        candidates.iter().map(|candidate| permutation(candidate.name, u64::from(size))).collect();
    let mut slots = vec![None; size as usize];
    for _ in 0..size {
        let taker = turn(&weights, &mut credits);
        let (next, skip) = &mut walks[taker];
        while slots[*next as usize].is_some() {
            *next = (*next + *skip) % u64::from(size);
        }
        slots[*next as usize] = Some(candidates[taker].backend);
    }
    slots.into_iter().flatten().collect()
}

/// First slot and step, from the public hash of a name.
fn permutation(name: &str, size: u64) -> (u64, u64) {
    let hash = Sha256::digest(name.as_bytes());
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| hash[at + byte]));
    (number(0) % size, number(8) % (size - 1) + 1)
}

/// Whether a Maglev table of this size has permutations at all.
pub fn is_prime(size: u32) -> bool {
    size >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= u64::from(size))
            .all(|divisor| u64::from(size) % divisor != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(names: &[String], weights: &[u32]) -> Vec<Candidate<'static>> {
        let weights = weights.iter().copied().cycle();
        names
            .iter()
            .zip(weights)
            .enumerate()
            .map(|(backend, (name, weight))| Candidate {
                name: Box::leak(name.clone().into_boxed_str()),
                weight,
                backend: backend as u32,
            })
            .collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("b{number}")).collect()
    }

    fn shares(slots: &[u32], count: usize) -> Vec<usize> {
        let mut shares = vec![0; count];
        slots.iter().for_each(|&slot| shares[slot as usize] += 1);
        shares
    }

    #[test]
    fn maglev_shares_are_even_to_two_percent() {
        let backends = candidates(&names(100), &[1]);
        let slots = maglev(&backends, 65_537);
        let even = 65_537.0 / 100.0;
        for share in shares(&slots, 100) {
            assert!((share as f64 - even).abs() / even <= 0.02, "{share} of {even}");
        }
    }

    #[test]
    fn maglev_shares_follow_weights() {
        let backends = candidates(&names(3), &[3, 3, 1]);
        let shares = shares(&maglev(&backends, 65_537), 3);
        for (share, weight) in shares.iter().zip([3.0, 3.0, 1.0]) {
            let due = 65_537.0 * weight / 7.0;
            assert!((*share as f64 - due).abs() / due <= 0.02, "{share} of {due}");
        }
    }

    #[test]
    fn a_removed_backend_moves_hardly_any_slot_of_the_others() {
        let all = candidates(&names(20), &[1]);
        let before = maglev(&all, 65_537);
        let left: Vec<_> = all.iter().filter(|candidate| candidate.backend != 7).cloned().collect();
        let after = maglev(&left, 65_537);
        let others = before.iter().filter(|&&backend| backend != 7).count();
        let moved = before.iter().zip(&after).filter(|&(&old, &new)| old != 7 && old != new).count();
        assert!(moved * 100 <= others, "{moved} of {others} moved");
        assert!(!after.contains(&7));
    }

    #[test]
    fn maglev_does_not_depend_on_ordinals() {
        let all = candidates(&names(5), &[1, 2, 3]);
        let shifted: Vec<_> =
            all.iter().map(|one| Candidate { backend: one.backend + 9, ..one.clone() }).collect();
        let expected: Vec<u32> = maglev(&all, 4_099).iter().map(|backend| backend + 9).collect();
        assert_eq!(maglev(&shifted, 4_099), expected);
    }

    #[test]
    fn round_robin_spreads_the_heavy_ones() {
        let slots = round(&candidates(&names(3), &[50, 10, 10]));
        assert_eq!(slots, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn turns_are_counted_in_lowest_terms() {
        assert_eq!(turn_count(&candidates(&names(2), &[1_000, 3_000])), 4);
        assert_eq!(turn_count(&candidates(&names(2), &[u32::MAX, 1])), 1 << 32);
    }

    #[test]
    fn primes() {
        assert!(is_prime(65_537) && is_prime(4_099) && is_prime(2));
        assert!(!is_prime(1) && !is_prime(0) && !is_prime(65_536) && !is_prime(4_097));
    }
}
