//! Whether a schema is structural (KEP-1002): every part of an object has one place in the schema that says its type,
//! outside of `allOf`, `anyOf`, `oneOf` and `not`.

use super::props::{Additional, Props};
use crate::field::{Error, Path};

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Why a schema can't be made a structural one at all.
pub fn unsupported(schema: &Props) -> Option<&'static str> {
    let found = [
        (
            schema.unsupported.id,
            "OpenAPIV3Schema 'id' is not supported",
        ),
        (
            schema.unsupported.schema,
            "OpenAPIV3Schema 'schema' is not supported",
        ),
        (
            schema.unsupported.reference_text,
            "OpenAPIV3Schema '$ref' is not supported",
        ),
        (
            schema.unsupported.pattern_properties,
            "OpenAPIV3Schema 'patternProperties' is not supported",
        ),
        (
            schema.unsupported.dependencies,
            "OpenAPIV3Schema 'dependencies' is not supported",
        ),
        (
            schema.unsupported.additional_items,
            "OpenAPIV3Schema 'additionalItems' is not supported",
        ),
        (
            schema.unsupported.definitions,
            "OpenAPIV3Schema 'definitions' is not supported",
        ),
        (
            schema.preserve == Some(false),
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined",
        ),
        (
            schema.unsupported.items_list,
            "OpenAPIV3Schema 'items' must be a schema, but is an array",
        ),
    ];
    let own = found
        .into_iter()
        .find(|(wrong, _)| *wrong)
        .map(|(_, text)| text);
    own.or_else(|| {
        let nested = schema.not.as_deref().into_iter();
        let nested = nested
            .chain(&schema.all_of)
            .chain(&schema.any_of)
            .chain(&schema.one_of);
        let inner = nested
            .chain(schema.items.as_deref())
            .chain(schema.properties.values());
        let additional = schema.additional.as_ref().and_then(Additional::schema);
        inner.chain(additional).find_map(unsupported)
    })
}

/// What is not structural, sorted as upstream does.
pub fn validate(path: &Path<'_>, schema: &Props) -> Vec<Error> {
    let mut errors = Vec::new();
    invariants(&mut errors, schema, Level::Root, path);
    completeness(&mut errors, schema, schema, path, path);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

/// `anyOf` of an integer and a string and nothing else, which may stand with `x-kubernetes-int-or-string`.
fn is_int_or_string(any_of: &[Props]) -> bool {
    let only = |ty: &str| Props {
        ty: ty.to_owned(),
        ..Props::default()
    };
    matches!(any_of, [a, b] if *a == only("integer") && *b == only("string"))
}

fn invariants(errors: &mut Vec<Error>, schema: &Props, level: Level, path: &Path<'_>) {
    if schema.ty == "array" && schema.items.is_none() {
        errors.push(Error::required(&path.field("items"), "must be specified"));
    }
    if let Some(items) = &schema.items {
        invariants(errors, items, Level::Item, &path.field("items"));
    }
    for (name, property) in &schema.properties {
        let properties = path.field("properties");
        invariants(errors, property, Level::Field, &properties.key(name));
    }
    if let Some(additional) = &schema.additional {
        let path = path.field("additionalProperties");
        if level == Level::Root {
            errors.push(Error::forbidden(&path, "must not be used at the root"));
        }
        if let Additional::Schema(schema) = additional {
            invariants(errors, schema, Level::Field, &path);
        }
    }
    extensions(errors, schema, path);
    let first = schema.all_of.first();
    let skip_any_of = is_int_or_string(&schema.any_of);
    let skip_first = first.is_some_and(|s| is_int_or_string(&s.any_of));
    junctors(errors, schema, (skip_any_of, skip_first), path);
    own_type(errors, schema, level, path);
    known_members(errors, schema, level, path);
}

fn extensions(errors: &mut Vec<Error>, schema: &Props, path: &Path<'_>) {
    let detail = "must be false if x-kubernetes-int-or-string is true";
    if schema.int_or_string && schema.preserves() {
        let path = path.field("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(&path, serde_json::Value::from(true), detail));
    }
    if schema.int_or_string && schema.embedded {
        let path = path.field("x-kubernetes-embedded-resource");
        errors.push(Error::invalid(&path, serde_json::Value::from(true), detail));
    }
}

fn own_type(errors: &mut Vec<Error>, schema: &Props, level: Level, path: &Path<'_>) {
    let (ty, at) = (&*schema.ty, path.field("type"));
    if schema.embedded && ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match ty.is_empty() {
            true => Error::required(&at, detail),
            false => Error::invalid(&at, ty, detail),
        });
    } else if ty.is_empty() && !schema.int_or_string && !schema.preserves() {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(Error::required(&at, detail));
    }
    if schema.embedded && schema.additional.is_some() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(
            &path.field("additionalProperties"),
            detail,
        ));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.push(Error::invalid(&at, ty, "must be object at the root"));
    }
}

/// What a resource always has can only be restricted by name.
fn known_members(errors: &mut Vec<Error>, schema: &Props, level: Level, path: &Path<'_>) {
    let is_resource = level == Level::Root || schema.embedded;
    let properties = path.field("properties");
    for name in ["kind", "apiVersion"] {
        if let Some(property) = schema
            .properties
            .get(name)
            .filter(|p| p.ty != "string" && is_resource)
        {
            let at = properties.key(name);
            errors.push(Error::invalid(
                &at.field("type"),
                &*property.ty,
                "must be string",
            ));
        }
    }
    if let Some(metadata) = schema.properties.get("metadata") {
        let at = properties.key("metadata");
        if is_resource && metadata.ty != "object" {
            errors.push(Error::invalid(
                &at.field("type"),
                &*metadata.ty,
                "must be object",
            ));
        }
        if level == Level::Root && !restricts_names_only(metadata) {
            errors.push(Error::forbidden(
                &at,
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            ));
        }
    }
    if schema.embedded && !schema.preserves() && schema.properties.is_empty() {
        errors.push(Error::required(
            &properties,
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

fn restricts_names_only(metadata: &Props) -> bool {
    let mut rest = metadata.clone();
    if rest
        .properties
        .keys()
        .all(|n| n == "name" || n == "generateName")
    {
        rest.properties.clear();
    }
    rest.ty.clear();
    rest.default = None;
    rest == Props::default()
}

/// The value validation of a schema, nested or not.
fn junctors(
    errors: &mut Vec<Error>,
    schema: &Props,
    (skip_any_of, skip_first): (bool, bool),
    path: &Path<'_>,
) {
    if !skip_any_of {
        let list = path.field("anyOf");
        for (i, inner) in schema.any_of.iter().enumerate() {
            nested(errors, inner, (false, false), &list.index(i));
        }
    }
    let list = path.field("allOf");
    for (i, inner) in schema.all_of.iter().enumerate() {
        nested(errors, inner, (skip_first && i == 0, false), &list.index(i));
    }
    let list = path.field("oneOf");
    for (i, inner) in schema.one_of.iter().enumerate() {
        nested(errors, inner, (false, false), &list.index(i));
    }
    if let Some(inner) = &schema.not {
        nested(errors, inner, (false, false), &path.field("not"));
    }
    if let Some(pattern) = &schema.pattern
        && let Some(why) = pattern.error()
    {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(Error::invalid(
            &path.field("pattern"),
            pattern.text(),
            detail,
        ));
    }
}

fn nested(errors: &mut Vec<Error>, schema: &Props, skip: (bool, bool), path: &Path<'_>) {
    junctors(errors, schema, skip, path);
    if let Some(items) = &schema.items {
        nested(errors, items, (false, false), &path.field("items"));
    }
    for (name, property) in &schema.properties {
        let properties = path.field("properties");
        nested(errors, property, (false, false), &properties.key(name));
    }
    let additional = !matches!(schema.additional, None | Some(Additional::Allowed(false)));
    let wrong = [
        (
            !schema.ty.is_empty(),
            "type",
            "must be empty to be structural",
        ),
        (
            additional,
            "additionalProperties",
            "must be undefined to be structural",
        ),
        (
            schema.default.is_some(),
            "default",
            "must be undefined to be structural",
        ),
        (
            schema.noted.title,
            "title",
            "must be empty to be structural",
        ),
        (
            schema.noted.description,
            "description",
            "must be empty to be structural",
        ),
        (
            schema.nullable,
            "nullable",
            "must be false to be structural",
        ),
        (
            schema.preserves(),
            "x-kubernetes-preserve-unknown-fields",
            "must be false to be structural",
        ),
        (
            schema.embedded,
            "x-kubernetes-embedded-resource",
            "must be false to be structural",
        ),
        (
            schema.int_or_string,
            "x-kubernetes-int-or-string",
            "must be false to be structural",
        ),
        (
            !schema.list_map_keys.is_empty(),
            "x-kubernetes-list-map-keys",
            "must be empty to be structural",
        ),
        (
            schema.list_type.is_some(),
            "x-kubernetes-list-type",
            "must be undefined to be structural",
        ),
        (
            schema.map_type.is_some(),
            "x-kubernetes-map-type",
            "must be undefined to be structural",
        ),
        (
            !schema.rules.is_empty(),
            "x-kubernetes-validations",
            "must be empty to be structural",
        ),
    ];
    for (_, name, detail) in wrong.into_iter().filter(|(wrong, ..)| *wrong) {
        errors.push(Error::forbidden(&path.field(name), detail));
    }
    if schema.properties.contains_key("metadata") {
        let properties = path.field("properties");
        let detail = "must not be specified in a nested context";
        errors.push(Error::forbidden(&properties.key("metadata"), detail));
    }
}

/// Whatever the value validation of `nested` talks of has a place in `schema`.
fn completeness(
    errors: &mut Vec<Error>,
    nested: &Props,
    schema: &Props,
    own: &Path<'_>,
    other: &Path<'_>,
) {
    if let Some(inner) = &nested.not {
        nested_completeness(errors, inner, Some(schema), own, &other.field("not"));
    }
    let lists = [
        ("allOf", &nested.all_of),
        ("anyOf", &nested.any_of),
        ("oneOf", &nested.one_of),
    ];
    for (name, list) in lists {
        let at = other.field(name);
        for (i, inner) in list.iter().enumerate() {
            nested_completeness(errors, inner, Some(schema), own, &at.index(i));
        }
    }
}

fn nested_completeness(
    errors: &mut Vec<Error>,
    nested: &Props,
    schema: Option<&Props>,
    own: &Path<'_>,
    other: &Path<'_>,
) {
    let Some(schema) = schema else {
        errors.push(Error::required(
            own,
            format!("because it is defined in {other}"),
        ));
        return;
    };
    completeness(errors, nested, schema, own, other);
    if let Some(items) = &nested.items {
        let (own, other) = (own.field("items"), other.field("items"));
        nested_completeness(errors, items, schema.items.as_deref(), &own, &other);
    }
    let (own, other) = (own.field("properties"), other.field("properties"));
    for (name, property) in &nested.properties {
        let counterpart = schema.properties.get(name);
        nested_completeness(
            errors,
            property,
            counterpart,
            &own.key(name),
            &other.key(name),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn faults(schema: Value) -> Vec<String> {
        let errors = validate(&Path::root("s"), &Props::read(&schema));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_structural_is_told_with_its_place() {
        let table = [
            (json!({"type": "object"}), vec![]),
            (
                json!({}),
                vec!["s.type: Required value: must not be empty at the root"],
            ),
            (
                json!({"type": "string"}),
                vec!["s.type: Invalid value: \"string\": must be object at the root"],
            ),
            (
                json!({"type": "object", "properties": {"a": {}, "b": {"type": "array"}}}),
                vec![
                    "s.properties[a].type: Required value: must not be empty for specified object fields",
                    "s.properties[b].items: Required value: must be specified",
                ],
            ),
            (
                json!({"type": "object", "anyOf": [{"properties": {"x": {"type": "string", "minLength": 1}}}]}),
                vec![
                    "s.anyOf[0].properties[x].type: Forbidden: must be empty to be structural",
                    "s.properties[x]: Required value: because it is defined in s.anyOf[0].properties[x]",
                ],
            ),
            (
                json!({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}}),
                vec![],
            ),
            (
                json!({"type": "object", "properties": {"a": {"x-kubernetes-int-or-string": true,
                    "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"enum": [1]}]}}}),
                vec![],
            ),
            (
                json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "["}}}),
                vec![
                    "s.properties[a].pattern: Invalid value: \"[\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ]: `[`",
                ],
            ),
            (
                json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
                vec![
                    "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
                ],
            ),
            (
                json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string"}}}}}),
                vec![],
            ),
        ];
        for (schema, expected) in table {
            assert_eq!(faults(schema.clone()), expected, "{schema}");
        }
    }
}
