//! Owns the lowering of a decision diagram to rows of image words, dense or sparse. Never guards or nodes.

use std::collections::HashMap;

use lb_abi::image::{ALL_FIELDS, Field, R_DEFAULT, R_FACTOR, R_MASK, R_NONE, R_PAIRS, ROW_SPARSE};

use super::diagram::{Diagrams, Ref, leaf_number};
use super::words::Words;

/// Words that the decision tables of a policy may take: 64 MiB a half.
pub const MAX_DECISION_WORDS: usize = 1 << 24;
/// A row up to this length is dense: one load, and no compare.
const DENSE_WORDS: usize = 64;
/// Multipliers tried for each size of a sparse row.
const TRIES: u32 = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverBudget;

/// Lowers diagrams into one image; rows of different regions are shared where they are equal.
pub struct Rows<'a> {
    pub diagrams: &'a Diagrams,
    pub words: &'a mut Words,
    /// Words taken so far.
    pub taken: usize,
}

impl Rows<'_> {
    /// The row at which a region is entered, and the fields of its walk. `leaves`: offset of the node of each leaf.
    pub fn lower(&mut self, root: Ref, leaves: &HashMap<u32, u32>) -> Result<(u32, u32), OverBudget> {
        // A walk of no field does not occur; the protocol is the cheapest one there is.
        let fields = match self.diagrams.fields(root) {
            0 => Field::Proto.bit(),
            fields => fields,
        };
        let order: Vec<Field> = ALL_FIELDS.into_iter().filter(|field| fields & field.bit() != 0).collect();
        let row = self.level(root, &order, leaves, &mut HashMap::new())?;
        Ok((fields, row))
    }

    /// What the level before writes: a row of `order`'s first field, or a node where none is left.
    fn level(
        &mut self,
        at: Ref,
        order: &[Field],
        leaves: &HashMap<u32, u32>,
        memo: &mut HashMap<(usize, Ref), u32>,
    ) -> Result<u32, OverBudget> {
        let Some((&field, behind)) = order.split_first() else {
            return leaves.get(&leaf_number(at)).copied().ok_or(OverBudget);
        };
        if let Some(&known) = memo.get(&(order.len(), at)) {
            return Ok(known);
        }
        let diagrams = self.diagrams;
        let lowered = match diagrams.row(at).filter(|row| row.field == field.into()) {
            Some(row) => {
                let default = self.level(row.default, behind, leaves, memo)?;
                let mut exceptions = Vec::with_capacity(row.exceptions.len());
                for &(class, child) in row.exceptions {
                    exceptions.push((class, self.level(child, behind, leaves, memo)?));
                }
                self.row(field, default, &exceptions)?
            }
            None => {
                let constant = self.level(at, behind, leaves, memo)?;
                self.row(field, constant, &[])?
            }
        };
        memo.insert((order.len(), at), lowered);
        Ok(lowered)
    }

    fn row(&mut self, field: Field, default: u32, exceptions: &[(u16, u32)]) -> Result<u32, OverBudget> {
        let count = self.diagrams.counts()[field as usize] as usize;
        if count > DENSE_WORDS
            && let Some(sparse) = sparse(default, exceptions, count / 2)
        {
            return Ok(self.share(&sparse)? | ROW_SPARSE);
        }
        let mut dense = vec![default; count];
        for &(class, next) in exceptions {
            dense[class as usize] = next;
        }
        self.share(&dense)
    }

    fn share(&mut self, row: &[u32]) -> Result<u32, OverBudget> {
        let before = self.words.len();
        let offset = self.words.share(row).map_err(|_| OverBudget)?;
        self.taken += self.words.len() - before;
        if self.taken > MAX_DECISION_WORDS {
            return Err(OverBudget);
        }
        Ok(offset)
    }
}

/// The cell of a class in a sparse row.
pub fn cell(class: u32, factor: u32, mask: u32) -> u32 {
    (class.wrapping_mul(factor) >> 16) & mask
}

/// A sparse row of at most `most` words, if one without collisions is found.
fn sparse(default: u32, exceptions: &[(u16, u32)], most: usize) -> Option<Vec<u32>> {
    let mut pairs = exceptions.len().next_power_of_two();
    let mut taken = Vec::new();
    while pairs <= 1 << 16 && R_PAIRS + 2 * pairs <= most {
        let mask = pairs as u32 - 1;
        for attempt in 0..TRIES {
            // Odd multiples of the golden ratio (Knuth, The Art of Computer Programming 3, section 6.4).
            let factor = 0x9e37_79b1_u32.wrapping_mul(2 * attempt + 1);
            taken.clear();
            taken.resize(pairs, false);
            let collides = exceptions.iter().any(|&(class, _)| {
                std::mem::replace(&mut taken[cell(u32::from(class), factor, mask) as usize], true)
            });
            if collides {
                continue;
            }
            let mut row = vec![R_NONE; R_PAIRS + 2 * pairs];
            (row[R_DEFAULT], row[R_FACTOR], row[R_MASK]) = (default, factor, mask);
            for pair in row[R_PAIRS..].chunks_exact_mut(2) {
                pair[1] = default;
            }
            for &(class, next) in exceptions {
                let at = R_PAIRS + 2 * cell(u32::from(class), factor, mask) as usize;
                (row[at], row[at + 1]) = (u32::from(class), next);
            }
            return Some(row);
        }
        pairs *= 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sparse_row_holds_its_exceptions_and_nothing_else(
            exceptions in prop::collection::btree_map(any::<u16>(), 1u32..1_000, 0..40),
            probes in prop::collection::vec(any::<u16>(), 50),
        ) {
            let listed: Vec<(u16, u32)> = exceptions.iter().map(|(&class, &next)| (class, next)).collect();
            let row = sparse(7_777, &listed, 1 << 17).unwrap();
            for class in probes.into_iter().chain(exceptions.keys().copied()) {
                let at = R_PAIRS + 2 * cell(u32::from(class), row[R_FACTOR], row[R_MASK]) as usize;
                let found = if row[at] == u32::from(class) { row[at + 1] } else { row[R_DEFAULT] };
                prop_assert_eq!(found, exceptions.get(&class).copied().unwrap_or(7_777));
            }
        }
    }
}
