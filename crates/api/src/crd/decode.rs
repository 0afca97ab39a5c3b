//! Bytes of a request to a custom object that fits its schema's structure.

use serde_json::Value;

use super::definition::Family;
use super::props::Props;
use super::{Custom, metadata, prune};
use crate::decode::node::Node;
use crate::decode::{DecodeError, Decoded, Format, duplicates, json, summary, yaml};
use crate::resource::{GroupVersionKind, split_api_version};

/// Reads an object of a custom resource. Members that its schema does not know are dropped and told.
pub fn decode(
    body: &[u8],
    format: Format,
    expected: &GroupVersionKind,
    custom: &Custom,
) -> Result<Decoded, DecodeError> {
    const JSON_ERROR: &str = "couldn't get version/kind; json parse error: ";
    let unrecognized = |cause: String| DecodeError::Unrecognized {
        expected: expected.kind.to_string(),
        cause,
        summary: summary(body),
    };
    let (value, mut strict) = match format {
        Format::Json => {
            let node = json::parse(body).map_err(|e| unrecognized(format!("{JSON_ERROR}{e}")))?;
            check_object(&node).map_err(unrecognized)?;
            (node.to_value(), duplicates(&node, ""))
        }
        Format::Yaml => {
            let yaml = yaml::parse(body).map_err(|e| unrecognized(e.to_string()))?;
            check_object(&yaml.node).map_err(unrecognized)?;
            (yaml.node.to_value(), Vec::from_iter(yaml.strict()))
        }
        Format::Protobuf => {
            return Err(unrecognized(
                "object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be \
                 encoded to a protobuf message"
                    .to_owned(),
            ));
        }
    };
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("kind").is_empty() {
        let whole = String::from_utf8_lossy(body);
        return Err(unrecognized(format!(
            "Object 'Kind' is missing in '{whole}'"
        )));
    }
    let api_version = text("apiVersion").to_owned();
    let kind = text("kind").to_owned();
    let Some((group, version)) = split_api_version(&api_version) else {
        return Err(unrecognized(format!(
            "unexpected GroupVersion string: {api_version}"
        )));
    };
    let unhandled = |cause: String| DecodeError::Unhandled {
        kind: kind.clone(),
        version: version.to_owned(),
        expected: expected.kind.to_string(),
        cause,
    };
    let mut object = value.clone();
    if group == expected.group && kind == expected.kind {
        let schema = custom.family.schema(version);
        strict.extend(fit(&mut object, schema.map(|s| &**s), &custom.family).map_err(unhandled)?);
    } else {
        metadata::conform(&object["metadata"]).map_err(|e| unhandled(e.to_string()))?;
    }
    if api_version != expected.api_version() {
        return Err(DecodeError::Version {
            found: api_version,
            expected: expected.api_version().into_owned(),
        });
    }
    let told = strict
        .into_iter()
        .fold(Vec::new(), |mut all: Vec<String>, text| {
            if !all.contains(&text) {
                all.push(text);
            }
            all
        });
    Ok(Decoded {
        object,
        strict: told,
    })
}

fn check_object(node: &Node<'_>) -> Result<(), String> {
    match node {
        Node::Object(_) => Ok(()),
        other => Err(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ \
             APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            other.go_word()
        )),
    }
}

/// Makes an object fit a schema's structure: metadata as Go has them, no unknown members, no wrong nulls. Answers what
/// strict decoding says, or why the object is none.
pub fn fit(
    object: &mut Value,
    schema: Option<&Props>,
    family: &Family,
) -> Result<Vec<String>, String> {
    let mut strict = Vec::new();
    let has_metadata = object.get("metadata").is_some_and(|m| !m.is_null());
    let conformed = metadata::conform(&object["metadata"]).map_err(|e| e.to_string())?;
    strict.extend(
        conformed
            .strict
            .into_iter()
            .map(|text| under_metadata(&text)),
    );
    if let Some(schema) = schema {
        let unknown = |path: String| format!("unknown field \"{path}\"");
        if !family.preserves {
            let removed = prune::prune(object, &schema.as_resource());
            strict.extend(removed.into_iter().map(unknown));
            prune::prune_nulls(object, Some(schema));
        }
        let mut more = Vec::new();
        metadata::coerce_root(object, schema, &mut more).map_err(|e| e.to_string())?;
        more.sort();
        strict.extend(more.into_iter().map(unknown));
    }
    if has_metadata {
        object["metadata"] = conformed.value;
    } else if let Some(members) = object.as_object_mut() {
        members.remove("metadata");
    }
    Ok(strict)
}

/// `unknown field "foo"` of metadata alone, as it is of the object.
fn under_metadata(text: &str) -> String {
    text.replacen("field \"", "field \"metadata.", 1)
}
