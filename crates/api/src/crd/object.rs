//! Whether an object of a custom resource is right, and what is unwise about it.

use serde_json::Value;

use super::props::Props;
use super::value::ratchet::Old;
use super::{Custom, list_type, metadata, value};
use crate::field::{Error, Kind, Path};
use crate::names;
use crate::resource::Resource;

/// What is wrong with a new object, but for its metadata.
pub fn create(errors: &mut Vec<Error>, resource: &Resource, custom: &Custom, object: &Value) {
    errors.extend(value::create(&custom.schema, None, object));
    if let Some(scale) = &custom.scale {
        scale.validate(errors, object, true);
    }
    metadata::validate(errors, None, object, &custom.schema);
    list_type::validate(errors, object, &custom.schema);
    rules(errors, resource, custom);
}

/// What is wrong with a changed object, but for its metadata.
pub fn update(
    errors: &mut Vec<Error>,
    resource: &Resource,
    custom: &Custom,
    subresource: &str,
    old: &Value,
    new: &Value,
) {
    let whole = Old::new(new, old, &custom.schema);
    match subresource {
        "status" => {
            let schema = custom.schema.properties.get("status");
            if let (Some(schema), Some(status)) = (schema, new.get("status")) {
                let path = Path::root("status");
                let old = whole.key("status");
                let old = old.or(Some(Old::new(status, &Value::Null, schema)));
                errors.extend(value::update(schema, Some(&path), old, status));
            }
        }
        _ => errors.extend(value::update(&custom.schema, None, Some(whole), new)),
    }
    if let Some(scale) = &custom.scale {
        scale.validate(errors, new, subresource != "status");
    }
    if subresource != "status" {
        metadata::validate(errors, None, new, &custom.schema);
    }
    let lists = |object: &Value| {
        let mut errors = Vec::new();
        list_type::validate(&mut errors, object, &custom.schema);
        errors
    };
    // Lists that were wrong before may stay so.
    let wrong = lists(new);
    if !wrong.is_empty() && lists(old).is_empty() {
        errors.extend(wrong);
    }
    rules(errors, resource, custom);
}

/// The kind and the version that an object says, which a patch may have changed.
pub fn type_meta(errors: &mut Vec<Error>, resource: &Resource, object: &Value) {
    let expected = [
        ("kind", resource.kind.to_string()),
        ("apiVersion", resource.api_version().into_owned()),
    ];
    for (name, expected) in expected {
        let found = object.get(name).and_then(Value::as_str).unwrap_or_default();
        if found != expected {
            let detail = format!("must be {expected}");
            errors.push(Error::invalid(&Path::root(name), found, detail));
        }
    }
}

/// Whether a schema has rules anywhere.
pub fn has_rules(schema: &Props) -> bool {
    schema.any(&mut |s| !s.rules.is_empty())
}

/// Whether rules are not evaluated on an object where this is wrong.
pub fn blocks_rules(error: &Error) -> bool {
    matches!(
        error.kind,
        Kind::NotSupported | Kind::Required | Kind::TooLong | Kind::TooMany | Kind::TypeInvalid
    )
}

/// Rules are not evaluated on objects whose shape is wrong.
fn rules(errors: &mut Vec<Error>, _resource: &Resource, custom: &Custom) {
    if custom.has_rules && errors.iter().any(blocks_rules) {
        errors.push(Error {
            kind: Kind::Invalid,
            field: "<nil>".to_owned(),
            value: Value::Null.into(),
            detail: "some validation rules were not checked because the object was invalid; correct the existing \
                     errors to complete validation"
                .to_owned(),
        });
    }
}

/// What is right but unwise: finalizers with names that others might have, too.
pub fn warnings(old: Option<&Value>, new: &Value) -> Vec<String> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let finalizers = |object: &Value| -> Vec<String> {
        let list = object["metadata"]["finalizers"].as_array();
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let before = old.map(finalizers).unwrap_or_default();
    let mut added = finalizers(new);
    added.retain(|f| !before.contains(f));
    added.sort();
    added.dedup();
    let mut warnings = Vec::new();
    for name in added {
        let quoted = crate::field::quote(&name);
        for wrong in names::qualified_name(&name) {
            warnings.push(format!("metadata.finalizers: {quoted}: {wrong}"));
        }
        if !name.contains('/') && !STANDARD.contains(&&*name) {
            let with_path = if name.contains('.') {
                " including a path (/)"
            } else {
                ""
            };
            warnings.push(format!(
                "metadata.finalizers: {quoted}: prefer a domain-qualified finalizer name{with_path} to avoid accidental \
                 conflicts with other finalizer writers"
            ));
        }
    }
    warnings
}
