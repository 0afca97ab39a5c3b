//! Capacity of a device that several claims share (KEP-5075).

use super::super::checks::{Errors, NOT_NEGATIVE, list, map, some};
use super::qualified;
use crate::field::{Error, Path};
use crate::quantity::Quantity;
use serde_json::Value;
use std::collections::HashSet;

const OPTIONS_MAX: usize = 10;

/// The capacities of a device at `path`.
pub(super) fn capacities(errors: &mut Errors, path: &Path<'_>, device: &Value) {
    let at = path.field("capacity");
    for (key, value) in map(device, "capacity") {
        qualified(errors, &at, key);
        let Some(policy) = some(value, "requestPolicy") else {
            continue;
        };
        let capacity = at.key(key);
        let policy_path = capacity.field("requestPolicy");
        if device["allowMultipleAllocations"] != true {
            let detail = "allowMultipleAllocations must be true";
            errors.push(Error::forbidden(&policy_path, detail));
        } else if let Some(most) = amount(value, "value") {
            request_policy(errors, &policy_path, policy, &most);
        }
    }
}

fn amount(node: &Value, member: &str) -> Option<Quantity> {
    Quantity::from_json(some(node, member)?).ok()
}

fn say(errors: &mut Errors, path: &Path<'_>, amount: &Quantity, detail: impl Into<String>) {
    errors.push(Error::invalid(path, amount.to_string(), detail));
}

fn request_policy(errors: &mut Errors, path: &Path<'_>, policy: &Value, most: &Quantity) {
    let (values, range) = (list(policy, "validValues"), some(policy, "validRange"));
    let default = amount(policy, "default");
    let needed = |what: &str| {
        Error::required(
            &path.field("default"),
            format!("required when {what} is defined"),
        )
    };
    match (values.is_empty(), range, default) {
        (false, Some(_), _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.push(Error::forbidden(path, detail));
        }
        (false, None, None) => errors.push(needed("validValues")),
        (true, Some(_), None) => errors.push(needed("validRange")),
        (false, None, Some(default)) => {
            options(errors, &path.field("validValues"), values, &default, most);
        }
        (true, Some(range), Some(default)) => {
            self::range(errors, &path.field("validRange"), range, &default, most);
        }
        (true, None, _) => {}
    }
}

fn options(
    errors: &mut Errors,
    path: &Path<'_>,
    values: &[Value],
    default: &Quantity,
    most: &Quantity,
) {
    let amounts: Vec<Quantity> = values
        .iter()
        .filter_map(|v| Quantity::from_json(v).ok())
        .collect();
    for (i, pair) in amounts.windows(2).enumerate() {
        if pair[0] > pair[1] {
            say(
                errors,
                &path.index(i + 1),
                &pair[1],
                "values must be sorted in ascending order",
            );
        }
    }
    if amounts.len() > OPTIONS_MAX {
        errors.push(Error::too_many(path, amounts.len(), OPTIONS_MAX));
    } else {
        for (i, one) in amounts.iter().enumerate().filter(|(_, a)| *a > most) {
            let detail = format!("option is larger than capacity value: {most}");
            say(errors, &path.index(i), one, detail);
        }
        let mut seen = HashSet::new();
        for (i, one) in amounts.iter().enumerate() {
            let key = one.milli_value();
            if !seen.insert(key) {
                errors.push(Error::duplicate(&path.index(i), one.to_string()));
            }
        }
    }
    if amounts.len() > OPTIONS_MAX || !amounts.contains(default) {
        say(
            errors,
            path,
            default,
            "default value is not valid according to the requestPolicy",
        );
    }
}

fn range(errors: &mut Errors, path: &Path<'_>, range: &Value, default: &Quantity, most: &Quantity) {
    let Some(min) = amount(range, "min") else {
        let detail = "required when validRange is defined";
        errors.push(Error::required(&path.field("min"), detail));
        return;
    };
    let (max, step) = (amount(range, "max"), amount(range, "step"));
    if min > *most {
        let detail = format!("min is larger than capacity value: {most}");
        say(errors, &path.field("min"), &min, detail);
    }
    if *default < min {
        say(
            errors,
            &path.field("default"),
            default,
            format!("default is less than min: {min}"),
        );
    }
    if let Some(max) = &max {
        let at = path.field("max");
        if min > *max {
            say(errors, &at, &min, format!("min is larger than max: {max}"));
        }
        if max > most {
            say(
                errors,
                &at,
                max,
                format!("max is larger than capacity value: {most}"),
            );
        }
        if default > max {
            say(
                errors,
                &path.field("default"),
                default,
                format!("default is more than max: {max}"),
            );
        }
    }
    let Some(step) = step else { return };
    let at = path.field("step");
    if step.is_zero() || step.is_negative() {
        say(errors, &at, &step, "must be greater than zero");
        return;
    }
    if let Some(next) = min.checked_add(&step).filter(|next| next > most) {
        let detail = format!("one step {next} is larger than capacity value: {most}");
        say(errors, &at, &step, detail);
    }
    steps(
        errors,
        path,
        [
            ("default", Some(default)),
            ("min", Some(&min)),
            ("max", max.as_ref()),
            ("step", Some(&step)),
        ],
    );
}

/// Whether the default and the maximum are whole steps from the minimum.
fn steps(errors: &mut Errors, path: &Path<'_>, amounts: [(&str, Option<&Quantity>); 4]) {
    let fine = amounts
        .iter()
        .any(|(_, a)| a.is_some_and(|a| !a.is_integer()));
    let unfit: Vec<_> = amounts
        .iter()
        .filter_map(|(name, a)| Some((name, (*a)?)))
        .collect();
    let before = errors.len();
    for (name, amount) in unfit.iter().filter(|(_, a)| !fine && a.is_negative()) {
        say(errors, &path.field(name), amount, NOT_NEGATIVE);
    }
    if errors.len() > before {
        return;
    }
    let number = |a: &Quantity| if fine { a.milli_value() } else { a.value() };
    let [default, min, max, step] = amounts.map(|(_, a)| a);
    let (Some(min), Some(step)) = (min, step) else {
        return;
    };
    for value in [default, max].into_iter().flatten() {
        let distance = number(value).wrapping_sub(number(min));
        if number(step) != 0 && distance.wrapping_rem(number(step)) != 0 {
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            say(errors, &path.field("step"), value, detail);
        }
    }
}
