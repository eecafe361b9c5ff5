//! Owns addresses, prefixes and ranges of them, and the arithmetic of address sets.
//! Never where a set comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Fault;
use crate::policy::AddrSet;

/// Inclusive range of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Range {
    V4(u32, u32),
    V6(u128, u128),
}

impl Range {
    pub fn single(self) -> Option<IpAddr> {
        match self {
            Range::V4(first, last) if first == last => Some(IpAddr::V4(Ipv4Addr::from(first))),
            Range::V6(first, last) if first == last => Some(IpAddr::V6(Ipv6Addr::from(first))),
            _ => None,
        }
    }
}

/// Whether a word can only be meant as an address: digits with dots, or colons.
pub(crate) fn looks_like(text: &str) -> bool {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    text.starts_with('[')
        || (digits && text.contains('.'))
        || text.matches(':').count() >= 2
        || (text.contains('/') && (digits || text.contains(':')))
}

const FORMS: &str = "write an address (`192.0.2.1`, `2001:db8::1`), a prefix (`192.0.2.0/24`) or a range (`192.0.2.1-192.0.2.9`)";

/// `a.b.c.d`, `prefix/n`, `a-b`, and the same over IPv6.
pub(crate) fn range(text: &str) -> Result<Range, Fault> {
    if let Some((base, length)) = text.split_once('/') {
        return prefix(text, base, length);
    }
    if let Some((first, last)) = text.split_once('-') {
        let range = match (address(first)?, address(last)?) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Range::V4(first.into(), last.into()),
            (IpAddr::V6(first), IpAddr::V6(last)) => Range::V6(first.into(), last.into()),
            _ => return Err(Fault::new("E0312", format!("`{text}` runs from one family into the other"))),
        };
        let backwards = match range {
            Range::V4(first, last) => first > last,
            Range::V6(first, last) => first > last,
        };
        if backwards {
            let fault = Fault::new("E0315", format!("`{text}` runs backwards"));
            return Err(fault.help(format!("write `{last}-{first}`")));
        }
        return Ok(range);
    }
    Ok(match address(text)? {
        IpAddr::V4(address) => Range::V4(address.into(), address.into()),
        IpAddr::V6(address) => Range::V6(address.into(), address.into()),
    })
}

fn prefix(text: &str, base: &str, length: &str) -> Result<Range, Fault> {
    let base = address(base)?;
    let widest: u32 = if base.is_ipv4() { 32 } else { 128 };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length =
        length.parse::<u32>().ok().filter(|&length| digits && length <= widest).ok_or_else(|| {
            Fault::new("E0305", format!("`{text}` is not a prefix"))
                .help(format!("the length is 0 to {widest}"))
        })?;
    let (range, first) = match base {
        IpAddr::V4(base) => {
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let first = u32::from(base) & !host;
            (Range::V4(first, u32::from(base) | host), IpAddr::V4(first.into()))
        }
        IpAddr::V6(base) => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let first = u128::from(base) & !host;
            (Range::V6(first, u128::from(base) | host), IpAddr::V6(first.into()))
        }
    };
    if first != base {
        let fault = Fault::new("E0306", format!("`{text}` has host bits"));
        return Err(
            fault.help(format!("write `{first}/{length}` for the prefix, or `{base}` for the address"))
        );
    }
    Ok(range)
}

/// One address of either family; brackets around IPv6 are allowed.
pub(crate) fn address(text: &str) -> Result<IpAddr, Fault> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    inner.parse().map_err(|_| Fault::new("E0305", format!("`{text}` is not an address")).help(FORMS))
}

/// `10.0.0.1`, `10.0.0.1:80`, `2001:db8::1`, `[2001:db8::1]:80`: the host's text and the port.
pub(crate) fn host_port(text: &str) -> Result<(&str, Option<u16>), Fault> {
    host_port_from(1, text)
}

/// The same of a packet, whose port may be 0: nothing listens there, but such packets come.
pub(crate) fn host_port_of_packet(text: &str) -> Result<(&str, Option<u16>), Fault> {
    host_port_from(0, text)
}

fn host_port_from(least: u64, text: &str) -> Result<(&str, Option<u16>), Fault> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') => (host, port),
        // More than one colon without brackets is an IPv6 address alone.
        Some((host, port)) if !host.contains(':') => (host, port),
        _ => return Ok((text, None)),
    };
    let value = super::quantity::count_in(port, least, 65_535).map_err(|fault| {
        Fault { message: format!("`{port}` is not a port"), ..fault }
            .help(format!("a port is {least} to 65535"))
    })?;
    Ok((host, u16::try_from(value).ok()))
}

// --- sets -----------------------------------------------------------------------------------------------------

/// Ranges of both families, in any order and overlapping as they come.
#[derive(Clone, Default, Debug)]
pub(crate) struct Loose {
    pub v4: Vec<(u32, u32)>,
    pub v6: Vec<(u128, u128)>,
}

impl Loose {
    pub fn push(&mut self, range: Range) {
        match range {
            Range::V4(first, last) => self.v4.push((first, last)),
            Range::V6(first, last) => self.v6.push((first, last)),
        }
    }

    pub fn extend(&mut self, set: &AddrSet) {
        self.v4.extend_from_slice(&set.v4);
        self.v6.extend_from_slice(&set.v6);
    }

    pub fn merged(mut self) -> AddrSet {
        AddrSet { v4: merge(&mut self.v4), v6: merge(&mut self.v6) }
    }
}

/// Whole numbers of an address or a field.
pub(crate) trait Step: Copy + Ord {
    const ZERO: Self;
    const LAST: Self;
    /// One more, or the last.
    fn up(self) -> Self;
    /// One less, or zero.
    fn down(self) -> Self;
}

macro_rules! steps {
    ($($number:ty),*) => {$(
        impl Step for $number {
            const ZERO: Self = 0;
            const LAST: Self = <$number>::MAX;
            fn up(self) -> Self { self.saturating_add(1) }
            fn down(self) -> Self { self.saturating_sub(1) }
        }
    )*};
}
steps!(u32, u128);

/// Sorts, and joins what overlaps or touches.
pub(crate) fn merge<T: Step>(ranges: &mut [(T, T)]) -> Vec<(T, T)> {
    if !ranges.is_sorted() {
        ranges.sort_unstable();
    }
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for &(first, last) in ranges.iter() {
        match out.last_mut() {
            Some(before) if first <= before.1.up() => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

/// What is in `a` and not in `b`; both merged.
pub(crate) fn subtract<T: Step>(a: &[(T, T)], b: &[(T, T)]) -> Vec<(T, T)> {
    intersect(a, &complement(b))
}

/// What is in both; both merged.
pub(crate) fn intersect<T: Step>(a: &[(T, T)], b: &[(T, T)]) -> Vec<(T, T)> {
    let mut out = Vec::new();
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(&&x), Some(&&y)) = (left.peek(), right.peek()) {
        let (first, last) = (x.0.max(y.0), x.1.min(y.1));
        if first <= last {
            out.push((first, last));
        }
        if x.1 < y.1 {
            left.next();
        } else {
            right.next();
        }
    }
    out
}

/// What is in none of the ranges; merged.
pub(crate) fn complement<T: Step>(ranges: &[(T, T)]) -> Vec<(T, T)> {
    let mut out = Vec::with_capacity(ranges.len() + 1);
    let mut next = Some(T::ZERO);
    for &(first, last) in ranges {
        if let Some(start) = next
            && start < first
        {
            out.push((start, first.down()));
        }
        next = (last < T::LAST).then(|| last.up());
    }
    if let Some(start) = next {
        out.push((start, T::LAST));
    }
    out
}

pub(crate) fn union_of(a: &AddrSet, b: &AddrSet) -> AddrSet {
    let mut loose = Loose { v4: a.v4.clone(), v6: a.v6.clone() };
    loose.extend(b);
    loose.merged()
}

pub(crate) fn except_of(a: &AddrSet, b: &AddrSet) -> AddrSet {
    AddrSet { v4: subtract(&a.v4, &b.v4), v6: subtract(&a.v6, &b.v6) }
}

pub(crate) fn intersection_of(a: &AddrSet, b: &AddrSet) -> AddrSet {
    AddrSet { v4: intersect(&a.v4, &b.v4), v6: intersect(&a.v6, &b.v6) }
}

pub(crate) fn is_empty(set: &AddrSet) -> bool {
    set.v4.is_empty() && set.v6.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_refuse_host_bits() {
        assert_eq!(range("10.0.0.0/8"), Ok(Range::V4(0x0a00_0000, 0x0aff_ffff)));
        assert_eq!(range("0.0.0.0/0"), Ok(Range::V4(0, u32::MAX)));
        assert_eq!(range("::/0"), Ok(Range::V6(0, u128::MAX)));
        assert_eq!(range("10.0.0.1/32"), Ok(Range::V4(0x0a00_0001, 0x0a00_0001)));
        let fault = range("10.0.0.1/8").unwrap_err();
        assert_eq!(fault.code, "E0306");
        assert_eq!(
            fault.help.as_deref(),
            Some("write `10.0.0.0/8` for the prefix, or `10.0.0.1` for the address")
        );
        for bad in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::/129", "1.2.3.4.5", ""] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert_eq!(range("10.0.0.9-10.0.0.1").unwrap_err().code, "E0315");
        assert_eq!(range("10.0.0.9-::1").unwrap_err().code, "E0312");
    }

    #[test]
    fn hosts_and_ports() {
        assert_eq!(host_port("10.0.0.1:80"), Ok(("10.0.0.1", Some(80))));
        assert_eq!(host_port("[::1]:80"), Ok(("[::1]", Some(80))));
        assert_eq!(host_port("2001:db8::1"), Ok(("2001:db8::1", None)));
        assert_eq!(host_port("web"), Ok(("web", None)));
        assert_eq!(host_port_of_packet("web:0"), Ok(("web", Some(0))));
        assert!(host_port_of_packet("web:65536").is_err());
        assert!(host_port("web:0").is_err() && host_port("web:65536").is_err() && host_port("web:").is_err());
    }

    fn ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let edge = prop_oneof![0u32..40, Just(u32::MAX), Just(u32::MAX - 1)];
        proptest::collection::vec((edge, 0u32..4), 0..8).prop_map(|list| {
            list.into_iter().map(|(first, length)| (first, first.saturating_add(length))).collect()
        })
    }

    proptest! {
        #[test]
        fn set_arithmetic_agrees_with_membership(mut a in ranges(), mut b in ranges()) {
            let (a, b) = (merge(&mut a), merge(&mut b));
            let has = |set: &[(u32, u32)], x: u32| set.iter().any(|&(first, last)| first <= x && x <= last);
            for pair in a.windows(2) {
                prop_assert!(pair[0].1 < u32::MAX && pair[0].1 + 1 < pair[1].0);
            }
            let (both, without, outside) = (intersect(&a, &b), subtract(&a, &b), complement(&a));
            for x in (0..48).chain(u32::MAX - 6..=u32::MAX) {
                prop_assert_eq!(has(&both, x), has(&a, x) && has(&b, x));
                prop_assert_eq!(has(&without, x), has(&a, x) && !has(&b, x));
                prop_assert_eq!(has(&outside, x), !has(&a, x));
            }
        }
    }
}
