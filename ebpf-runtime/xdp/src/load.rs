//! Owns what backends and trackers carry, and the choice among a pool's backends by it: the next that is there and not
//! full, or the one with the fewest connections. Never when a flow begins or ends.

use lb_abi::{
    image::{B_MAX_CONN, B_NUMBER, B_OTHER, B_WEIGHT, BACKEND_WORDS, MAX_PICKED},
    maps::BACKEND_ABSENT,
    mode::FEATURE_LOAD,
};

use crate::{
    atomic,
    frame::key,
    image::Image,
    maps::{TRACKERS, feature},
    packet::Packet,
    translate::backend,
};

/// Backends that are looked at in one go.
const GROUP: u32 = 32;
const GROUPS: u32 = MAX_PICKED as u32 / GROUP;
const NONE: u32 = u32::MAX;

#[inline(always)]
fn row(rows: u32, index: u32) -> u32 {
    rows.wrapping_add(index.wrapping_mul(BACKEND_WORDS as u32))
}

/// The backend's number that the word at the offset in `word` of a row holds; 0 without one.
#[inline(always)]
fn number(image: &Image, row: u32, word: usize) -> u32 {
    let at = image.word(row.wrapping_add(word as u32));
    if at == 0 { 0 } else { image.word(at) }
}

/// Connections of the backend in a row, by both of its addresses.
#[inline(always)]
fn connections(image: &Image, row: u32) -> u64 {
    let of = |number: u32| {
        // SAFETY: an aligned word of an array map.
        backend(number)
            .map_or(0, |backend| unsafe { core::ptr::read_volatile(&raw const (*backend).connections) })
    };
    let both = of(number(image, row, B_NUMBER)).wrapping_add(of(number(image, row, B_OTHER)));
    if both < 0 { 0 } else { both as u64 }
}

/// Whether the backend in a row is there and has fewer connections than it may.
#[inline(always)]
fn is_usable(image: &Image, row: u32) -> bool {
    let Some(backend) = backend(number(image, row, B_NUMBER)) else { return false };
    // SAFETY: a value of an array map.
    if unsafe { (*backend).state } == BACKEND_ABSENT {
        return false;
    }
    let max = image.word(row.wrapping_add(B_MAX_CONN as u32));
    !feature(FEATURE_LOAD) || max == 0 || connections(image, row) < max as u64
}

/// Adds `by`, where the greatest number takes 1, to the flows of the tracker `tracker - 1` and to the connections of the
/// backend `number - 1`, if that still has this identity.
#[inline(always)]
pub fn count(tracker: u32, number: u32, identity: u32, by: u64) {
    if tracker != 0
        && let Some(tracker) = TRACKERS.get_ptr_mut(key(tracker - 1))
    {
        // SAFETY: an aligned word of an array map.
        unsafe { atomic::fetch_add(&raw mut (*tracker).flows, by) };
    }
    if let Some(backend) = backend(number)
        // SAFETY: a value of an array map.
        && unsafe { (*backend).identity } == identity
    {
        // SAFETY: as above.
        unsafe { atomic::fetch_add((&raw mut (*backend).connections).cast(), by) };
    }
}

/// Index of the row whose number stands at the offset `at`, among a group from `first` on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rows_at(p: *mut Packet, rows: u32, first: u32, until: u32, at: u32) -> u32 {
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    let Some(image) = (unsafe { p.as_ref() }).and_then(Image::of) else { return NONE };
    for n in 0..GROUP {
        let index = first.wrapping_add(n);
        if index >= until {
            break;
        }
        if image.word(row(rows, index).wrapping_add(B_NUMBER as u32)) == at {
            return index;
        }
    }
    NONE
}

/// Index of the first row that is usable, among a group from `first` on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rows_usable(p: *mut Packet, rows: u32, first: u32, until: u32) -> u32 {
    // SAFETY: as above.
    let Some(image) = (unsafe { p.as_ref() }).and_then(Image::of) else { return NONE };
    for n in 0..GROUP {
        let index = first.wrapping_add(n);
        if index >= until {
            break;
        }
        if is_usable(&image, row(rows, index)) {
            return index;
        }
    }
    NONE
}

/// Index of the usable row with the fewest connections for its weight, among a group from `first` on and `best`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn rows_least(p: *mut Packet, rows: u32, first: u32, until: u32, mut best: u32) -> u32 {
    // SAFETY: as above.
    let Some(image) = (unsafe { p.as_ref() }).and_then(Image::of) else { return NONE };
    let weight = |row: u32| image.word(row.wrapping_add(B_WEIGHT as u32)) as u64;
    for n in 0..GROUP {
        let index = first.wrapping_add(n);
        if index >= until {
            break;
        }
        let (this, that) = (row(rows, index), row(rows, best));
        if is_usable(&image, this)
            && (best == NONE
                || connections(&image, this).wrapping_mul(weight(that))
                    < connections(&image, that).wrapping_mul(weight(this)))
        {
            best = index;
        }
    }
    best
}

/// The number of the backend with the fewest connections for its weight among `count` rows; 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn least(p: *mut Packet, rows: u32, count: u32) -> u32 {
    let mut best = NONE;
    for group in 0..GROUPS {
        if group * GROUP >= count {
            break;
        }
        best = rows_least(p, rows, group * GROUP, count, best);
    }
    numbered(p, rows, best)
}

/// The number at the offset `at` if that backend is usable, else of the next in the order of the rows, around; 0 for none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn usable(p: *mut Packet, rows: u32, count: u32, at: u32) -> u32 {
    let mut start = NONE;
    for group in 0..GROUPS {
        if group * GROUP >= count || start != NONE {
            break;
        }
        start = rows_at(p, rows, group * GROUP, count, at);
    }
    if start == NONE {
        return 0;
    }
    let mut found = NONE;
    for group in 0..GROUPS {
        let first = start.wrapping_add(group * GROUP);
        if first >= count || found != NONE {
            break;
        }
        found = rows_usable(p, rows, first, count);
    }
    for group in 0..GROUPS {
        if group * GROUP >= start || found != NONE {
            break;
        }
        found = rows_usable(p, rows, group * GROUP, start);
    }
    numbered(p, rows, found)
}

#[inline(always)]
fn numbered(p: *mut Packet, rows: u32, index: u32) -> u32 {
    if index == NONE {
        return 0;
    }
    // SAFETY: the caller's packet; the verifier checks that it is not null.
    (unsafe { p.as_ref() }).and_then(Image::of).map_or(0, |image| number(&image, row(rows, index), B_NUMBER))
}
