//! The JSON schema of a CustomResourceDefinition (`JSONSchemaProps`), read once into a tree.
//!
//! The tree serves everything that walks objects of a custom resource. It keeps what validation must refuse
//! ([`Props::unsupported`]) and leaves out texts for people. Invariant: the schema was decoded as a part of its
//! definition, so members have the right types; what does not is taken as absent.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pattern::Pattern;

/// `additionalProperties`.
#[derive(Debug, Clone, PartialEq)]
pub enum Additional {
    /// `true` or `false`.
    Allowed(bool),
    /// The schema of members that are not named.
    Schema(Box<Props>),
}

impl Additional {
    /// The schema, if it is one.
    pub fn schema(&self) -> Option<&Props> {
        match self {
            Additional::Schema(schema) => Some(schema),
            Additional::Allowed(_) => None,
        }
    }
}

/// One rule of `x-kubernetes-validations`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// The expression.
    pub rule: String,
    /// What is said when it fails.
    pub message: String,
    /// An expression for the same.
    pub message_expression: String,
    /// The reason of the error.
    pub reason: Option<String>,
    /// The field of the error, relative to the schema.
    pub field_path: String,
    /// Whether `oldSelf` is an optional.
    pub optional_old_self: Option<bool>,
}

/// Texts for people, of which only their presence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Noted {
    /// `title`
    pub title: bool,
    /// `description`
    pub description: bool,
    /// `externalDocs`
    pub external_docs: bool,
    /// `example`
    pub example: bool,
}

/// What the schema language has and CustomResourceDefinitions refuse, in upstream's order of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unsupported {
    /// `id`
    pub id: bool,
    /// `$schema`
    pub schema: bool,
    /// `$ref`, even an empty one.
    pub reference: bool,
    /// `$ref` with a text.
    pub reference_text: bool,
    /// `patternProperties`
    pub pattern_properties: bool,
    /// `dependencies`
    pub dependencies: bool,
    /// `additionalItems`
    pub additional_items: bool,
    /// `definitions`
    pub definitions: bool,
    /// `items` as a list of schemas.
    pub items_list: bool,
}

/// A JSON schema.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Props {
    /// `type`; may be empty.
    pub ty: String,
    /// `format`; may be empty.
    pub format: String,
    /// `nullable`
    pub nullable: bool,
    /// `default`; `null` is none.
    pub default: Option<Value>,
    /// `maximum`
    pub maximum: Option<f64>,
    /// `exclusiveMaximum`
    pub exclusive_maximum: bool,
    /// `minimum`
    pub minimum: Option<f64>,
    /// `exclusiveMinimum`
    pub exclusive_minimum: bool,
    /// `maxLength`, in characters.
    pub max_length: Option<i64>,
    /// `minLength`, in characters.
    pub min_length: Option<i64>,
    /// `pattern`
    pub pattern: Option<Pattern>,
    /// `maxItems`
    pub max_items: Option<i64>,
    /// `minItems`
    pub min_items: Option<i64>,
    /// `uniqueItems`
    pub unique_items: bool,
    /// `multipleOf`
    pub multiple_of: Option<f64>,
    /// `enum`
    pub enumeration: Vec<Value>,
    /// `maxProperties`
    pub max_properties: Option<i64>,
    /// `minProperties`
    pub min_properties: Option<i64>,
    /// `required`
    pub required: Vec<String>,
    /// `items`
    pub items: Option<Box<Props>>,
    /// `allOf`
    pub all_of: Vec<Props>,
    /// `oneOf`
    pub one_of: Vec<Props>,
    /// `anyOf`
    pub any_of: Vec<Props>,
    /// `not`
    pub not: Option<Box<Props>>,
    /// `properties`
    pub properties: BTreeMap<String, Props>,
    /// `additionalProperties`
    pub additional: Option<Additional>,
    /// `x-kubernetes-preserve-unknown-fields`; only `true` is right.
    pub preserve: Option<bool>,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-list-type`
    pub list_type: Option<String>,
    /// `x-kubernetes-list-map-keys`
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type`
    pub map_type: Option<String>,
    /// `x-kubernetes-validations`
    pub rules: Vec<Rule>,
    /// Texts for people.
    pub noted: Noted,
    /// What is refused.
    pub unsupported: Unsupported,
}

impl Props {
    /// Reads a schema.
    pub fn read(schema: &Value) -> Props {
        let text = |name: &str| string(schema.get(name));
        let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
        let float = |name: &str| schema.get(name).and_then(Value::as_f64);
        let int = |name: &str| schema.get(name).and_then(integer);
        let one = |name: &str| schema.get(name).filter(|v| v.is_object()).map(boxed);
        let many = |name: &str| list(schema, name).iter().map(Props::read).collect();
        let pattern = text("pattern");
        Props {
            ty: text("type"),
            format: text("format"),
            nullable: flag("nullable"),
            default: some(schema, "default").cloned(),
            maximum: float("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            minimum: float("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            max_length: int("maxLength"),
            min_length: int("minLength"),
            pattern: (!pattern.is_empty()).then(|| Pattern::new(&pattern)),
            max_items: int("maxItems"),
            min_items: int("minItems"),
            unique_items: flag("uniqueItems"),
            multiple_of: float("multipleOf"),
            enumeration: list(schema, "enum").to_vec(),
            max_properties: int("maxProperties"),
            min_properties: int("minProperties"),
            required: strings(schema, "required"),
            items: one("items"),
            all_of: many("allOf"),
            one_of: many("oneOf"),
            any_of: many("anyOf"),
            not: one("not"),
            properties: properties(schema),
            additional: additional(schema.get("additionalProperties")),
            preserve: schema
                .get("x-kubernetes-preserve-unknown-fields")
                .and_then(Value::as_bool),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            list_type: some(schema, "x-kubernetes-list-type").map(|v| string(Some(v))),
            list_map_keys: strings(schema, "x-kubernetes-list-map-keys"),
            map_type: some(schema, "x-kubernetes-map-type").map(|v| string(Some(v))),
            rules: list(schema, "x-kubernetes-validations")
                .iter()
                .map(rule)
                .collect(),
            noted: noted(schema),
            unsupported: unsupported(schema),
        }
    }

    /// Whether unknown members stay.
    pub fn preserves(&self) -> bool {
        self.preserve == Some(true)
    }

    /// The schema of a member: its own, or that of members that are not named.
    pub fn member(&self, name: &str) -> Option<&Props> {
        self.properties
            .get(name)
            .or_else(|| self.additional.as_ref().and_then(Additional::schema))
    }

    /// The same schema as that of a whole resource, which always has `apiVersion`, `kind` and `metadata`.
    pub fn as_resource(&self) -> Props {
        Props {
            embedded: true,
            ..self.clone()
        }
    }

    /// Whether `found` holds for the schema or any inside of it.
    pub fn any(&self, found: &mut dyn FnMut(&Props) -> bool) -> bool {
        found(self)
            || self.items.as_ref().is_some_and(|s| s.any(found))
            || [&self.all_of, &self.any_of, &self.one_of]
                .into_iter()
                .flatten()
                .any(|s| s.any(found))
            || self.not.as_ref().is_some_and(|s| s.any(found))
            || self.properties.values().any(|s| s.any(found))
            || self
                .additional
                .as_ref()
                .and_then(Additional::schema)
                .is_some_and(|s| s.any(found))
    }
}

fn boxed(schema: &Value) -> Box<Props> {
    Box::new(Props::read(schema))
}

fn some<'v>(schema: &'v Value, name: &str) -> Option<&'v Value> {
    schema.get(name).filter(|v| !v.is_null())
}

fn string(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Integers may be written with a fraction of zero.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|f| f as i64))
}

fn list<'v>(schema: &'v Value, name: &str) -> &'v [Value] {
    schema
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn strings(schema: &Value, name: &str) -> Vec<String> {
    let items = list(schema, name).iter().filter_map(Value::as_str);
    items.map(str::to_owned).collect()
}

fn properties(schema: &Value) -> BTreeMap<String, Props> {
    let members = schema.get("properties").and_then(Value::as_object);
    members
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.clone(), Props::read(schema)))
        .collect()
}

fn additional(value: Option<&Value>) -> Option<Additional> {
    match value? {
        Value::Bool(allowed) => Some(Additional::Allowed(*allowed)),
        schema @ Value::Object(_) => Some(Additional::Schema(boxed(schema))),
        _ => None,
    }
}

fn rule(value: &Value) -> Rule {
    let text = |name: &str| string(value.get(name));
    Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        reason: some(value, "reason").map(|v| string(Some(v))),
        field_path: text("fieldPath"),
        optional_old_self: value.get("optionalOldSelf").and_then(Value::as_bool),
    }
}

fn noted(schema: &Value) -> Noted {
    let text = |name: &str| !string(schema.get(name)).is_empty();
    Noted {
        title: text("title"),
        description: text("description"),
        external_docs: some(schema, "externalDocs").is_some(),
        example: some(schema, "example").is_some(),
    }
}

fn unsupported(schema: &Value) -> Unsupported {
    let text = |name: &str| !string(schema.get(name)).is_empty();
    let filled = |name: &str| {
        let members = schema.get(name).and_then(Value::as_object);
        members.is_some_and(|m| !m.is_empty())
    };
    Unsupported {
        id: text("id"),
        schema: text("$schema"),
        reference: some(schema, "$ref").is_some(),
        reference_text: text("$ref"),
        pattern_properties: filled("patternProperties"),
        dependencies: filled("dependencies"),
        additional_items: some(schema, "additionalItems").is_some(),
        definitions: filled("definitions"),
        items_list: schema.get("items").is_some_and(Value::is_array),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_is_read_with_all_its_parts() {
        let props = Props::read(&json!({
            "type": "object", "required": ["a"], "default": null, "x-kubernetes-preserve-unknown-fields": false,
            "properties": {"a": {"type": "string", "pattern": "^x$", "default": "x", "maxLength": 5.0}},
            "additionalProperties": {"x-kubernetes-int-or-string": true},
            "allOf": [{"minProperties": 1}], "not": {"required": ["b"]}, "$ref": "",
        }));
        assert_eq!(props.default, None);
        assert_eq!(props.properties["a"].default, Some(json!("x")));
        assert_eq!(props.properties["a"].max_length, Some(5));
        assert!(props.member("other").is_some_and(|s| s.int_or_string));
        assert_eq!(props.preserve, Some(false));
        assert!(props.unsupported.reference && !props.unsupported.reference_text);
        assert!(props.any(&mut |s| s.required == ["b"]));
        assert!(!props.any(&mut |s| s.embedded));
    }
}
