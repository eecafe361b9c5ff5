//! Owns the proof of field tables: every entry within the image, every class counted. Never decision rows.

use std::collections::HashSet;

use lb_abi::bundle::Dense;
use lb_abi::image::{ENTRY_LEAF, Field, H_DST6, H_FIELD, H_SRC6};
use lb_abi::mode::{FEATURE_DST4, FEATURE_DST6, FEATURE_SRC4, FEATURE_SRC6};

use super::super::Corrupt;
use super::super::rows::{entries, small_classes};
use super::{Checked, word};

impl Checked<'_> {
    pub(super) fn field(&mut self, field: Field) -> Result<(), Corrupt> {
        let used = self.image.fields & field.bit() != 0;
        let four = H_FIELD + field as usize;
        let highest = match field {
            Field::Src => self.addresses(used, four, 32, FEATURE_SRC4)?.max(self.addresses(
                used,
                H_SRC6,
                128,
                FEATURE_SRC6,
            )?),
            Field::Dst => self.addresses(used, four, 32, FEATURE_DST4)?.max(self.addresses(
                used,
                H_DST6,
                128,
                FEATURE_DST6,
            )?),
            _ => self.small(used, field, four)?,
        };
        self.classes[field as usize] = highest + 1;
        Ok(())
    }

    /// The highest class of a small field.
    fn small(&mut self, used: bool, field: Field, at: usize) -> Result<u32, Corrupt> {
        let table = self.at(at)?;
        if !used {
            return if table == 0 { Ok(0) } else { Err(word(at, "the table of an unused field")) };
        }
        self.slice(at, table, 1)?;
        let classes = small_classes(self.words, field, table).ok_or(word(at, "a table beyond the words"))?;
        if field == Field::Flow {
            self.dense(table as usize, Dense::FlowTable)?;
        }
        if field == Field::Cert {
            self.dense(table as usize, Dense::CertificateTable)?;
        }
        let highest = classes.into_iter().max().unwrap_or(0);
        if highest > 0xffff { Err(word(at, "a class of more than 16 bits")) } else { Ok(highest) }
    }

    /// The highest class of an address table of one family.
    fn addresses(&self, used: bool, at: usize, bits: u32, feature: u32) -> Result<u32, Corrupt> {
        let root = self.at(at)?;
        let has_rows = used && root & ENTRY_LEAF == 0;
        if has_rows != (self.image.features & feature != 0) {
            return Err(word(at, "the mode says otherwise than the table"));
        }
        if !used {
            return if root == 0 { Ok(0) } else { Err(word(at, "the table of an unused field")) };
        }
        let mut seen = HashSet::new();
        // Rows still to be read: entry word, open bits.
        let mut left = vec![(root, bits)];
        let mut highest = 0;
        while let Some((entry, open)) = left.pop() {
            if entry & ENTRY_LEAF != 0 {
                if entry & !(ENTRY_LEAF | 0xffff) != 0 {
                    return Err(word(at, "a leaf with bits that mean nothing"));
                }
                highest = highest.max(entry & 0xffff);
                continue;
            }
            if !seen.insert((entry, open)) {
                continue;
            }
            let stride = if open == bits { 16 } else { 8 };
            let below = open.checked_sub(stride).ok_or(word(at, "rows beyond the address's bits"))?;
            self.slice(at, entry & lb_abi::image::ENTRY_OFFSET, 1)?;
            let row = entries(self.words, entry, 1 << stride)
                .filter(|_| stride == 8 || entry & lb_abi::image::ENTRY_TAG == 0)
                .ok_or(word(at, "a row beyond the words, or of no known form"))?;
            left.extend(row.into_iter().map(|entry| (entry, below)));
        }
        Ok(highest)
    }
}
