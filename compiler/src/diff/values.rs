//! Owns the values behind classes, as few pieces as they can be written in. Never a field's name or a guard's form.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_abi::image::Field;

use super::cover::ClassSet;
use crate::lower::axis::Axis;
use crate::lower::classes::Runs;
use crate::lower::formula::Classes;

/// Named values of one range that are looked at; there are no more.
const MOST_NAMES: usize = 1 << 12;

/// The values of a field in some classes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Values {
    /// Inclusive ranges, or prefixes, as a policy writes them.
    pub pieces: Vec<String>,
    /// Packets without the field are among them.
    pub absent: bool,
}

/// Those of the classes given, and all others of the axis.
pub fn both(
    cut: &Classes,
    axis: Axis,
    classes: &ClassSet,
    word: &impl Fn(u32) -> Option<String>,
) -> [Values; 2] {
    let others = ClassSet { others: !classes.others, ..classes.clone() };
    [classes, &others].map(|classes| match axis {
        Axis::Of(Field::Src | Field::Dst) => addresses(cut, axis.index(), classes),
        Axis::Free(_) => Values { pieces: Vec::new(), absent: false },
        _ => numbers(&cut.small[axis.index()], axis, classes, word),
    })
}

fn addresses(cut: &Classes, at: usize, classes: &ClassSet) -> Values {
    let v4 = ranges(&cut.v4[at], classes, u32::MAX, |value| value - 1);
    let v6 = ranges(&cut.v6[at], classes, u128::MAX, |value| value - 1);
    let v4 = v4.into_iter().map(|(first, last)| {
        block(first.into(), last.into(), 32, |value| Ipv4Addr::from(value as u32).to_string())
    });
    let v6 = v6
        .into_iter()
        .map(|(first, last)| block(first, last, 128, |value| Ipv6Addr::from(value).to_string()));
    Values { pieces: v4.chain(v6).collect(), absent: false }
}

/// `10.0.0.0/8`, `10.0.0.1` or `10.0.0.1-10.0.0.9`.
fn block(first: u128, last: u128, bits: u32, address: impl Fn(u128) -> String) -> String {
    let spread = first ^ last;
    let open = 128 - spread.leading_zeros();
    let is_prefix = spread.count_ones() == open && first & spread == 0;
    match (is_prefix, open) {
        (true, 0) => address(first),
        (true, open) => format!("{}/{}", address(first), bits - open),
        (false, _) => format!("{}-{}", address(first), address(last)),
    }
}

/// `word` is empty for a value without a name, and nothing for one that no packet has.
fn numbers(
    runs: &Runs<u32>,
    axis: Axis,
    classes: &ClassSet,
    word: &impl Fn(u32) -> Option<String>,
) -> Values {
    let absent = axis.absent();
    let all = ranges(runs, classes, absent, |value| value - 1);
    let is_absent = all.last().is_some_and(|range| range.1 == absent);
    // Names have no order, so a range of them is spelled out.
    let is_number = |field| !matches!(field, Field::TcpFlags | Field::Frag | Field::Flow | Field::Cert);
    let by_name = !matches!(axis, Axis::Of(field) if is_number(field));
    let present = all.into_iter().map(|(first, last)| (first, last.min(absent - 1)));
    let mut pieces = Vec::new();
    for (first, last) in present.filter(|(first, last)| first <= last) {
        match () {
            () if first == last => pieces.extend(word(first)),
            () if by_name => pieces.extend((first..=last).take(MOST_NAMES).filter_map(word)),
            () => pieces.push(format!("{first}-{last}")),
        }
    }
    Values { pieces, absent: is_absent }
}

/// Inclusive ranges of the values up to `last` whose class is in the set, merged.
fn ranges<T: Copy + PartialEq>(
    runs: &Runs<T>,
    classes: &ClassSet,
    last: T,
    before: impl Fn(T) -> T,
) -> Vec<(T, T)> {
    let starts = runs.runs.iter().map(|run| run.0);
    let ends = starts.skip(1).map(before).chain([last]);
    let mut ranges: Vec<(T, T)> = Vec::new();
    let mut joins = false;
    for (&(start, class), end) in runs.runs.iter().zip(ends) {
        let inside = classes.has(class as u16);
        match ranges.last_mut() {
            Some(range) if inside && joins => range.1 = end,
            _ if inside => ranges.push((start, end)),
            _ => {}
        }
        joins = inside;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_as_written() {
        let v4 = |first, last| block(first, last, 32, |value| Ipv4Addr::from(value as u32).to_string());
        assert_eq!(v4(0x0a00_0000, 0x0aff_ffff), "10.0.0.0/8");
        assert_eq!(v4(0, 0xffff_ffff), "0.0.0.0/0");
        assert_eq!(v4(1, 1), "0.0.0.1");
        assert_eq!(v4(1, 2), "0.0.0.1-0.0.0.2");
        let v6 = block(0, u128::MAX, 128, |value| Ipv6Addr::from(value).to_string());
        assert_eq!(v6, "::/0");
    }

    #[test]
    fn neighbouring_classes_are_one_range() {
        let runs = Runs { runs: vec![(0u32, 0), (5, 1), (7, 2), (9, 0)] };
        let both = ClassSet { listed: vec![1, 2], others: false };
        assert_eq!(ranges(&runs, &both, 20, |value| value - 1), [(5, 8)]);
        let others = ClassSet { listed: vec![1, 2], others: true };
        assert_eq!(ranges(&runs, &others, 20, |value| value - 1), [(0, 4), (9, 20)]);
    }
}
