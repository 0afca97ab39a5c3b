//! Checks that many kinds share.

use crate::field::{Error, Path};
use crate::intstr::IntOrString;
use crate::names;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// What was found wrong so far.
pub(super) type Errors = Vec<Error>;
/// What is wrong with a text, if anything.
pub(super) type Check = fn(&str) -> Vec<String>;

/// A text, empty when absent.
pub(super) fn text<'a>(node: &'a Value, member: &str) -> &'a str {
    node.get(member).and_then(Value::as_str).unwrap_or("")
}

/// A list, empty when absent.
pub(super) fn list<'a>(node: &'a Value, member: &str) -> &'a [Value] {
    node.get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(super) fn texts<'a>(node: &'a Value, member: &str) -> HashSet<&'a str> {
    list(node, member)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// An object, empty when absent.
pub(super) fn map<'a>(
    node: &'a Value,
    member: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + Clone {
    node.get(member)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

/// A number, zero when absent.
pub(super) fn int(node: &Value, member: &str) -> i64 {
    node.get(member).and_then(Value::as_i64).unwrap_or(0)
}

/// A member that is there and not null.
pub(super) fn some<'a>(node: &'a Value, member: &str) -> Option<&'a Value> {
    node.get(member).filter(|v| !v.is_null())
}

/// Each text as an error about a value.
pub(super) fn invalid_each(errors: &mut Errors, path: &Path<'_>, value: &str, texts: Vec<String>) {
    errors.extend(texts.into_iter().map(|t| Error::invalid(path, value, t)));
}

/// A text behind a pointer: checked when it is there, be it empty.
pub(super) fn check_if_there(
    errors: &mut Errors,
    path: &Path<'_>,
    node: &Value,
    member: &str,
    check: Check,
) {
    if let Some(value) = some(node, member).and_then(Value::as_str) {
        invalid_each(errors, &path.field(member), value, check(value));
    }
}

/// A text that must be there.
pub(super) fn required(errors: &mut Errors, path: &Path<'_>, node: &Value, member: &str) -> bool {
    let missing = text(node, member).is_empty();
    if missing {
        errors.push(Error::required(&path.field(member), ""));
    }
    !missing
}

/// A word that is one of some; an empty one is wrong too.
pub(super) fn one_of_words(errors: &mut Errors, path: &Path<'_>, word: &str, supported: &[&str]) {
    if word.is_empty() {
        errors.push(Error::required(path, ""));
    } else if !supported.contains(&word) {
        errors.push(Error::not_supported(path, word, supported));
    }
}

/// A member that is one of some words; absent is wrong too.
pub(super) fn one_of(
    errors: &mut Errors,
    path: &Path<'_>,
    node: &Value,
    member: &str,
    supported: &[&str],
) {
    one_of_words(errors, &path.field(member), text(node, member), supported);
}

/// A member that is one of some words or absent. The empty text is absent unless it is behind a pointer; then a decoded
/// object still has it, and it is wrong.
pub(super) fn one_of_if_set(
    errors: &mut Errors,
    path: &Path<'_>,
    node: &Value,
    member: &str,
    supported: &[&str],
) {
    if let Some(word) = some(node, member).and_then(Value::as_str)
        && !supported.contains(&word)
    {
        errors.push(Error::not_supported(&path.field(member), word, supported));
    }
}

pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// A number that is not below zero.
pub(super) fn non_negative(errors: &mut Errors, path: &Path<'_>, node: &Value, member: &str) {
    let number = int(node, member);
    if number < 0 {
        errors.push(Error::invalid(&path.field(member), number, NOT_NEGATIVE));
    }
}

/// Whether two values are the same to Go: nothing, null, and the empty list and map are.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let none = Value::Null;
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&none)))
                && y.iter().all(|(k, v)| x.contains_key(k) || empty(v))
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
        }
        _ => a == b || empty(a) && empty(b),
    }
}

/// A value that an update can't change.
pub(super) fn immutable(
    errors: &mut Errors,
    path: &Path<'_>,
    old: &Value,
    new: &Value,
    member: &str,
) {
    let none = Value::Null;
    let (old, new) = (some(old, member), some(new, member));
    if !same(old.unwrap_or(&none), new.unwrap_or(&none)) {
        errors.push(Error::invalid(
            &path.field(member),
            new,
            "field is immutable",
        ));
    }
}

/// A map of labels.
pub(super) fn labels(errors: &mut Errors, path: &Path<'_>, labels: Option<&Value>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap_or("");
        invalid_each(errors, path, key, names::qualified_name(key));
        invalid_each(errors, path, value, names::label_value(value));
    }
}

/// A label selector in its object form.
pub(super) fn label_selector(errors: &mut Errors, path: &Path<'_>, selector: &Value) {
    labels(
        errors,
        &path.field("matchLabels"),
        selector.get("matchLabels"),
    );
    for (i, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let list_path = path.field("matchExpressions");
        let at = list_path.index(i);
        let values = list(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => errors.push(Error::required(
                &at.field("values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                &at.field("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(
                &at.field("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = text(expression, "key");
        invalid_each(errors, &at.field("key"), key, names::qualified_name(key));
        let values_path = at.field("values");
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            invalid_each(
                errors,
                &values_path.index(j),
                value,
                names::label_value(value),
            );
        }
    }
}

const PERCENT_TEXT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// A count or a percentage, not below zero.
pub(super) fn count_or_percent(errors: &mut Errors, path: &Path<'_>, value: &Value) {
    match IntOrString::from_json(value) {
        Some(IntOrString::Int(number)) if number < 0 => {
            errors.push(Error::invalid(path, number, NOT_NEGATIVE));
        }
        Some(number @ IntOrString::String(text)) if number.percent().is_none() => {
            errors.push(Error::invalid(path, text, PERCENT_TEXT));
        }
        _ => {}
    }
}

/// A percentage that is no more than all.
pub(super) fn at_most_all(errors: &mut Errors, path: &Path<'_>, value: &Value) {
    if let Some(percent) = IntOrString::from_json(value).and_then(IntOrString::percent)
        && percent > 100
    {
        errors.push(Error::invalid(path, value, "must not be greater than 100%"));
    }
}

/// A port's number, or the name of one.
pub(super) fn port_number_or_name(errors: &mut Errors, path: &Path<'_>, value: &Value) {
    match IntOrString::from_json(value) {
        Some(IntOrString::String(name)) => invalid_each(errors, path, name, names::port_name(name)),
        Some(IntOrString::Int(number)) => port_number(errors, path, number),
        None => port_number(errors, path, 0),
    }
}

/// A port's number.
pub(super) fn port_number(errors: &mut Errors, path: &Path<'_>, number: i64) {
    errors.extend(
        names::port_number(number)
            .into_iter()
            .map(|t| Error::invalid(path, number, t)),
    );
}

const HTTP_PATH_TEXT: &str =
    "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";

/// `domain/path`, as the names of signers and of `managedBy` are.
pub(super) fn domain_prefixed_path(errors: &mut Errors, path: &Path<'_>, text: &str) {
    if text.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let parts = text
        .split_once('/')
        .filter(|(host, rest)| !host.is_empty() && !rest.is_empty());
    let Some((host, rest)) = parts else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        errors.push(Error::invalid(path, text, detail));
        return;
    };
    invalid_each(errors, path, host, names::dns1123_subdomain(host));
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(letter) {
        errors.push(Error::invalid(path, rest, HTTP_PATH_TEXT));
    }
}

/// Tells of the first part between dots that is wrong.
fn first_wrong_label(
    errors: &mut Errors,
    path: &Path<'_>,
    text: &str,
    check: fn(&str) -> Vec<String>,
) {
    let labels = text.split('.').map(|label| (label, check(label)));
    for (label, wrong) in labels.filter(|(_, wrong)| !wrong.is_empty()).take(1) {
        let label = crate::field::quote(label);
        let say = |why| Error::invalid(path, text, format!("validating label {label}: {why}"));
        errors.extend(wrong.into_iter().map(say));
    }
}

/// The name of a signer: a domain of two labels or more, and a path of one part.
pub(super) fn signer_name(errors: &mut Errors, path: &Path<'_>, name: &str) {
    const DOMAIN_MAX: usize = 253;
    const NAME_MAX: usize = DOMAIN_MAX + 1 + DOMAIN_MAX + 63 + 1;
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, own] = parts[..] else {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(Error::invalid(path, name, detail));
        return;
    };
    if domain.len() > DOMAIN_MAX {
        errors.push(Error::too_long(path, DOMAIN_MAX));
    }
    first_wrong_label(errors, path, domain, names::dns1123_label);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path, domain, detail));
    }
    first_wrong_label(errors, path, own, names::dns1123_subdomain);
    if name.len() > NAME_MAX {
        errors.push(Error::too_long(path, NAME_MAX));
    }
}
