//! Ranges and multiples of numbers.

use serde_json::{Number, Value};

use super::fault::{At, Code, Fault};
use super::{Outcome, Types};
use crate::crd::props::Props;

/// Beyond this, not every integer is a float.
const WHOLE_MAX: f64 = ((1u64 << 53) - 1) as f64;

/// Whether a float is an integer, as upstream's library tells.
fn float_is_whole(float: f64) -> bool {
    const EPSILON: f64 = 1e-9;
    if !float.is_finite() || !(-WHOLE_MAX..=WHOLE_MAX).contains(&float) {
        return false;
    }
    let near = float.trunc();
    let (distance, size) = ((float - near).abs(), float.abs() + near.abs());
    float == near || size > 0.0 && distance / size < EPSILON
}

/// Whether a number is an integer.
pub(super) fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(float_is_whole)
}

/// Equality of values as members of an `enum`: numbers by value, whatever their form.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// A number as Go's `%v` shows it.
pub(crate) fn show(float: f64) -> String {
    if float == 0.0 {
        return "0".to_owned();
    }
    let exponent = float.abs().log10().floor() as i32;
    match (-4..21).contains(&exponent) {
        true => format!("{float}"),
        false => {
            let text = format!("{float:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

/// Whether a number is in the range of a type and a format.
fn in_range(value: f64, exact: Option<i64>, ty: &str, format: &str) -> bool {
    match (ty, format) {
        ("integer", "int32") => exact.is_some_and(|i| i32::try_from(i).is_ok()),
        ("integer", _) => exact.is_some(),
        ("number", "float") => value.abs() <= f64::from(f32::MAX),
        _ => true,
    }
}

/// A float that is written without a fraction.
fn exact(float: f64) -> Option<i64> {
    let fits = float.fract() == 0.0 && float.abs() < 9.2e18;
    fits.then_some(float as i64)
}

struct Range<'a> {
    ty: &'a str,
    format: &'a str,
    at: At<'a>,
}

impl Range<'_> {
    /// `None` when the number is in the range of the schema's type.
    fn fault(&self, what: &str, value: f64, exact: Option<i64>) -> Option<Fault> {
        if in_range(value, exact, self.ty, self.format) {
            return None;
        }
        let (ty, at) = (self.ty, self.at);
        Some(Fault::plain(match self.format {
            "" => format!("{what} value must be of type {ty} (default format) in {at}"),
            format => format!("{what} value must be of type {ty} with format {format} in {at}"),
        }))
    }
}

pub(super) fn check(
    props: &Props,
    types: Types<'_>,
    format: &str,
    number: &Number,
    at: At<'_>,
) -> Outcome {
    let ty = match (types.int_or_string, types.one) {
        (false, ty @ ("integer" | "number")) => ty,
        _ => "",
    };
    let format = if ty.is_empty() { "" } else { format };
    let range = Range { ty, format, at };
    let value = number.as_f64().unwrap_or_default();
    let mut outcome = Outcome::default();
    let own = number.as_i64().or_else(|| exact(value));
    outcome.faults.extend(range.fault("Checked", value, own));
    let mut limit =
        |what: &str, bound: Option<f64>, check: &dyn Fn(f64, bool) -> Option<String>| {
            let Some(bound) = bound else { return };
            let unfit = range.fault(what, bound, exact(bound));
            let fits = unfit.is_none();
            outcome.merge(Outcome::of(unfit, 0));
            if let Some(what) = check(bound, fits) {
                let shown = Value::Number(number.clone());
                outcome.merge(Outcome::of(
                    Some(Fault::new(at, Code::Other, shown, &what)),
                    0,
                ));
            }
        };
    limit("MultipleOf", props.multiple_of, &|factor, fits| {
        multiple(number, factor, fits)
    });
    limit("Minimum boundary", props.minimum, &|bound, fits| {
        below(number, bound, props.exclusive_minimum, fits)
    });
    limit("Maximum boundary", props.maximum, &|bound, fits| {
        above(number, bound, props.exclusive_maximum, fits)
    });
    outcome.matches += 1;
    outcome
}

fn multiple(number: &Number, factor: f64, fits: bool) -> Option<String> {
    let whole = number.as_i64().filter(|_| fits).map(|i| (i, factor as i64));
    let (positive, divides, shown) = match whole {
        Some((i, factor)) => (
            factor > 0,
            factor > 0 && i % factor == 0,
            factor.to_string(),
        ),
        None => {
            let value = number.as_f64().unwrap_or_default();
            let times = if factor < 1.0 {
                1.0 / factor * value
            } else {
                value / factor
            };
            (factor > 0.0, float_is_whole(times), show(factor))
        }
    };
    match (positive, divides) {
        (true, true) => None,
        (true, false) => Some(format!("should be a multiple of {shown}")),
        // Upstream's text has another shape; such a schema accepts nothing.
        (false, _) => Some(format!(
            "factor MultipleOf declared must be positive: {shown}"
        )),
    }
}

fn below(number: &Number, bound: f64, exclusive: bool, fits: bool) -> Option<String> {
    let (wrong, shown) = match number.as_i64().filter(|_| fits) {
        Some(i) => {
            let bound = bound as i64;
            (i < bound || exclusive && i == bound, bound.to_string())
        }
        None => {
            let value = number.as_f64().unwrap_or_default();
            (value < bound || exclusive && value == bound, show(bound))
        }
    };
    let than = if exclusive {
        "greater than"
    } else {
        "greater than or equal to"
    };
    wrong.then(|| format!("should be {than} {shown}"))
}

fn above(number: &Number, bound: f64, exclusive: bool, fits: bool) -> Option<String> {
    let (wrong, shown) = match number.as_i64().filter(|_| fits) {
        Some(i) => {
            let bound = bound as i64;
            (i > bound || exclusive && i == bound, bound.to_string())
        }
        None => {
            let value = number.as_f64().unwrap_or_default();
            (value > bound || exclusive && value == bound, show(bound))
        }
    };
    let than = if exclusive {
        "less than"
    } else {
        "less than or equal to"
    };
    wrong.then(|| format!("should be {than} {shown}"))
}
