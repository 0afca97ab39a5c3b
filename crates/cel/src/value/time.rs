//! Points and lengths of time, in Go's notation.

use std::fmt;

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

const SECOND: i128 = 1_000_000_000;
const DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z, in seconds.
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z, in seconds.
const LAST: i64 = 253_402_300_799;

/// A point in time, with the offset in which it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// Nanoseconds since 1970.
    pub nanos: i128,
    /// Seconds east of UTC.
    pub offset: i32,
}

impl Timestamp {
    /// Whole seconds since 1970, if CEL has such a time.
    pub fn from_seconds(seconds: i64) -> Option<Timestamp> {
        (FIRST..=LAST).contains(&seconds).then(|| Timestamp {
            nanos: i128::from(seconds) * SECOND,
            offset: 0,
        })
    }

    /// Whole seconds since 1970.
    pub fn seconds(&self) -> i64 {
        self.nanos.div_euclid(SECOND) as i64
    }

    /// A later or earlier time, if CEL has it.
    pub fn plus(&self, nanos: i128) -> Option<Timestamp> {
        let moved = Timestamp {
            nanos: self.nanos + nanos,
            offset: self.offset,
        };
        (FIRST..=LAST).contains(&moved.seconds()).then_some(moved)
    }

    /// The calendar's view of it, so many seconds east of UTC.
    pub fn civil(&self, offset: i32) -> Civil {
        let seconds = self.seconds() + i64::from(offset);
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        Civil {
            year,
            month,
            day,
            day_of_year: days - days_before(year, 1, 1),
            day_of_week: (days + 4).rem_euclid(7),
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            millisecond: (self.nanos.rem_euclid(SECOND) / 1_000_000) as i64,
        }
    }

    /// In UTC's notation.
    pub fn utc(&self) -> Timestamp {
        Timestamp { offset: 0, ..*self }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.civil(self.offset);
        let (year, month, day) = (at.year, at.month, at.day);
        let (hour, minute, second) = (at.hour, at.minute, at.second);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        let nanos = self.nanos.rem_euclid(SECOND);
        if nanos != 0 {
            let digits = format!("{nanos:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        if self.offset == 0 {
            return f.write_str("Z");
        }
        let minutes = self.offset.abs() / 60;
        let sign = if self.offset < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A point in time by the calendar. Months and days count from 1, days of the year and the week from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub day_of_year: i64,
    pub day_of_week: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub millisecond: i64,
}

/// The days from 1970-01-01 to a date. Years are counted from March, so that leap days come last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days after 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Reads digits.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn number(&mut self, digits: usize) -> Option<i64> {
        let text = self.rest.get(..digits)?;
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        self.rest = &self.rest[digits..];
        text.parse().ok()
    }

    fn eat(&mut self, c: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(c)?;
        Some(())
    }

    /// Days since 1970.
    fn date(&mut self) -> Option<i64> {
        let year = self.number(4)?;
        self.eat('-')?;
        let month = self.number(2)?;
        self.eat('-')?;
        let day = self.number(2)?;
        let days = days_before(year, month, day);
        ((1..=12).contains(&month) && date_of(days) == (year, month, day)).then_some(days)
    }

    /// Nanoseconds since midnight.
    fn time(&mut self) -> Option<i128> {
        let hour = self.number(2)?;
        self.eat(':')?;
        let minute = self.number(2)?;
        self.eat(':')?;
        let second = self.number(2)?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut nanos = i128::from(hour * 3600 + minute * 60 + second) * SECOND;
        if self.rest.starts_with(['.', ',']) {
            self.rest = &self.rest[1..];
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return None;
            }
            let kept: String = self.rest[..digits]
                .chars()
                .chain("000000000".chars())
                .take(9)
                .collect();
            nanos += kept.parse::<i128>().ok()?;
            self.rest = &self.rest[digits..];
        }
        Some(nanos)
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Option<i32> {
        if self.eat('Z').is_some() {
            return Some(0);
        }
        let sign = match self.rest.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        self.rest = &self.rest[1..];
        let hour = self.number(2)?;
        self.eat(':')?;
        let minute = self.number(2)?;
        (hour <= 24 && minute < 60).then_some(sign * (hour * 3600 + minute * 60) as i32)
    }
}

fn midnight(days: i64) -> i128 {
    i128::from(days * DAY) * SECOND
}

/// RFC 3339 in Go's reading.
fn parse_rfc3339(text: &str, zone_needed: bool) -> Option<Timestamp> {
    let mut reader = Reader { rest: text };
    let date = reader.date()?;
    reader.eat('T')?;
    let time = reader.time()?;
    let offset = match reader.rest {
        "" if !zone_needed => 0,
        _ => reader.zone()?,
    };
    if !reader.rest.is_empty() {
        return None;
    }
    Some(Timestamp {
        nanos: midnight(date) + time - i128::from(offset) * SECOND,
        offset,
    })
}

/// What `timestamp("…")` takes.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    parse_rfc3339(text, true).filter(|at| (FIRST..=LAST).contains(&at.seconds()))
}

/// A schema's `date-time`.
pub fn parse_date_time(text: &str) -> Option<Timestamp> {
    parse_rfc3339(text, false)
}

/// A schema's `date`.
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let mut reader = Reader { rest: text };
    let date = reader.date()?;
    reader.rest.is_empty().then(|| Timestamp {
        nanos: midnight(date),
        offset: 0,
    })
}

/// What `duration("…")` takes: Go's notation, `1h2m3.5s`.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (amount, after) = quantity(rest)?;
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let scale: u64 = match &after[..end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction, places) = amount;
        let mut nanos = whole.checked_mul(scale)?;
        if fraction > 0 {
            nanos = nanos.checked_add((fraction as f64 * (scale as f64 / places)) as u64)?;
        }
        total = total.checked_add(nanos).filter(|total| *total <= 1 << 63)?;
        rest = &after[end..];
    }
    if negative {
        return Some((total as i64).wrapping_neg());
    }
    i64::try_from(total).ok()
}

/// A decimal number: its whole part, its fraction's digits, and what those are divided by.
fn quantity(text: &str) -> Option<((u64, u64, f64), &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = match digits {
        0 => 0,
        _ => text[..digits]
            .parse::<u64>()
            .ok()
            .filter(|whole| *whole <= 1 << 63)?,
    };
    let mut rest = &text[digits..];
    let (mut fraction, mut places, mut more) = (0u64, 1f64, 0);
    if let Some(after) = rest.strip_prefix('.') {
        more = after.bytes().take_while(u8::is_ascii_digit).count();
        for digit in after[..more].bytes() {
            let Some(next) = fraction.checked_mul(10).filter(|next| *next < 1 << 63) else {
                continue;
            };
            fraction = next + u64::from(digit - b'0');
            places *= 10.0;
        }
        rest = &after[more..];
    }
    (digits + more > 0).then_some(((whole, fraction, places), rest))
}

/// A schema's `duration`: Go's notation, or amounts with words (`3 days`, `1 week`).
pub fn parse_schema_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let mut total: i64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: i64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let end = rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len());
        let unit: i64 = match &rest[..end].to_lowercase()[..] {
            "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
            "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
            "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
            "d" | "day" | "days" => 86_400_000_000_000,
            "w" | "wk" | "week" | "weeks" => 604_800_000_000_000,
            _ => return None,
        };
        total = total.checked_add(amount.checked_mul(unit)?)?;
        rest = rest[end..].trim_start();
    }
    Some(total)
}

/// A length of time in seconds, as `string(duration)` shows it.
pub fn seconds(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    let rest = nanos % 1_000_000_000;
    let value = seconds as f64 + rest as f64 / 1e9;
    format!("{value}s")
}

/// How far east of UTC a zone (by its name, or as `+hh:mm`) is at a time, in seconds.
pub fn offset(name: &str, at: &Timestamp) -> Result<i32, String> {
    let unknown = || format!("unknown time zone {name}");
    let Some((hours, minutes)) = name.split_once(':') else {
        if matches!(name, "" | "UTC") {
            return Ok(0);
        }
        let zone = TimeZone::get(name).map_err(|_| unknown())?;
        let instant = Instant::from_nanosecond(at.nanos).unwrap_or(if at.nanos > 0 {
            Instant::MAX
        } else {
            Instant::MIN
        });
        return Ok(zone.to_offset(instant).seconds());
    };
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_| {
            format!(
                "strconv.Atoi: parsing {}: invalid syntax",
                crate::library::quote::go_quote(text)
            )
        })
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minutes = if name.starts_with('-') {
        -minutes
    } else {
        minutes
    };
    let offset = hours
        .saturating_mul(3600)
        .saturating_add(minutes.saturating_mul(60));
    i32::try_from(offset).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_in_go() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("-1.5h", Some(-5_400_000_000_000)),
            ("1ms1us1ns", Some(1_001_001)),
            (".5s", Some(500_000_000)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1d", None),
            ("9223372036854775808ns", None),
            ("-9223372036854775808ns", Some(i64::MIN)),
        ] {
            assert_eq!(parse_duration(text), nanos, "{text}");
        }
        assert_eq!(parse_schema_duration("3 days"), Some(259_200_000_000_000));
    }

    #[test]
    fn times_keep_their_offset() {
        for text in [
            "2023-10-01T12:00:00Z",
            "2023-10-01T12:00:00.5+02:00",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            assert_eq!(
                parse_timestamp(text).map(|at| at.to_string()).as_deref(),
                Some(text)
            );
        }
        for text in [
            "2023-10-01",
            "2023-13-01T00:00:00Z",
            "2023-10-01T12:00:00",
            "2023-10-01t12:00:00z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
