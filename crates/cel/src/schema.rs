//! What a structural schema says about values: their types, and how large they can get.
//!
//! Schemas are the JSON of `openAPIV3Schema`. A part of a schema that CEL can't use (unknown fields, lists
//! without `items`) has no declaration. Sizes are upper bounds from `maxLength`, `maxItems` and
//! `maxProperties`, or else from what fits into one request of 3 MiB.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::escape::escape;
use crate::types::Type;

/// The largest request.
const REQUEST_MAX: i64 = 3 * 1024 * 1024;
/// The longest name of an object.
const NAME_MAX: i64 = 253;

/// What a value may be.
#[derive(Debug)]
pub struct Decl {
    /// Its form.
    pub shape: Shape,
    /// How many code points, elements or entries it may have.
    pub max_elements: u64,
    /// The length of its shortest JSON.
    pub min_size: i64,
    /// Whether `null` is a value.
    pub nullable: bool,
}

/// The forms of values.
#[derive(Debug)]
pub enum Shape {
    /// A string or an integer.
    IntOrString,
    /// A value that nothing is known about: it is read as its JSON says.
    Dyn,
    /// `true` or `false`.
    Bool,
    /// An integer.
    Int,
    /// A number.
    Double,
    /// Text.
    String,
    /// Bytes, in base64.
    Bytes,
    /// A duration.
    Duration,
    /// A date, without a time.
    Date,
    /// A time.
    DateTime,
    /// A list.
    List(Arc<Decl>, ListKind),
    /// A map from strings.
    Map(Arc<Decl>),
    /// An object.
    Object(Arc<Object>),
}

/// How lists are equal and added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListKind {
    /// In order.
    Atomic,
    /// As sets.
    Set,
    /// By the keys of their elements.
    Map(Vec<String>),
}

/// An object's fields.
#[derive(Debug)]
pub struct Object {
    /// The type's name.
    pub name: String,
    /// Declared fields by their escaped names.
    pub fields: BTreeMap<String, Arc<Decl>>,
}

impl Decl {
    /// The declaration of a schema; none, when CEL can't use it. `root` says that it is a resource's, which
    /// has `apiVersion`, `kind` and a name whatever the schema says. `name` becomes the type's name.
    pub fn of(schema: &Value, root: bool, name: &str) -> Option<Arc<Decl>> {
        let schema = schema.as_object()?;
        declare(schema, root, name).map(Arc::new)
    }

    /// A value that nothing is known about.
    pub fn dynamic() -> Arc<Decl> {
        Arc::new(Decl {
            shape: Shape::Dyn,
            max_elements: u64::MAX,
            min_size: 1,
            nullable: true,
        })
    }

    /// An object with these fields.
    pub fn object(name: &str, fields: BTreeMap<String, Arc<Decl>>) -> Arc<Decl> {
        let name = name.to_owned();
        Arc::new(Decl {
            shape: Shape::Object(Arc::new(Object { name, fields })),
            max_elements: 0,
            min_size: 2,
            nullable: false,
        })
    }

    /// The type of expressions.
    pub fn ty(&self) -> Type {
        match &self.shape {
            Shape::IntOrString | Shape::Dyn => Type::Dyn,
            Shape::Bool => Type::Bool,
            Shape::Int => Type::Int,
            Shape::Double => Type::Double,
            Shape::String => Type::String,
            Shape::Bytes => Type::Bytes,
            Shape::Duration => Type::Duration,
            Shape::Date | Shape::DateTime => Type::Timestamp,
            Shape::List(element, _) => Type::list(element.ty()),
            Shape::Map(value) => Type::map(Type::String, value.ty()),
            Shape::Object(object) => Type::object(&object.name),
        }
    }

    /// The declarations of all object types within, by name.
    pub fn objects(&self, into: &mut BTreeMap<String, Arc<Object>>) {
        match &self.shape {
            Shape::List(element, _) | Shape::Map(element) => element.objects(into),
            Shape::Object(object) => {
                into.insert(object.name.clone(), Arc::clone(object));
                object.fields.values().for_each(|field| field.objects(into));
            }
            _ => {}
        }
    }

    /// The declaration at a path below this one: a field's name, `@items`, `@values` or `@keys`.
    pub fn at<'a>(&'a self, path: &[String]) -> Option<Sizes<'a>> {
        let Some((first, rest)) = path.split_first() else {
            return Some(Sizes::Decl(self));
        };
        match (&self.shape, first.as_str()) {
            (Shape::List(element, _) | Shape::Map(element), "@items" | "@values") => {
                element.at(rest)
            }
            (Shape::Map(_), "@keys") if rest.is_empty() => Some(Sizes::Key),
            (Shape::Object(object), name) => object.fields.get(name)?.at(rest),
            _ => None,
        }
    }

    /// How often values like this may occur in one request at most.
    pub fn max_cardinality(&self) -> u64 {
        (REQUEST_MAX / (self.min_size + 1)) as u64
    }
}

/// Something whose size is bounded.
pub enum Sizes<'a> {
    /// A declared value.
    Decl(&'a Decl),
    /// A map's key.
    Key,
}

impl Sizes<'_> {
    /// The largest size.
    pub fn max(&self) -> u64 {
        match self {
            Sizes::Decl(decl) => decl.max_elements,
            // Keys are of the plain string type, for which upstream declares no largest size.
            Sizes::Key => 0,
        }
    }
}

type Schema = Map<String, Value>;

fn flag(schema: &Schema, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn limit(schema: &Schema, name: &str) -> Option<i64> {
    schema
        .get(name)
        .and_then(Value::as_i64)
        .map(|limit| limit.max(0))
}

fn text<'a>(schema: &'a Schema, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn embedded(schema: &Schema) -> bool {
    flag(schema, "x-kubernetes-embedded-resource")
}

fn declare(schema: &Schema, root: bool, name: &str) -> Option<Decl> {
    let simple = |shape, max_elements: i64, min_size| Decl {
        shape,
        max_elements: max_elements as u64,
        min_size,
        nullable: flag(schema, "nullable"),
    };
    if flag(schema, "x-kubernetes-int-or-string") {
        let max =
            limit(schema, "maxLength").map_or(REQUEST_MAX - 2, |length| length.saturating_mul(4));
        return Some(simple(Shape::IntOrString, max, 1));
    }
    let with_meta;
    let schema = match root {
        true => {
            with_meta = with_type_and_meta(schema);
            &with_meta
        }
        false => schema,
    };
    match text(schema, "type") {
        "array" => list(schema, name),
        "object" => object(schema, name),
        "string" => Some(string(schema)),
        "boolean" => Some(simple(Shape::Bool, 0, 4)),
        "number" => Some(simple(Shape::Double, 0, 1)),
        "integer" => Some(simple(Shape::Int, 0, 1)),
        _ => None,
    }
}

fn list(schema: &Schema, name: &str) -> Option<Decl> {
    let items = schema.get("items")?.as_object()?;
    let element = declare(items, embedded(items), &format!("{name}.@idx"))?;
    let fits = (REQUEST_MAX - 2) / (element.min_size + 1);
    let kind = match text(schema, "x-kubernetes-list-type") {
        "set" => ListKind::Set,
        "map" => {
            let keys = schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array);
            let keys = keys.into_iter().flatten().filter_map(Value::as_str);
            ListKind::Map(keys.map(str::to_owned).collect())
        }
        _ => ListKind::Atomic,
    };
    Some(Decl {
        shape: Shape::List(Arc::new(element), kind),
        max_elements: limit(schema, "maxItems").unwrap_or(fits) as u64,
        min_size: 2,
        nullable: flag(schema, "nullable"),
    })
}

fn object(schema: &Schema, name: &str) -> Option<Decl> {
    if let Some(values) = schema
        .get("additionalProperties")
        .and_then(Value::as_object)
    {
        let value = declare(values, embedded(values), &format!("{name}.@elem"))?;
        let fits = (REQUEST_MAX - 2) / (value.min_size + 6);
        return Some(Decl {
            shape: Shape::Map(Arc::new(value)),
            max_elements: limit(schema, "maxProperties").unwrap_or(fits) as u64,
            min_size: 2,
            nullable: flag(schema, "nullable"),
        });
    }
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut fields = BTreeMap::new();
    let mut min_size = 2;
    let properties = schema.get("properties").and_then(Value::as_object);
    for (property, schema) in properties.into_iter().flatten() {
        let Some(schema) = schema.as_object() else {
            continue;
        };
        let escaped = escape(property);
        let field_name = format!("{name}.{}", escaped.as_deref().unwrap_or(property));
        let Some(decl) = declare(schema, embedded(schema), &field_name) else {
            continue;
        };
        let default = schema
            .get("default")
            .is_some_and(|default| !default.is_null());
        if required.contains(&property.as_str()) && !default {
            min_size += property.len() as i64 + decl.min_size + 4;
        }
        if let Some(escaped) = escaped {
            fields.insert(escaped, Arc::new(decl));
        }
    }
    Some(Decl {
        shape: Shape::Object(Arc::new(Object {
            name: name.to_owned(),
            fields,
        })),
        max_elements: 0,
        min_size,
        nullable: flag(schema, "nullable"),
    })
}

fn string(schema: &Schema) -> Decl {
    let length = limit(schema, "maxLength");
    let (shape, max, min_size) = match text(schema, "format") {
        "byte" => (Shape::Bytes, length.unwrap_or(REQUEST_MAX - 2), 2),
        "duration" => (Shape::Duration, 32, 3),
        "date" => (Shape::Date, 12, 12),
        "date-time" => (Shape::DateTime, 32, 21),
        _ => {
            let values = schema
                .get("enum")
                .and_then(Value::as_array)
                .filter(|values| !values.is_empty());
            let max = match (length, values) {
                (Some(length), _) => length.saturating_mul(4),
                (None, Some(values)) => {
                    let lengths = values.iter().filter_map(Value::as_str).map(str::len);
                    lengths.max().unwrap_or(0) as i64
                }
                (None, None) => REQUEST_MAX - 2,
            };
            (Shape::String, max, 2)
        }
    };
    Decl {
        shape,
        max_elements: max as u64,
        min_size,
        nullable: flag(schema, "nullable"),
    }
}

/// The schema of a resource: with `apiVersion`, `kind`, `metadata.name` and `metadata.generateName`.
fn with_type_and_meta(schema: &Schema) -> Schema {
    let mut schema = schema.clone();
    let mut properties = match schema.remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    let is = |value: Option<&Value>, ty: &str| {
        value.and_then(|value| value["type"].as_str()) == Some(ty)
    };
    let meta = properties.get("metadata").cloned().unwrap_or_default();
    let inner = |name: &str| meta.pointer(&format!("/properties/{name}"));
    let complete = is(properties.get("kind"), "string")
        && is(properties.get("apiVersion"), "string")
        && is(properties.get("metadata"), "object")
        && is(inner("name"), "string")
        && is(inner("generateName"), "string");
    if !complete {
        let capped = |name: &str, most: i64| {
            let own = inner(name).and_then(|name| name["maxLength"].as_i64());
            json!({"type": "string", "maxLength": own.map_or(most, |own| own.min(most))})
        };
        let meta = json!({
            "type": "object",
            "properties": {
                "name": capped("name", NAME_MAX),
                "generateName": capped("generateName", NAME_MAX - 1),
            },
        });
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), meta);
    }
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema
}
