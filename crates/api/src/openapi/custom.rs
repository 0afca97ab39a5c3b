//! Schemas of custom resources, as their definitions have them.

use serde_json::{Map, Value, json};

use super::Fnv;
use super::operations::custom_name;
use super::schemas::{Components, Edition};
use crate::resource::{Resource, Version};
use crate::schema::{Schema, Type};

/// Adds the schemas of the custom resources of a version and of their lists.
pub(super) fn definitions<'a>(
    schema: &'a Schema,
    version: &Version,
    components: &mut Components<'a>,
) {
    for resource in version.resources.iter().filter(|r| r.is_custom()) {
        let kinds = |kind: &str| json!([{"group": resource.group, "version": resource.version, "kind": kind}]);
        let mut object = source(resource);
        let v2 = components.edition() == Edition::V2;
        if v2 && object["x-kubernetes-preserve-unknown-fields"] == true {
            // Nothing more, not even the metadata: kubectl would refuse all other members.
            object = json!({"type": "object"});
        } else {
            if v2 {
                object = plain(object);
            }
            complete(schema, "ObjectMeta", &mut object, components);
        }
        object["x-kubernetes-group-version-kind"] = kinds(&resource.kind);
        components.add(custom_name(resource, &resource.kind), object);
        let list = list(schema, resource, kinds(&resource.list_kind), components);
        components.add(custom_name(resource, &resource.list_kind), list);
    }
}

/// What makes the document of a version another one.
pub(super) fn hash(resource: &Resource, hash: &mut Fnv) {
    if let Some(custom) = &resource.custom {
        hash.write(&custom.source.to_string());
    }
}

/// The schema of the definition, without what OpenAPI does not know.
fn source(resource: &Resource) -> Value {
    let source = resource.custom.as_ref().map(|custom| &custom.source);
    let mut schema = match source {
        Some(Value::Object(members)) => Value::Object(members.clone()),
        _ => Value::Object(Map::new()),
    };
    if schema.get("type").is_none() {
        schema["type"] = "object".into();
    }
    schema
}

/// A schema without what v2 can't say: alternatives, nulls, and the members of objects that may have others.
fn plain(schema: Value) -> Value {
    let Value::Object(mut members) = schema else {
        return schema;
    };
    members.retain(|name, _| {
        !matches!(
            name.as_str(),
            "oneOf" | "anyOf" | "allOf" | "not" | "nullable"
        )
    });
    if members.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        members.retain(|name, _| !matches!(name.as_str(), "items" | "properties" | "type"));
    }
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        properties.values_mut().for_each(|v| *v = plain(v.take()));
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = members.get_mut(name) {
            *inner = plain(inner.take());
        }
    }
    Value::Object(members)
}

fn list<'a>(
    schema: &'a Schema,
    resource: &Resource,
    kinds: Value,
    components: &mut Components<'a>,
) -> Value {
    let items = components.content(&super::operations::Content::Named(custom_name(
        resource,
        &resource.kind,
    )));
    let mut list = json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {"items": {
            "description": format!(
                "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
                resource.plural
            ),
            "type": "array",
            "items": items,
        }},
        "x-kubernetes-group-version-kind": kinds,
    });
    complete(schema, "ListMeta", &mut list, components);
    list
}

/// Members that every object has.
fn complete<'a>(
    schema: &'a Schema,
    meta: &str,
    object: &mut Value,
    components: &mut Components<'a>,
) {
    let pod: Option<Type<'a>> =
        schema.kind("", "v1", if meta == "ListMeta" { "PodList" } else { "Pod" });
    let Some(pod) = pod else {
        return;
    };
    let mut properties = match object["properties"].take() {
        Value::Object(properties) => properties,
        _ => Map::new(),
    };
    let model = pod.model_name().unwrap_or_default();
    if let Some(fields) = pod.fields() {
        let general = ["apiVersion", "kind", "metadata"];
        for field in fields
            .fields()
            .iter()
            .filter(|f| general.contains(&&*f.name))
        {
            properties.insert(
                field.name.to_string(),
                components.property(&model, field, pod.of(field)),
            );
        }
    }
    object["properties"] = Value::Object(properties);
}
