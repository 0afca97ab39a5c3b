//! Quantities such as `100m`, `1.5` or `64Mi`, as numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// In thousandths, rounded up; 0 if it is no quantity (the API server has
/// refused such a thing).
pub(crate) fn milli(quantity: &Quantity) -> i64 {
    parse(&quantity.0).unwrap_or(0)
}

/// In whole units, rounded up.
pub(super) fn whole(quantity: &Quantity) -> i64 {
    let milli = milli(quantity);
    milli.div_euclid(1000) + i64::from(milli.rem_euclid(1000) != 0)
}

fn parse(text: &str) -> Option<i64> {
    let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'));
    let (digits, suffix) = text.split_at(split.unwrap_or(text.len()));
    let (numerator, denominator) = scale(suffix)?;
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (units, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let decimals = u32::try_from(fraction.len())
        .ok()
        .filter(|count| *count <= 18)?;
    let value: i128 = format!("0{units}{fraction}").parse().ok()?;
    let numerator = value.checked_mul(numerator)?.checked_mul(1000)?;
    let denominator = denominator.checked_mul(10_i128.checked_pow(decimals)?)?;
    let rounded = numerator / denominator + i128::from(numerator % denominator != 0);
    let signed = if negative { -rounded } else { rounded };
    Some(i64::try_from(signed).unwrap_or(if negative { i64::MIN } else { i64::MAX }))
}

/// The factor that a suffix stands for, as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1024_i128.pow(power), 1));
    let decimal = |exponent: i32| {
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        Some(if exponent < 0 { (1, power) } else { (power, 1) })
    };
    match suffix {
        "" => Some((1, 1)),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
            (exponent.abs() <= 18).then(|| decimal(exponent)).flatten()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let table = [
            ("100m", 100, 1),
            ("1", 1000, 1),
            ("1.5", 1500, 2),
            ("0", 0, 0),
            ("1n", 1, 1),
            ("64Mi", 67_108_864_000, 67_108_864),
            ("24684084Ki", 25_276_502_016_000, 25_276_502_016),
            ("1e3", 1_000_000, 1000),
            ("1E", i64::MAX, 9_223_372_036_854_776),
            (".5", 500, 1),
            ("x", 0, 0),
            ("", 0, 0),
        ];
        for (text, in_milli, in_whole) in table {
            let quantity = Quantity(text.into());
            assert_eq!(
                (milli(&quantity), whole(&quantity)),
                (in_milli, in_whole),
                "{text}"
            );
        }
    }
}
