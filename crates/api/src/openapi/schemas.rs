//! The schemas of a document: every type that its paths reach, as OpenAPI v3 or v2 has it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::enums::Enums;
use super::operations::Content;
use crate::schema::{Field, Scalar, Schema, Shape, Struct, Topology, Type};

/// Kinds that every group and version has.
const SHARED_KINDS: &[&str] = &["DeleteOptions"];

const JSON_SCHEMA: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

const VERSION_INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// The edition of OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edition {
    /// Schemas with alternatives and defaults.
    V3,
    /// Definitions without either.
    V2,
}

/// The types that a document refers to.
pub(super) struct Components<'a> {
    edition: Edition,
    descriptions: &'a Descriptions,
    enums: Enums,
    types: BTreeMap<String, Type<'a>>,
    others: BTreeMap<String, Value>,
}

impl<'a> Components<'a> {
    /// None yet.
    pub(super) fn new(edition: Edition, descriptions: &'a Descriptions) -> Components<'a> {
        Components {
            edition,
            descriptions,
            enums: Enums::read(),
            types: BTreeMap::new(),
            others: BTreeMap::new(),
        }
    }

    /// Which edition of OpenAPI it is for.
    pub(super) fn edition(&self) -> Edition {
        self.edition
    }

    /// A schema that refers to what a body holds, which becomes a component.
    pub(super) fn content(&mut self, content: &Content<'a>) -> Value {
        match content {
            Content::Type(ty) => self.expression(*ty),
            Content::Named(name) => self.reference(name),
            Content::Text => json!({"type": "string"}),
            Content::Patch => {
                let body =
                    json!({"type": "object", "description": self.descriptions.get(PATCH, "")});
                self.others.entry(PATCH.to_owned()).or_insert(body);
                self.reference(PATCH)
            }
            Content::Event => self.watch_event(),
            Content::Version => {
                let info = version_info(self.edition);
                self.others.entry(VERSION_INFO.to_owned()).or_insert(info);
                self.reference(VERSION_INFO)
            }
        }
    }

    /// What watches tell, which is no type of the table's.
    fn watch_event(&mut self) -> Value {
        const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
        let text = |member| self.descriptions.get(WATCH_EVENT, member);
        let raw = json!({"type": "object", "description": self.descriptions.get(RAW, "")});
        let (mut object, ty) = match self.edition {
            Edition::V3 => (
                json!({"allOf": [self.reference(RAW)]}),
                json!({"type": "string", "default": ""}),
            ),
            Edition::V2 => (self.reference(RAW), json!({"type": "string"})),
        };
        object["description"] = json!(text("object"));
        let event = json!({
            "description": text(""),
            "type": "object",
            "required": ["type", "object"],
            "properties": {"type": ty, "object": object},
        });
        self.others.entry(RAW.to_owned()).or_insert(raw);
        self.others.entry(WATCH_EVENT.to_owned()).or_insert(event);
        self.reference(WATCH_EVENT)
    }

    /// A schema that is none of the table's.
    pub(super) fn add(&mut self, name: String, schema: Value) {
        self.others.insert(name, schema);
    }

    /// All schemas, in the end. `versions` are those that have the shared kinds.
    pub(super) fn schemas(
        mut self,
        schema: &Schema,
        versions: &[(&str, &str)],
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
            let kinds = kinds_of(schema, ty, versions);
            if !kinds.is_empty() {
                body["x-kubernetes-group-version-kind"] = Value::Array(kinds);
            }
            done.insert(name, body);
        }
        if let Some(event) = self.others.get_mut(WATCH_EVENT) {
            let entry = |(group, version): &(&str, &str)| json!({"group": group, "version": version, "kind": "WatchEvent"});
            event["x-kubernetes-group-version-kind"] = versions.iter().map(entry).collect();
        }
        done.extend(self.others);
        done
    }

    fn object(&mut self, model: &str, fields: &'a Struct, ty: Type<'a>) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in fields.fields() {
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
        if let Some((_, discriminator, members)) = UNIONS.iter().find(|(name, ..)| *name == model) {
            body["x-kubernetes-unions"] = union(discriminator, members);
        }
        if fields.atomic {
            body["x-kubernetes-map-type"] = "atomic".into();
        }
        body
    }

    /// The schema of a member.
    pub(super) fn property(&mut self, model: &str, field: &Field, ty: Type<'a>) -> Value {
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
        if self.edition == Edition::V3
            && let Some(default) = extra.default.clone().or_else(|| zero_default(field, ty))
        {
            extensions.insert("default".into(), default);
        }
        let mut text = self
            .descriptions
            .get(model, &field.name)
            .unwrap_or_default();
        if let Some(found) = self.enums.get(model, &field.name) {
            let place = if found.items {
                &mut body["items"]
            } else {
                &mut body
            };
            place["enum"] = found.values.clone();
            let gap = if text.is_empty() || found.text.is_empty() {
                ""
            } else {
                "\n\n"
            };
            text = format!("{text}{gap}{}", found.text).into();
        }
        if !text.is_empty() {
            extensions.insert("description".into(), text.into());
        }
        if extensions.is_empty() {
            return body;
        }
        // OpenAPI 3.0 ignores what stands beside a $ref.
        if self.edition == Edition::V3 && body.get("$ref").is_some() {
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
                let reference = self.reference(&name);
                self.types.entry(name).or_insert(ty);
                reference
            }
            Shape::Scalar(scalar) => self.scalar(scalar, ty),
        }
    }

    fn scalar(&mut self, scalar: Scalar, ty: Type<'a>) -> Value {
        let v3 = self.edition == Edition::V3;
        let (name, mut body) = match scalar {
            Scalar::String => return json!({"type": "string"}),
            Scalar::Bool => return json!({"type": "boolean"}),
            Scalar::Int32 => return json!({"type": "integer", "format": "int32"}),
            Scalar::Int64 | Scalar::Uint32 | Scalar::Uint64 => {
                return json!({"type": "integer", "format": "int64"});
            }
            Scalar::Float64 => return json!({"type": "number", "format": "double"}),
            Scalar::Bytes => return json!({"type": "string", "format": "byte"}),
            Scalar::Quantity if v3 => (
                "io.k8s.apimachinery.pkg.api.resource.Quantity",
                json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            ),
            Scalar::Quantity => (
                "io.k8s.apimachinery.pkg.api.resource.Quantity",
                json!({"type": "string"}),
            ),
            Scalar::IntOrString if v3 => (
                "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            Scalar::IntOrString => (
                "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
                json!({"format": "int-or-string", "type": "string"}),
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
            Scalar::Json => (
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
                json!({}),
            ),
            // A schema may hold schemas again, which the server checks; clients need not know the alternatives.
            Scalar::SchemaOrArray => self.or_schema("OrArray", ty),
            Scalar::SchemaOrBool => self.or_schema("OrBool", ty),
            Scalar::SchemaOrStrings => self.or_schema("OrStringArray", ty),
        };
        if let Some(text) = self.descriptions.get(name, "") {
            body["description"] = text.into();
        }
        self.others.entry(name.to_owned()).or_insert(body);
        self.reference(name)
    }

    fn or_schema(&mut self, or: &str, ty: Type<'a>) -> (&'static str, Value) {
        if let Some(props) = ty.model(JSON_SCHEMA) {
            self.expression(props);
        }
        let name = match or {
            "OrArray" => {
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
            }
            "OrBool" => {
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
            }
            _ => {
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
            }
        };
        (name, json!({}))
    }

    fn reference(&self, name: &str) -> Value {
        match self.edition {
            Edition::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
            Edition::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        }
    }
}

/// Types of which one member at most is set: their name, the member that says which, and the members.
const UNIONS: &[(&str, &str, &[&str])] = &[
    (
        "io.k8s.api.core.v1.AppArmorProfile",
        "type",
        &["localhostProfile"],
    ),
    (
        "io.k8s.api.core.v1.PodSchedulingGroup",
        "",
        &["podGroupName"],
    ),
    (
        "io.k8s.api.core.v1.SeccompProfile",
        "type",
        &["localhostProfile"],
    ),
    (
        "io.k8s.api.scheduling.v1alpha3.WorkloadPodGroupDisruptionMode",
        "",
        &["all", "single"],
    ),
    (
        "io.k8s.api.scheduling.v1alpha3.WorkloadPodGroupSchedulingPolicy",
        "",
        &["basic", "gang"],
    ),
    (
        "io.k8s.api.flowcontrol.v1.LimitResponse",
        "type",
        &["queuing"],
    ),
    (
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec",
        "type",
        &["exempt", "limited"],
    ),
    (
        "io.k8s.api.flowcontrol.v1.Subject",
        "kind",
        &["group", "serviceAccount", "user"],
    ),
];

/// `/version`, which is no kind of the table's.
fn version_info(edition: Edition) -> Value {
    let required = [
        "major",
        "minor",
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
    ];
    let texts = [
        (
            "emulationMajor",
            "EmulationMajor is the major version of the emulation version",
        ),
        (
            "emulationMinor",
            "EmulationMinor is the minor version of the emulation version",
        ),
        ("major", "Major is the major version of the binary version"),
        (
            "minCompatibilityMajor",
            "MinCompatibilityMajor is the major version of the minimum compatibility version",
        ),
        (
            "minCompatibilityMinor",
            "MinCompatibilityMinor is the minor version of the minimum compatibility version",
        ),
        ("minor", "Minor is the minor version of the binary version"),
    ];
    let mut properties = Map::new();
    for name in required {
        let default = match edition {
            Edition::V3 => json!({"type": "string", "default": ""}),
            Edition::V2 => json!({"type": "string"}),
        };
        properties.insert(name.to_owned(), default);
    }
    for (name, text) in texts {
        let property = properties
            .entry(name)
            .or_insert_with(|| json!({"type": "string"}));
        property["description"] = text.into();
    }
    json!({
        "description": "Info contains versioning information. how we'll want to distribute that information.",
        "type": "object",
        "properties": properties,
        "required": required,
    })
}

fn union(discriminator: &str, members: &[&str]) -> Value {
    let value = |member: &&str| {
        let mut chars = member.chars();
        let first = chars.next().into_iter().flat_map(char::to_uppercase);
        (
            (*member).to_owned(),
            Value::String(first.chain(chars).collect()),
        )
    };
    let mut union =
        json!({"fields-to-discriminateBy": members.iter().map(value).collect::<Map<_, _>>()});
    if !discriminator.is_empty() {
        union["discriminator"] = discriminator.into();
    }
    json!([union])
}

/// What a member is that nobody sets, for members that Go always writes.
fn zero_default(field: &Field, ty: Type<'_>) -> Option<Value> {
    if field.pointer() {
        return None;
    }
    match ty.shape() {
        Shape::Struct(_) => Some(json!({})),
        Shape::Scalar(scalar) if !field.omit_empty() => match scalar {
            Scalar::String => Some("".into()),
            Scalar::Bool => Some(false.into()),
            Scalar::Int32 | Scalar::Int64 | Scalar::Uint32 | Scalar::Uint64 | Scalar::Float64 => {
                Some(0.into())
            }
            _ => None,
        },
        _ => None,
    }
}

/// The `x-kubernetes-group-version-kind` of a type; empty for types that are no kinds.
fn kinds_of(schema: &Schema, ty: Type<'_>, versions: &[(&str, &str)]) -> Vec<Value> {
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
        true if SHARED_KINDS.contains(&name) => versions.iter().map(|(g, v)| entry(g, v)).collect(),
        true if own_group == "meta.k8s.io" => vec![entry("", "v1")],
        true => vec![entry(own_group, own_version)],
        false => Vec::new(),
    }
}
