//! Owns the dense numbers of an instance: which number each counter, limit, tracker, backend has in a generation, and
//! the image's words with those numbers in them. Never touches a map.

use std::collections::{BTreeMap, BTreeSet};

use lb_abi::bundle::{Dense, Identity, Image};
use lb_abi::image::{Field, MAX_CERTIFICATES, MAX_TRACKERS};

use crate::error::Error;

/// A number that the previous generation used. Without an identity it only stays taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub(crate) identity: Option<Identity>,
    pub(crate) number: u32,
}

/// Numbers by ordinal, and those among them that nobody had before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Assigned {
    pub(crate) numbers: Vec<u32>,
    pub(crate) fresh: Vec<u32>,
}

impl Assigned {
    /// How long an array must be to hold every number.
    pub(crate) fn entries(&self) -> u32 {
        self.numbers.iter().max().map_or(0, |greatest| greatest + 1)
    }
}

/// Gives each identity the number it had; to others the lowest that the previous generation did not use, since packets
/// of that one may still name it. A second bearer of one identity gets a number of its own.
pub(crate) fn assign(held: &[Held], wanted: impl IntoIterator<Item = Identity>) -> Assigned {
    assign_in_order(held, wanted, 0..)
}

/// As [`assign`], for what flows name for as long as they live: `most` numbers go round, so that one is given again only
/// after all the others.
pub(crate) fn assign_round(
    held: &[Held],
    wanted: impl IntoIterator<Item = Identity>,
    most: usize,
) -> Assigned {
    let most = most as u32;
    let next = held.iter().map(|held| held.number + 1).max().unwrap_or_default() % most;
    assign_in_order(held, wanted, (next..most).chain(0..))
}

fn assign_in_order(
    held: &[Held],
    wanted: impl IntoIterator<Item = Identity>,
    mut order: impl Iterator<Item = u32>,
) -> Assigned {
    let mut taken: BTreeSet<u32> = held.iter().map(|held| held.number).collect();
    let mut kept: BTreeMap<Identity, u32> =
        held.iter().filter_map(|held| held.identity.map(|identity| (identity, held.number))).collect();
    let mut assigned = Assigned::default();
    for identity in wanted {
        let number = kept.remove(&identity).or_else(|| {
            let fresh = order.by_ref().find(|number| !taken.contains(number))?;
            taken.insert(fresh);
            assigned.fresh.push(fresh);
            Some(fresh)
        });
        // The order is endless, and there are fewer identities than numbers.
        assigned.numbers.extend(number);
    }
    assigned
}

/// The numbers of one generation, each list by ordinal of the image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) counters: Assigned,
    pub(crate) limits: Assigned,
    pub(crate) turns: Assigned,
    pub(crate) trackers: Assigned,
    pub(crate) pools: Assigned,
    pub(crate) backends: Assigned,
    pub(crate) certificates: Assigned,
}

impl Numbers {
    fn of(&self, kind: Dense) -> &[u32] {
        let assigned = match kind {
            Dense::Counter => &self.counters,
            Dense::Limit => &self.limits,
            Dense::Turn => &self.turns,
            Dense::Tracker | Dense::FlowTable => &self.trackers,
            Dense::Pool => &self.pools,
            Dense::Backend => &self.backends,
            Dense::Certificate | Dense::CertificateTable => &self.certificates,
        };
        &assigned.numbers
    }

    /// The image's words with these numbers in place of its ordinals.
    ///
    /// # Errors
    /// `Image` where a relocation names a word or an ordinal that does not exist, `TooMany` for trackers.
    pub(crate) fn relocate(&self, image: &Image) -> Result<Vec<u32>, Error> {
        let beyond = || Error::Image("a relocation lies outside of its words".to_owned());
        let mut words = image.words.clone();
        for relocation in &image.relocations {
            let numbers = self.of(relocation.kind);
            let at = relocation.word as usize;
            if relocation.kind == Dense::FlowTable {
                let table = at..at.saturating_add(Field::Flow.domain() as usize);
                flow_table(words.get_mut(table).ok_or_else(beyond)?, numbers)?;
                continue;
            }
            if relocation.kind == Dense::CertificateTable {
                let table = at..at.saturating_add(Field::Cert.domain() as usize + 1);
                certificate_table(words.get_mut(table).ok_or_else(beyond)?, numbers)?;
                continue;
            }
            // A counter, backend or certificate word is one more than its number, and 0 stands for none.
            let bias =
                u32::from(matches!(relocation.kind, Dense::Counter | Dense::Backend | Dense::Certificate));
            let word = words.get_mut(at).ok_or_else(beyond)?;
            let Some(ordinal) = word.checked_sub(bias) else { continue };
            let number = numbers.get(ordinal as usize).ok_or_else(|| {
                Error::Image(format!("word {at} names {:?} {ordinal} of {}", relocation.kind, numbers.len()))
            })?;
            *word = number + bias;
        }
        Ok(words)
    }
}

/// Entry 0 is "no live flow"; entry 1 + t becomes that of the tracker numbered t. A flow of a tracker that this policy
/// does not have belongs to none of its trackers, as entry 0 does.
fn flow_table(table: &mut [u32], numbers: &[u32]) -> Result<(), Error> {
    let canonical = table.to_vec();
    let Some((&none, by_ordinal)) = canonical.split_first() else { return Ok(()) };
    if let Some(places) = table.get_mut(1..) {
        places.fill(none);
    }
    for (class, number) in by_ordinal.iter().zip(numbers) {
        let place = table.get_mut(1 + *number as usize).ok_or(Error::TooMany {
            what: "trackers, with those of the policy before it,",
            wanted: u64::from(*number) + 1,
            max: MAX_TRACKERS as u64,
        })?;
        *place = *class;
    }
    Ok(())
}

/// Entry c becomes that of the certificate numbered c; the last one, for packets without a certificate, stays. One that
/// this policy does not have is none of its own, as if there were none.
fn certificate_table(table: &mut [u32], numbers: &[u32]) -> Result<(), Error> {
    let canonical = table.to_vec();
    let Some((&none, by_ordinal)) = canonical.split_last() else { return Ok(()) };
    table.fill(none);
    for (class, number) in by_ordinal.iter().zip(numbers) {
        let place = table.get_mut(*number as usize).filter(|_| (*number as usize) < MAX_CERTIFICATES);
        *place.ok_or(Error::TooMany {
            what: "certificates, with those of the policy before it,",
            wanted: u64::from(*number) + 1,
            max: MAX_CERTIFICATES as u64,
        })? = *class;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lb_abi::bundle::Relocation;

    use super::*;

    fn held(pairs: &[(Identity, u32)]) -> Vec<Held> {
        pairs.iter().map(|&(identity, number)| Held { identity: Some(identity), number }).collect()
    }

    #[test]
    fn first_generation_counts_from_zero() {
        let assigned = assign(&[], [7, 8, 9]);
        assert_eq!(assigned.numbers, [0, 1, 2]);
        assert_eq!(assigned.fresh, [0, 1, 2]);
    }

    #[test]
    fn an_identity_keeps_its_number_wherever_it_stands() {
        let assigned = assign(&held(&[(7, 0), (8, 1), (9, 2)]), [9, 7]);
        assert_eq!(assigned.numbers, [2, 0]);
        assert!(assigned.fresh.is_empty());
    }

    #[test]
    fn a_vanished_number_rests_for_one_generation() {
        let first = held(&[(7, 0), (8, 1)]);
        let second = assign(&first, [8, 10]);
        assert_eq!(second.numbers, [1, 2], "0 was just in use by 7");
        let third = assign(&held(&[(8, 1), (10, 2)]), [8, 10, 11]);
        assert_eq!(third.numbers, [1, 2, 0]);
    }

    #[test]
    fn trackers_go_round() {
        let most = MAX_TRACKERS as u32;
        assert_eq!(assign_round(&[], [7], MAX_TRACKERS).numbers, [0]);
        assert_eq!(assign_round(&held(&[(7, 0)]), [8], MAX_TRACKERS).numbers, [1]);
        assert_eq!(
            assign_round(&held(&[(8, 1)]), [8, 9], MAX_TRACKERS).numbers,
            [1, 2],
            "0 may still be named by flows"
        );
        assert_eq!(assign_round(&held(&[(8, most - 1)]), [8, 9, 10], MAX_TRACKERS).numbers, [most - 1, 0, 1]);
        assert_eq!(assign_round(&held(&[(8, most - 2)]), [9, 10], MAX_TRACKERS).numbers, [most - 1, 0]);
    }

    #[test]
    fn twins_share_no_number() {
        let assigned = assign(&held(&[(7, 0)]), [7, 7]);
        assert_eq!(assigned.numbers, [0, 1]);
    }

    #[test]
    fn a_number_without_identity_stays_taken() {
        let assigned = assign(&[Held { identity: None, number: 0 }], [7]);
        assert_eq!(assigned.numbers, [1]);
    }

    #[test]
    fn relocates_words_and_flow_tables() {
        let mut words = vec![0, 1, 2, 0];
        // A flow table: no flow → 5, tracker 0 → 6, tracker 1 → 7, others as none.
        words.extend([5, 6, 7]);
        words.extend(vec![5; Field::Flow.domain() as usize - 3]);
        let image = Image {
            words,
            relocations: vec![
                Relocation { word: 0, kind: Dense::Limit },
                Relocation { word: 1, kind: Dense::Counter },
                Relocation { word: 2, kind: Dense::Counter },
                Relocation { word: 3, kind: Dense::Backend },
                Relocation { word: 4, kind: Dense::FlowTable },
            ],
            ..Image::default()
        };
        let numbers = Numbers {
            counters: assign(&held(&[(2, 9), (1, 4)]), [1, 2]),
            limits: assign(&held(&[(1, 3)]), [1]),
            trackers: assign(&held(&[(1, 1), (2, 3)]), [1, 2]),
            ..Numbers::default()
        };
        let words = numbers.relocate(&image).unwrap();
        assert_eq!(words[..4], [3, 5, 10, 0]);
        assert_eq!(words[4..9], [5, 5, 6, 5, 7]);
    }

    #[test]
    fn certificate_tables_follow_the_numbers() {
        let domain = Field::Cert.domain() as usize;
        let mut table = vec![9; domain + 1];
        table[..2].copy_from_slice(&[5, 6]);
        certificate_table(&mut table, &[7, 0]).unwrap();
        assert_eq!((table[7], table[0], table[1], table[domain]), (5, 6, 9, 9));
        assert!(certificate_table(&mut table, &[domain as u32]).is_err());
    }

    #[test]
    fn a_relocation_beyond_the_words_is_an_error() {
        let image = Image {
            words: vec![0],
            relocations: vec![Relocation { word: 1, kind: Dense::Turn }],
            ..Image::default()
        };
        assert!(matches!(Numbers::default().relocate(&image), Err(Error::Image(_))));
    }
}
