//! Owns counts, durations, rates and sizes. Never addresses.

use std::time::Duration;

use super::Fault;
use crate::policy::LimitUnit;

/// `65_536` or `0x1f`; `_` stands between digits only.
pub(crate) fn count(text: &str) -> Result<u64, Fault> {
    let bad = || Fault::new("E0301", format!("`{text}` is not a whole number"));
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let placed = digits.split('_').all(|group| !group.is_empty());
    if !placed || !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return Err(bad().help("write digits, with `_` between them where it helps: `65_536`"));
    }
    u64::from_str_radix(&digits.replace('_', ""), radix)
        .map_err(|_| Fault::new("E0302", format!("`{text}` is too large for any count")))
}

/// The same way back, as policies write counts: `65_536`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join("_")
}

/// A count from `low` to `high`, inclusive.
pub(crate) fn count_in(text: &str, low: u64, high: u64) -> Result<u64, Fault> {
    let value = count(text)?;
    if value < low || value > high {
        return Err(Fault::new("E0302", format!("`{text}` is not within {low} to {high}")));
    }
    Ok(value)
}

/// Longest duration: a year, so that ticks never overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// `30s`, `500ms`, `5m`, `2h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, Fault> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            let fault = Fault::new("E0303", format!("`{text}` is not a duration"));
            return Err(fault.help(if unit.is_empty() {
                "give it a unit: `30s`, `500ms`, `5m`, `2h`, `7d`"
            } else {
                "a duration is a whole number and a unit: `30s`, `500ms`, `5m`, `2h`, `7d`"
            }));
        }
    };
    if digits.is_empty() {
        return Err(
            Fault::new("E0303", format!("`{text}` is not a duration")).help("write a number first: `30s`")
        );
    }
    let value = count(digits)?.checked_mul(milliseconds).map(Duration::from_millis);
    value
        .filter(|value| *value <= LONGEST)
        .ok_or_else(|| Fault::new("E0302", format!("`{text}` is more than a year")))
}

/// Rate of a limit: units each `per`; bits for `LimitUnit::Bits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    pub amount: u64,
    pub unit: LimitUnit,
    pub per: Duration,
}

const RATES: &str = "write `50 conn/s`, `500 pkt/s`, `20 syn/s` or `2 Mbit/s`; the time is `s`, `min` or `h`";

/// `50 conn/s`, `2 Mbit/s`: the words after `rate`.
pub(crate) fn rate(words: &[&str]) -> Result<Rate, Fault> {
    let whole = words.join(" ");
    let bad = || Fault::new("E0304", format!("`{whole}` is not a rate")).help(RATES);
    let joined = words.concat();
    let split = joined.find(|c: char| !(c.is_ascii_digit() || c == '_')).ok_or_else(bad)?;
    let (digits, rest) = joined.split_at(split);
    if rest.starts_with('/') {
        return Err(Fault::new("E0316", format!("`{whole}` does not say what is counted")).help(RATES));
    }
    let (unit, per) = rest.split_once('/').ok_or_else(bad)?;
    let (unit, factor) = unit_of(unit).ok_or_else(bad)?;
    let per = match per {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        _ => return Err(bad()),
    };
    let amount = count(digits)?.checked_mul(factor).filter(|&amount| (1..=1 << 42).contains(&amount));
    let amount =
        amount.ok_or_else(|| Fault::new("E0302", format!("`{whole}` is not a rate that can be kept")))?;
    // A bucket is kept in 1/64 ns for each packet or byte; below 20 of them the rate would be off by more than 5 %.
    let units = if unit == LimitUnit::Bits { 8 } else { 1 };
    if u128::from(per) * 1_000_000_000 * 64 * units / u128::from(amount) < 20 {
        let fault = Fault::new("E0302", format!("`{whole}` is faster than a limit can keep to within 5 %"));
        return Err(fault.help("stay below 25 Gbit/s, or 3,200,000,000 packets a second"));
    }
    Ok(Rate { amount, unit, per: Duration::from_secs(per) })
}

fn unit_of(text: &str) -> Option<(LimitUnit, u64)> {
    Some(match text {
        "pkt" => (LimitUnit::Packets, 1),
        "conn" => (LimitUnit::Connections, 1),
        "syn" => (LimitUnit::Syns, 1),
        "bit" => (LimitUnit::Bits, 1),
        "kbit" | "Kbit" => (LimitUnit::Bits, 1_000),
        "Mbit" => (LimitUnit::Bits, 1_000_000),
        "Gbit" => (LimitUnit::Bits, 1_000_000_000),
        _ => return None,
    })
}

/// A burst in the rate's unit: a count (with the unit if you like), or a size for bits. Gives bits for bits.
pub(crate) fn burst(words: &[&str], unit: LimitUnit) -> Result<u64, Fault> {
    let whole = words.join(" ");
    let joined = words.concat();
    let split = joined.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(joined.len());
    let (digits, suffix) = joined.split_at(split);
    let factor = match suffix {
        "" if unit == LimitUnit::Bits => None,
        "" => Some(1),
        "B" | "KiB" | "MiB" | "GiB" if unit != LimitUnit::Bits => None,
        "B" => Some(8),
        "KiB" => Some(8 << 10),
        "MiB" => Some(8 << 20),
        "GiB" => Some(8 << 30),
        "KB" | "MB" | "GB" => {
            let fault = Fault::new("E0311", format!("`{whole}` is no size that the language knows"));
            return Err(fault.help("sizes are powers of two: `64KiB`, `1MiB`"));
        }
        _ => match unit_of(suffix) {
            Some((own, factor)) if own == unit => Some(factor),
            _ => None,
        },
    };
    let named = match unit {
        LimitUnit::Packets => "packets",
        LimitUnit::Bits => "bits",
        LimitUnit::Syns => "SYNs",
        LimitUnit::Connections => "connections",
    };
    let Some(factor) = factor else {
        let fault = Fault::new("E0311", format!("a burst of `{whole}` does not fit a rate of {named}"));
        return Err(fault.help(if unit == LimitUnit::Bits {
            "write a size: `burst 64KiB`, or `burst 2 Mbit`"
        } else {
            "write a count: `burst 100`"
        }));
    };
    let value = count(digits)?.checked_mul(factor).filter(|&value| (1..=1 << 42).contains(&value));
    value.ok_or_else(|| Fault::new("E0302", format!("`{whole}` is no burst that can be kept")))
}

/// `1000-14999` or `80`; inclusive.
pub(crate) fn range(text: &str, high: u64) -> Result<(u32, u32), Fault> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (count_in(first, 0, high)?, count_in(last, 0, high)?);
    if first > last {
        let fault = Fault::new("E0315", format!("`{text}` runs backwards"));
        return Err(fault.help(format!("write `{last}-{first}`")));
    }
    // Both are at most `high`, and no caller goes beyond 32 bits.
    Ok((u32::try_from(first).unwrap_or(u32::MAX), u32::try_from(last).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_durations() {
        assert_eq!(count("65_536"), Ok(65_536));
        assert_eq!(count("0xff"), Ok(255));
        assert!(count("1__0").is_err() && count("_1").is_err() && count("").is_err());
        assert!(count("99999999999999999999999").is_err());
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(duration("30").is_err() && duration("s").is_err() && duration("99999999d").is_err());
    }

    #[test]
    fn rates_and_bursts_agree_in_dimension() {
        let rate_of = rate(&["2", "Mbit/s"]).unwrap();
        assert_eq!((rate_of.amount, rate_of.unit), (2_000_000, LimitUnit::Bits));
        assert!(rate(&["25", "Gbit/s"]).is_ok());
        assert_eq!(rate(&["26", "Gbit/s"]).unwrap_err().code, "E0302");
        assert_eq!(rate(&["50", "/s"]).unwrap_err().code, "E0316");
        assert_eq!(burst(&["64KiB"], LimitUnit::Bits), Ok(524_288));
        assert_eq!(burst(&["100"], LimitUnit::Bits).unwrap_err().code, "E0311");
        assert_eq!(burst(&["64KiB"], LimitUnit::Packets).unwrap_err().code, "E0311");
        assert_eq!(burst(&["64KB"], LimitUnit::Bits).unwrap_err().code, "E0311");
    }
}
