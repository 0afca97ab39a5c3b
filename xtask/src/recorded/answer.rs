//! Compares an answer with the recorded one.

use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::client::Answer;
use super::matcher::{self, Bindings};
use super::yaml;

/// The headers that were recorded, besides the list of warnings.
const HEADERS: [&str; 5] = [
    "content-type",
    "retry-after",
    "location",
    "www-authenticate",
    "allow",
];

/// What differs.
pub fn compare(step: &Value, answer: &Answer, bindings: &mut Bindings) -> Vec<String> {
    let want = &step["response"];
    let mut out = Vec::new();
    if want["code"] != answer.code {
        let text = String::from_utf8_lossy(&answer.body);
        let text: String = text.trim_end().chars().take(2000).collect();
        out.push(format!(
            "code: want {}, have {}: {text}",
            want["code"], answer.code
        ));
    }
    headers(&want["headers"], answer, bindings, &mut out);
    body(step, want, answer, bindings, &mut out);
    out
}

/// What differs in code and headers.
pub fn compare_head(step: &Value, answer: &Answer, bindings: &mut Bindings) -> Vec<String> {
    let want = &step["response"];
    let mut out = Vec::new();
    if want["code"] != answer.code {
        out.push(format!("code: want {}, have {}", want["code"], answer.code));
    }
    headers(&want["headers"], answer, bindings, &mut out);
    out
}

fn headers(want: &Value, answer: &Answer, bindings: &mut Bindings, out: &mut Vec<String>) {
    for name in HEADERS {
        let have = answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        let want = want[name].as_str();
        let agree = match (want, have) {
            (Some(want), Some(have)) => matcher::text(want, have, bindings),
            (want, have) => want == have,
        };
        if !agree {
            out.push(format!("header {name}: want {want:?}, have {have:?}"));
        }
    }
    let warnings = answer.headers.get_all("warning").iter();
    let have: Vec<&str> = warnings.filter_map(|value| value.to_str().ok()).collect();
    let want = match &want["warning"] {
        Value::Null => json!([]),
        list => list.clone(),
    };
    matcher::json(&want, &json!(have), "header warning", bindings, out);
}

fn body(
    step: &Value,
    want: &Value,
    answer: &Answer,
    bindings: &mut Bindings,
    out: &mut Vec<String>,
) {
    let text = String::from_utf8_lossy(&answer.body);
    let decoded = || serde_json::from_slice::<Value>(&answer.body).unwrap_or_else(|_| json!(text));
    if let Some(recorded) = want.get("body") {
        whole(step, recorded, decoded(), bindings, out);
    } else if let Some(recorded) = want.get("yaml") {
        match yaml::texts(&text) {
            Ok(have) => matcher::json(recorded, &have, "", bindings, out),
            Err(error) => out.push(format!("no YAML: {error:#}")),
        }
    } else if let Some(recorded) = want["text"].as_str() {
        if !matcher::text(recorded, &text, bindings) {
            out.push(format!("text: want {recorded:?}\n        have {text:?}"));
        }
    } else if let Some(only) = want["only"].as_object() {
        let have = decoded();
        for (pointer, value) in only {
            let have = have
                .pointer(pointer)
                .cloned()
                .unwrap_or_else(|| json!("<absent>"));
            match value == "<absent>" {
                true if have != "<absent>" => out.push(format!("{pointer}: not wanted: {have}")),
                true => {}
                false => matcher::json(value, &have, pointer, bindings, out),
            }
        }
    } else if let Some(keys) = want["keys"].as_object() {
        let have = decoded();
        keys.iter()
            .for_each(|(pointer, want)| names(pointer, want, &have, out));
    } else if want["body_omitted"] == true {
        let magic: String = answer
            .body
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if want["magic"].as_str().is_some_and(|want| want != magic) {
            out.push(format!("magic: want {}, have {magic}", want["magic"]));
        }
    } else if !answer.body.is_empty() {
        let kind = answer.headers.get(CONTENT_TYPE);
        out.push(format!("body: want none, have {kind:?} {text}"));
    }
}

/// Compares a whole document, whose lists may be in any order where the step says so.
fn whole(
    step: &Value,
    want: &Value,
    mut have: Value,
    bindings: &mut Bindings,
    out: &mut Vec<String>,
) {
    let mut want = want.clone();
    let pointers: Vec<&str> = match &step["unordered"] {
        Value::Bool(true) => {
            // The message lists the causes.
            if let Some(message) = have.get_mut("message") {
                *message = json!("<unordered>");
            }
            vec!["/details/causes"]
        }
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for pointer in pointers {
        if let (Some(Value::Array(want)), Some(Value::Array(have))) =
            (want.pointer_mut(pointer), have.pointer_mut(pointer))
        {
            matcher::set(
                &std::mem::take(want),
                &std::mem::take(have),
                pointer,
                bindings,
                out,
            );
        }
    }
    matcher::json(&want, &have, "", bindings, out);
}

/// Compares the names of members, except those that other scenarios made.
fn names(pointer: &str, want: &Value, have: &Value, out: &mut Vec<String>) {
    let at = match pointer {
        "/" => Some(have),
        pointer => have.pointer(pointer),
    };
    let members = at.and_then(Value::as_object).into_iter().flatten();
    let mut names: Vec<&String> = members
        .map(|(name, _)| name)
        .filter(|n| !n.contains("example.com"))
        .collect();
    names.sort();
    if json!(names) == *want {
        return;
    }
    let want: Vec<String> = serde_json::from_value(want.clone()).unwrap_or_default();
    let missing = want.iter().filter(|name| !names.contains(name));
    out.extend(missing.map(|name| format!("{pointer}: member {name} is missing")));
    let unwanted = names.iter().filter(|name| !want.contains(name));
    out.extend(unwanted.map(|name| format!("{pointer}: member {name} is not wanted")));
}
