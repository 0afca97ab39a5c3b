//! The `paths` of a document.

use serde_json::{Map, Value, json};

use super::document_path;
use super::schemas::Components;
use crate::resource::{GroupVersionKind, Resource, Subresource, Verb, Verbs, Version};
use crate::schema::{Schema, Type};

/// The content types of a patch, by whether the kind has patch strategies.
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// What a client may send and accept.
const MEDIA_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

pub(super) fn paths<'a>(
    schema: &'a Schema,
    group: &str,
    version: &Version,
    components: &mut Components<'a>,
) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in &version.resources {
        let mut maker = Maker {
            schema,
            resource,
            components,
        };
        maker.collection(group, &mut paths);
    }
    paths
}

struct Maker<'a, 'c> {
    schema: &'a Schema,
    resource: &'c Resource,
    components: &'c mut Components<'a>,
}

impl<'a> Maker<'a, '_> {
    fn collection(&mut self, group: &str, paths: &mut Map<String, Value>) {
        let resource = self.resource;
        let base = format!("/{}", document_path(group, &resource.version));
        let scoped = match resource.namespaced {
            true => format!("{base}/namespaces/{{namespace}}/{}", resource.plural),
            false => format!("{base}/{}", resource.plural),
        };
        let gvk = resource.gvk();
        let verbs = resource.verbs;
        let of_collection = [Verb::List, Verb::Create, Verb::DeleteCollection];
        paths.insert(
            scoped.clone(),
            self.item(&gvk, verbs, &of_collection, false),
        );
        if resource.namespaced && verbs.contains(Verb::List) {
            let all = format!("{base}/{}", resource.plural);
            paths.insert(all, self.item(&gvk, verbs, &[Verb::List], false));
        }
        let of_object = [Verb::Get, Verb::Update, Verb::Patch, Verb::Delete];
        if of_object.iter().any(|v| verbs.contains(*v)) {
            paths.insert(
                format!("{scoped}/{{name}}"),
                self.item(&gvk, verbs, &of_object, true),
            );
        }
        for sub in &resource.subresources {
            let item = self.subresource(sub);
            paths.insert(format!("{scoped}/{{name}}/{}", sub.name), item);
        }
    }

    fn subresource(&mut self, sub: &Subresource) -> Value {
        let all = [
            Verb::Get,
            Verb::Create,
            Verb::Update,
            Verb::Patch,
            Verb::Delete,
        ];
        self.item(&sub.kind, sub.verbs, &all, true)
    }

    /// One path with its operations.
    fn item(
        &mut self,
        gvk: &GroupVersionKind,
        verbs: Verbs,
        wanted: &[Verb],
        named: bool,
    ) -> Value {
        let mut parameters = Vec::new();
        if named {
            parameters.push(parameter("name", "path", "string"));
        }
        if self.resource.namespaced {
            parameters.push(parameter("namespace", "path", "string"));
        }
        parameters.push(parameter("pretty", "query", "string"));
        let mut item = json!({"parameters": parameters});
        for verb in wanted.iter().filter(|v| verbs.contains(**v)) {
            item[method(*verb)] = self.operation(gvk, *verb);
        }
        item
    }

    fn operation(&mut self, gvk: &GroupVersionKind, verb: Verb) -> Value {
        let ty = self.schema.kind(&gvk.group, &gvk.version, &gvk.kind);
        let options = self.schema.kind("meta.k8s.io", "v1", "DeleteOptions");
        let answer = match verb {
            Verb::List => self
                .schema
                .kind(&gvk.group, &gvk.version, &self.resource.list_kind),
            Verb::Delete | Verb::DeleteCollection => {
                self.schema.kind("meta.k8s.io", "v1", "Status")
            }
            _ => ty,
        };
        let mut operation = json!({
            "x-kubernetes-action": action(verb),
            "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
            "parameters": query_parameters(verb),
            "responses": {
                "200": {"description": "OK", "content": self.content(MEDIA_TYPES, answer)},
                "401": {"description": "Unauthorized"},
            },
        });
        let body = match verb {
            Verb::Create | Verb::Update => Some(self.content(MEDIA_TYPES, ty)),
            Verb::Delete | Verb::DeleteCollection => Some(self.content(MEDIA_TYPES, options)),
            Verb::Patch => {
                let strategic = (!self.resource.is_custom()).then_some(STRATEGIC);
                let types: Vec<_> = PATCHES.iter().copied().chain(strategic).collect();
                Some(self.content(&types, None))
            }
            Verb::Get | Verb::List | Verb::Watch => None,
        };
        if let Some(content) = body {
            operation["requestBody"] = json!({"content": content});
        }
        operation
    }

    fn content(&mut self, media_types: &[&str], ty: Option<Type<'a>>) -> Value {
        let schema = ty.map_or(json!({"type": "object"}), |ty| self.components.refer(ty));
        let content = media_types
            .iter()
            .map(|media| ((*media).to_owned(), json!({"schema": schema})));
        Value::Object(content.collect())
    }
}

fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "post",
        Verb::Update => "put",
        Verb::Patch => "patch",
        Verb::Delete | Verb::DeleteCollection => "delete",
        Verb::Get | Verb::List | Verb::Watch => "get",
    }
}

fn action(verb: Verb) -> &'static str {
    match verb {
        Verb::Create => "post",
        Verb::Update => "put",
        other => other.as_str(),
    }
}

fn query_parameters(verb: Verb) -> Vec<Value> {
    let write: &[(&str, &str)] = &[
        ("dryRun", "string"),
        ("fieldManager", "string"),
        ("fieldValidation", "string"),
    ];
    let list: &[(&str, &str)] = &[
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    let delete: &[(&str, &str)] = &[
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        (
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            "boolean",
        ),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ];
    let names: Vec<(&str, &str)> = match verb {
        Verb::Create | Verb::Update => write.to_vec(),
        Verb::Patch => write
            .iter()
            .copied()
            .chain([("force", "boolean")])
            .collect(),
        Verb::Delete => delete.to_vec(),
        Verb::DeleteCollection => delete.iter().chain(list).copied().collect(),
        Verb::List | Verb::Watch => list.to_vec(),
        Verb::Get => Vec::new(),
    };
    names
        .into_iter()
        .map(|(name, ty)| parameter(name, "query", ty))
        .collect()
}

fn parameter(name: &str, place: &str, ty: &str) -> Value {
    let mut parameter =
        json!({"name": name, "in": place, "schema": {"type": ty, "uniqueItems": true}});
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}
