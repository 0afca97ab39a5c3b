//! Compares what came with what was recorded, where what changes from run to run is a placeholder.
//!
//! Invariant: `<uid:1>` stands for the same text wherever it occurs in a scenario, and for another one than
//! `<uid:2>`. A placeholder without a number (`<time>`) stands for anything of its shape.

use std::collections::HashMap;

use serde_json::Value;

mod shape;

use self::shape::Shape;

/// What numbered placeholders stood for so far.
#[derive(Default, Clone)]
pub struct Bindings {
    by_name: HashMap<String, String>,
    by_text: HashMap<(Shape, String), String>,
}

impl Bindings {
    fn bind(&mut self, shape: Shape, name: &str, text: &str) -> bool {
        if !name.contains(':') {
            return true;
        }
        if let Some(known) = self.by_name.get(name) {
            return known == text;
        }
        let place = (shape, text.to_owned());
        if self.by_text.contains_key(&place) {
            return false;
        }
        self.by_name.insert(name.to_owned(), text.to_owned());
        self.by_text.insert(place, name.to_owned());
        true
    }
}

/// The first placeholder of a text: where it begins and ends, its name and its shape.
fn placeholder(text: &str) -> Option<(usize, usize, &str, Shape)> {
    let starts = text.match_indices('<').map(|(start, _)| start);
    starts.into_iter().find_map(|start| {
        let end = start + text[start..].find('>')?;
        let name = &text[start + 1..end];
        Some((start, end + 1, name, Shape::of(name)?))
    })
}

/// Whether a text is as recorded.
pub fn text(want: &str, have: &str, bindings: &mut Bindings) -> bool {
    let (mut want, mut have) = (want, have);
    while let Some((start, end, name, shape)) = placeholder(want) {
        let Some(rest) = have.strip_prefix(&want[..start]) else {
            return false;
        };
        want = &want[end..];
        // What was normalised before stands there as it is.
        let same = rest
            .strip_prefix(&format!("<{name}>"))
            .filter(|_| !name.contains(':'));
        if let Some(rest) = same {
            have = rest;
            continue;
        }
        let Some(length) = shape
            .extent(rest, want)
            .filter(|n| rest.is_char_boundary(*n))
        else {
            return false;
        };
        if !bindings.bind(shape, name, &rest[..length]) {
            return false;
        }
        have = &rest[length..];
    }
    want == have
}

/// Whether a value is as recorded; bindings are made only if it is.
pub fn agrees(want: &Value, have: &Value, bindings: &mut Bindings) -> bool {
    let mut tried = bindings.clone();
    let mut differences = Vec::new();
    json(want, have, "", &mut tried, &mut differences);
    if differences.is_empty() {
        *bindings = tried;
    }
    differences.is_empty()
}

/// Says where a value differs from the recorded one. Members are walked in the recorded order.
pub fn json(
    want: &Value,
    have: &Value,
    path: &str,
    bindings: &mut Bindings,
    out: &mut Vec<String>,
) {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => {
            for (name, value) in want {
                // A name may hold a placeholder too.
                let named = || {
                    have.iter()
                        .find(|(other, _)| text(name, other, &mut bindings.clone()))
                };
                match have.get_key_value(name).or_else(named) {
                    Some((other, found)) => {
                        text(name, other, bindings);
                        json(value, found, &format!("{path}/{name}"), bindings, out);
                    }
                    None => out.push(format!("{path}/{name}: missing, want {value}")),
                }
            }
            let known = |other: &str| {
                want.contains_key(other)
                    || want.keys().any(|n| text(n, other, &mut bindings.clone()))
            };
            let unwanted = have.iter().filter(|(name, _)| !known(name));
            out.extend(unwanted.map(|(name, value)| format!("{path}/{name}: not wanted: {value}")));
        }
        (Value::Array(want), Value::Array(have)) if want.len() == have.len() => {
            let sorted = path
                .ends_with("/managedFields")
                .then(|| sort_by_field_manager(have));
            for (i, (want, have)) in want.iter().zip(sorted.as_ref().unwrap_or(have)).enumerate() {
                json(want, have, &format!("{path}/{i}"), bindings, out);
            }
        }
        (Value::String(want), Value::String(have)) if text(want, have, bindings) => {}
        (Value::String(want), Value::Number(have)) if text(want, &have.to_string(), bindings) => {}
        (want, have) if want == have || numbers_equal(want, have) => {}
        _ => out.push(format!("{path}: want {want}\n        have {have}")),
    }
}

/// Takes the items of two lists in any order.
pub fn set(
    want: &[Value],
    have: &[Value],
    path: &str,
    bindings: &mut Bindings,
    out: &mut Vec<String>,
) {
    let mut left: Vec<&Value> = have.iter().collect();
    for item in want {
        match left.iter().position(|other| agrees(item, other, bindings)) {
            Some(found) => {
                left.remove(found);
            }
            None => out.push(format!("{path}: missing, want {item}")),
        }
    }
    out.extend(
        left.iter()
            .map(|item| format!("{path}: not wanted: {item}")),
    );
}

fn numbers_equal(want: &Value, have: &Value) -> bool {
    want.is_number() && want.as_f64() == have.as_f64()
}

/// The server sorts by time too, which the recording can't.
fn sort_by_field_manager(list: &[Value]) -> Vec<Value> {
    let key = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let names = ["operation", "manager", "subresource", "apiVersion"].map(text);
        (names, entry.to_string())
    };
    let mut list = list.to_vec();
    list.sort_by_cached_key(key);
    list
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts() {
        let cases = [
            ("a <none> b", "a <none> b", true),
            (
                "x <uid:1>!",
                "x 6a0c6ad5-7bd4-4dd0-8d0e-8c7f1e4f5a3b!",
                true,
            ),
            ("x <uid:1>!", "x 6a0c6ad5!", false),
            ("<none> <age>", "<none> 3d4h", true),
            ("<none> <age>", "<none> <invalid>", true),
            ("(<age> ago)", "(5m ago)", true),
            ("<age>", "soon", false),
            ("80:<port:1>/TCP", "80:30123/TCP", true),
            ("80:<port:1>/TCP", "80:80/TCP", false),
            ("<time>", "2026-01-02T03:04:05Z", true),
            ("<time>", "2026-01-02T03:04:05.123456Z", false),
            ("<time>", "2001-01-02T03:04:05Z", false),
            ("<microtime>", "2026-01-02T03:04:05.123456Z", true),
            (
                "+++ a\t<time>",
                "+++ a\t2026-01-02 03:04:05.123456789 +0000",
                true,
            ),
            ("at <date>", "at Mon, 02 Jan 2026 15:04:05 +0000", true),
            ("version: <rv> (<rv>)", "version: 1 (17)", true),
            ("version: <rv>", "version: 1 (17)", true),
            ("<ip:1>,<ip6:1>", "10.96.3.4,fd00:10:96::a", true),
            ("<ip:1>", "10.97.3.4", false),
            ("see <server> now", "see <server> now", true),
        ];
        for (want, have, agree) in cases {
            let result = text(want, have, &mut Bindings::default());
            assert_eq!(result, agree, "{want} {have}");
        }
    }

    #[test]
    fn numbered_placeholders_are_one_to_one() {
        let agree = |want: Value, have: Value| agrees(&want, &have, &mut Bindings::default());
        assert!(agree(
            json!(["<rv:1>", "<rv:2>", "<rv:1>"]),
            json!(["5", "6", "5"])
        ));
        assert!(!agree(json!(["<rv:1>", "<rv:2>"]), json!(["5", "5"])));
        assert!(!agree(json!(["<rv:1>", "<rv:1>"]), json!(["5", "6"])));
    }

    #[test]
    fn lists_without_order_are_compared_as_sets() {
        let (mut out, mut bindings) = (Vec::new(), Bindings::default());
        let (want, have) = ([json!("<rv:1>"), json!("b")], [json!("b"), json!("12")]);
        set(&want, &have, "/l", &mut bindings, &mut out);
        assert!(out.is_empty(), "{out:?}");
        set(
            &want,
            &[json!("b"), json!("c")],
            "/l",
            &mut bindings,
            &mut out,
        );
        assert_eq!(
            out,
            ["/l: missing, want \"<rv:1>\"", "/l: not wanted: \"c\""]
        );
    }
}
