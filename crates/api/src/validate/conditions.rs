//! `metav1.Condition`, as the statuses of many kinds have them.

use super::checks::{Errors, NOT_NEGATIVE, int, invalid_each, list, one_of_words, some, text};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;
const REASON_TEXT: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// The conditions of a status; `path` is that of the list.
pub(super) fn conditions(errors: &mut Errors, path: &Path<'_>, status: &Value) {
    let all = list(status, "conditions");
    for (i, condition) in all.iter().enumerate() {
        let kind = text(condition, "type");
        if all[..i].iter().any(|c| text(c, "type") == kind) {
            errors.push(Error::duplicate(&path.index(i), kind));
        }
        one(errors, &path.index(i), condition);
    }
}

fn one(errors: &mut Errors, path: &Path<'_>, condition: &Value) {
    let (kind, at) = (text(condition, "type"), path.field("type"));
    match kind {
        "" => errors.push(Error::required(&at, "is required")),
        kind => invalid_each(errors, &at, kind, names::qualified_name(kind)),
    }
    one_of_words(
        errors,
        &path.field("status"),
        text(condition, "status"),
        &["False", "True", "Unknown"],
    );
    let generation = int(condition, "observedGeneration");
    if generation < 0 {
        let at = path.field("observedGeneration");
        errors.push(Error::invalid(&at, generation, NOT_NEGATIVE));
    }
    if some(condition, "lastTransitionTime").is_none() {
        errors.push(Error::required(&path.field("lastTransitionTime"), ""));
    }
    let (reason, at) = (text(condition, "reason"), path.field("reason"));
    if reason.is_empty() {
        errors.push(Error::required(&at, ""));
    } else {
        if !is_reason(reason) {
            errors.push(Error::invalid(&at, reason, REASON_TEXT));
        }
        if reason.len() > REASON_MAX {
            errors.push(Error::too_long(&at, REASON_MAX));
        }
    }
    if text(condition, "message").len() > MESSAGE_MAX {
        errors.push(Error::too_long(&path.field("message"), MESSAGE_MAX));
    }
}

fn is_reason(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|b| bytes.len() == 1 || word(b))
        && bytes.iter().all(|b| word(b) || matches!(b, b',' | b':'))
}
