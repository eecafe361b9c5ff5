//! Owns the slot tables of pools: which backend a pick's index means. Never a hash of a packet, which needs the
//! instance's key; the hashes here are public, so that every node builds the same tables.

use super::identity::two_hashes;

/// Slots of `pick source`, a prime: at most 1 % imbalance up to 655 backends.
pub const SOURCE_SLOTS: u32 = 65_537;
/// Longest table of `pick round-robin` and `pick random`; weights that need more are rounded to it.
pub const MAX_TURNS: u64 = 65_536;

/// A backend that takes new flows. `weight` is at least 1.
#[derive(Clone, Debug)]
pub struct Candidate<'p> {
    pub name: &'p str,
    pub weight: u32,
    /// Its ordinal in the image.
    pub backend: u32,
}

/// Each backend as often as its weight, in the order of the file.
pub fn expanded(candidates: &[Candidate<'_>]) -> Vec<u32> {
    let turns = turns(candidates);
    candidates
        .iter()
        .zip(turns)
        .flat_map(|(candidate, turns)| std::iter::repeat_n(candidate.backend, turns as usize))
        .collect()
}

/// The smooth weighted round robin of nginx (`ngx_http_upstream_round_robin.c`): each turn every backend gains its
/// weight, and the one with most takes it and pays the sum.
pub fn smooth(candidates: &[Candidate<'_>]) -> Vec<u32> {
    let turns = turns(candidates);
    let sum: i64 = turns.iter().map(|&turns| turns as i64).sum();
    let mut gained = vec![0_i64; turns.len()];
    let mut slots = Vec::with_capacity(sum as usize);
    for _ in 0..sum {
        let mut best = 0;
        for (at, &weight) in turns.iter().enumerate() {
            gained[at] += weight as i64;
            if gained[at] > gained[best] {
                best = at;
            }
        }
        gained[best] -= sum;
        slots.push(candidates[best].backend);
    }
    slots
}

/// Weights in their lowest terms, rounded (but never to 0) where their sum is beyond `MAX_TURNS`.
fn turns(candidates: &[Candidate<'_>]) -> Vec<u64> {
    let divisor = candidates.iter().fold(0, |divisor, candidate| gcd(divisor, u64::from(candidate.weight)));
    let weights: Vec<u64> =
        candidates.iter().map(|candidate| u64::from(candidate.weight) / divisor.max(1)).collect();
    let sum: u64 = weights.iter().sum();
    if sum <= MAX_TURNS {
        return weights;
    }
    weights.iter().map(|&weight| ((weight * MAX_TURNS + sum / 2) / sum).max(1)).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The table of Maglev (Eisenbud and others, NSDI 2016, section 3.4). Backends take turns in the order of their names,
/// as often as their weights say, and each takes the next free slot of its own permutation. `size` is prime.
pub fn maglev(pool: &str, candidates: &[Candidate<'_>], size: u32) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let modulus = u64::from(size);
    let mut order: Vec<&Candidate<'_>> = candidates.iter().collect();
    order.sort_by_key(|candidate| candidate.name);
    let Some(heaviest) = order.iter().map(|candidate| candidate.weight).max() else {
        return Vec::new();
    };
    // Next slot of each permutation, its step, and what is gained towards a turn.
    let mut walks: Vec<(u64, u64, u64)> = order
        .iter()
        .map(|candidate| {
            let (offset, skip) = two_hashes(&["maglev", pool, candidate.name]);
            (offset % modulus, skip % (modulus - 1) + 1, 0)
        })
        .collect();
    let mut slots = vec![FREE; size as usize];
    let mut free = size;
    while free > 0 {
        for (candidate, (next, skip, gained)) in order.iter().zip(&mut walks) {
            *gained += u64::from(candidate.weight);
            if *gained < u64::from(heaviest) || free == 0 {
                continue;
            }
            *gained -= u64::from(heaviest);
            while slots[*next as usize] != FREE {
                *next = (*next + *skip) % modulus;
            }
            slots[*next as usize] = candidate.backend;
            free -= 1;
        }
    }
    slots
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
        let slots = maglev("web", &backends, 65_537);
        let even = 65_537.0 / 100.0;
        for share in shares(&slots, 100) {
            assert!((share as f64 - even).abs() / even <= 0.02, "{share} of {even}");
        }
    }

    #[test]
    fn maglev_shares_follow_weights() {
        let backends = candidates(&names(3), &[3, 3, 1]);
        let shares = shares(&maglev("web", &backends, 65_537), 3);
        for (share, weight) in shares.iter().zip([3.0, 3.0, 1.0]) {
            let due = 65_537.0 * weight / 7.0;
            assert!((*share as f64 - due).abs() / due <= 0.02, "{share} of {due}");
        }
    }

    #[test]
    fn a_removed_backend_moves_hardly_any_slot_of_the_others() {
        let all = candidates(&names(20), &[1]);
        let before = maglev("web", &all, 65_537);
        let left: Vec<_> = all.iter().filter(|candidate| candidate.backend != 7).cloned().collect();
        let after = maglev("web", &left, 65_537);
        let others = before.iter().filter(|&&backend| backend != 7).count();
        let moved = before.iter().zip(&after).filter(|&(&old, &new)| old != 7 && old != new).count();
        assert!(moved * 100 <= others, "{moved} of {others} moved");
        assert!(!after.contains(&7));
    }

    #[test]
    fn maglev_does_not_depend_on_the_order_of_the_file() {
        let all = candidates(&names(5), &[1, 2, 3]);
        let mut reversed = all.clone();
        reversed.reverse();
        assert_eq!(maglev("web", &all, 4_099), maglev("web", &reversed, 4_099));
        assert_ne!(maglev("web", &all, 4_099), maglev("api", &all, 4_099));
    }

    #[test]
    fn round_robin_spreads_the_heavy_ones() {
        let slots = smooth(&candidates(&names(3), &[50, 10, 10]));
        assert_eq!(slots, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn huge_weights_are_rounded_not_refused() {
        let slots = expanded(&candidates(&names(2), &[u32::MAX, 1]));
        assert_eq!(shares(&slots, 2), [65_536, 1]);
    }

    #[test]
    fn primes() {
        assert!(is_prime(65_537) && is_prime(4_099) && is_prime(2));
        assert!(!is_prime(1) && !is_prime(0) && !is_prime(65_536) && !is_prime(4_097));
    }
}
