//! Schemas of custom resources, as their definitions have them.

use serde_json::{Map, Value, json};

use super::Fnv;
use super::operations::custom_name;
use super::schemas::Components;
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
        complete(schema, "ObjectMeta", &mut object, components);
        object["x-kubernetes-group-version-kind"] = kinds(&resource.kind);
        components.add(custom_name(resource, &resource.kind), object);
        let list = list(schema, resource, kinds(&resource.list_kind), components);
        components.add(custom_name(resource, &resource.list_kind), list);
    }
}

/// What makes the document of a version another one.
pub(super) fn hash(_resource: &Resource, _hash: &mut Fnv) {}

fn source(_resource: &Resource) -> Value {
    json!({"type": "object"})
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
