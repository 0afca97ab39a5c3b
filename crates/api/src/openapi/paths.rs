//! The `paths` of a v3 document.

use serde_json::{Map, Value, json};

use super::operations::{self, Body, Content, Operation};
use super::parameters::Parameter;
use super::schemas::Components;

/// The paths, whose types become components.
pub(super) fn paths<'a>(
    paths: Vec<(String, Vec<Operation<'a>>)>,
    components: &mut Components<'a>,
) -> Map<String, Value> {
    let items = paths
        .into_iter()
        .map(|(path, operations)| (path, item(&operations, components)));
    items.collect()
}

/// The parameters that all operations of a path have stand beside them.
pub(super) fn common(operations: &[Operation<'_>]) -> Vec<Parameter> {
    let Some((first, rest)) = operations.split_first() else {
        return Vec::new();
    };
    let everywhere = |p: &&Parameter| rest.iter().all(|o| o.parameters.contains(p));
    first
        .parameters
        .iter()
        .filter(everywhere)
        .cloned()
        .collect()
}

fn item<'a>(operations: &[Operation<'a>], components: &mut Components<'a>) -> Value {
    let common = common(operations);
    let mut item = Map::new();
    for operation in operations {
        item.insert(
            operation.method.to_owned(),
            render(operation, &common, components),
        );
    }
    if !common.is_empty() {
        item.insert(
            "parameters".into(),
            common.iter().map(|p| p.document(true)).collect(),
        );
    }
    Value::Object(item)
}

fn render<'a>(
    operation: &Operation<'a>,
    common: &[Parameter],
    components: &mut Components<'a>,
) -> Value {
    let mut members = Map::new();
    members.insert("tags".into(), json!([operation.tag]));
    members.insert("description".into(), operation.description.as_str().into());
    members.insert("operationId".into(), operation.id.as_str().into());
    let own = operation.parameters.iter().filter(|p| !common.contains(p));
    let own: Vec<Value> = own.map(|p| p.document(true)).collect();
    if !own.is_empty() {
        members.insert("parameters".into(), own.into());
    }
    if let Some(Body {
        required,
        media_types,
        content,
    }) = &operation.body
    {
        let mut body = json!({"content": by_media_type(media_types, content, components)});
        if *required {
            body["required"] = true.into();
        }
        members.insert("requestBody".into(), body);
    }
    let mut responses = Map::new();
    for code in operation.codes {
        let content = by_media_type(operation.produces, &operation.answer, components);
        let response = json!({"description": operations::reason(*code), "content": content});
        responses.insert(code.to_string(), response);
    }
    responses.insert(
        "401".into(),
        json!({"description": operations::reason(401)}),
    );
    members.insert("responses".into(), responses.into());
    extensions(operation, &mut members);
    Value::Object(members)
}

/// What Kubernetes says beside OpenAPI.
pub(super) fn extensions(operation: &Operation<'_>, members: &mut Map<String, Value>) {
    if !operation.action.is_empty() {
        members.insert("x-kubernetes-action".into(), operation.action.into());
    }
    if let Some(kind) = &operation.kind {
        let kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
        members.insert("x-kubernetes-group-version-kind".into(), kind);
    }
}

fn by_media_type<'a>(
    media_types: &[&str],
    content: &Content<'a>,
    components: &mut Components<'a>,
) -> Value {
    let schema = components.content(content);
    let content = media_types
        .iter()
        .map(|media| ((*media).to_owned(), json!({"schema": schema})));
    Value::Object(content.collect())
}
