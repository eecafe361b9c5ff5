//! Owns the description of a field's classes: which values each holds. Never decision rows.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use lb_abi::bundle::Image;
use lb_abi::image::{
    FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, FRAG_FIRST, FRAG_LATER, FRAG_NONE, Field, H_DST6, H_FIELD, H_SRC6,
};

use super::super::rows::{address_runs, small_classes};
use super::{MAX_LISTED, MAX_RANGES};

/// The ranges of one class, so far as they are listed.
#[derive(Default)]
pub(super) struct Described {
    listed: Vec<String>,
    ranges: usize,
}

/// Every class of a field, by number.
pub(super) fn describe(image: &Image, field: Field) -> Vec<Described> {
    let mut classes: Vec<Described> = Vec::new();
    each(image, field, &mut |class, range| {
        let class = class as usize;
        if classes.len() <= class {
            classes.resize_with(class + 1, Described::default);
        }
        classes[class].ranges += 1;
        if classes[class].listed.len() < MAX_RANGES {
            classes[class].listed.push(range(image));
        }
    });
    classes
}

pub(super) fn write(classes: &[Described], out: &mut String) -> std::fmt::Result {
    for (class, described) in classes.iter().enumerate().take(MAX_LISTED) {
        if described.ranges == 0 {
            continue;
        }
        write!(out, "  {class}: {}", described.listed.join(", "))?;
        match described.ranges - described.listed.len() {
            0 => writeln!(out)?,
            more => writeln!(out, " and {more} more ranges")?,
        }
    }
    if classes.len() > MAX_LISTED {
        writeln!(out, "  and {} more classes", classes.len() - MAX_LISTED)?;
    }
    Ok(())
}

type Range<'r> = &'r dyn Fn(&Image) -> String;

/// Calls back for each run of values of one class, with a way to describe it.
fn each(image: &Image, field: Field, run: &mut dyn FnMut(u32, Range<'_>)) {
    let words = &image.words;
    let root = |at: usize| words.get(at).copied().unwrap_or(0);
    let (four, six) = match field {
        Field::Src => (H_FIELD, H_SRC6),
        Field::Dst => (H_FIELD + 1, H_DST6),
        _ => return each_small(image, field, root(H_FIELD + field as usize), run),
    };
    address_runs(words, root(four), 32, &mut |first, last, class| {
        run(class, &|_| prefixes(first, last, 32));
        true
    });
    address_runs(words, root(six), 128, &mut |first, last, class| {
        run(class, &|_| prefixes(first, last, 128));
        true
    });
}

fn each_small(image: &Image, field: Field, table: u32, run: &mut dyn FnMut(u32, Range<'_>)) {
    let classes = small_classes(&image.words, field, table).unwrap_or_default();
    let mut first = 0;
    // Between two sets of flags there is no range to speak of.
    for runs in classes.chunk_by(|a, b| a == b && field != Field::TcpFlags) {
        let last = first + runs.len() as u32 - 1;
        run(runs[0], &|image| values(image, field, first, last));
        first = last + 1;
    }
}

/// `192.0.2.0/24` where a range is one prefix, else `first-last`.
fn prefixes(first: u128, last: u128, bits: u32) -> String {
    let text = |addr: u128| match bits {
        32 => Ipv4Addr::from(addr as u32).to_string(),
        _ => Ipv6Addr::from(addr).to_string(),
    };
    let open = (first ^ last).count_ones();
    let mask = 1_u128.checked_shl(open).map_or(u128::MAX, |size| size - 1);
    match (first == last, first ^ last == mask && first & mask == 0) {
        (true, _) => text(first),
        (_, true) => format!("{}/{}", text(first), bits - open),
        _ => format!("{}-{}", text(first), text(last)),
    }
}

fn values(image: &Image, field: Field, first: u32, last: u32) -> String {
    let absent = field.absent();
    match (first == last, last == absent) {
        (true, true) => "absent".to_owned(),
        (true, false) => value(image, field, first),
        (false, true) if first + 1 == absent => format!("{}, absent", value(image, field, first)),
        (false, true) => {
            format!("{}-{}, absent", value(image, field, first), value(image, field, absent - 1))
        }
        (false, false) => format!("{}-{}", value(image, field, first), value(image, field, last)),
    }
}

fn value(image: &Image, field: Field, value: u32) -> String {
    let name = match (field, value) {
        (Field::Proto, 1) => "icmp",
        (Field::Proto, 6) => "tcp",
        (Field::Proto, 17) => "udp",
        (Field::Proto, 58) => "icmp6",
        (Field::Frag, FRAG_NONE) => "none",
        (Field::Frag, FRAG_FIRST) => "first",
        (Field::Frag, FRAG_LATER) => "later",
        (Field::Flow, 0) => "unknown",
        (Field::Flow, _) => match image.trackers.get(value as usize - 1) {
            Some(tracker) => return format!("in {}", tracker.name),
            None => return value.to_string(),
        },
        (Field::TcpFlags, 0) => "no flag",
        (Field::TcpFlags, _) => {
            let flags = [(FLAG_SYN, "syn"), (FLAG_ACK, "ack"), (FLAG_FIN, "fin"), (FLAG_RST, "rst")];
            let set = flags.iter().filter(|(bit, _)| value & bit != 0).map(|(_, name)| *name);
            return set.collect::<Vec<_>>().join("+");
        }
        _ => return value.to_string(),
    };
    name.to_owned()
}
