//! The `components/schemas` of a document: every type that its paths reach.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use crate::schema::{Field, Scalar, Schema, Shape, Struct, Topology, Type};

/// Kinds that belong to every group and version.
const SHARED_KINDS: &[&str] = &["DeleteOptions", "Status", "WatchEvent"];

/// The types that a document refers to.
pub(super) struct Components<'a> {
    descriptions: Descriptions,
    types: BTreeMap<String, Type<'a>>,
    scalars: BTreeMap<&'static str, Value>,
}

impl<'a> Components<'a> {
    /// None yet.
    pub(super) fn new() -> Components<'a> {
        Components {
            descriptions: Descriptions::read(),
            types: BTreeMap::new(),
            scalars: BTreeMap::new(),
        }
    }

    /// A schema that refers to a type, which becomes a component.
    pub(super) fn refer(&mut self, ty: Type<'a>) -> Value {
        self.expression(ty)
    }

    /// All components, in the end.
    pub(super) fn schemas(
        mut self,
        schema: &Schema,
        group: &str,
        version: &str,
    ) -> Map<String, Value> {
        let mut done = Map::new();
        while let Some(name) = self
            .types
            .keys()
            .find(|name| !done.contains_key(*name))
            .cloned()
        {
            let ty = self.types[&name];
            let mut body = match ty.fields() {
                Some(fields) => self.object(&name, fields, ty),
                None => json!({}),
            };
            let kinds = kinds_of(schema, ty, group, version);
            if !kinds.is_empty() {
                body["x-kubernetes-group-version-kind"] = Value::Array(kinds);
            }
            done.insert(name, body);
        }
        done.extend(
            self.scalars
                .into_iter()
                .map(|(name, body)| (name.to_owned(), body)),
        );
        done
    }

    fn object(&mut self, model: &str, fields: &'a Struct, ty: Type<'a>) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in fields.fields_by_name() {
            properties.insert(
                field.name.to_string(),
                self.property(model, field, ty.of(field)),
            );
            if field.required() {
                required.push(Value::from(&*field.name));
            }
        }
        let mut body = json!({"type": "object"});
        if let Some(text) = self.descriptions.get(model, "") {
            body["description"] = text.into();
        }
        if !properties.is_empty() {
            body["properties"] = Value::Object(properties);
        }
        if !required.is_empty() {
            body["required"] = Value::Array(required);
        }
        if fields.atomic {
            body["x-kubernetes-map-type"] = "atomic".into();
        }
        body
    }

    fn property(&mut self, model: &str, field: &Field, ty: Type<'a>) -> Value {
        let mut body = self.expression(ty);
        let extra = field.extra();
        let list = matches!(ty.shape(), Shape::List(_) | Shape::Scalar(Scalar::Bytes));
        let mut extensions = Map::new();
        match &extra.topology {
            None => {}
            Some(Topology::Atomic) if list => {
                drop(extensions.insert("x-kubernetes-list-type".into(), "atomic".into()))
            }
            Some(Topology::Atomic) => {
                drop(extensions.insert("x-kubernetes-map-type".into(), "atomic".into()))
            }
            Some(Topology::Granular) => {
                extensions.insert("x-kubernetes-map-type".into(), "granular".into());
            }
            Some(Topology::Set) => {
                drop(extensions.insert("x-kubernetes-list-type".into(), "set".into()))
            }
            Some(Topology::Map(keys)) => {
                extensions.insert("x-kubernetes-list-type".into(), "map".into());
                extensions.insert("x-kubernetes-list-map-keys".into(), json!(keys));
            }
        }
        let strategies: Vec<_> = [
            ("merge", extra.strategy.merge),
            ("replace", extra.strategy.replace),
            ("retainKeys", extra.strategy.retain_keys),
        ]
        .into_iter()
        .filter(|s| s.1)
        .map(|s| s.0)
        .collect();
        if !strategies.is_empty() {
            extensions.insert(
                "x-kubernetes-patch-strategy".into(),
                strategies.join(",").into(),
            );
        }
        if let Some(key) = &extra.strategy.key {
            extensions.insert("x-kubernetes-patch-merge-key".into(), json!(key));
        }
        if let Some(default) = &extra.default {
            extensions.insert("default".into(), default.clone());
        }
        if let Some(text) = self.descriptions.get(model, &field.name) {
            extensions.insert("description".into(), text.into());
        }
        if extensions.is_empty() {
            return body;
        }
        // OpenAPI 3.0 ignores what stands beside a $ref.
        if body.get("$ref").is_some() {
            body = json!({"allOf": [body]});
        }
        if let Value::Object(members) = &mut body {
            members.extend(extensions);
        }
        body
    }

    fn expression(&mut self, ty: Type<'a>) -> Value {
        match ty.shape() {
            Shape::List(item) => json!({"type": "array", "items": self.expression(item)}),
            Shape::Map(value) => {
                json!({"type": "object", "additionalProperties": self.expression(value)})
            }
            Shape::Struct(_) => {
                let name = ty.model_name().expect("structs have names");
                self.types.entry(name.clone()).or_insert(ty);
                reference(&name)
            }
            Shape::Scalar(scalar) => self.scalar(scalar, ty),
        }
    }

    fn scalar(&mut self, scalar: Scalar, ty: Type<'a>) -> Value {
        let (name, body) = match scalar {
            Scalar::String => return json!({"type": "string"}),
            Scalar::Bool => return json!({"type": "boolean"}),
            Scalar::Int32 | Scalar::Uint32 => return json!({"type": "integer", "format": "int32"}),
            Scalar::Int64 | Scalar::Uint64 => return json!({"type": "integer", "format": "int64"}),
            Scalar::Float64 => return json!({"type": "number", "format": "double"}),
            Scalar::Bytes => return json!({"type": "string", "format": "byte"}),
            Scalar::Quantity => (
                "io.k8s.apimachinery.pkg.api.resource.Quantity",
                json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            ),
            Scalar::IntOrString => (
                "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            Scalar::Time => (
                "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
                json!({"type": "string", "format": "date-time"}),
            ),
            Scalar::MicroTime => (
                "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
                json!({"type": "string", "format": "date-time"}),
            ),
            Scalar::Duration => (
                "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
                json!({"type": "string"}),
            ),
            Scalar::FieldsV1 => (
                "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
                json!({"type": "object"}),
            ),
            Scalar::Raw => (
                "io.k8s.apimachinery.pkg.runtime.RawExtension",
                json!({"type": "object"}),
            ),
            Scalar::Json => return json!({}),
            // A schema may hold schemas again, which the server checks; clients need not know the alternatives.
            Scalar::SchemaOrArray | Scalar::SchemaOrBool | Scalar::SchemaOrStrings => {
                ty.model(
                    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
                )
                .map(|t| self.expression(t));
                return json!({});
            }
        };
        self.scalars.entry(name).or_insert(body);
        reference(name)
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The `x-kubernetes-group-version-kind` of a type; empty for types that are no kinds.
fn kinds_of(schema: &Schema, ty: Type<'_>, group: &str, version: &str) -> Vec<Value> {
    let Some((own_group, own_version)) = ty.group_version() else {
        return Vec::new();
    };
    let Some(name) = ty.fields().map(Struct::name) else {
        return Vec::new();
    };
    let is_kind = schema
        .kinds(own_group, own_version)
        .any(|(kind, _)| kind == name);
    let entry =
        |group: &str, version: &str| json!({"group": group, "version": version, "kind": name});
    match is_kind {
        true if own_group == "meta.k8s.io" => match SHARED_KINDS.contains(&name) {
            true => vec![entry(group, version)],
            false => Vec::new(),
        },
        true => vec![entry(own_group, own_version)],
        false => Vec::new(),
    }
}
