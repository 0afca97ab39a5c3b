//! `anyOf`, `oneOf`, `allOf` and `not`.

use serde_json::Value;

use super::fault::{At, Fault};
use super::{Outcome, node};
use crate::crd::props::Props;
use crate::field::quote;

pub(super) fn check(props: &Props, value: &Value, at: At<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    if !props.any_of.is_empty() {
        outcome.merge(any_of(&props.any_of, value, at));
    }
    if !props.one_of.is_empty() {
        outcome.merge(one_of(&props.one_of, value, at));
    }
    if !props.all_of.is_empty() {
        outcome.merge(all_of(&props.all_of, value, at));
    }
    if let Some(schema) = &props.not
        && node(schema, value, at, None).is_valid()
    {
        outcome.add(told(at, "must not validate the schema (not)"));
    }
    outcome.matches += 1;
    outcome
}

fn told(at: At<'_>, what: &str) -> Fault {
    Fault::plain(format!("{} {what}", quote(&at.to_string())))
}

/// The failure with the most checks passed tells most.
fn better(best: Option<Outcome>, next: Outcome) -> Option<Outcome> {
    match best {
        Some(best) if next.matches <= best.matches => Some(best),
        _ => Some(next),
    }
}

fn any_of(schemas: &[Props], value: &Value, at: At<'_>) -> Outcome {
    let mut best = None;
    for schema in schemas {
        let next = node(schema, value, at, None);
        if next.is_valid() {
            return next;
        }
        best = better(best, next);
    }
    let mut outcome = Outcome::default();
    outcome.add(told(at, "must validate at least one schema (anyOf)"));
    best.into_iter().for_each(|o| outcome.merge(o));
    outcome
}

fn one_of(schemas: &[Props], value: &Value, at: At<'_>) -> Outcome {
    let (mut valid, mut first, mut best) = (0, None, None);
    for schema in schemas {
        let next = node(schema, value, at, None);
        if next.is_valid() {
            valid += 1;
            best = None;
            first.get_or_insert(next);
        } else if valid == 0 {
            best = better(best, next);
        }
    }
    if valid == 1 {
        return first.unwrap_or_default();
    }
    let found = match valid {
        0 => "Found none valid".to_owned(),
        n => format!("Found {n} valid alternatives"),
    };
    let mut outcome = Outcome::default();
    outcome.add(told(
        at,
        &format!("must validate one and only one schema (oneOf). {found}"),
    ));
    best.into_iter().for_each(|o| outcome.merge(o));
    outcome
}

fn all_of(schemas: &[Props], value: &Value, at: At<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut valid = 0;
    for schema in schemas {
        let next = node(schema, value, at, None);
        valid += usize::from(next.is_valid());
        outcome.merge(next);
    }
    if valid != schemas.len() {
        let more = if valid == 0 { ". None validated" } else { "" };
        outcome.add(told(
            at,
            &format!("must validate all the schemas (allOf){more}"),
        ));
    }
    outcome
}
