//! Whether the schema of a definition is one that Kubernetes takes: structural, without what contradicts pruning, and
//! with lists whose keys exist.

use serde_json::Value;

use super::{Errors, defaults, gotext, selectable};
use crate::crd::props::{Additional, Props, Rule};
use crate::crd::structural;
use crate::field::{Bad, Error, Path};

/// What may stand at the root when `status` is a subresource, whose schema is taken out of `properties`.
const ROOT: [&str; 22] = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

/// Checks the schema of a version, or of all. `path` is that of the object that holds it.
pub(super) fn check(errors: &mut Errors, path: &Path<'_>, schema: &Value, status: bool) {
    if schema.is_null() {
        return;
    }
    let at = path.field("openAPIV3Schema");
    let before = errors.len();
    if status {
        root(errors, path, &at, schema);
    }
    let props = Props::read(schema);
    if props.nullable {
        let at = path.field("openAPIV3Schema.nullable");
        errors.push(Error::forbidden(&at, "nullable cannot be true at the root"));
    }
    let unsupported = structural::unsupported(&props);
    if unsupported.is_none() {
        let wrong = structural::validate(&at, &props);
        match wrong.is_empty() {
            true => defaults::check(errors, &at, &props),
            false => errors.extend(wrong),
        }
    }
    let mut walk = Walk { errors };
    walk.schema(&props, &at, true, &Inside::default());
    if let Some(why) = unsupported.filter(|_| errors.len() == before) {
        errors.push(Error::invalid(&at, "", why));
    }
}

fn root(errors: &mut Errors, path: &Path<'_>, at: &Path<'_>, schema: &Value) {
    for member in gotext::set_members(schema) {
        if member == "Type" {
            let ty = schema["type"].as_str().unwrap_or_default();
            if ty != "object" {
                let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                errors.push(Error::invalid(
                    &path.field("openAPIV3Schema.type"),
                    ty,
                    detail,
                ));
                return;
            }
        } else if !ROOT.contains(&member) {
            let detail = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                ROOT.join(" ")
            );
            errors.push(Error::invalid(
                at,
                Bad::Text(gotext::schema(schema)),
                detail,
            ));
            return;
        }
    }
}

/// Where the walk is.
#[derive(Debug, Clone, Default)]
struct Inside {
    /// Why defaults are not allowed here.
    no_defaults: Option<String>,
    /// In the metadata of a resource.
    meta: bool,
}

struct Walk<'e> {
    errors: &'e mut Errors,
}

impl Walk<'_> {
    fn forbid(&mut self, path: &Path<'_>, detail: &str) {
        self.errors.push(Error::forbidden(path, detail));
    }

    fn invalid(&mut self, path: &Path<'_>, value: impl Into<Bad>, detail: &str) {
        self.errors.push(Error::invalid(path, value, detail));
    }

    fn require(&mut self, path: &Path<'_>, detail: &str) {
        self.errors.push(Error::required(path, detail));
    }

    fn schema(&mut self, schema: &Props, path: &Path<'_>, is_root: bool, inside: &Inside) {
        self.standard(schema, path, inside);
        if schema.unique_items {
            let detail =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbid(&path.field("uniqueItems"), detail);
        }
        self.additional(schema, path, inside);
        let properties = path.field("properties");
        for (name, property) in &schema.properties {
            let mut inner = inside.clone();
            let meta = matches!(&**name, "metadata" | "kind" | "apiVersion");
            if (is_root || schema.embedded) && meta {
                inner.meta = true;
                if is_root {
                    inner.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            self.schema(property, &properties.key(name), false, &inner);
        }
        if let Some(not) = &schema.not {
            self.schema(not, &path.field("not"), false, inside);
        }
        let lists = [
            ("allOf", &schema.all_of),
            ("oneOf", &schema.one_of),
            ("anyOf", &schema.any_of),
        ];
        for (name, list) in lists {
            let at = path.field(name);
            for (i, inner) in list.iter().enumerate() {
                self.schema(inner, &at.index(i), false, inside);
            }
        }
        if let Some(items) = &schema.items {
            self.schema(items, &path.field("items"), false, inside);
        }
        if schema.preserve == Some(false) {
            let at = path.field("x-kubernetes-preserve-unknown-fields");
            self.invalid(&at, Value::from(false), "must be true or undefined");
        }
        self.map_type(schema, path);
        self.list_type(schema, path);
        self.list_map(schema, path);
        self.keys(schema, path);
        let rules = path.field("x-kubernetes-validations");
        for (i, rule) in schema.rules.iter().enumerate() {
            self.rule(schema, rule, &rules.index(i));
        }
    }

    fn standard(&mut self, schema: &Props, path: &Path<'_>, inside: &Inside) {
        const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
        let ty = path.field("type");
        if !schema.ty.is_empty() && !TYPES.contains(&&*schema.ty) {
            self.errors
                .push(Error::not_supported(&ty, &*schema.ty, &TYPES));
        }
        if schema.default.is_some()
            && let Some(reason) = &inside.no_defaults
        {
            self.forbid(&path.field("default"), &format!("must not be set {reason}"));
        }
        let has = schema.unsupported;
        let found = [
            (has.id, "id", "id is not supported"),
            (
                has.additional_items,
                "additionalItems",
                "additionalItems is not supported",
            ),
            (
                has.pattern_properties,
                "patternProperties",
                "patternProperties is not supported",
            ),
            (
                has.definitions,
                "definitions",
                "definitions is not supported",
            ),
            (
                has.dependencies,
                "dependencies",
                "dependencies is not supported",
            ),
            (has.reference, "$ref", "$ref is not supported"),
            (
                schema.ty == "null",
                "type",
                "type cannot be set to null, use nullable as an alternative",
            ),
            (
                has.items_list,
                "items",
                "items must be a schema object and not an array",
            ),
            (
                inside.meta && schema.embedded,
                "x-kubernetes-embedded-resource",
                "must not be used inside of resource meta",
            ),
        ];
        for (_, name, detail) in found.into_iter().filter(|(found, ..)| *found) {
            self.forbid(&path.field(name), detail);
        }
    }

    fn additional(&mut self, schema: &Props, path: &Path<'_>, inside: &Inside) {
        let Some(additional) = &schema.additional else {
            return;
        };
        let at = path.field("additionalProperties");
        let free = matches!(additional, Additional::Allowed(true));
        if !schema.properties.is_empty() && !free {
            self.forbid(
                &at,
                "additionalProperties and properties are mutual exclusive",
            );
        }
        if let Additional::Schema(inner) = additional {
            let mut inside = inside.clone();
            if inside.meta {
                let reason = "inside additionalProperties applying to object metadata";
                inside.no_defaults = Some(reason.to_owned());
            }
            self.schema(inner, &at, false, &inside);
        }
    }

    fn map_type(&mut self, schema: &Props, path: &Path<'_>) {
        let Some(map_type) = &schema.map_type else {
            return;
        };
        let detail = "must be object if x-kubernetes-map-type is specified";
        match &*schema.ty {
            "object" => {}
            "" => self.require(&path.field("type"), detail),
            other => self.invalid(&path.field("type"), other, detail),
        }
        if !matches!(&**map_type, "atomic" | "granular") {
            let at = path.field("x-kubernetes-map-type");
            let supported = ["atomic", "granular"];
            self.errors
                .push(Error::not_supported(&at, &**map_type, &supported));
        }
    }

    fn list_type(&mut self, schema: &Props, path: &Path<'_>) {
        let at = path.field("x-kubernetes-list-type");
        if let Some(list_type) = &schema.list_type {
            let detail = "must be array if x-kubernetes-list-type is specified";
            match &*schema.ty {
                "array" if list_type == "set" => self.set_items(schema, path),
                "array" => {}
                "" => self.require(&path.field("type"), detail),
                other => self.invalid(&path.field("type"), other, detail),
            }
            if !matches!(&**list_type, "atomic" | "set" | "map") {
                let supported = ["atomic", "set", "map"];
                self.errors
                    .push(Error::not_supported(&at, &**list_type, &supported));
            }
        }
        if !schema.list_map_keys.is_empty() {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            match schema.list_type.as_deref() {
                None => self.require(&at, detail),
                Some("map") => {}
                Some(other) => self.invalid(&at, other, detail),
            }
        }
    }

    /// Items of a set are owned as a whole.
    fn set_items(&mut self, schema: &Props, path: &Path<'_>) {
        let Some(items) = &schema.items else { return };
        let at = path.field("items");
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let shown = || match &items.list_type {
            Some(list_type) => Value::from(&**list_type),
            None => Value::Null,
        };
        match &*items.ty {
            "array" if items.list_type.as_deref().is_some_and(|t| t != "atomic") => {
                self.invalid(&at.field("x-kubernetes-list-type"), shown(), detail);
            }
            "object" if items.map_type.as_deref() != Some("atomic") => {
                self.invalid(&at.field("x-kubernetes-map-type"), shown(), detail);
            }
            _ => {}
        }
    }

    fn list_map(&mut self, schema: &Props, path: &Path<'_>) {
        if schema.list_type.as_deref() != Some("map") {
            return;
        }
        let keys_path = path.field("x-kubernetes-list-map-keys");
        let items_path = path.field("items");
        if schema.list_map_keys.is_empty() {
            self.require(
                &keys_path,
                "must not be empty if x-kubernetes-list-type is map",
            );
        }
        let Some(items) = &schema.items else {
            if !schema.unsupported.items_list {
                self.require(
                    &items_path,
                    "must have a schema if x-kubernetes-list-type is map",
                );
            }
            return;
        };
        if items.ty != "object" {
            let detail = "must be object if parent array's x-kubernetes-list-type is map";
            self.invalid(&items_path.field("type"), &*items.ty, detail);
            return;
        }
        let keys = &schema.list_map_keys;
        let properties = items_path.field("properties");
        for (i, key) in keys.iter().enumerate() {
            match items.properties.get(key) {
                Some(property) if matches!(&*property.ty, "array" | "object") => {
                    let detail =
                        "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    let at = properties.key(key);
                    self.invalid(&at.field("type"), &*items.ty, detail);
                }
                Some(_) => {}
                None => {
                    let detail = "entries must all be names of item properties";
                    self.invalid(&keys_path, Value::from(keys.clone()), detail);
                }
            }
            if keys[..i].contains(key) {
                let detail = "must not contain duplicate entries";
                self.invalid(&keys_path, Value::from(keys.clone()), detail);
            }
        }
    }

    /// Items and keys of sets and maps are always there.
    fn keys(&mut self, schema: &Props, path: &Path<'_>) {
        let (Some(items), Some(list_type @ ("set" | "map"))) =
            (&schema.items, schema.list_type.as_deref())
        else {
            return;
        };
        let at = path.field("items");
        if items.nullable {
            let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            self.forbid(&at.field("nullable"), &detail);
        }
        if list_type != "map" {
            return;
        }
        let properties = at.field("properties");
        for key in &schema.list_map_keys {
            let Some(property) = items.properties.get(key) else {
                continue;
            };
            let at = properties.key(key);
            if !items.required.contains(key) && property.default.is_none() {
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.require(&at.field("default"), detail);
            }
            if property.nullable {
                let detail =
                    "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbid(&at.field("nullable"), detail);
            }
        }
    }

    fn rule(&mut self, schema: &Props, rule: &Rule, path: &Path<'_>) {
        const REASONS: [&str; 4] = [
            "FieldValueDuplicate",
            "FieldValueForbidden",
            "FieldValueInvalid",
            "FieldValueRequired",
        ];
        let lines = |text: &str| text.contains(['\n', '\r']);
        let message = rule.message.trim();
        let at = path.field("message");
        if rule.rule.trim().is_empty() {
            self.require(&path.field("rule"), "rule is not specified");
        } else if !rule.message.is_empty() && message.is_empty() {
            self.invalid(&at, &*rule.message, "must be non-empty if specified");
        } else if lines(message) {
            self.invalid(&at, &*rule.message, "must not contain line breaks");
        } else if lines(rule.rule.trim()) && message.is_empty() {
            self.require(
                &at,
                "message must be specified if rule contains line breaks",
            );
        }
        if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            self.require(&path.field("messageExpression"), detail);
        }
        if let Some(reason) = rule.reason.as_deref().filter(|r| !REASONS.contains(r)) {
            self.errors.push(Error::not_supported(
                &path.field("reason"),
                reason,
                &REASONS,
            ));
        }
        let (at, field_path) = (path.field("fieldPath"), &*rule.field_path);
        if !field_path.is_empty() && field_path.trim().is_empty() {
            self.invalid(&at, field_path, "must be non-empty if specified");
        }
        if lines(field_path) {
            self.invalid(&at, field_path, "must not contain line breaks");
        }
        if !field_path.is_empty() && selectable::resolve(field_path, schema, true).is_err() {
            self.invalid(&at, field_path, "must be a valid path");
        }
    }
}
