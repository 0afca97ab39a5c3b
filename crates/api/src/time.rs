//! Times in objects: RFC 3339 in whole seconds (`Time`) and in microseconds (`MicroTime`).
//!
//! As apimachinery: a `Time` loses its fraction and its zone; a `MicroTime` must have exactly six digits. Texts of errors
//! are those of Go's `time.Parse`.

use jiff::Timestamp;

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It has the wrong form at `rest`.
    #[error("parsing time \"{text}\" as \"{layout}\": cannot parse \"{rest}\" as \"{element}\"")]
    Element {
        /// The whole text.
        text: String,
        /// Go's layout.
        layout: &'static str,
        /// What was left.
        rest: String,
        /// The part of the layout that was expected there.
        element: &'static str,
    },
    /// There is more than a time.
    #[error("parsing time \"{text}\": extra text: \"{rest}\"")]
    Extra {
        /// The whole text.
        text: String,
        /// What was left.
        rest: String,
    },
    /// There is no such time.
    #[error("parsing time \"{text}\": {element} out of range")]
    Range {
        /// The whole text.
        text: String,
        /// For example `day`.
        element: &'static str,
    },
}

struct Cursor<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl<'a> Cursor<'a> {
    fn fail(&self, element: &'static str) -> ParseError {
        ParseError::Element {
            text: self.text.to_owned(),
            layout: self.layout,
            rest: self.rest.to_owned(),
            element,
        }
    }

    fn range(&self, element: &'static str) -> ParseError {
        ParseError::Range {
            text: self.text.to_owned(),
            element,
        }
    }

    fn number(&mut self, digits: usize, element: &'static str) -> Result<i64, ParseError> {
        let head = self.rest.get(..digits).unwrap_or("");
        if head.len() != digits || !head.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.fail(element));
        }
        self.rest = &self.rest[digits..];
        head.parse().map_err(|_| self.fail(element))
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), ParseError> {
        self.rest = self
            .rest
            .strip_prefix(literal)
            .ok_or_else(|| self.fail(literal))?;
        Ok(())
    }

    /// A fraction, as nanoseconds; cut after nine digits.
    fn fraction(&mut self) -> Option<(usize, i64)> {
        let tail = self.rest.strip_prefix(['.', ','])?;
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let nanos = tail
            .bytes()
            .take(digits.min(9))
            .fold(0i64, |n, b| n * 10 + i64::from(b - b'0'))
            * 10i64.pow(9 - digits.min(9) as u32);
        self.rest = &tail[digits..];
        Some((digits, nanos))
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i64, ParseError> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.fail("Z07:00")),
        };
        let two = |at: usize| match bytes.get(at..at + 2) {
            Some([a, b]) if a.is_ascii_digit() && b.is_ascii_digit() => {
                Some(i64::from(a - b'0') * 10 + i64::from(b - b'0'))
            }
            _ => None,
        };
        match (two(1), bytes.get(3), two(4)) {
            (Some(hours), Some(b':'), Some(minutes)) if hours <= 24 && minutes < 60 => {
                self.rest = &self.rest[6..];
                Ok(sign * (hours * 3600 + minutes * 60))
            }
            _ => Err(self.fail("Z07:00")),
        }
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn parse_layout(text: &str, layout: &'static str) -> Result<(i64, i64), ParseError> {
    let mut c = Cursor {
        text,
        rest: text,
        layout,
    };
    let year = c.number(4, "2006")?;
    c.literal("-")?;
    let month = c.number(2, "01")?;
    if !(1..=12).contains(&month) {
        return Err(c.range("month"));
    }
    c.literal("-")?;
    let day = c.number(2, "02")?;
    c.literal("T")?;
    let hour = c.number(2, "15")?;
    if hour > 23 {
        return Err(c.range("hour"));
    }
    c.literal(":")?;
    let minute = c.number(2, "04")?;
    if minute > 59 {
        return Err(c.range("minute"));
    }
    c.literal(":")?;
    let second = c.number(2, "05")?;
    if second > 59 {
        return Err(c.range("second"));
    }
    let before = c.rest;
    let nanos = match c.fraction() {
        Some((digits, nanos)) if layout == LAYOUT || digits == 6 => nanos,
        None if layout == LAYOUT => 0,
        _ => {
            c.rest = before;
            return Err(c.fail(".000000"));
        }
    };
    let offset = c.zone()?;
    if !c.rest.is_empty() {
        return Err(ParseError::Extra {
            text: text.to_owned(),
            rest: c.rest.to_owned(),
        });
    }
    if day < 1 || day > days_in(year, month) {
        return Err(c.range("day"));
    }
    let seconds =
        days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Ok((seconds, nanos))
}

/// Reads a `Time`; the fraction is dropped.
pub fn parse(text: &str) -> Result<Timestamp, ParseError> {
    let (seconds, _) = parse_layout(text, LAYOUT)?;
    Timestamp::from_second(seconds).map_err(|_| ParseError::Range {
        text: text.to_owned(),
        element: "year",
    })
}

/// Reads a `MicroTime`.
pub fn parse_micro(text: &str) -> Result<Timestamp, ParseError> {
    let (seconds, nanos) = parse_layout(text, MICRO_LAYOUT)?;
    Timestamp::new(seconds, nanos as i32).map_err(|_| ParseError::Range {
        text: text.to_owned(),
        element: "year",
    })
}

/// A `Time` as it is stored: `2026-11-24T19:30:00Z`.
pub fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A `MicroTime` as it is stored: `2026-11-24T19:30:00.000000Z`.
pub fn format_micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A Go duration (`1h2m3.5s`, `-10ms`) in nanoseconds.
pub fn duration_nanos(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let nanos = match &tail[..unit] {
            "ns" => 1.0,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * nanos;
        rest = &tail[unit..];
    }
    let whole = total.round() as i64;
    (!text.is_empty() && total < i64::MAX as f64).then_some(sign * whole)
}

fn is_plain(text: &str, micro: bool) -> bool {
    let bytes = text.as_bytes();
    let length = if micro { 27 } else { 20 };
    bytes.len() == length && bytes[length - 1] == b'Z'
}

/// The stored spelling of a `Time` that was sent.
pub fn canonical(text: &str) -> Result<String, ParseError> {
    let time = parse(text)?;
    Ok(match is_plain(text, false) {
        true => text.to_owned(),
        false => format(time),
    })
}

/// The stored spelling of a `MicroTime` that was sent.
pub fn canonical_micro(text: &str) -> Result<String, ParseError> {
    let time = parse_micro(text)?;
    Ok(match is_plain(text, true) {
        true => text.to_owned(),
        false => format_micro(time),
    })
}

/// Reads a duration as Go's `time.ParseDuration` does (`1h30m`, `-1.5s`); nobody needs its length. The error is Go's.
pub fn go_duration(text: &str) -> Result<(), String> {
    const UNITS: [&str; 8] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];
    let quoted = crate::field::quote(text);
    let invalid = || format!("time: invalid duration {quoted}");
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        if !digits.bytes().any(|b| b.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return Err(invalid());
        }
        let unit_end = tail
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {quoted}"));
        }
        if !UNITS.contains(&unit) {
            let unit = crate::field::quote(unit);
            return Err(format!("time: unknown unit {unit} in duration {quoted}"));
        }
        rest = tail;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let rows = [
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("-10ms", Some(-10_000_000)),
            ("0", Some(0)),
            ("17ns", Some(17)),
            ("", None),
            ("5", None),
            ("5x", None),
        ];
        for (text, want) in rows {
            assert_eq!(duration_nanos(text), want, "{text}");
        }
    }

    #[test]
    fn times_lose_fraction_and_zone() {
        let table = [
            ("2026-11-24T19:30:00Z", Ok("2026-11-24T19:30:00Z")),
            ("2026-11-24T19:30:00.987Z", Ok("2026-11-24T19:30:00Z")),
            ("2026-11-24T19:30:00+02:00", Ok("2026-11-24T17:30:00Z")),
            ("1970-01-01T00:00:00Z", Ok("1970-01-01T00:00:00Z")),
            (
                "x",
                Err(
                    r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#,
                ),
            ),
            (
                "2026-13-01T00:00:00Z",
                Err(r#"parsing time "2026-13-01T00:00:00Z": month out of range"#),
            ),
            (
                "2026-02-30T00:00:00Z",
                Err(r#"parsing time "2026-02-30T00:00:00Z": day out of range"#),
            ),
        ];
        for (text, wanted) in table {
            assert_eq!(
                canonical(text).map_err(|e| e.to_string()),
                wanted.map(str::to_owned).map_err(str::to_owned)
            );
        }
    }

    #[test]
    fn microtimes_need_six_digits() {
        assert_eq!(
            canonical_micro("2026-11-24T19:30:00.000001+01:00").expect("right"),
            "2026-11-24T18:30:00.000001Z"
        );
        assert_eq!(
            canonical_micro("2026-11-24T19:30:00.001Z").map_err(|e| e.to_string()),
            Err(r#"parsing time "2026-11-24T19:30:00.001Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse ".001Z" as ".000000""#.to_owned())
        );
    }
}
