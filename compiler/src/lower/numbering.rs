//! Owns the numbers that a policy's trackers, interfaces and certificates have as values of their axes, and the names that
//! sets filled at run time have: their own, or those that two policies share. Never which of two policies' items are the
//! same.

use std::collections::HashMap;

use policy_lang::policy::Policy;

/// By the policy's own ids.
#[derive(Clone, Debug)]
pub struct Numbering {
    /// What `Flow` has, less 1.
    pub trackers: Vec<u32>,
    /// What `Iface` has: more than one where the other policy tells apart what is one interface here.
    pub interfaces: Vec<Vec<u32>>,
    /// What `Cert` has, over all authorities.
    pub certificates: Vec<u32>,
    /// How many numbers there are of interfaces (from 1 on) and certificates (from 0 on).
    pub all_interfaces: u32,
    pub all_certificates: u32,
    /// Whether some policy learns names.
    pub names: bool,
    /// Sets filled at run time that the other policy has under another name: by their own.
    pub renamed: HashMap<String, String>,
}

impl Numbering {
    /// That of a policy by itself.
    pub fn of(policy: &Policy) -> Numbering {
        let interfaces = policy.interfaces.len() as u32;
        let certificates =
            policy.authorities.iter().map(|authority| authority.certificates.len()).sum::<usize>();
        Numbering {
            trackers: (0..policy.trackers.len() as u32).collect(),
            interfaces: (1..=interfaces).map(|number| vec![number]).collect(),
            certificates: (0..certificates as u32).collect(),
            all_interfaces: interfaces,
            all_certificates: certificates as u32,
            names: !policy.mappers.is_empty(),
            renamed: HashMap::new(),
        }
    }

    /// Ranges of a policy's own interfaces (from 1 on; 0 is none) as ranges of shared numbers, sorted and disjoint.
    pub fn interfaces(&self, ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let own = (0..).zip(std::iter::once(&[0][..]).chain(self.interfaces.iter().map(Vec::as_slice)));
        listed(own.filter(|(own, _)| has(ranges, *own)).flat_map(|(_, numbers)| numbers.iter().copied()))
    }

    /// Ranges of a policy's own certificates likewise.
    pub fn certificates(&self, ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let own = (0..).zip(self.certificates.iter().copied());
        listed(own.filter(|(own, _)| has(ranges, *own)).map(|(_, number)| number))
    }
}

fn has(ranges: &[(u32, u32)], value: u32) -> bool {
    ranges.iter().any(|&(first, last)| (first..=last).contains(&value))
}

fn listed(numbers: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(range) if number <= range.1 + 1 => range.1 = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_numbers_take_the_place_of_a_policys_own() {
        let numbering = Numbering {
            trackers: Vec::new(),
            interfaces: vec![vec![2, 3], vec![1]],
            certificates: vec![4, 0],
            all_interfaces: 3,
            all_certificates: 5,
            names: false,
            renamed: HashMap::new(),
        };
        assert_eq!(numbering.interfaces(&[(0, 1)]), [(0, 0), (2, 3)]);
        assert_eq!(numbering.interfaces(&[(1, 2)]), [(1, 3)]);
        assert_eq!(numbering.certificates(&[(0, 1)]), [(0, 0), (4, 4)]);
        assert_eq!(numbering.certificates(&[]), []);
    }
}
