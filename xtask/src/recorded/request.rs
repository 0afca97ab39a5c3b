//! A request as a scenario describes it.

use std::collections::HashMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Serialize as _;
use serde_json::ser::Formatter;
use serde_json::{Value, json};

use super::server::Server;

/// Documents that earlier answers were captured as.
#[derive(Default)]
pub struct Captured(HashMap<String, Value>);

impl Captured {
    /// Takes what a step captures (name → pointer) out of an answer.
    pub fn take(&mut self, captures: &Value, body: &[u8]) {
        let Some(captures) = captures.as_object() else {
            return;
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        for (name, pointer) in captures {
            let value = body.pointer(pointer.as_str().unwrap_or_default());
            self.0
                .insert(name.clone(), value.cloned().unwrap_or_default());
        }
    }

    /// Puts captured texts where `${name}` stands.
    pub fn fill(&self, text: &str) -> String {
        if !text.contains("${") {
            return text.to_owned();
        }
        let mut text = text.to_owned();
        for (name, value) in &self.0 {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            text = text.replace(&format!("${{{name}}}"), &value);
        }
        text
    }

    fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill(text).into(),
            Value::Array(items) => items.iter().map(|item| self.fill_value(item)).collect(),
            Value::Object(members) => {
                let members = members.iter();
                members
                    .map(|(name, value)| (self.fill(name), self.fill_value(value)))
                    .collect()
            }
            other => other.clone(),
        }
    }

    fn body(&self, request: &Value) -> Option<Vec<u8>> {
        if let Some(raw) = request["raw"].as_str() {
            return Some(self.fill(raw).into_bytes());
        }
        if let Some(name) = request["body_of"].as_str() {
            let mut body = self.0.get(name).cloned().unwrap_or_default();
            for (pointer, value) in request["set"].as_object().into_iter().flatten() {
                set(&mut body, pointer, self.fill_value(value));
            }
            let unwanted = request["unset"].as_array().into_iter().flatten();
            unwanted
                .filter_map(Value::as_str)
                .for_each(|pointer| unset(&mut body, pointer));
            return Some(body.to_string().into_bytes());
        }
        if request["repeat"].is_object() {
            let text = |name: &str| request["repeat"][name].as_str().unwrap_or_default();
            let count = request["repeat"]["count"].as_u64().unwrap_or(0) as usize;
            let middle = text("unit").repeat(count);
            return Some(
                [text("prefix"), &middle, text("suffix")]
                    .concat()
                    .into_bytes(),
            );
        }
        Some(spaced(&self.fill_value(request.get("body")?)))
    }

    /// Makes the request.
    pub fn request(&self, request: &Value, server: &Server) -> Result<Request<Full<Bytes>>> {
        let body = self.body(request);
        let mut headers: HashMap<String, Option<String>> = HashMap::from([
            ("host".into(), Some(server.address.to_string())),
            ("accept".into(), Some("application/json".into())),
            ("user-agent".into(), Some("rec".into())),
        ]);
        let user = self.fill(request["user"].as_str().unwrap_or("admin"));
        let token = server.token(&user).map(|token| format!("Bearer {token}"));
        headers.insert("authorization".into(), token);
        if body.is_some() {
            headers.insert("content-type".into(), Some("application/json".into()));
        }
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            headers.insert(
                name.to_lowercase(),
                value.as_str().map(|text| self.fill(text)),
            );
        }
        let path = self.fill(request["path"].as_str().unwrap_or_default());
        let mut made = Request::builder()
            .method(request["method"].as_str().unwrap_or("GET"))
            .uri(&path);
        for (name, value) in &headers {
            if let Some(value) = value {
                made = made.header(name, value);
            }
        }
        made.body(Full::new(body.unwrap_or_default().into()))
            .with_context(|| format!("make a request for {path}"))
    }
}

/// JSON with blanks behind commas and colons, as the recordings were made: some answers quote what was sent.
fn spaced(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Spaced);
    value.serialize(&mut serializer).expect("memory takes all");
    bytes
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

fn names(pointer: &str) -> Vec<String> {
    let names = pointer.split('/').skip(1);
    names
        .map(|name| name.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// Puts a value where a pointer leads; parents become objects.
fn set(value: &mut Value, pointer: &str, new: Value) {
    let mut at = value;
    for name in names(pointer) {
        at = match at {
            Value::Array(items) => match name.parse::<usize>().ok().filter(|i| *i < items.len()) {
                Some(i) => &mut items[i],
                None => {
                    items.push(Value::Null);
                    items.last_mut().expect("one was added")
                }
            },
            other => {
                if !other.is_object() {
                    *other = json!({});
                }
                &mut other[name.as_str()]
            }
        };
    }
    *at = new;
}

fn unset(value: &mut Value, pointer: &str) {
    let Some((parent, _)) = pointer.rsplit_once('/') else {
        return;
    };
    let name = names(pointer).pop().unwrap_or_default();
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&name);
        }
        Some(Value::Array(items)) => {
            if let Some(i) = name.parse::<usize>().ok().filter(|i| *i < items.len()) {
                items.remove(i);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_blanks() {
        let text = |value: Value| String::from_utf8(spaced(&value)).unwrap();
        assert_eq!(
            text(json!({"a": [1, 2], "b": {}})),
            r#"{"a": [1, 2], "b": {}}"#
        );
    }

    #[test]
    fn captured_document_is_changed_by_pointers() {
        let mut captured = Captured::default();
        captured.take(&json!({"o": ""}), br#"{"a": {"b/c": 1}, "l": [1, 2]}"#);
        let request =
            json!({"body_of": "o", "set": {"/n/m": "x", "/l/0": 5}, "unset": ["/a/b~1c", "/l/1"]});
        let body: Value = serde_json::from_slice(&captured.body(&request).unwrap()).unwrap();
        assert_eq!(body, json!({"a": {}, "l": [5], "n": {"m": "x"}}));
    }

    #[test]
    fn captured_text_fills_names_and_values() {
        let mut captured = Captured::default();
        captured.take(
            &json!({"uid": "/uid", "n": "/n"}),
            br#"{"uid": "u-1", "n": 7}"#,
        );
        assert_eq!(
            captured.fill("/a?u=${uid}&n=${n}&x=${x}"),
            "/a?u=u-1&n=7&x=${x}"
        );
        assert_eq!(
            captured.fill_value(&json!({"${uid}": ["${n}"]})),
            json!({"u-1": ["7"]})
        );
    }
}
