//! Kubernetes' quantities in expressions: parsing, order, sums.
//!
//! The value is a whole number of billionths, which is what upstream rounds to. Whether a quantity is an
//! integer depends, as upstream, on how it was written: `1000m` is not one, `1` is.

use std::fmt;
use std::rc::Rc;

use super::opaque::Opaque;
use super::{Native, failed, ok};
use crate::value::Value;

const NANO: i128 = 1_000_000_000;
/// Upstream caps what is larger.
const MAX: i128 = (i64::MAX as i128) * NANO;

/// A quantity.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    /// How many decimal places its notation has; none, when it was too long for a fast number.
    places: Option<u32>,
    /// Whether a sum or a difference made it: upstream then refuses it on the right of `==`.
    pub computed: bool,
}

impl Quantity {
    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Quantity, &'static str> {
        const FORMAT: &str = "quantities must match the regular expression \
                              '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        const SUFFIX: &str = "unable to parse quantity's suffix";
        if text.is_empty() {
            return Err("empty string not allowed for quantity");
        }
        let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = bare
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(bare.len());
        let (number, suffix) = bare.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(FORMAT);
        }
        if !suffix
            .chars()
            .all(|c| "eEinumkKMGTP+-".contains(c) || c.is_ascii_digit())
        {
            return Err(FORMAT);
        }
        let scale = scale(suffix).ok_or(SUFFIX)?;
        let whole = whole.trim_start_matches('0');
        if whole.len() > 30 {
            return Ok(Quantity::capped(text.starts_with('-'), MAX, None));
        }
        let places = fraction.len();
        let kept: String = fraction.chars().take(30).collect();
        let digits: i128 = format!(
            "0{whole}{}",
            &kept[..kept.len().min(30_usize.saturating_sub(whole.len()))]
        )
        .parse()
        .unwrap_or(i128::MAX);
        let shown = kept.len().min(30_usize.saturating_sub(whole.len())) as i32;
        let (nanos, exact) = match scale {
            Scale::Ten(power) => shift(digits, power - shown + 9),
            Scale::Two(power) => {
                let scaled = digits.saturating_mul(1i128 << power);
                shift(scaled, 9 - shown)
            }
        };
        // What is lost beyond billionths rounds away from zero.
        let nanos = if exact {
            nanos
        } else {
            nanos.saturating_add(1)
        };
        let places = match scale {
            Scale::Ten(power) => (places as i32 - power).max(0) as u32,
            Scale::Two(_) => places as u32,
        };
        let fast = whole.len() + fraction.len() <= 18;
        Ok(Quantity::capped(
            text.starts_with('-'),
            nanos,
            fast.then_some(places),
        ))
    }

    fn capped(negative: bool, nanos: i128, places: Option<u32>) -> Quantity {
        let nanos = nanos.min(MAX);
        Quantity {
            nanos: if negative { -nanos } else { nanos },
            places,
            computed: false,
        }
    }

    /// A whole number.
    fn whole(value: i64) -> Quantity {
        Quantity {
            nanos: i128::from(value) * NANO,
            places: Some(0),
            computed: false,
        }
    }

    /// The value in billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    fn integer(&self) -> Option<i64> {
        if self.places != Some(0) {
            return None;
        }
        i64::try_from(self.nanos / NANO).ok()
    }

    fn plus(&self, nanos: i128, other: &Quantity) -> Quantity {
        Quantity {
            nanos: self.nanos.saturating_add(nanos),
            places: self.places.zip(other.places).map(|(one, two)| one.max(two)),
            computed: true,
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let (whole, rest) = (self.nanos.abs() / NANO, self.nanos.abs() % NANO);
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        write!(
            f,
            "{sign}{whole}.{}",
            format!("{rest:09}").trim_end_matches('0')
        )
    }
}

enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Option<Scale> {
    Some(match suffix {
        "" => Scale::Ten(0),
        "n" => Scale::Ten(-9),
        "u" => Scale::Ten(-6),
        "m" => Scale::Ten(-3),
        "k" => Scale::Ten(3),
        "M" => Scale::Ten(6),
        "G" => Scale::Ten(9),
        "T" => Scale::Ten(12),
        "P" => Scale::Ten(15),
        "E" => Scale::Ten(18),
        "Ki" => Scale::Two(10),
        "Mi" => Scale::Two(20),
        "Gi" => Scale::Two(30),
        "Ti" => Scale::Two(40),
        "Pi" => Scale::Two(50),
        "Ei" => Scale::Two(60),
        exponent => {
            let power = exponent.strip_prefix(['e', 'E'])?;
            Scale::Ten(
                power
                    .parse::<i32>()
                    .ok()
                    .filter(|power| power.abs() < 1000)?,
            )
        }
    })
}

/// `digits` times a power of ten, and whether nothing was lost.
fn shift(digits: i128, power: i32) -> (i128, bool) {
    let factor = 10i128.checked_pow(power.unsigned_abs());
    match (power >= 0, factor) {
        (true, Some(factor)) => (digits.saturating_mul(factor), true),
        (true, None) => (if digits == 0 { 0 } else { i128::MAX }, true),
        (false, Some(factor)) => (digits / factor, digits % factor == 0),
        (false, None) => (0, digits == 0),
    }
}

fn of<'v>(value: &'v Value<'_>) -> Option<&'v Quantity> {
    match value {
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Quantity(quantity) => Some(quantity),
            _ => None,
        },
        _ => None,
    }
}

fn made<'a>(quantity: Quantity) -> Value<'a> {
    Value::Opaque(Rc::new(Opaque::Quantity(quantity)))
}

/// The other operand of a sum: a quantity or a whole number.
fn operand(value: &Value<'_>) -> Option<Quantity> {
    match value {
        Value::Int(value) => Some(Quantity::whole(*value)),
        other => of(other).copied(),
    }
}

/// A function of this module. Comparisons fall through to semantic versions.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "quantity" => |_, args| match args {
            [Value::String(text)] => match Quantity::parse(text) {
                Ok(quantity) => ok(made(quantity)),
                Err(error) => failed(error),
            },
            _ => None,
        },
        "isQuantity" => |_, args| match args {
            [Value::String(text)] => ok(Value::Bool(Quantity::parse(text).is_ok())),
            _ => None,
        },
        "sign" => |_, args| ok(Value::Int(of(args.first()?)?.nanos.signum() as i64)),
        "asInteger" => |_, args| match of(args.first()?)?.integer() {
            Some(value) => ok(Value::Int(value)),
            None => failed("cannot convert value to integer"),
        },
        "isInteger" => |_, args| ok(Value::Bool(of(args.first()?)?.integer().is_some())),
        "asApproximateFloat" => |_, args| {
            let nanos = of(args.first()?)?.nanos;
            let (whole, rest) = (nanos / NANO, nanos % NANO);
            ok(Value::Double(if rest == 0 {
                whole as f64
            } else {
                nanos as f64 / 1e9
            }))
        },
        "add" => |_, args| {
            let (one, two) = (of(args.first()?)?, operand(args.get(1)?)?);
            ok(made(one.plus(two.nanos, &two)))
        },
        "sub" => |_, args| {
            let (one, two) = (of(args.first()?)?, operand(args.get(1)?)?);
            ok(made(one.plus(-two.nanos, &two)))
        },
        "isGreaterThan" | "isLessThan" | "compareTo" => return super::semver::comparison(name),
        _ => return None,
    })
}

/// The order of two quantities.
pub fn order(args: &[Value<'_>]) -> Option<std::cmp::Ordering> {
    let [one, two] = args else { return None };
    Some(of(one)?.nanos.cmp(&of(two)?.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_their_values() {
        for (text, nanos, integer) in [
            ("1", NANO, Some(1)),
            ("1.5", 1_500_000_000, None),
            ("1000m", NANO, None),
            ("1Ki", 1024 * NANO, Some(1024)),
            ("-2k", -2000 * NANO, Some(-2000)),
            ("1e3", 1000 * NANO, Some(1000)),
            ("0.1n", 1, None),
            ("100Ei", MAX, None),
        ] {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(quantity.nanos(), nanos, "{text}");
            if text != "100Ei" {
                assert_eq!(quantity.integer(), integer, "{text}");
            }
        }
        for text in ["", "x", "1x", "1.2.3", "1 Ki", "--1", "1kk"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }
}
