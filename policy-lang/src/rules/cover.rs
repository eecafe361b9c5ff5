//! Owns sets of whole numbers that grow range by range, in logarithmic time. Never what the numbers stand for.

use std::collections::BTreeMap;

/// First number of each range to its last; disjoint and not adjacent.
#[derive(Default)]
pub(super) struct Cover(BTreeMap<u128, u128>);

impl Cover {
    pub fn contains(&self, first: u128, last: u128) -> bool {
        self.0.range(..=first).next_back().is_some_and(|(_, &end)| last <= end)
    }

    pub fn insert(&mut self, mut first: u128, mut last: u128) {
        if let Some((&start, &end)) = self.0.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            (first, last) = (start, last.max(end));
        }
        while let Some((&start, &end)) = self.0.range(first..=last.saturating_add(1)).next() {
            self.0.remove(&start);
            last = last.max(end);
        }
        self.0.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use super::Cover;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(ranges in proptest::collection::vec((0u128..30, 0u128..4), 0..12)) {
            let mut cover = Cover::default();
            let mut plain = std::collections::BTreeSet::new();
            for (first, length) in ranges {
                cover.insert(first, first + length);
                plain.extend(first..=first + length);
            }
            for first in 0..34u128 {
                for last in first..34 {
                    prop_assert_eq!(cover.contains(first, last), (first..=last).all(|n| plain.contains(&n)));
                }
            }
            for (a, b) in cover.0.iter().zip(cover.0.iter().skip(1)) {
                prop_assert!(a.1 + 1 < *b.0);
            }
        }
    }

    #[test]
    fn the_last_number_is_no_edge() {
        let mut cover = Cover::default();
        cover.insert(u128::MAX - 1, u128::MAX);
        cover.insert(0, u128::MAX - 2);
        assert!(cover.contains(0, u128::MAX));
    }
}
