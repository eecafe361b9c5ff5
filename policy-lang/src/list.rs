//! Owns the list file of a set: one prefix, address or range a line, `#` comments. Never where its text comes from.

use crate::policy::AddrSet;
use crate::value::Fault;
use crate::value::addr::{Loose, Range, range};

/// So many bad lines are told one by one.
const FAULTS: usize = 20;

#[derive(Debug)]
pub(crate) struct List {
    /// Duplicates and overlaps merged.
    pub addrs: AddrSet,
    /// First and end byte of what cannot be read, and why.
    pub faults: Vec<(usize, usize, Fault)>,
    /// Bad lines beyond those.
    pub more_faults: usize,
}

impl List {
    fn fault(&mut self, start: usize, length: usize, fault: Fault) {
        if self.faults.len() < FAULTS {
            self.faults.push((start, start + length, fault));
        } else {
            self.more_faults += 1;
        }
    }
}

/// Reads a list, with `single` one of addresses only; a million lines take some tens of milliseconds, as plain IPv4 lines are read byte by byte.
pub(crate) fn read(text: &[u8], single: bool) -> List {
    let mut loose = Loose::default();
    let mut list = List { addrs: AddrSet::default(), faults: Vec::new(), more_faults: 0 };
    let mut start = if text.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
    for line in text.get(start..).unwrap_or(&[]).split_inclusive(|&byte| byte == b'\n') {
        let code = line.split(|&byte| byte == b'#').next().unwrap_or(&[]);
        let lead = code.len() - code.trim_ascii_start().len();
        let entry = code.trim_ascii();
        if !entry.is_empty() {
            match plain_v4(entry).map_or_else(|| slow(entry), Ok) {
                Ok(range) if single && range.single().is_none() => {
                    let fault = Fault::new("E0307", "a network in a list of addresses");
                    list.fault(start + lead, entry.len(), fault.help("give the set the type `net`"));
                }
                Ok(range) => loose.push(range),
                Err(fault) => list.fault(start + lead, entry.len(), fault),
            }
        }
        start += line.len();
    }
    list.addrs = loose.merged();
    list
}

fn slow(entry: &[u8]) -> Result<Range, Fault> {
    let text = String::from_utf8_lossy(entry);
    // `a - b` is common in lists made by others.
    match text.split_once('-') {
        Some((first, last)) => range(&format!("{}-{}", first.trim(), last.trim())),
        None => range(&text),
    }
}

/// `a.b.c.d` or `a.b.c.d/n` without leading zeros or host bits; None sends the line to the slow reader.
fn plain_v4(entry: &[u8]) -> Option<Range> {
    let mut address: u32 = 0;
    let mut rest = entry;
    for octet in 0..4 {
        let (value, after) = number(rest, 255)?;
        address = address << 8 | value;
        rest = if octet < 3 { after.strip_prefix(b".")? } else { after };
    }
    let length = match rest.split_first() {
        None => 32,
        Some((b'/', digits)) => match number(digits, 32)? {
            (length, []) => length,
            _ => return None,
        },
        Some(_) => return None,
    };
    let host = u32::MAX.checked_shr(length).unwrap_or(0);
    (address & host == 0).then_some(Range::V4(address, address | host))
}

fn number(text: &[u8], high: u32) -> Option<(u32, &[u8])> {
    let length = text.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length)?;
    if digits.is_empty() || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    (value <= high).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_comments_and_merging() {
        let list = read(
            b"# head\n10.0.0.0/9 # low\r\n10.128.0.0/9\n\n10.0.0.1\n2001:db8::/32\n192.0.2.1 - 192.0.2.9",
            false,
        );
        assert_eq!(list.faults, []);
        assert_eq!(list.addrs.v4, [(0x0a00_0000, 0x0aff_ffff), (0xc000_0201, 0xc000_0209)]);
        assert_eq!(list.addrs.v6.len(), 1);
    }

    #[test]
    fn a_bad_line_has_its_place() {
        let list = read(b"10.0.0.0/8\n  10.0.0.1/8 # host bits\nrubbish\n010.0.0.1\n\xff\xfe\n", false);
        let places: Vec<(usize, usize, &str)> =
            list.faults.iter().map(|(start, end, fault)| (*start, *end, fault.code)).collect();
        assert_eq!(places, [(13, 23, "E0306"), (36, 43, "E0305"), (44, 53, "E0305"), (54, 56, "E0305")]);
    }

    #[test]
    fn a_list_of_addresses_holds_no_networks() {
        let list = read(b"10.0.0.1\n10.0.0.2/32\n10.0.0.0/31\n", true);
        let places: Vec<(usize, usize)> = list.faults.iter().map(|(start, end, _)| (*start, *end)).collect();
        assert_eq!(places, [(21, 32)]);
    }

    proptest! {
        #[test]
        fn the_fast_reader_agrees_with_the_slow_one(a in 0u32..300, b in 0u32..300, length in 0u32..40, tail in "[ -0/.x]?") {
            let text = format!("{a}.{b}.0.0/{length}{tail}");
            let text = text.trim();
            if let Some(fast) = plain_v4(text.as_bytes()) {
                prop_assert_eq!(Ok(fast), range(text));
            }
        }

        #[test]
        fn any_bytes_give_a_result(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, false);
        }
    }
}
