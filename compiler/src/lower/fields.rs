//! Owns the tables that take a small field's value to its class: direct, or two-level with shared rows.
//! Never addresses, which have tables of their own kind.

use lb_abi::image::Field;

use super::classes::Runs;
use super::words::{Full, Words};

/// Writes the table of a field that is no address; its offset.
pub fn table(field: Field, runs: &Runs<u32>, words: &mut Words) -> Result<u32, Full> {
    let classes = expand(runs, field.absent());
    if !field.two_level() {
        return words.append(&classes);
    }
    let mut rows = Vec::with_capacity(classes.len() / 256 + 1);
    for row in classes.chunks(256) {
        let mut row = row.to_vec();
        // The last row holds the absent value alone.
        row.resize(256, row.last().copied().unwrap_or(0));
        rows.push(words.share(&row)?);
    }
    words.append(&rows)
}

/// The class of each value from 0 to `last`.
fn expand(runs: &Runs<u32>, last: u32) -> Vec<u32> {
    let mut classes = Vec::with_capacity(last as usize + 1);
    for (at, &(start, class)) in runs.runs.iter().enumerate() {
        let end = runs.runs.get(at + 1).map_or(last, |next| next.0 - 1);
        classes.resize(start as usize, 0);
        classes.resize(end as usize + 1, class);
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_two_level_table_shares_rows_and_has_the_absent_value() {
        let runs = Runs { runs: vec![(0, 3), (80, 1), (81, 3), (65_536, 0)] };
        let mut words = Words::default();
        words.reserve(8).unwrap();
        let base = table(Field::Dport, &runs, &mut words).unwrap() as usize;
        assert_eq!(words.len(), 8 + 3 * 256 + 257);
        for value in [0u32, 79, 80, 81, 255, 256, 65_535, 65_536] {
            let row = words.words[base + (value >> 8) as usize];
            assert_eq!(words.words[(row + (value & 255)) as usize], runs.class(value), "{value}");
        }
    }

    #[test]
    fn a_direct_table_has_the_absent_value() {
        let runs = Runs { runs: vec![(0, 0), (6, 1), (7, 0), (256, 2)] };
        let mut words = Words::default();
        let base = table(Field::Proto, &runs, &mut words).unwrap() as usize;
        assert_eq!(words.len(), 257);
        assert_eq!((words.words[base + 6], words.words[base + 7], words.words[base + 256]), (1, 0, 2));
    }
}
