//! Owns the partition of each field's values into classes: values that no guard of the policy can tell apart.
//! Never decides an order of guards and never writes words of the image.

use std::collections::HashMap;

/// Classes are numbers of 16 bits in the image.
pub const MAX_CLASSES: usize = 1 << 16;
/// Greatest sum, over the classes of a field, of the sets that each is in: bounds memory where sets nest deeply.
pub const MAX_MEMBERSHIPS: usize = 1 << 24;
/// Greatest sum of the sets looked at over all boundaries: bounds time likewise.
const MAX_SWEEP: usize = 1 << 28;

/// The values of one domain, cut into runs of one class. Class 0 is in no set, whether a value has it or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Runs<T> {
    /// First value of each run and its class; the first run starts at 0, neighbours differ.
    pub runs: Vec<(T, u32)>,
}

impl<T: Ord + Copy> Runs<T> {
    /// The class of a value, by search.
    pub fn class(&self, value: T) -> u32 {
        let behind = self.runs.partition_point(|&(start, _)| start <= value);
        self.runs[behind - 1].1
    }
}

/// Classes of one field, over one domain or (addresses) two.
#[derive(Default, Debug)]
pub struct Partition {
    /// For each class, the sets it is in, ascending.
    members: Vec<Box<[u32]>>,
    interned: HashMap<Box<[u32]>, u32>,
    memberships: usize,
    swept: usize,
}

/// The sets of a policy cut a field into more classes than the tables can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany {
    /// One of the sets that were open when the bound was reached.
    pub set: u32,
}

impl Partition {
    pub fn new() -> Partition {
        Partition {
            members: vec![Box::default()],
            interned: HashMap::from([(Box::default(), 0)]),
            ..Partition::default()
        }
    }

    pub fn count(&self) -> u32 {
        self.members.len() as u32
    }

    /// For each of `sets` sets, its classes in ascending order.
    pub fn classes_of_sets(&self, sets: usize) -> Vec<Vec<u16>> {
        let mut classes = vec![Vec::new(); sets];
        for (class, members) in self.members.iter().enumerate() {
            for &set in members {
                classes[set as usize].push(class as u16);
            }
        }
        classes
    }

    /// Sweeps over the boundaries of the sets, each a sorted list of disjoint inclusive ranges.
    /// `next` is the value after, `None` after the last of the domain.
    pub fn sweep<'s, T, I>(&mut self, sets: I, next: impl Fn(T) -> Option<T>) -> Result<Runs<T>, TooMany>
    where
        T: Ord + Copy + Default + 's,
        I: Iterator<Item = (u32, &'s [(T, T)])>,
    {
        let mut boundaries: Vec<(T, u32)> = Vec::new();
        for (set, ranges) in sets {
            for &(first, last) in ranges {
                boundaries.push((first, set));
                boundaries.extend(next(last).map(|behind| (behind, set)));
            }
        }
        // Ranges come sorted, so this merges runs.
        boundaries.sort();
        let mut open: Vec<u32> = Vec::new();
        let mut runs = vec![(T::default(), 0)];
        let mut at = 0;
        while at < boundaries.len() {
            let value = boundaries[at].0;
            while at < boundaries.len() && boundaries[at].0 == value {
                let set = boundaries[at].1;
                match open.binary_search(&set) {
                    Ok(place) => drop(open.remove(place)),
                    Err(place) => open.insert(place, set),
                }
                at += 1;
            }
            let class = self.class(&open)?;
            match runs.last_mut() {
                Some(last) if last.0 == value => last.1 = class,
                Some(last) if last.1 == class => {}
                _ => runs.push((value, class)),
            }
        }
        // A first run that was replaced may now equal the one behind it.
        runs.dedup_by_key(|run| run.1);
        Ok(Runs { runs })
    }

    fn class(&mut self, open: &[u32]) -> Result<u32, TooMany> {
        self.swept += open.len();
        if let Some(&class) = self.interned.get(open) {
            if self.swept > MAX_SWEEP {
                return Err(TooMany { set: open[0] });
            }
            return Ok(class);
        }
        self.memberships += open.len();
        if self.members.len() >= MAX_CLASSES || self.memberships > MAX_MEMBERSHIPS || self.swept > MAX_SWEEP {
            return Err(TooMany { set: open.last().copied().unwrap_or(0) });
        }
        let class = self.members.len() as u32;
        self.members.push(open.into());
        self.interned.insert(open.into(), class);
        Ok(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(mut ranges: Vec<(u8, u8)>) -> Vec<(u8, u8)> {
        ranges.iter_mut().for_each(|range| *range = (range.0.min(range.1), range.0.max(range.1)));
        ranges.sort();
        let mut merged: Vec<(u8, u8)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        merged
    }

    fn sets() -> impl Strategy<Value = Vec<Vec<(u8, u8)>>> {
        let ranges = prop::collection::vec(any::<(u8, u8)>(), 0..4).prop_map(normal);
        prop::collection::vec(ranges, 0..6)
    }

    proptest! {
        #[test]
        fn equal_class_means_equal_membership(sets in sets()) {
            let mut partition = Partition::new();
            let listed = sets.iter().enumerate().map(|(set, ranges)| (set as u32, ranges.as_slice()));
            let runs = partition.sweep(listed, |value| value.checked_add(1)).unwrap();
            let classes = partition.classes_of_sets(sets.len());
            for value in 0..=255u8 {
                let class = runs.class(value) as u16;
                for (set, ranges) in sets.iter().enumerate() {
                    let inside = ranges.iter().any(|&(first, last)| (first..=last).contains(&value));
                    prop_assert_eq!(classes[set].contains(&class), inside);
                }
            }
            prop_assert!(runs.runs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));
        }
    }

    #[test]
    fn what_is_in_no_set_is_class_0() {
        let mut partition = Partition::new();
        let runs =
            partition.sweep([(0, &[(3u8, 255u8)][..])].into_iter(), |value| value.checked_add(1)).unwrap();
        assert_eq!(runs.runs, [(0, 0), (3, 1)]);
    }

    #[test]
    fn deep_nesting_ends_in_an_error() {
        let sets: Vec<[(u32, u32); 1]> = (0..20_000).map(|depth| [(depth, 100_000 - depth)]).collect();
        let mut partition = Partition::new();
        let listed = sets.iter().enumerate().map(|(set, range)| (set as u32, &range[..]));
        assert!(partition.sweep(listed, |value| value.checked_add(1)).is_err());
    }
}
