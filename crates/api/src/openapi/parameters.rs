//! The parameters of operations: those of paths, and the members of option types, which are query parameters.

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use crate::resource::Verb;
use crate::schema::{Scalar, Schema, Shape, Type};

/// One parameter. Sorted by name, then by place, as upstream sorts them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// `path` or `query`.
    pub(super) place: &'static str,
    /// `string`, `boolean`, `integer`.
    pub(super) ty: &'static str,
    pub(super) description: String,
}

impl Parameter {
    pub(super) fn in_path(name: &str, description: &str) -> Parameter {
        Parameter {
            name: name.to_owned(),
            place: "path",
            ty: "string",
            description: description.to_owned(),
        }
    }

    pub(super) fn namespace() -> Parameter {
        Parameter::in_path(
            "namespace",
            "object name and auth scope, such as for teams and projects",
        )
    }

    pub(super) fn pretty() -> Parameter {
        Parameter {
            name: "pretty".to_owned(),
            place: "query",
            ty: "string",
            description: "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent \
                          indicates a browser or command-line HTTP tool (curl and wget)."
                .to_owned(),
        }
    }

    /// As OpenAPI has it; `v3` puts the type into a schema.
    pub(super) fn document(&self, v3: bool) -> Value {
        let mut members = Map::new();
        members.insert("name".into(), self.name.as_str().into());
        members.insert("in".into(), self.place.into());
        if !self.description.is_empty() {
            members.insert("description".into(), self.description.as_str().into());
        }
        if self.place == "path" {
            members.insert("required".into(), true.into());
        }
        match v3 {
            true => drop(members.insert(
                "schema".into(),
                json!({"type": self.ty, "uniqueItems": true}),
            )),
            false => {
                members.insert("type".into(), self.ty.into());
                members.insert("uniqueItems".into(), true.into());
            }
        }
        Value::Object(members)
    }
}

/// The options of a verb.
pub(super) fn of_verb(schema: &Schema, texts: &Descriptions, verb: Verb) -> Vec<Parameter> {
    let of = |kind, without: &[&str]| of_options(schema, texts, "meta.k8s.io", kind, without);
    match verb {
        Verb::Create => of("CreateOptions", &[]),
        Verb::Update => of("UpdateOptions", &[]),
        Verb::Patch => of("PatchOptions", &[]),
        Verb::Delete => of("DeleteOptions", &[]),
        Verb::List | Verb::Watch => of("ListOptions", &[]),
        Verb::DeleteCollection => {
            let list = of("ListOptions", &["watch", "allowWatchBookmarks"]);
            list.into_iter().chain(of("DeleteOptions", &[])).collect()
        }
        Verb::Get => Vec::new(),
    }
}

/// The members of an option type that fit into a query.
pub(super) fn of_options(
    schema: &Schema,
    texts: &Descriptions,
    group: &str,
    kind: &str,
    without: &[&str],
) -> Vec<Parameter> {
    let Some(ty) = schema.kind(group, "v1", kind) else {
        return Vec::new();
    };
    let model = ty.model_name().unwrap_or_default();
    let fields = ty.fields().map(|f| f.fields()).unwrap_or_default();
    let wanted = fields
        .iter()
        .filter(|f| !matches!(&*f.name, "kind" | "apiVersion") && !without.contains(&&*f.name));
    wanted
        .filter_map(|field| {
            let text = texts.get(&model, &field.name);
            Some(Parameter {
                name: field.name.to_string(),
                place: "query",
                ty: simple(ty.of(field))?,
                description: text.map(|t| t.into_owned()).unwrap_or_default(),
            })
        })
        .collect()
}

fn simple(ty: Type<'_>) -> Option<&'static str> {
    match ty.shape() {
        Shape::List(item) => simple(item),
        Shape::Scalar(Scalar::Bool) => Some("boolean"),
        Shape::Scalar(Scalar::String) => Some("string"),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64) => Some("integer"),
        _ => None,
    }
}
