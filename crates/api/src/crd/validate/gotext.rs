//! Values in errors as Go writes its internal types: members have Go's names, and all are there.

use serde_json::{Map, Value, json};

use super::{list, shared};

/// `spec.versions` without what all versions have in common.
pub(super) fn versions(spec: &Value) -> String {
    let own = |version: &Value, member: &str| match shared(spec, member) {
        Some(_) => Value::Null,
        None => version.get(member).cloned().unwrap_or_default(),
    };
    let versions = list(spec, "versions").iter().map(|version| {
        let get = |name: &str| version.get(name).cloned().unwrap_or_default();
        let schema = own(version, "schema");
        let schema = match schema.is_null() {
            true => "null".to_owned(),
            false => format!("{{\"OpenAPIV3Schema\":{}}}", self::schema(&schema["openAPIV3Schema"])),
        };
        let columns = own(version, "additionalPrinterColumns");
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{schema},\
             \"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
            get("name"),
            get("served"),
            get("storage"),
            get("deprecated") == true,
            get("deprecationWarning"),
            subresources(&own(version, "subresources")),
            renamed(&columns, &[("Name", "name", ""), ("Type", "type", ""), ("Format", "format", ""), ("Description", "description", ""), ("Priority", "priority", "0"), ("JSONPath", "jsonPath", "")]),
            renamed(&own(version, "selectableFields"), &[("JSONPath", "jsonPath", "")]),
        )
    });
    let versions: Vec<String> = versions.collect();
    match versions.is_empty() {
        true => "null".to_owned(),
        false => format!("[{}]", versions.join(",")),
    }
}

fn subresources(value: &Value) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let scale = &value["scale"];
    let scale = match scale.is_null() {
        true => "null".to_owned(),
        false => format!(
            "{{\"SpecReplicasPath\":{},\"StatusReplicasPath\":{},\"LabelSelectorPath\":{}}}",
            scale["specReplicasPath"], scale["statusReplicasPath"], scale["labelSelectorPath"]
        ),
    };
    let status = if value["status"].is_null() {
        "null"
    } else {
        "{}"
    };
    format!("{{\"Status\":{status},\"Scale\":{scale}}}")
}

/// A list of objects with other names; what is absent has a zero value.
fn renamed(items: &Value, names: &[(&str, &str, &str)]) -> String {
    let Some(items) = items.as_array() else {
        return "null".to_owned();
    };
    let items = items.iter().map(|item| {
        let members = names.iter().map(|(go, name, zero)| {
            let value = match item.get(*name).filter(|v| !v.is_null()) {
                Some(value) => value.to_string(),
                None if zero.is_empty() => "\"\"".to_owned(),
                None => (*zero).to_owned(),
            };
            format!("\"{go}\":{value}")
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    });
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// A rule of a schema.
pub fn rule(rule: &Value) -> Value {
    let text = |name: &str| rule.get(name).cloned().unwrap_or_else(|| "".into());
    let pointer = |name: &str| rule.get(name).cloned().unwrap_or_default();
    json!({"Rule": text("rule"), "Message": text("message"), "MessageExpression": text("messageExpression"),
        "Reason": pointer("reason"), "FieldPath": text("fieldPath"), "OptionalOldSelf": pointer("optionalOldSelf")})
}

/// How a member of a schema is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Flag,
    Pointer,
    Schema,
    Schemas,
    Named,
    Items,
    OrBool,
    Rules,
}

const MEMBERS: [(&str, &str, Form); 45] = {
    use Form::*;
    [
        ("ID", "id", Text),
        ("Schema", "$schema", Text),
        ("Ref", "$ref", Pointer),
        ("Description", "description", Text),
        ("Type", "type", Text),
        ("Nullable", "nullable", Flag),
        ("Format", "format", Text),
        ("Title", "title", Text),
        ("Default", "default", Pointer),
        ("Maximum", "maximum", Pointer),
        ("ExclusiveMaximum", "exclusiveMaximum", Flag),
        ("Minimum", "minimum", Pointer),
        ("ExclusiveMinimum", "exclusiveMinimum", Flag),
        ("MaxLength", "maxLength", Pointer),
        ("MinLength", "minLength", Pointer),
        ("Pattern", "pattern", Text),
        ("MaxItems", "maxItems", Pointer),
        ("MinItems", "minItems", Pointer),
        ("UniqueItems", "uniqueItems", Flag),
        ("MultipleOf", "multipleOf", Pointer),
        ("Enum", "enum", Pointer),
        ("MaxProperties", "maxProperties", Pointer),
        ("MinProperties", "minProperties", Pointer),
        ("Required", "required", Pointer),
        ("Items", "items", Items),
        ("AllOf", "allOf", Schemas),
        ("OneOf", "oneOf", Schemas),
        ("AnyOf", "anyOf", Schemas),
        ("Not", "not", Schema),
        ("Properties", "properties", Named),
        ("AdditionalProperties", "additionalProperties", OrBool),
        ("PatternProperties", "patternProperties", Named),
        ("Dependencies", "dependencies", Pointer),
        ("AdditionalItems", "additionalItems", OrBool),
        ("Definitions", "definitions", Named),
        ("ExternalDocs", "externalDocs", Pointer),
        ("Example", "example", Pointer),
        (
            "XPreserveUnknownFields",
            "x-kubernetes-preserve-unknown-fields",
            Pointer,
        ),
        ("XEmbeddedResource", "x-kubernetes-embedded-resource", Flag),
        ("XIntOrString", "x-kubernetes-int-or-string", Flag),
        ("XListMapKeys", "x-kubernetes-list-map-keys", Pointer),
        ("XListType", "x-kubernetes-list-type", Pointer),
        ("XMapType", "x-kubernetes-map-type", Pointer),
        ("XValidations", "x-kubernetes-validations", Rules),
        ("", "", Text),
    ]
};

/// The members that a schema sets, by Go's names and in Go's order.
pub(super) fn set_members(schema: &Value) -> impl Iterator<Item = &'static str> {
    let set = |name: &str| match schema.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => {
            *flag || name == "additionalProperties" || name.starts_with("x-kubernetes-preserve")
        }
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let members = MEMBERS.iter().filter(|(go, ..)| !go.is_empty());
    members
        .filter(move |(_, name, _)| set(name))
        .map(|(go, ..)| *go)
        .collect::<Vec<_>>()
        .into_iter()
}

/// A schema.
pub(super) fn schema(schema: &Value) -> String {
    if !schema.is_object() {
        return "null".to_owned();
    }
    let members = MEMBERS.iter().filter(|(go, ..)| !go.is_empty());
    let members = members.map(|(go, name, form)| {
        let value = schema.get(*name).filter(|v| !v.is_null());
        format!("\"{go}\":{}", member(value, *form))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn member(value: Option<&Value>, form: Form) -> String {
    let many = |items: &Vec<Value>| {
        let items: Vec<String> = items.iter().map(schema).collect();
        format!("[{}]", items.join(","))
    };
    match (form, value) {
        (Form::Text, None) => "\"\"".to_owned(),
        (Form::Flag, None) => "false".to_owned(),
        (_, None) => "null".to_owned(),
        (Form::Text | Form::Flag | Form::Pointer, Some(value)) => value.to_string(),
        (Form::Schema, Some(value)) => schema(value),
        (Form::Schemas, Some(value)) => value.as_array().map_or("null".to_owned(), many),
        (Form::Named, Some(value)) => {
            let empty = Map::new();
            let members = value.as_object().unwrap_or(&empty);
            let members = members
                .iter()
                .map(|(name, value)| format!("{}:{}", Value::from(&**name), schema(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        (Form::Items, Some(Value::Array(items))) => {
            format!("{{\"Schema\":null,\"JSONSchemas\":{}}}", many(items))
        }
        (Form::Items, Some(value)) => {
            format!("{{\"Schema\":{},\"JSONSchemas\":null}}", schema(value))
        }
        (Form::OrBool, Some(Value::Bool(allows))) => {
            format!("{{\"Allows\":{allows},\"Schema\":null}}")
        }
        (Form::OrBool, Some(value)) => {
            format!("{{\"Allows\":true,\"Schema\":{}}}", schema(value))
        }
        (Form::Rules, Some(value)) => {
            let rules = value.as_array().map_or(&[][..], Vec::as_slice);
            Value::Array(rules.iter().map(rule).collect()).to_string()
        }
    }
}
