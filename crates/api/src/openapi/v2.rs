//! The OpenAPI v2 document: everything that is served, in one.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::operations::{self, Operation};
use super::parameters::Parameter;
use super::paths;
use super::schemas::{Components, Edition};
use super::{custom, security};
use crate::resource::Table;
use crate::schema::Schema;

/// The media types of bodies and answers in upstream's order.
const ORDER: &[&str] = &[
    "text/plain",
    "application/jwk-set+json",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "*/*",
];

/// `/openapi/v2`.
pub fn document(schema: &Schema, table: &Table) -> Value {
    let texts = Descriptions::read();
    let mut components = Components::new(Edition::V2, &texts);
    let mut all = Map::new();
    let mut shared = Parameters::default();
    for path in super::root_paths(table) {
        let operation = operations::root(schema, &path);
        all.insert(
            format!("/{path}/"),
            item(&[operation], &mut components, &mut shared),
        );
    }
    for (group, version) in table.group_versions() {
        for (path, operations) in operations::paths(schema, &texts, group, version) {
            all.insert(path, item(&operations, &mut components, &mut shared));
        }
        custom::definitions(schema, version, &mut components);
    }
    let versions = table.group_versions().map(|(g, v)| (g, &*v.name));
    let mut versions: Vec<(&str, &str)> = versions.collect();
    versions.sort_unstable();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": super::VERSION},
        "paths": all,
        "definitions": components.schemas(schema, &versions),
        "parameters": shared.0,
        "securityDefinitions": security(),
        "security": [{"BearerToken": []}],
    })
}

/// Parameters that stand in one place and are referred to.
#[derive(Default)]
struct Parameters(BTreeMap<String, Value>);

impl Parameters {
    fn refer(&mut self, parameter: &Parameter) -> Value {
        let document = parameter.document(false);
        let mut hash = super::Fnv::default();
        hash.write(&document.to_string());
        let key = format!("{}-{:08x}", parameter.name, hash.0 as u32);
        let reference = json!({"$ref": format!("#/parameters/{key}")});
        self.0.entry(key).or_insert(document);
        reference
    }
}

fn item<'a>(
    operations: &[Operation<'a>],
    components: &mut Components<'a>,
    shared: &mut Parameters,
) -> Value {
    let common = paths::common(operations);
    let mut item = Map::new();
    for operation in operations {
        item.insert(
            operation.method.to_owned(),
            render(operation, &common, components, shared),
        );
    }
    if !common.is_empty() {
        item.insert(
            "parameters".into(),
            common.iter().map(|p| shared.refer(p)).collect(),
        );
    }
    Value::Object(item)
}

fn render<'a>(
    operation: &Operation<'a>,
    common: &[Parameter],
    components: &mut Components<'a>,
    shared: &mut Parameters,
) -> Value {
    let mut members = Map::new();
    members.insert("description".into(), operation.description.as_str().into());
    let consumes = match &operation.body {
        Some(body) => body.media_types,
        None if operation.kind.is_none() => operation.produces,
        None => &["*/*"],
    };
    members.insert("consumes".into(), in_order(consumes));
    members.insert("produces".into(), in_order(operation.produces));
    members.insert("schemes".into(), json!(["https"]));
    members.insert("tags".into(), json!([operation.tag]));
    members.insert("operationId".into(), operation.id.as_str().into());
    let mut parameters = Vec::new();
    if let Some(body) = &operation.body {
        let schema = components.content(&body.content);
        let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
        if body.required {
            parameter["required"] = true.into();
        }
        parameters.push(parameter);
    }
    let own = operation.parameters.iter().filter(|p| !common.contains(p));
    parameters.extend(own.map(|p| shared.refer(p)));
    if !parameters.is_empty() {
        members.insert("parameters".into(), parameters.into());
    }
    let mut responses = Map::new();
    for code in operation.codes {
        let schema = components.content(&operation.answer);
        let response = json!({"description": operations::reason(*code), "schema": schema});
        responses.insert(code.to_string(), response);
    }
    responses.insert(
        "401".into(),
        json!({"description": operations::reason(401)}),
    );
    members.insert("responses".into(), responses.into());
    paths::extensions(operation, &mut members);
    Value::Object(members)
}

fn in_order(media_types: &[&str]) -> Value {
    let ordered = ORDER.iter().filter(|m| media_types.contains(*m));
    ordered.copied().map(Value::from).collect()
}
