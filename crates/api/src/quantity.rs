//! Quantities of resources: `500m`, `1.5Gi`, `12e6`.
//!
//! Parsing and the canonical form follow apimachinery's `resource.Quantity`, including which spellings come back as they
//! were sent. A value is an integer of 128 bits times a power of ten; upstream's has no bound, so a number of more than
//! 38 digits is refused here.

use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It has the wrong form.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number is none.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Binary,
    Decimal,
    Exponent,
}

const NANO: i32 = -9;
const MILLI: i32 = -3;
/// Digits that always fit 64 bits; upstream keeps the spelling of such numbers only.
const FAST_DIGITS: i32 = 18;
/// Beyond it every text is longer than anyone needs, and aligning would overflow anyway.
const EXPONENT_MAX: i64 = 1 << 20;

const DECIMAL_SUFFIXES: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY_SUFFIXES: [(&str, i32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];

/// An amount of a resource.
#[derive(Debug, Clone)]
pub struct Quantity {
    value: i128,
    /// A power of ten, never below [`NANO`].
    scale: i32,
    format: Format,
    /// Upstream keeps big or fractional numbers in another form, whose spelling it never keeps.
    big: bool,
    /// The spelling, when it is kept.
    text: Option<Box<str>>,
}

struct Parts<'a> {
    positive: bool,
    num: &'a str,
    denom: &'a str,
    suffix: &'a str,
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let positive = !text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let rest = rest.trim_start_matches('0');
    let (num, rest) = rest.split_at(digits(rest));
    let num = if num.is_empty() { "0" } else { num };
    let (denom, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let suffix = rest;
    let rest = rest.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if digits(rest) != rest.len() {
        return Err(ParseError::Format);
    }
    Ok(Parts {
        positive,
        num,
        denom,
        suffix,
    })
}

/// Exponent and format of a suffix.
fn interpret(suffix: &str) -> Result<(i32, Format), ParseError> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(s, _)| *s == suffix) {
        return Ok((*exponent, Format::Decimal));
    }
    if let Some((_, exponent)) = BINARY_SUFFIXES.iter().find(|(s, _)| *s == suffix) {
        return Ok((*exponent, Format::Binary));
    }
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .and_then(|digits| digits.parse::<i64>().ok())
        .filter(|e| e.abs() <= EXPONENT_MAX)
        .ok_or(ParseError::Suffix)?;
    Ok((exponent as i32, Format::Exponent))
}

fn pow10(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

/// `value * 10^by`, rounded away from zero when `by` is negative; `None` on overflow.
fn shift(value: i128, by: i32) -> Option<i128> {
    if by >= 0 {
        return match value {
            0 => Some(0),
            _ => value.checked_mul(pow10(by.unsigned_abs())?),
        };
    }
    let Some(divisor) = pow10(by.unsigned_abs()) else {
        return Some(value.signum());
    };
    let (quotient, rest) = (value / divisor, value % divisor);
    Some(quotient + rest.signum())
}

impl Quantity {
    /// Zero.
    pub fn zero() -> Quantity {
        Quantity {
            value: 0,
            scale: 0,
            format: Format::Decimal,
            big: false,
            text: Some("0".into()),
        }
    }

    /// An integer.
    pub fn from_int(value: i64) -> Quantity {
        Quantity {
            value: value.into(),
            scale: 0,
            format: Format::Decimal,
            big: false,
            text: None,
        }
    }

    /// Thousandths.
    pub fn from_milli(value: i64) -> Quantity {
        Quantity {
            scale: MILLI,
            ..Quantity::from_int(value)
        }
    }

    /// Reads a text; nothing around it is trimmed.
    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        match text {
            "" => return Err(ParseError::Format),
            "0" => return Ok(Quantity::zero()),
            _ => {}
        }
        let parts = split(text)?;
        let (exponent, format) = interpret(parts.suffix)?;
        Quantity::parse_fast(text, &parts, exponent, format)
            .map_or_else(|| Quantity::parse_slow(&parts, exponent, format), Ok)
    }

    fn parse_fast(
        text: &str,
        parts: &Parts<'_>,
        exponent: i32,
        format: Format,
    ) -> Option<Quantity> {
        let (num, denom) = (parts.num.len() as i32, parts.denom.len() as i32);
        let (mantissa, precision, scale) = match format {
            Format::Binary if parts.denom.is_empty() => {
                let spent = (exponent as f32 * 3.0 / 10.0) as i32;
                (1i64 << exponent, 15 - num - spent - 1, 0)
            }
            Format::Binary => return None,
            _ => (1, FAST_DIGITS - num - denom, exponent - denom),
        };
        if precision < 0 || scale < NANO {
            return None;
        }
        let shifted: Cow<'_, str> = match parts.denom {
            "" => parts.num.into(),
            denom => format!("{}{denom}", parts.num).into(),
        };
        let number: i64 = shifted.parse().ok()?;
        let value = number.checked_mul(mantissa)?;
        let kept = match format {
            Format::Binary => exponent % 10 == 0 && number & 7 != 0,
            _ => scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0'),
        };
        Some(Quantity {
            value: i128::from(if parts.positive { value } else { -value }),
            scale,
            format,
            big: false,
            text: kept.then(|| text.into()),
        })
    }

    fn parse_slow(
        parts: &Parts<'_>,
        exponent: i32,
        format: Format,
    ) -> Result<Quantity, ParseError> {
        let number = format!("{}{}", parts.num, parts.denom);
        let mut value: i128 = number.parse().map_err(|_| ParseError::Numeric)?;
        let mut scale = -(parts.denom.len() as i32);
        let mut format = format;
        if format == Format::Binary {
            value = value
                .checked_mul(1i128 << exponent)
                .ok_or(ParseError::Numeric)?;
        } else {
            scale = scale.saturating_add(exponent);
        }
        if scale < NANO {
            value = shift(value, scale - NANO).ok_or(ParseError::Numeric)?;
            scale = NANO;
        }
        if format == Format::Binary {
            let one = pow10(scale.unsigned_abs()).ok_or(ParseError::Numeric)?;
            if value > i128::from(i64::MAX).saturating_mul(one) {
                (value, scale) = (i64::MAX.into(), 0);
            } else if value > 0 && value < one {
                format = Format::Decimal;
            }
        }
        Ok(Quantity {
            value: if parts.positive { value } else { -value },
            scale,
            format,
            big: true,
            text: None,
        })
    }

    /// Reads a JSON value: a string (blanks around it are trimmed), a number, or null for zero.
    pub fn from_json(value: &Value) -> Result<Quantity, ParseError> {
        match value {
            Value::Null => Ok(Quantity {
                text: None,
                ..Quantity::zero()
            }),
            Value::String(text) => Quantity::parse(text.trim()),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => Err(ParseError::Format),
        }
    }

    /// Rounds up to thousandths, as upstream's defaulting of every resource list does (kubernetes#18538).
    pub fn round_up_milli(&mut self) {
        if self.big {
            self.text = None;
        }
        if self.scale < MILLI {
            self.text = None;
            if let Some(value) = shift(self.value, self.scale - MILLI) {
                (self.value, self.scale) = (value, MILLI);
            }
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.value == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.value < 0
    }

    /// Whether it has no fraction.
    pub fn is_integer(&self) -> bool {
        self.scale >= 0
            || shift(self.value, self.scale)
                .and_then(|whole| shift(whole, -self.scale))
                .is_some_and(|back| back == self.value)
    }

    fn scaled(&self, scale: i32) -> i64 {
        match shift(self.value, self.scale.saturating_sub(scale)) {
            Some(value) => value.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
            None if self.value < 0 => i64::MIN,
            None => i64::MAX,
        }
    }

    /// The amount, rounded up (away from zero), at the limits of 64 bits when it does not fit.
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// The amount in thousandths, rounded up (away from zero), at the limits of 64 bits when it does not fit.
    pub fn milli_value(&self) -> i64 {
        self.scaled(MILLI)
    }

    /// The sum, in the format of `self` (of `other` when `self` is zero); `None` when it does not fit.
    pub fn checked_add(&self, other: &Quantity) -> Option<Quantity> {
        let scale = self.scale.min(other.scale);
        let value = shift(self.value, self.scale - scale)?
            .checked_add(shift(other.value, other.scale - scale)?)?;
        Some(Quantity {
            value,
            scale,
            format: if self.is_zero() {
                other.format
            } else {
                self.format
            },
            big: self.big || other.big,
            text: None,
        })
    }

    /// The difference; `None` when it does not fit.
    pub fn checked_sub(&self, other: &Quantity) -> Option<Quantity> {
        let negative = Quantity {
            value: other.value.checked_neg()?,
            ..other.clone()
        };
        self.checked_add(&negative)
    }

    fn canonical(&self) -> String {
        if self.value == 0 {
            return "0".to_owned();
        }
        if self.format == Format::Binary
            && self.is_integer()
            && let Some(whole) = shift(self.value, self.scale)
            && whole.unsigned_abs() >= 1024
        {
            let (mut number, mut power) = (whole, 0);
            while number % 1024 == 0 && power < BINARY_SUFFIXES.len() {
                number /= 1024;
                power += 1;
            }
            let suffix = power.checked_sub(1).map_or("", |i| BINARY_SUFFIXES[i].0);
            return format!("{number}{suffix}");
        }
        let (mut number, mut exponent) = (self.value, self.scale);
        while number % 10 == 0 {
            number /= 10;
            exponent += 1;
        }
        let over = exponent.rem_euclid(3);
        number *= 10i128.pow(over.unsigned_abs());
        exponent -= over;
        let decimal = DECIMAL_SUFFIXES
            .iter()
            .find(|(_, e)| *e == exponent && self.format != Format::Exponent);
        match decimal {
            _ if exponent == 0 => number.to_string(),
            Some((suffix, _)) => format!("{number}{suffix}"),
            None => format!("{number}e{exponent}"),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => f.write_str(&self.canonical()),
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        Quantity::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        let signs = self.value.signum().cmp(&other.value.signum());
        if signs != Ordering::Equal || self.value == 0 {
            return signs;
        }
        let scale = self.scale.min(other.scale);
        let ours = shift(self.value, self.scale - scale);
        let theirs = shift(other.value, other.scale - scale);
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours.cmp(&theirs),
            // What overflows is the one that was shifted, so it is further from zero.
            (None, _) if self.value > 0 => Ordering::Greater,
            (None, _) => Ordering::Less,
            (_, None) if self.value > 0 => Ordering::Less,
            (_, None) => Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests;
