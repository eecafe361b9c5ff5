//! Owns the slot tables of a pool: which backend a number picks ("Slot tables" in `docs/packet-path.md`). Never whether
//! a backend is there, or where the number comes from.

use policy_lang::policy::Pick;
use sha2::{Digest, Sha256};

/// Slots of `pick source`: prime.
const SOURCE_SLOTS: usize = 65_537;

/// A backend that can be picked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) name: &'a str,
    /// At least 1.
    pub(super) weight: u32,
}

/// Slots as indices into `candidates`, which are in the order written; empty without candidates.
pub(super) fn slots(pick: Pick, candidates: &[Candidate]) -> Vec<usize> {
    let divisor = candidates.iter().fold(0, |divisor, candidate| gcd(divisor, candidate.weight)).max(1);
    let weights: Vec<i64> =
        candidates.iter().map(|candidate| i64::from(candidate.weight / divisor)).collect();
    let turns = Turns { credits: vec![0; weights.len()], weights: &weights };
    match pick {
        _ if candidates.is_empty() => Vec::new(),
        Pick::Maglev { slots, .. } => maglev(slots as usize, candidates, turns),
        Pick::Source | Pick::Certificate => maglev(SOURCE_SLOTS, candidates, turns),
        Pick::LeastConnections => Vec::new(),
        Pick::RoundRobin | Pick::Random => turns.take(weights.iter().sum::<i64>() as usize).collect(),
    }
}

/// Smooth weighted round robin (as in nginx since 1.3.1).
struct Turns<'a> {
    credits: Vec<i64>,
    weights: &'a [i64],
}

impl Iterator for Turns<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        for (credit, weight) in self.credits.iter_mut().zip(self.weights) {
            *credit += weight;
        }
        let most = *self.credits.iter().max()?;
        let turn = self.credits.iter().position(|&credit| credit == most)?;
        if let Some(credit) = self.credits.get_mut(turn) {
            *credit -= self.weights.iter().sum::<i64>();
        }
        Some(turn)
    }
}

/// Maglev hashing (Eisenbud and others, NSDI 2016, section 3.4).
fn maglev(size: usize, candidates: &[Candidate], turns: Turns) -> Vec<usize> {
    let mut permutations: Vec<(usize, usize)> =
        candidates.iter().map(|candidate| permutation(candidate.name, size as u64)).collect();
    let mut slots = vec![None; size];
    let mut free = size;
    for turn in turns {
        if free == 0 {
            break;
        }
        let Some((next, skip)) = permutations.get_mut(turn) else { break };
        // Each prime number of slots is visited whole; of another number this would miss some for ever.
        let own =
            (0..size).map(|step| (*next + step * *skip) % size).find(|&slot| slots.get(slot) == Some(&None));
        let Some(slot) = own.or_else(|| slots.iter().position(Option::is_none)) else { break };
        *next = (slot + *skip) % size;
        if let Some(place) = slots.get_mut(slot) {
            *place = Some(turn);
            free -= 1;
        }
    }
    slots.into_iter().map(|turn| turn.unwrap_or(0)).collect()
}

/// First slot and step of a backend's permutation.
fn permutation(name: &str, size: u64) -> (usize, usize) {
    let digest = Sha256::digest(name.as_bytes());
    let number = |at: usize| {
        let bytes = digest.iter().skip(at).take(8).rev();
        bytes.fold(0, |number: u64, &byte| number << 8 | u64::from(byte))
    };
    ((number(0) % size.max(1)) as usize, (number(8) % size.saturating_sub(1).max(1) + 1) as usize)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
