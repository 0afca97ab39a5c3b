//! Compares an answer with a recorded one, in which what differs from run to run is a placeholder.
//!
//! `<uid:1>` stands for the same text wherever it occurs in a scenario, and for another one than `<uid:2>`.

use std::collections::HashMap;

use serde_json::Value;

/// What placeholders stood for so far.
#[derive(Default, Clone)]
pub struct Bindings {
    by_name: HashMap<String, String>,
    by_text: HashMap<(String, String), String>,
}

impl Bindings {
    fn bind(&mut self, name: &str, text: &str) -> bool {
        if !name.contains(':') {
            return true;
        }
        let kind = name.split(':').next().unwrap_or_default().to_owned();
        if let Some(known) = self.by_name.get(name) {
            return known == text;
        }
        if self.by_text.contains_key(&(kind.clone(), text.to_owned())) {
            return false;
        }
        self.by_name.insert(name.to_owned(), text.to_owned());
        self.by_text
            .insert((kind, text.to_owned()), name.to_owned());
        true
    }
}

/// The length of what a placeholder can stand for at the start of a text.
fn extent(kind: &str, text: &str) -> Option<usize> {
    let run = |ok: &dyn Fn(char) -> bool| text.find(|c| !ok(c)).unwrap_or(text.len());
    let length = match kind {
        "uid" => 36.min(text.len()),
        "name" => 5.min(text.len()),
        // The two numbers of "too old resource version: A (B)" are one.
        "rv" if text[run(&|c| c.is_ascii_digit())..].starts_with(" (") => {
            text.find(')').map_or(0, |end| end + 1)
        }
        "rv" | "port" => run(&|c| c.is_ascii_digit()),
        "ip" => run(&|c| c.is_ascii_digit() || c == '.'),
        "ip6" => run(&|c| c.is_ascii_hexdigit() || c == ':'),
        "time" | "microtime" => run(&|c| c.is_ascii_digit() || "-:.TZ+".contains(c)),
        "age" => run(&|c| c.is_ascii_alphanumeric() || "<>".contains(c)),
        "continue" | "server" | "token" | "unordered" => text.len(),
        _ => return None,
    };
    (length > 0).then_some(length)
}

/// Whether a text is as recorded.
pub fn text(want: &str, have: &str, bindings: &mut Bindings) -> bool {
    let mut want = want;
    let mut have = have;
    loop {
        let placeholder = want.find('<').and_then(|start| {
            let end = start + want[start..].find('>')?;
            let name = &want[start + 1..end];
            let kind = name.split(':').next().unwrap_or_default();
            extent(kind, "0")
                .or_else(|| extent(kind, "a"))
                .map(|_| (start, end, name, kind))
        });
        let Some((start, end, name, kind)) = placeholder else {
            return want == have;
        };
        let Some(rest) = have.strip_prefix(&want[..start]) else {
            return false;
        };
        let Some(length) = extent(kind, rest) else {
            return false;
        };
        if !rest.is_char_boundary(length) || !bindings.bind(name, &rest[..length]) {
            return false;
        }
        have = &rest[length..];
        want = &want[end + 1..];
    }
}

/// Says where an answer differs from the recorded one.
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
                match have.get(name) {
                    Some(found) => json(value, found, &format!("{path}/{name}"), bindings, out),
                    None => out.push(format!("{path}/{name}: missing, want {value}")),
                }
            }
            for (name, value) in have.iter().filter(|(name, _)| !want.contains_key(*name)) {
                out.push(format!("{path}/{name}: not wanted: {value}"));
            }
        }
        (Value::Array(want), Value::Array(have)) if want.len() == have.len() => {
            let sorted;
            let have = if path.ends_with("/managedFields") {
                sorted = sort_managers(have);
                &sorted
            } else {
                have
            };
            for (i, (want, have)) in want.iter().zip(have).enumerate() {
                json(want, have, &format!("{path}/{i}"), bindings, out);
            }
        }
        (Value::String(want), Value::String(have)) if text(want, have, bindings) => {}
        (Value::String(want), Value::Number(have)) if text(want, &have.to_string(), bindings) => {}
        (want, have) if want == have || numbers_equal(want, have) => {}
        _ => out.push(format!("{path}: want {want}\n        have {have}")),
    }
}

fn numbers_equal(want: &Value, have: &Value) -> bool {
    want.is_number() && want.as_f64() == have.as_f64()
}

fn sort_managers(list: &[Value]) -> Vec<Value> {
    let key = |entry: &Value| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        (
            text("operation"),
            text("manager"),
            text("subresource"),
            text("apiVersion"),
            entry.to_string(),
        )
    };
    let mut list = list.to_vec();
    list.sort_by_key(key);
    list
}
