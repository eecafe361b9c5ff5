//! Owns reading the rows of an image: field tables by runs of one class, decision rows by their ways. Never judges:
//! an offset beyond the words reads as nothing.

use lb_abi::image::{
    ENTRY_LEAF, ENTRY_OFFSET, ENTRY_PACKED8, ENTRY_PACKED16, ENTRY_TAG, Field, R_DEFAULT, R_MASK, R_NONE,
    R_PAIRS, ROW_OFFSET, ROW_SPARSE,
};

/// Entries of an address table that are read at most.
const MAX_ENTRIES: usize = 1 << 29;

/// The entries of the row that an entry word leads to; `None` for a leaf or an offset beyond the words.
pub(super) fn entries(words: &[u32], entry: u32, count: usize) -> Option<Vec<u32>> {
    let row = (entry & ENTRY_OFFSET) as usize;
    let slice = |length: usize| words.get(row..row.checked_add(length)?);
    let leaf = |class: u32| ENTRY_LEAF | class;
    match (entry & ENTRY_LEAF, entry & ENTRY_TAG) {
        (0, 0) => Some(slice(count)?.to_vec()),
        (0, ENTRY_PACKED8) => Some(
            slice(64)?.iter().flat_map(|word| word.to_le_bytes()).map(|class| leaf(class.into())).collect(),
        ),
        (0, ENTRY_PACKED16) => {
            Some(slice(128)?.iter().flat_map(|word| [leaf(word & 0xffff), leaf(word >> 16)]).collect())
        }
        _ => None,
    }
}

/// Calls `run(first, last, class)` for neighbouring values of one class, in ascending order, over an address table of
/// `bits` bits. Ends early where `run` says false, and after `MAX_ENTRIES`: rows are shared, so that a hostile image may
/// say more than there is time to read.
pub(super) fn address_runs(
    words: &[u32],
    root: u32,
    bits: u32,
    run: &mut dyn FnMut(u128, u128, u32) -> bool,
) {
    let mut open: Option<(u128, u128, u32)> = None;
    let mut block = |first: u128, last: u128, class: u32| match &mut open {
        Some(before) if before.2 == class => {
            before.1 = last;
            true
        }
        _ => match open.replace((first, last, class)) {
            Some(before) => run(before.0, before.1, before.2),
            None => true,
        },
    };
    // Entries still to be read, the next one last: entry, first value, open bits.
    let mut left = vec![(root, 0_u128, bits)];
    let mut goes_on = true;
    let mut read = 0;
    while let Some((entry, first, open_bits)) = left.pop() {
        read += 1;
        if read > MAX_ENTRIES {
            break;
        }
        if entry & ENTRY_LEAF != 0 {
            let width = 1_u128.checked_shl(open_bits).map_or(u128::MAX, |size| size - 1);
            goes_on = block(first, first | width, entry & 0xffff);
            if !goes_on {
                break;
            }
            continue;
        }
        let stride = if open_bits == bits { 16 } else { 8 };
        let Some(below) = open_bits.checked_sub(stride) else { continue };
        let row = entries(words, entry, 1 << stride).unwrap_or_default();
        if entry & ENTRY_TAG != 0 {
            // A packed row holds classes alone: read on the spot, as a large table is nothing but these.
            let width = 1_u128.checked_shl(below).map_or(u128::MAX, |size| size - 1);
            goes_on = row.iter().zip(0_u128..).all(|(entry, slot)| {
                let first = first | slot << below;
                block(first, first | width, entry & 0xffff)
            });
            if !goes_on {
                break;
            }
            continue;
        }
        let children = row.into_iter().enumerate();
        left.extend(children.map(|(slot, entry)| (entry, first | (slot as u128) << below, below)).rev());
    }
    if let (true, Some(last)) = (goes_on, open) {
        run(last.0, last.1, last.2);
    }
}

/// The class of each value of a small field, the absent one last.
pub(super) fn small_classes(words: &[u32], field: Field, table: u32) -> Option<Vec<u32>> {
    let (base, count) = (table as usize, field.absent() as usize + 1);
    if !field.two_level() {
        return Some(words.get(base..base.checked_add(count)?)?.to_vec());
    }
    let rows = words.get(base..base.checked_add(count.div_ceil(256))?)?;
    let mut classes = Vec::with_capacity(count + 255);
    for &row in rows {
        classes.extend(words.get(row as usize..(row as usize).checked_add(256)?)?);
    }
    classes.truncate(count);
    Some(classes)
}

/// Where each class leads from a row of a decision table; `None` if it lies beyond the words.
pub(super) struct RowWays {
    /// Dense rows have none.
    pub default: Option<u32>,
    /// Class and where it leads.
    pub ways: Vec<(u32, u32)>,
}

pub(super) fn row_ways(words: &[u32], row: u32, classes: u32) -> Option<RowWays> {
    if row & ROW_SPARSE == 0 {
        let row = words.get(row as usize..(row as usize).checked_add(classes as usize)?)?;
        return Some(RowWays { default: None, ways: (0..).zip(row.iter().copied()).collect() });
    }
    let at = (row & ROW_OFFSET) as usize;
    let head = words.get(at..at.checked_add(R_PAIRS)?)?;
    let pairs = (head[R_MASK] as usize).checked_add(1)?;
    let pairs = words.get(at + R_PAIRS..at.checked_add(R_PAIRS + pairs.checked_mul(2)?)?)?;
    let ways = pairs.chunks_exact(2).filter(|pair| pair[0] != R_NONE).map(|pair| (pair[0], pair[1]));
    Some(RowWays { default: Some(head[R_DEFAULT]), ways: ways.collect() })
}
