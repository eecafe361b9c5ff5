//! Owns the look-ups in the image: a value's class by its field's table, and the next row by a class. Never nodes.

use lb_abi::image::{
    ALL_FIELDS, ENTRY_LEAF, ENTRY_OFFSET, ENTRY_PACKED8, ENTRY_PACKED16, ENTRY_TAG, Field, H_DST6, H_FIELD,
    H_SRC6, R_DEFAULT, R_FACTOR, R_MASK, R_PAIRS, ROW_OFFSET, ROW_SPARSE,
};
use lb_abi::maps::Addr;
use lb_abi::reason::Reason;

use super::Words;
use crate::eval::State;
use crate::eval::stages::{self, Plan};
use crate::packet::Fields;

/// The node that the fields of the mask lead to from a row.
pub(super) fn decide(
    words: Words<'_>,
    mask: u32,
    row: u32,
    fields: &Fields,
    state: &State,
    plan: &Plan,
) -> Result<u32, Reason> {
    let mut at = row;
    for field in ALL_FIELDS.into_iter().filter(|field| mask & field.bit() != 0) {
        at = next(words, at, class(words, field, fields, state, plan)?)?;
    }
    Ok(at)
}

fn next(words: Words<'_>, row: u32, class: u32) -> Result<u32, Reason> {
    if row & ROW_SPARSE == 0 {
        return words.of(row, class as usize);
    }
    let row = row & ROW_OFFSET;
    let cell = (class.wrapping_mul(words.of(row, R_FACTOR)?) >> 16) & words.of(row, R_MASK)?;
    let pair = R_PAIRS + 2 * cell as usize;
    if words.of(row, pair)? == class { words.of(row, pair + 1) } else { words.of(row, R_DEFAULT) }
}

fn class(words: Words<'_>, field: Field, fields: &Fields, state: &State, plan: &Plan) -> Result<u32, Reason> {
    let value = match field {
        Field::Src => return address_class(words, H_FIELD, H_SRC6, fields.v6, fields.src),
        Field::Dst => return address_class(words, H_FIELD + 1, H_DST6, fields.v6, fields.dst),
        Field::Flow => stages::flow_tracker(state, fields).map_or(0, |tracker| 1 + tracker),
        Field::Cert => stages::certificate(state, fields, &plan.learned).unwrap_or(field.absent()),
        _ => fields.value(field).ok_or(Reason::BadImage)?,
    };
    let base = words.at(H_FIELD + field as usize)?;
    if field.two_level() {
        let row = words.of(base, (value >> 8) as usize)?;
        words.of(row, (value & 255) as usize)
    } else {
        words.of(base, value as usize)
    }
}

fn address_class(words: Words<'_>, four: usize, six: usize, v6: bool, addr: Addr) -> Result<u32, Reason> {
    let (root, bytes) = if v6 { (words.at(six)?, &addr[..]) } else { (words.at(four)?, &addr[12..]) };
    entry_class(words, root, bytes)
}

/// Follows entry words along an address of 4 or 16 bytes: the first two are one index, then each is one.
fn entry_class(words: Words<'_>, root: u32, bytes: &[u8]) -> Result<u32, Reason> {
    let [high, low, rest @ ..] = bytes else { return Err(Reason::BadImage) };
    let mut entry = root;
    let mut indices = std::iter::once(usize::from(*high) << 8 | usize::from(*low))
        .chain(rest.iter().map(|&byte| byte.into()));
    while entry & ENTRY_LEAF == 0 {
        let index = indices.next().ok_or(Reason::BadImage)?;
        let row = entry & ENTRY_OFFSET;
        match entry & ENTRY_TAG {
            0 => entry = words.of(row, index)?,
            ENTRY_PACKED8 => return Ok(words.of(row, index / 4)? >> (8 * (index % 4)) & 0xff),
            ENTRY_PACKED16 => return Ok(words.of(row, index / 2)? >> (16 * (index % 2)) & 0xffff),
            _ => return Err(Reason::BadImage),
        }
    }
    Ok(entry & 0xffff)
}
