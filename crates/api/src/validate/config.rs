//! ConfigMaps and Secrets.

use super::checks::{Errors, invalid_each, map, some, text};
use crate::field::{Error, Path};
use crate::names;
use serde_json::{Map, Value};

const SIZE_MAX: usize = 1 << 20;

/// Keys of one map of encoded values; gives the bytes that they hold.
fn keys(errors: &mut Errors, path: &Path<'_>, object: &Value, member: &str) -> usize {
    let mut size = 0;
    for (key, value) in map(object, member) {
        invalid_each(errors, &path.key(key), key, names::config_key(key));
        let text = value.as_str().unwrap_or("");
        size += text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count();
    }
    size
}

pub(super) fn config_map(errors: &mut Errors, object: &Value) {
    let (data, binary) = (Path::root("data"), Path::root("binaryData"));
    let mut size = 0;
    for (key, value) in map(object, "data") {
        invalid_each(errors, &data.key(key), key, names::config_key(key));
        if object["binaryData"].get(key).is_some() {
            let detail = "duplicate of key present in binaryData";
            errors.push(Error::invalid(&data.key(key), key.as_str(), detail));
        }
        size += value.as_str().map_or(0, str::len);
    }
    size += keys(errors, &binary, object, "binaryData");
    if size > SIZE_MAX {
        // Upstream names no field.
        errors.push(Error::too_long(&Path::root("[]"), SIZE_MAX));
    }
}

/// `immutable` can be set and not taken back; data of what is immutable stays (KEP-1412).
fn frozen(errors: &mut Errors, old: &Value, new: &Value, members: &[&str]) {
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        errors.push(Error::forbidden(&Path::root("immutable"), DETAIL));
    }
    for member in members {
        if some(old, member) != some(new, member) {
            errors.push(Error::forbidden(&Path::root(member), DETAIL));
        }
    }
}

pub(super) fn config_map_update(errors: &mut Errors, old: &Value, new: &Value) {
    frozen(errors, old, new, &["data", "binaryData"]);
    config_map(errors, new);
}

pub(super) fn secret(errors: &mut Errors, object: &Value) {
    let data = Path::root("data");
    let size = keys(errors, &data, object, "data");
    if size > SIZE_MAX {
        errors.push(Error::too_long(&data, SIZE_MAX));
    }
    let has = |key: &str| object["data"].get(key).is_some();
    let need = |errors: &mut Errors, key: &str| {
        // An empty private key is none.
        if !has(key) || key == "ssh-privatekey" && text(&object["data"], key).is_empty() {
            errors.push(Error::required(&data.key(key), ""));
        }
    };
    match text(object, "type") {
        "kubernetes.io/service-account-token" => {
            const NAME: &str = "kubernetes.io/service-account.name";
            if text(&object["metadata"]["annotations"], NAME).is_empty() {
                let meta = Path::root("metadata");
                errors.push(Error::required(&meta.field("annotations").key(NAME), ""));
            }
        }
        "kubernetes.io/dockercfg" => docker(errors, object, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => docker(errors, object, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            need(errors, "username");
            need(errors, "password");
        }
        "kubernetes.io/ssh-auth" => need(errors, "ssh-privatekey"),
        "kubernetes.io/tls" => {
            need(errors, "tls.crt");
            need(errors, "tls.key");
        }
        _ => {}
    }
}

/// A file of registry credentials, which must be a JSON object.
fn docker(errors: &mut Errors, object: &Value, key: &str) {
    use base64::Engine as _;
    let data = Path::root("data");
    let Some(encoded) = object["data"].get(key).and_then(Value::as_str) else {
        errors.push(Error::required(&data.key(key), ""));
        return;
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<Map<String, Value>>(&bytes) {
        let detail = go_json_error(&bytes).unwrap_or_else(|| error.to_string());
        errors.push(Error::invalid(
            &data.key(key),
            "<secret contents redacted>",
            detail,
        ));
    }
}

/// The text of Go's decoder for the commonest mistake: a word that is no literal.
fn go_json_error(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_start();
    if text.is_empty() {
        return Some("unexpected end of JSON input".to_owned());
    }
    for word in ["null", "true", "false"] {
        if !text.starts_with(&word[..1]) {
            continue;
        }
        let wrong = text
            .chars()
            .zip(word.chars())
            .find(|(found, expected)| found != expected);
        let (found, expected) = wrong?;
        return Some(format!(
            "invalid character '{found}' in literal {word} (expecting '{expected}')"
        ));
    }
    let first = text
        .chars()
        .next()
        .filter(|c| !"{[\"-0123456789".contains(*c))?;
    Some(format!(
        "invalid character '{first}' looking for beginning of value"
    ))
}

pub(super) fn secret_update(errors: &mut Errors, old: &Value, new: &Value) {
    if some(old, "type") != some(new, "type") {
        errors.push(Error::invalid(
            &Path::root("type"),
            some(new, "type"),
            "field is immutable",
        ));
    }
    frozen(errors, old, new, &["data"]);
    secret(errors, new);
}
