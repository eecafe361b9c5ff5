//! Owns the cut of every axis into classes, so that each set that guards name is a union of some. Never the guards, nor what
//! the classes are for.

use std::borrow::Cow;

use policy_lang::policy::NamePattern;

use super::lists::Listed;
use super::{Free, Sets};
use crate::lower::axis::{Axis, FIXED};
use crate::lower::classes::{Partition, Runs, TooMany};
use crate::lower::nested::Nested;

/// The classes of every axis, by its index.
pub struct Classes {
    /// Number of classes.
    pub counts: Vec<u32>,
    /// By set: its classes, ascending.
    pub of_sets: Vec<Vec<Vec<u16>>>,
    /// Values 0 to `Axis::absent()`; empty for addresses.
    pub small: [Runs<u32>; FIXED],
    /// Names that guards ask for, label by label from the last.
    pub names: Nested<Vec<String>>,
    /// Beginnings of payloads that guards ask for.
    pub prefixes: Nested<Vec<u8>>,
    /// By number.
    pub free: Vec<Free>,
    /// `Field::Src` and `Field::Dst`.
    pub v4: [Runs<u32>; 2],
    pub v6: [Runs<u128>; 2],
}

impl Sets<'_> {
    /// Cuts every axis into classes; an error names the axis and a set.
    pub fn classes(&self) -> Result<Classes, (Axis, TooMany)> {
        let mut classes = Classes {
            counts: Vec::with_capacity(FIXED + self.free_list.len()),
            of_sets: Vec::with_capacity(FIXED + self.free_list.len()),
            small: std::array::from_fn(|_| Runs { runs: Vec::new() }),
            names: self.nested_names(),
            prefixes: Nested::new(self.prefixes(), |long, short| long.starts_with(short)),
            free: self.free_list.clone(),
            v4: std::array::from_fn(|_| Runs { runs: Vec::new() }),
            v6: std::array::from_fn(|_| Runs { runs: Vec::new() }),
        };
        for axis in (0..FIXED).filter_map(Axis::fixed) {
            let at = axis.index();
            let mut partition = Partition::new();
            let too_many = |error| (axis, error);
            let sets = if at < 2 {
                let list = &self.addresses[at].list;
                let v4 = list.iter().enumerate().map(|(set, addrs)| (set as u32, addrs.v4.as_slice()));
                classes.v4[at] = partition.sweep(v4, |addr: u32| addr.checked_add(1)).map_err(too_many)?;
                let v6 = list.iter().enumerate().map(|(set, addrs)| (set as u32, addrs.v6.as_slice()));
                classes.v6[at] = partition.sweep(v6, |addr: u128| addr.checked_add(1)).map_err(too_many)?;
                list.len()
            } else {
                let list: Vec<_> = self.small_lists[at].iter().map(|listed| classes.places(listed)).collect();
                let sets = list.iter().enumerate().map(|(set, ranges)| (set as u32, ranges.as_ref()));
                let domain = axis.domain();
                let behind = |value: u32| (value < domain).then_some(value + 1);
                classes.small[at] = partition.sweep(sets, behind).map_err(too_many)?;
                list.len()
            };
            classes.counts.push(partition.count());
            classes.of_sets.push(partition.classes_of_sets(sets));
        }
        for _ in &self.free_list {
            classes.counts.push(2);
            classes.of_sets.push(vec![vec![1]]);
        }
        Ok(classes)
    }

    fn nested_names(&self) -> Nested<Vec<String>> {
        let lists = self.small_lists[Axis::Sni.index()].iter();
        let names = lists.flat_map(|listed| match listed {
            Listed::Names(names) => names.iter().map(labels).collect(),
            Listed::Ranges(_) | Listed::Prefixes(_) => Vec::new(),
        });
        Nested::new(names.collect(), |long: &Vec<String>, short| long.starts_with(short))
    }
}

/// The labels of a name, the last one first.
fn labels(pattern: &NamePattern) -> Vec<String> {
    pattern.name.rsplit('.').map(str::to_owned).collect()
}

impl Classes {
    /// A list of values as ranges of numbers.
    fn places<'l>(&self, listed: &'l Listed) -> Cow<'l, [(u32, u32)]> {
        let mut ranges: Vec<(u32, u32)> = match listed {
            Listed::Ranges(ranges) => return Cow::Borrowed(ranges),
            Listed::Names(names) => {
                let places = names.iter().filter_map(|pattern| {
                    let (itself, last) = self.names.places(&labels(pattern))?;
                    Some(if pattern.below { (itself + 1, last) } else { (itself, itself) })
                });
                places.collect()
            }
            Listed::Prefixes(prefixes) => {
                prefixes.iter().filter_map(|prefix| self.prefixes.places(prefix)).collect()
            }
        };
        ranges.sort_unstable();
        // Runs of places lie in each other or apart.
        let mut apart: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match apart.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => apart.push((first, last)),
            }
        }
        Cow::Owned(apart)
    }
}
