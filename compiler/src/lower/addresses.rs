//! Owns the stride tables that take an address to its class: 16-8-8 bits for IPv4, 16 and then 8s for IPv6.
//! Never what a class means.

use lb_abi::image::{ENTRY_LEAF, ENTRY_PACKED8, ENTRY_PACKED16};

use super::classes::Runs;
use super::words::{Full, Words};

/// An address as a number: what the strides need of it.
pub trait Address: Copy + Ord {
    const BITS: u32;
    fn or_bits(self, bits: u32, shift: u32) -> Self;
    fn last_byte(self) -> u8;
    /// Whether both agree in all bits from `shift` up; `shift` is below `BITS`.
    fn agrees(self, other: Self, shift: u32) -> bool;
}

impl Address for u32 {
    const BITS: u32 = 32;
    fn or_bits(self, bits: u32, shift: u32) -> u32 {
        self | bits << shift
    }
    fn last_byte(self) -> u8 {
        self as u8
    }
    fn agrees(self, other: u32, shift: u32) -> bool {
        (self ^ other) >> shift == 0
    }
}

impl Address for u128 {
    const BITS: u32 = 128;
    fn or_bits(self, bits: u32, shift: u32) -> u128 {
        self | u128::from(bits) << shift
    }
    fn last_byte(self) -> u8 {
        self as u8
    }
    fn agrees(self, other: u128, shift: u32) -> bool {
        (self ^ other) >> shift == 0
    }
}

/// Writes the table of one family; its root as an entry word: a leaf where there is one class, else the offset of
/// 65,536 entry words.
pub fn table<T: Address + Default>(runs: &Runs<T>, words: &mut Words) -> Result<u32, Full> {
    let first = runs.runs.first().map_or(0, |run| run.1);
    if runs.runs.len() <= 1 {
        return Ok(ENTRY_LEAF | first);
    }
    let root = words.reserve(1 << 16)?;
    let mut classes = vec![0; 256];
    let mut runs = Cursor { class: first, ahead: &runs.runs };
    for slot in 0..1 << 16 {
        let entry = block(T::default(), slot, T::BITS - 16, &mut runs, words, &mut classes)?;
        words.words[root as usize + slot as usize] = entry;
    }
    Ok(root)
}

/// The place of a walk over the runs in ascending order.
struct Cursor<'r, T> {
    /// Class of the value before `ahead`.
    class: u32,
    ahead: &'r [(T, u32)],
}

/// The entry word of block number `slot` below `above`, which leaves `shift` bits open.
fn block<T: Address>(
    above: T,
    slot: u32,
    shift: u32,
    runs: &mut Cursor<'_, T>,
    words: &mut Words,
    classes: &mut Vec<u32>,
) -> Result<u32, Full> {
    let base = above.or_bits(slot, shift);
    while let Some((&(start, class), behind)) = runs.ahead.split_first()
        && start <= base
    {
        (runs.class, runs.ahead) = (class, behind);
    }
    if runs.ahead.first().is_none_or(|run| !run.0.agrees(base, shift)) {
        return Ok(ENTRY_LEAF | runs.class);
    }
    let shift = shift - 8;
    if shift == 0 {
        // The last level is filled run by run: most of a large table is rows of hosts.
        classes.clear();
        while let Some((&(start, class), behind)) = runs.ahead.split_first()
            && start.agrees(base, 8)
        {
            classes.resize(usize::from(start.last_byte()), runs.class);
            (runs.class, runs.ahead) = (class, behind);
        }
        classes.resize(256, runs.class);
        return packed(classes, words);
    }
    let mut entries = Vec::with_capacity(256);
    for child in 0..256 {
        entries.push(block(base, child, shift, runs, words, classes)?);
    }
    if entries.iter().all(|entry| entry & ENTRY_LEAF != 0) {
        entries.iter_mut().for_each(|entry| *entry &= 0xffff);
        return packed(&entries, words);
    }
    words.share(&entries)
}

/// The entry word of 256 classes.
fn packed(classes: &[u32], words: &mut Words) -> Result<u32, Full> {
    if classes.iter().all(|&class| class < 256) {
        let row: Vec<u32> = classes.chunks_exact(4).map(|four| join(four, 8)).collect();
        return Ok(ENTRY_PACKED8 | words.share(&row)?);
    }
    let row: Vec<u32> = classes.chunks_exact(2).map(|two| join(two, 16)).collect();
    Ok(ENTRY_PACKED16 | words.share(&row)?)
}

fn join(classes: &[u32], bits: u32) -> u32 {
    classes.iter().rev().fold(0, |word, &class| word << bits | class)
}

#[cfg(test)]
mod tests {
    use lb_abi::image::{ENTRY_OFFSET, ENTRY_TAG};
    use proptest::prelude::*;

    use super::super::words::MAX_WORDS;
    use super::*;

    /// The class of an address, by the words alone.
    fn look_up(words: &[u32], root: u32, bytes: &[u8]) -> u32 {
        if root & ENTRY_LEAF != 0 {
            return root & 0xffff;
        }
        let first = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        let mut entry = words[root as usize + first];
        for &byte in &bytes[2..] {
            let row = (entry & ENTRY_OFFSET) as usize;
            let byte = usize::from(byte);
            if entry & ENTRY_LEAF != 0 {
                break;
            }
            match entry & ENTRY_TAG {
                ENTRY_PACKED8 => return words[row + byte / 4] >> (8 * (byte % 4)) & 0xff,
                ENTRY_PACKED16 => return words[row + byte / 2] >> (16 * (byte % 2)) & 0xffff,
                _ => entry = words[row + byte],
            }
        }
        assert_ne!(entry & ENTRY_LEAF, 0);
        entry & 0xffff
    }

    fn runs<T: Ord + Copy + Default>(starts: Vec<(T, u32)>) -> Runs<T> {
        let mut runs = vec![(T::default(), 0)];
        runs.extend(starts);
        runs.sort();
        runs.dedup_by_key(|run| run.0);
        runs.dedup_by_key(|run| run.1);
        Runs { runs }
    }

    /// Starts at edges of strides and next to each other, where tables go wrong.
    fn v4() -> impl Strategy<Value = u32> {
        prop_oneof![
            any::<u32>(),
            (0u32..4, 0u32..4, 0u32..3).prop_map(|(a, b, c)| a << 16 | b << 8 | c),
            any::<u16>().prop_map(|top| u32::from(top) << 16),
        ]
    }

    proptest! {
        #[test]
        fn ipv4_is_as_a_linear_search(
            starts in prop::collection::vec((v4(), 0u32..600), 0..40),
            probes in prop::collection::vec(v4(), 20),
        ) {
            let runs = runs(starts);
            let mut words = Words::default();
            words.reserve(64).unwrap();
            let root = table(&runs, &mut words).unwrap();
            let edges = runs.runs.iter().flat_map(|run| [run.0, run.0.wrapping_sub(1)]);
            for addr in edges.chain(probes).chain([0, u32::MAX]) {
                prop_assert_eq!(look_up(&words.words, root, &addr.to_be_bytes()), runs.class(addr));
            }
        }

        #[test]
        fn ipv6_is_as_a_linear_search(
            starts in prop::collection::vec((any::<u128>(), 0u32..128, 0u32..300), 0..20),
            probes in prop::collection::vec(any::<u128>(), 20),
        ) {
            let runs = runs(starts.into_iter().map(|(at, zeros, class)| (at >> zeros << zeros, class)).collect());
            let mut words = Words::default();
            words.reserve(64).unwrap();
            let root = table(&runs, &mut words).unwrap();
            let edges = runs.runs.iter().flat_map(|run| [run.0, run.0.wrapping_sub(1)]);
            for addr in edges.chain(probes).chain([0, u128::MAX]) {
                prop_assert_eq!(look_up(&words.words, root, &addr.to_be_bytes()), runs.class(addr));
            }
        }
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused() {
        let mut words = Words::default();
        words.reserve(MAX_WORDS - (1 << 16) - 200).unwrap();
        let one = runs(vec![(0x0a00_0001_u32, 1), (0x0a00_0002, 0)]);
        assert_eq!(table(&one, &mut words), Err(Full));
    }

    #[test]
    fn one_class_takes_no_row() {
        let mut words = Words::default();
        assert_eq!(table(&runs::<u32>(vec![]), &mut words), Ok(ENTRY_LEAF));
        assert_eq!(words.len(), 0);
    }
}
