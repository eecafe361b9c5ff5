//! Owns dates and times of day as text, in UTC. Never the clock.

use super::Fault;

/// The last second of 9999.
const LAST: i64 = 253_402_300_799;

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar; the year starts in March, so that the leap
/// day is its last (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2027-01-31` or `2027-01-31T12:00:00Z`, in seconds since 1970; a date alone is its midnight. Years 1970 to 9999.
pub(crate) fn date(text: &str) -> Result<i64, Fault> {
    seconds(text).ok_or_else(|| {
        let fault = Fault::new("E0343", format!("`{text}` is no date"));
        fault.help("write `2027-01-31`, or `2027-01-31T12:00:00Z`; the time is UTC")
    })
}

fn seconds(text: &str) -> Option<i64> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, Some(time.strip_suffix('Z')?)),
        None => (text, None),
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let [hour, minute, second] = time.map_or(Some([0; 3]), |time| numbers(time, ':', [2; 3]))?;
    let is_day = year >= 1970 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    let is_time = hour < 24 && minute < 60 && second < 60;
    (is_day && is_time).then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// The day of a moment in seconds since 1970, as `date` takes it; None beyond the year 9999 and before 1970.
pub(crate) fn day(seconds: i64) -> Option<String> {
    (0..=LAST).contains(&seconds).then(|| written(seconds))
}

/// Three numbers with so many digits each.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut found = [0; 3];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = if is_number { part.parse().ok()? } else { return None };
    }
    parts.next().is_none().then_some(found)
}

/// The day of a time in seconds since 1970: `2027-01-31`.
pub(crate) fn written(seconds: i64) -> String {
    let day = seconds.div_euclid(86_400) + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, month + if month < 10 { 3 } else { -9 });
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_as_it_is_read() {
        for text in ["1970-01-01", "1999-12-31", "2000-02-29", "2024-03-01", "2027-01-31", "9999-12-31"] {
            assert_eq!(day(date(text).unwrap() + 86_399).as_deref(), Some(text));
        }
        assert_eq!(day(-1), None);
        assert_eq!(day(i64::MAX), None);
    }

    #[test]
    fn dates_are_seconds_since_1970() {
        assert_eq!(date("1970-01-01"), Ok(0));
        assert_eq!(date("2000-02-29"), Ok(951_782_400));
        assert_eq!(date("2027-01-31T12:00:01Z"), Ok(1_801_396_801));
        assert_eq!(date("9999-12-31T23:59:59Z"), Ok(253_402_300_799));
        for bad in
            ["2027-02-29", "2100-02-29", "2027-13-01", "2027-1-31", "1969-12-31", "2027-01-31T24:00:00Z"]
        {
            assert_eq!(date(bad).unwrap_err().code, "E0343", "{bad}");
        }
        for bad in ["", "today", "2027-01-31T12:00:00", "2027-01-31T12:00Z", "2027-01-31-01", "+027-01-31"] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_day_is_one_later() {
        let mut last = days(1969, 12, 31);
        for year in 1970..2120 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    last += 1;
                    assert_eq!(days(year, month, day), last, "{year}-{month}-{day}");
                    assert_eq!(written(last * 86_400 + 86_399), format!("{year}-{month:02}-{day:02}"));
                }
            }
        }
    }
}
