//! Resource quantities (`100m`, `32Mi`) as exact numbers.
//!
//! Pure. Values are held in billionths, the finest step that Kubernetes keeps; a finer or larger number is refused.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A quantity in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exact(i128);

const NANO: i128 = 1_000_000_000;

/// Reads a quantity; `None` when it is malformed or out of range.
pub fn parse(text: &str) -> Option<Exact> {
    let end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(i, _)| i);
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 || whole.len() > 18 {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let parts: i128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let (up, down) = multiplier(suffix)?;
    let mantissa = whole.checked_mul(scale)?.checked_add(parts)?;
    let nanos = mantissa.checked_mul(up)?;
    let divisor = scale.checked_mul(down)?;
    // Upstream rounds what is finer than a billionth up, away from zero.
    let rounded = nanos.checked_add(divisor - 1)? / divisor;
    Some(Exact(if negative { -rounded } else { rounded }))
}

/// The suffix as a fraction of billionths: (numerator, denominator).
fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    let power = |base: i128, n: u32| base.checked_pow(n)?.checked_mul(NANO).map(|up| (up, 1));
    match suffix {
        "" => Some((NANO, 1)),
        "n" => Some((1, 1)),
        "u" => Some((1_000, 1)),
        "m" => Some((1_000_000, 1)),
        "k" => power(10, 3),
        "M" => power(10, 6),
        "G" => power(10, 9),
        "T" => power(10, 12),
        "P" => power(10, 15),
        "E" => power(10, 18),
        "Ki" => power(2, 10),
        "Mi" => power(2, 20),
        "Gi" => power(2, 30),
        "Ti" => power(2, 40),
        "Pi" => power(2, 50),
        "Ei" => power(2, 60),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            match u32::try_from(exponent.abs()).ok().filter(|n| *n <= 18)? {
                n if exponent >= 0 => power(10, n),
                n => Some((NANO, 10i128.pow(n))),
            }
        }
    }
}

impl Exact {
    /// Nothing.
    pub const ZERO: Exact = Exact(0);

    /// Whole units.
    pub const fn from_units(units: i64) -> Exact {
        Exact(units as i128 * NANO)
    }

    /// Thousandths.
    pub const fn from_millis(millis: i64) -> Exact {
        Exact(millis as i128 * (NANO / 1000))
    }

    /// Whole units, rounded up.
    pub fn ceil(self) -> i64 {
        self.per(NANO)
    }

    /// Thousandths, rounded up.
    pub fn millis(self) -> i64 {
        self.per(NANO / 1000)
    }

    /// The number of `divisor`s in it, rounded up; `None` for a divisor that is not positive.
    pub fn divided_by(self, divisor: Exact) -> Option<i64> {
        (divisor.0 > 0).then(|| self.per(divisor.0))
    }

    /// The sum, held at the largest number.
    pub fn saturating_add(self, other: Exact) -> Exact {
        Exact(self.0.saturating_add(other.0))
    }

    fn per(self, unit: i128) -> i64 {
        let whole = self.0.div_euclid(unit) + i128::from(self.0.rem_euclid(unit) > 0);
        i64::try_from(whole).unwrap_or(i64::MAX)
    }

    /// As text: binary suffixes for bytes, thousandths for the rest, in the shortest form without loss.
    pub fn to_quantity(self, resource: &str) -> Quantity {
        let bytes = resource == "memory"
            || resource == "ephemeral-storage"
            || resource.starts_with("hugepages-");
        let units = self.ceil();
        let text = if bytes {
            ["", "Ki", "Mi", "Gi", "Ti", "Pi"]
                .iter()
                .enumerate()
                .rev()
                .map(|(n, suffix)| (1i64 << (10 * n), suffix))
                .find(|(size, _)| units != 0 && units % size == 0)
                .map_or_else(
                    || units.to_string(),
                    |(size, suffix)| format!("{}{suffix}", units / size),
                )
        } else if self.0 % NANO == 0 {
            units.to_string()
        } else {
            format!("{}m", self.millis())
        };
        Quantity(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        let rows = [
            ("100m", 1, 100),
            ("1", 1, 1000),
            ("0.5", 1, 500),
            (".25", 1, 250),
            ("1.5Gi", 1_610_612_736, 1_610_612_736_000),
            ("32Mi", 33_554_432, 33_554_432_000),
            ("2e3", 2000, 2_000_000),
            ("2E3", 2000, 2_000_000),
            ("5n", 1, 1),
            ("0", 0, 0),
            ("12e-1", 2, 1200),
        ];
        for (text, units, millis) in rows {
            let value = parse(text).unwrap_or_else(|| panic!("{text} is valid"));
            assert_eq!((value.ceil(), value.millis()), (units, millis), "{text}");
        }
    }

    #[test]
    fn malformed_quantities_are_refused() {
        for text in [
            "",
            ".",
            "-",
            "m",
            "1x",
            "1 Gi",
            "1e99",
            "é",
            "1.2.3",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn sums_keep_their_unit() {
        let sum = |a: &str, b: &str, r: &str| {
            parse(a)
                .expect("valid")
                .saturating_add(parse(b).expect("valid"))
                .to_quantity(r)
                .0
        };
        assert_eq!(sum("100m", "50m", "cpu"), "150m");
        assert_eq!(sum("500m", "500m", "cpu"), "1");
        assert_eq!(sum("32Mi", "32Mi", "memory"), "64Mi");
        assert_eq!(sum("1Gi", "1", "memory"), "1073741825");
    }
}
