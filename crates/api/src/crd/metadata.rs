//! The metadata of custom objects and of resources embedded in them: made to fit Go's `ObjectMeta`, and validated.

use serde_json::{Map, Value};

use super::props::Props;
use super::prune::prune;
use crate::decode::conform::{Conformed, Error, conform_value};
use crate::field::{self, Path};
use crate::names;
use crate::schema::{Schema, Type};
use crate::validate;

/// The type of `metadata`.
pub fn object_meta() -> Type<'static> {
    let pod = Schema::builtin()
        .kind("", "v1", "Pod")
        .expect("Pod is built in");
    pod.field("metadata").expect("Pods have metadata").1
}

/// What `metadata` becomes by a round trip through Go's struct, with what strict decoding says.
pub fn conform(metadata: &Value) -> Result<Conformed, Error> {
    let mut conformed = conform_value(metadata, object_meta())?;
    if let Value::Object(members) = &mut conformed.value
        && members.get("creationTimestamp").is_some_and(Value::is_null)
    {
        members.remove("creationTimestamp");
    }
    Ok(conformed)
}

/// [`conform`] member by member, for what was stored when there were no checks: what does not fit is dropped.
pub fn conform_leniently(metadata: &Value) -> Value {
    if let Ok(conformed) = conform(metadata) {
        return conformed.value;
    }
    let members = metadata.as_object().into_iter().flatten();
    let right = members.filter(|(name, value)| {
        let one = Map::from_iter([((*name).clone(), (*value).clone())]);
        conform(&Value::Object(one)).is_ok()
    });
    let right = right.map(|(name, value)| (name.clone(), value.clone()));
    conform(&Value::Object(right.collect())).map_or(Value::Object(Map::new()), |c| c.value)
}

/// Makes the metadata of embedded resources fit. `unknown` gets the paths of members that are no metadata.
///
/// The error is told by its field (relative to the value), the value there and the text.
pub fn coerce(
    value: &mut Value,
    schema: &Props,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), field::Error> {
    coerce_at(value, schema, Some(path), unknown)
}

/// [`coerce`] for a whole object, whose paths begin with its members.
pub fn coerce_root(
    value: &mut Value,
    schema: &Props,
    unknown: &mut Vec<String>,
) -> Result<(), field::Error> {
    coerce_at(value, schema, None, unknown)
}

fn child<'a>(path: Option<&'a Path<'a>>, name: &'a str) -> Path<'a> {
    match path {
        Some(path) => path.field(name),
        None => Path::root(name),
    }
}

fn coerce_at(
    value: &mut Value,
    schema: &Props,
    path: Option<&Path<'_>>,
    unknown: &mut Vec<String>,
) -> Result<(), field::Error> {
    match value {
        Value::Object(members) => {
            if schema.embedded {
                coerce_resource(members, path, unknown)?;
            }
            for (name, value) in members.iter_mut() {
                if let Some(property) = schema.properties.get(name) {
                    coerce_at(value, property, Some(&child(path, name)), unknown)?;
                } else if let Some(other) = schema.member(name) {
                    let root = Path::root("");
                    let at = path.unwrap_or(&root).key(name);
                    coerce_at(value, other, Some(&at), unknown)?;
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (i, item) in items.iter_mut().enumerate() {
                    let root = Path::root("");
                    let at = path.unwrap_or(&root).index(i);
                    coerce_at(item, schema, Some(&at), unknown)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn coerce_resource(
    members: &mut Map<String, Value>,
    path: Option<&Path<'_>>,
    unknown: &mut Vec<String>,
) -> Result<(), field::Error> {
    for name in ["apiVersion", "kind"] {
        if let Some(value) = members.get(name).filter(|v| !v.is_string()) {
            let at = child(path, name);
            return Err(field::Error::invalid(&at, value, "must be a string"));
        }
    }
    let Some(metadata) = members.get_mut("metadata") else {
        return Ok(());
    };
    let at = child(path, "metadata");
    match conform(metadata) {
        Ok(conformed) => {
            let told = conformed.strict.iter().filter_map(|text| {
                let name = text.strip_prefix("unknown field \"")?.strip_suffix('"')?;
                Some(format!("{at}.{name}"))
            });
            unknown.extend(told);
            *metadata = conformed.value;
            Ok(())
        }
        Err(err) => Err(field::Error::invalid(&at, &*metadata, err.to_string())),
    }
}

/// What is wrong with resources embedded in an object.
pub fn validate(
    errors: &mut Vec<field::Error>,
    path: Option<&Path<'_>>,
    value: &Value,
    schema: &Props,
) {
    match value {
        Value::Object(members) => {
            if schema.embedded {
                resource(errors, path, members);
            }
            for (name, value) in members {
                if let Some(property) = schema.properties.get(name) {
                    validate(errors, Some(&child(path, name)), value, property);
                } else if let Some(other) = schema.member(name) {
                    let root = Path::root("");
                    validate(errors, Some(&path.unwrap_or(&root).key(name)), value, other);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (i, item) in items.iter().enumerate() {
                    let root = Path::root("");
                    validate(errors, Some(&path.unwrap_or(&root).index(i)), item, schema);
                }
            }
        }
        _ => {}
    }
}

fn resource(errors: &mut Vec<field::Error>, path: Option<&Path<'_>>, members: &Map<String, Value>) {
    for name in ["apiVersion", "kind"] {
        let at = child(path, name);
        match members.get(name) {
            None => errors.push(field::Error::required(&at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(field::Error::invalid(&at, &**text, "must not be empty"));
            }
            Some(Value::String(text)) if name == "kind" => {
                let wrong = names::dns1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    let detail = format!(
                        "may have mixed case, but should otherwise match: {}",
                        wrong.join(",")
                    );
                    errors.push(field::Error::invalid(&at, &**text, detail));
                }
            }
            Some(Value::String(text)) => {
                if text.matches('/').count() > 1 {
                    let detail = format!("unexpected GroupVersion string: {text}");
                    errors.push(field::Error::invalid(&at, &**text, detail));
                }
            }
            Some(other) => errors.push(field::Error::invalid(&at, other, "must be a string")),
        }
    }
    if let Some(metadata) = members.get("metadata") {
        let at = child(path, "metadata");
        match conform(metadata) {
            Err(err) => errors.push(field::Error::invalid(&at, metadata, err.to_string())),
            Ok(conformed) => validate::embedded_metadata(errors, &at, &conformed.value),
        }
    }
}

/// What [`prune`] and [`coerce`] make of a default, which must be nothing else.
pub fn is_pruned(default: &Value, schema: &Props) -> bool {
    let mut pruned = default.clone();
    prune(&mut pruned, schema);
    pruned == *default
}
