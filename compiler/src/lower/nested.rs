//! Owns the places of sequences that begin each other: what begins with one of them is a run of places, so that names and
//! payloads are cut into classes as numbers are. Never what a sequence is made of.

/// Sequences in order, each with two places: 1 + 2n is the n-th sequence itself, 2 + 2n what goes on from it in a way that
/// none of the others does. Place 0 is all that begins with none of them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Nested<K> {
    keys: Vec<K>,
    /// For each key, the last place of what begins with it.
    last: Vec<u32>,
}

impl<K: Ord> Nested<K> {
    /// `begins`: whether the first begins with the second. All that begins with a key must follow it in order.
    pub fn new(mut keys: Vec<K>, begins: impl Fn(&K, &K) -> bool) -> Nested<K> {
        keys.sort();
        keys.dedup();
        let mut last = vec![0; keys.len()];
        let mut open: Vec<usize> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            while let Some(&above) = open.last()
                && !begins(key, &keys[above])
            {
                open.pop();
            }
            open.push(at);
            for &above in &open {
                last[above] = 2 + 2 * at as u32;
            }
        }
        Nested { keys, last }
    }

    /// The places of a key itself and of what goes on from it: `(itself, last)`; `None` if it is no key.
    pub fn places(&self, key: &K) -> Option<(u32, u32)> {
        let at = self.keys.binary_search(key).ok()?;
        Some((1 + 2 * at as u32, self.last[at]))
    }

    /// The key of a place, and whether the place is the key itself; `None` for place 0.
    pub fn key(&self, place: u32) -> Option<(&K, bool)> {
        let at = place.checked_sub(1)?;
        Some((self.keys.get(at as usize / 2)?, at % 2 == 0))
    }

    pub fn keys(&self) -> &[K] {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::Nested;

    #[test]
    fn what_begins_with_a_key_is_a_run() {
        let nested = Nested::new(vec!["b", "ab", "a", "abc", "a"], |long, short| long.starts_with(short));
        assert_eq!(nested.places(&"a"), Some((1, 6)));
        assert_eq!(nested.places(&"ab"), Some((3, 6)));
        assert_eq!(nested.places(&"abc"), Some((5, 6)));
        assert_eq!(nested.places(&"b"), Some((7, 8)));
        assert_eq!(nested.places(&"c"), None);
        assert_eq!(nested.key(4), Some((&"ab", false)));
        assert_eq!(nested.key(5), Some((&"abc", true)));
        assert_eq!((nested.key(0), nested.key(9)), (None, None));
    }
}
