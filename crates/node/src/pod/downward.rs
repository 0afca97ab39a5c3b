//! What a pod may learn of itself: its metadata, and its containers' requests and limits. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceFieldSelector};

use crate::quantity::{self, Exact};

/// Why there is no value; `Display` is upstream's text.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A field path that names nothing.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// A resource that a container does not have.
    #[error("unsupported container resource : {0}")]
    Resource(String),
    /// A container that the pod does not have.
    #[error("container {0} not found")]
    Container(String),
}

/// A field of the pod's metadata (upstream's `ExtractFieldPathAsString`).
pub fn metadata(pod: &Pod, path: &str) -> Result<String, Error> {
    let meta = &pod.metadata;
    let unsupported = || Error::Field(path.to_owned());
    let subscript = path
        .strip_suffix("']")
        .and_then(|path| path.split_once("['"));
    if let Some((map, key)) = subscript {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(unsupported()),
        };
        let value = map.as_ref().and_then(|map| map.get(key));
        return Ok(value.cloned().unwrap_or_default());
    }
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => lines(&meta.labels),
        "metadata.annotations" => lines(&meta.annotations),
        _ => return Err(unsupported()),
    })
}

/// A map as lines of `key="value"`, in the order of the keys.
fn lines(map: &Option<BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quoted(value)))
        .collect();
    lines.join("\n")
}

/// A text in quotes, as Go's `strconv.Quote` writes it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => escape(&mut out, "x", 2, c),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => escape(&mut out, "u", 4, c),
            c => escape(&mut out, "U", 8, c),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, kind: &str, width: usize, c: char) {
    write!(out, "\\{kind}{:0width$x}", u32::from(c)).expect("writing to a string");
}

/// Whether Go takes a character as printable: what Rust shows as it is, and marks that combine.
fn is_printable(c: char) -> bool {
    c == ' ' || c.is_alphanumeric() || c.escape_debug().len() == 1 || {
        // `escape_debug` of a text keeps marks that follow a character.
        let mark = String::from_iter(['a', c]);
        mark.escape_debug().eq(mark.chars())
    }
}

/// A request or limit of a container, in units of the divisor, rounded up. A limit that is not set is what the node has
/// (`allocatable`: thousandths of a CPU, bytes of memory).
pub fn resource(
    selector: &ResourceFieldSelector,
    own: Option<&Container>,
    spec: Option<&PodSpec>,
    allocatable: (i64, i64),
) -> Result<String, Error> {
    let unsupported = || Error::Resource(selector.resource.clone());
    let container = match (selector.container_name.as_deref().unwrap_or_default(), own) {
        ("", Some(own)) => own,
        (name, _) => {
            let mut all = spec.into_iter().flat_map(|s| {
                s.containers
                    .iter()
                    .chain(s.init_containers.iter().flatten())
            });
            all.find(|c| c.name == name)
                .ok_or_else(|| Error::Container(name.to_owned()))?
        }
    };
    let (list, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.as_ref();
    let wanted = match list {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(unsupported()),
    };
    let value = match (wanted.and_then(|w| w.get(name)), list, name) {
        (Some(quantity), _, _) => quantity::parse(&quantity.0).ok_or_else(unsupported)?,
        // Upstream's MergeContainerResourceLimits.
        (None, "limits", "cpu") => Exact::from_millis(allocatable.0),
        (None, "limits", "memory") => Exact::from_units(allocatable.1),
        (None, _, "cpu" | "memory" | "ephemeral-storage") => Exact::ZERO,
        _ => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref().map_or("1", |d| d.0.as_str());
    let divisor = quantity::parse(divisor).filter(|d| *d > Exact::ZERO);
    let divisor = divisor.unwrap_or(Exact::from_units(1));
    let units = value.divided_by(divisor).ok_or_else(unsupported)?;
    Ok(units.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fields of the recorded scenario vol-downward.
    #[test]
    fn fields_are_written_as_upstream_does() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "ns", "uid": "u",
            "labels": {"b": "2", "a": "1"}, "annotations": {"k": "line1\nline2", "z": "\"q\"", "é": "ü\u{7f}\u{200b}"}}}))
        .expect("a pod");
        let rows = [
            ("metadata.name", Ok("a")),
            ("metadata.namespace", Ok("ns")),
            ("metadata.uid", Ok("u")),
            ("metadata.labels", Ok("a=\"1\"\nb=\"2\"")),
            ("metadata.labels['b']", Ok("2")),
            ("metadata.labels['c']", Ok("")),
            ("metadata.annotations['z']", Ok("\"q\"")),
            (
                "metadata.annotations",
                Ok("k=\"line1\\nline2\"\nz=\"\\\"q\\\"\"\né=\"ü\\x7f\\u200b\""),
            ),
            ("spec.nodeName", Err("unsupported fieldPath: spec.nodeName")),
        ];
        for (path, want) in rows {
            let got = metadata(&pod, path).map_err(|err| err.to_string());
            assert_eq!(
                got,
                want.map(str::to_owned).map_err(str::to_owned),
                "{path}"
            );
        }
    }
}
