//! Owns the way from a field's value to its class. Never which node a class leads to.

use lb_abi::{
    image::{
        ENTRY_LEAF, ENTRY_OFFSET, ENTRY_PACKED8, ENTRY_PACKED16, ENTRY_TAG, Field, H_DST6, H_FIELD, H_SRC6,
        R_DEFAULT, R_FACTOR, R_MASK, R_PAIRS, ROW_OFFSET, ROW_SPARSE,
    },
    maps::Addr,
    mode::{FEATURE_DST4, FEATURE_DST6, FEATURE_SRC4, FEATURE_SRC6},
};

use crate::{
    image::Image,
    maps::{feature, fields},
    packet::Packet,
};

/// Fields between `Proto` and `Flow`.
const SELDOM: u64 = ((Field::Flow.bit() - 1) & !(Field::TcpFlags.bit() - 1)) as u64;

/// Fields that are known once the flow was asked for.
const LATE: u64 = (Field::Flow.bit() | Field::Cert.bit()) as u64;

/// Walks a decision table: the next node for the fields in `mask`, from the row at `root`.
#[inline(always)]
pub fn decide(image: &Image, p: &mut Packet, mask: u32, root: u32) -> u32 {
    // As 64 bits, so that a spilled copy keeps what the verifier knows of it: an unused field's branch is dead code.
    let mask = (mask & fields()) as u64;
    let looks_at = |field: Field| mask & field.bit() as u64 != 0;
    let mut row = root;
    if looks_at(Field::Src) {
        row = next(image, row, src(image, p));
    }
    if looks_at(Field::Dst) {
        row = next(image, row, dst(image, p));
    }
    // Written out, not a loop: each field's kind of table is then known, and where it is unused its code is dead.
    macro_rules! fields {
        ($($field:ident)*) => {$(
            if looks_at(Field::$field) {
                row = next(image, row, class(image, Field::$field, p.get(Field::$field)));
            }
        )*};
    }
    fields! { Dport Sport Proto }
    // Few policies look at these: one question for all of them.
    if mask & SELDOM != 0 {
        fields! { TcpFlags IcmpType IcmpCode Len Ttl Dscp Vlan Frag }
    }
    if mask & LATE != 0 {
        fields! { Flow Cert }
    }
    row
}

/// `decide` as a function of its own, which the verifier walks once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn decide_again(p: *mut Packet, mask: u32, root: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return 0 };
    Image::of(p).map_or(0, |image| decide(&image, p, mask, root))
}

/// Where `row` leads for a class: dense rows are indexed, sparse ones are a table without collisions of the classes
/// that differ from the row's default.
#[inline(always)]
fn next(image: &Image, row: u32, class: u32) -> u32 {
    if row & ROW_SPARSE == 0 {
        return image.word(row.wrapping_add(class));
    }
    let row = row & ROW_OFFSET;
    let cell = class.wrapping_mul(image.word(row + R_FACTOR as u32)) >> 16 & image.word(row + R_MASK as u32);
    let pair = (row + R_PAIRS as u32).wrapping_add(cell * 2);
    if image.word(pair) == class {
        image.word(pair.wrapping_add(1))
    } else {
        image.word(row + R_DEFAULT as u32)
    }
}

#[inline(always)]
fn class(image: &Image, field: Field, value: u32) -> u32 {
    let base = image.header(H_FIELD + field as usize);
    if field.two_level() {
        let row = image.word(base.wrapping_add(value >> 8));
        image.word(row.wrapping_add(value & 0xff))
    } else {
        image.word(base.wrapping_add(value))
    }
}

#[inline(always)]
fn src(image: &Image, p: &mut Packet) -> u32 {
    if p.v6 == 0 {
        let root = image.header(H_FIELD + Field::Src as usize);
        if feature(FEATURE_SRC4) { address::<12, 4>(image, &p.key.src, root) } else { leaf(root) }
    } else {
        let root = image.header(H_SRC6);
        if feature(FEATURE_SRC6) { src6(p, root) } else { leaf(root) }
    }
}

#[inline(always)]
fn dst(image: &Image, p: &mut Packet) -> u32 {
    if p.v6 == 0 {
        let root = image.header(H_FIELD + Field::Dst as usize);
        if feature(FEATURE_DST4) { address::<12, 4>(image, &p.key.dst, root) } else { leaf(root) }
    } else {
        let root = image.header(H_DST6);
        if feature(FEATURE_DST6) { dst6(p, root) } else { leaf(root) }
    }
}

// Functions of their own, so that the verifier walks their levels once and not once a node.

/// Class of an IPv6 source.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn src6(p: *mut Packet, root: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(p) = (unsafe { p.as_mut() }) else { return 0 };
    Image::of(p).map_or(0, |image| address::<0, 16>(&image, &p.key.src, root))
}

/// Class of an IPv6 destination.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dst6(p: *mut Packet, root: u32) -> u32 {
    // SAFETY: as above.
    let Some(p) = (unsafe { p.as_mut() }) else { return 0 };
    Image::of(p).map_or(0, |image| address::<0, 16>(&image, &p.key.dst, root))
}

#[inline(always)]
fn leaf(entry: u32) -> u32 {
    entry & 0xffff
}

/// Class of the `LENGTH` bytes of the address from byte `FIRST` on: a stride of 16 bits, then of 8 each.
#[inline(always)]
fn address<const FIRST: usize, const LENGTH: usize>(image: &Image, addr: &Addr, root: u32) -> u32 {
    let mut entry = root;
    if entry & ENTRY_LEAF == 0 {
        let stride = (addr[FIRST] as u32) << 8 | addr[FIRST + 1] as u32;
        entry = image.word((entry & ENTRY_OFFSET).wrapping_add(stride));
        for n in 2..LENGTH {
            if entry & ENTRY_LEAF != 0 {
                break;
            }
            let byte = addr[FIRST + n] as u32;
            let row = entry & ENTRY_OFFSET;
            match entry & ENTRY_TAG {
                ENTRY_PACKED8 => return image.word(row.wrapping_add(byte / 4)) >> (byte % 4 * 8) & 0xff,
                ENTRY_PACKED16 => return image.word(row.wrapping_add(byte / 2)) >> (byte % 2 * 16) & 0xffff,
                _ => entry = image.word(row.wrapping_add(byte)),
            }
        }
    }
    leaf(entry)
}
