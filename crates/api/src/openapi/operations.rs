//! What can be done at the paths of a group and version, before it is OpenAPI v2 or v3.
//!
//! Names and texts are those that upstream's installer gives to its routes; client generators make method names of them.

use super::descriptions::Descriptions;
use super::document_path;
use super::parameters::{self, Parameter};
use crate::resource::{GroupVersionKind, Resource, Subresource, Verb, Version};
use crate::schema::{Schema, Type};
use crate::strategy;

/// What a body is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content<'a> {
    /// An object of a type.
    Type(Type<'a>),
    /// An object of a custom resource, by the name of its definition.
    Named(String),
    /// Any patch.
    Patch,
    /// What watches tell.
    Event,
    /// `/version`.
    Version,
    /// A text.
    Text,
}

/// What a client sends.
#[derive(Debug)]
pub(super) struct Body<'a> {
    pub(super) required: bool,
    pub(super) media_types: &'static [&'static str],
    pub(super) content: Content<'a>,
}

/// One method of one path.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) description: String,
    /// `x-kubernetes-action`; discovery has none.
    pub(super) action: &'static str,
    pub(super) kind: Option<GroupVersionKind>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body<'a>>,
    pub(super) codes: &'static [u16],
    pub(super) produces: &'static [&'static str],
    pub(super) answer: Content<'a>,
}

const OBJECT: &[&str] = &[
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
];
const STREAM: &[&str] = &[
    "application/json",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
];
const CUSTOM: &[&str] = &["application/json", "application/yaml"];
const LOG: &[&str] = &[
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
    "text/plain",
];
const ANY: &[&str] = &["*/*"];
const JSON: &[&str] = &["application/json"];
const KEYS: &[&str] = &["application/jwk-set+json"];
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const CUSTOM_PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
];

/// Which objects a path is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Those of a namespace, or of the cluster for resources that have none.
    Scope,
    AllNamespaces,
}

/// The paths of a group and version with their operations.
pub(super) fn paths<'a>(
    schema: &'a Schema,
    texts: &Descriptions,
    group: &str,
    version: &Version,
) -> Vec<(String, Vec<Operation<'a>>)> {
    let base = format!("/{}", document_path(group, &version.name));
    let title = title(group, &version.name);
    let id = format!("get{}APIResources", title.0);
    let answer = meta(schema, "APIResourceList");
    let discovery = reading(&id, &title.1, "get available resources", OBJECT, answer);
    let mut paths = Vec::new();
    let custom = version.resources.iter().all(|r| r.is_custom());
    if !custom {
        paths.push((format!("{base}/"), vec![discovery]));
    }
    for resource in &version.resources {
        let maker = Maker {
            schema,
            texts,
            resource,
            title: &title,
        };
        maker.resource(&base, &mut paths);
    }
    paths
}

fn meta<'a>(schema: &'a Schema, kind: &str) -> Content<'a> {
    schema
        .kind("meta.k8s.io", "v1", kind)
        .map_or(Content::Text, Content::Type)
}

/// An operation that only reads a document.
fn reading<'a>(
    id: &str,
    tag: &str,
    description: &str,
    produces: &'static [&'static str],
    answer: Content<'a>,
) -> Operation<'a> {
    Operation {
        method: "get",
        id: id.to_owned(),
        tag: tag.to_owned(),
        description: description.to_owned(),
        action: "",
        kind: None,
        parameters: Vec::new(),
        body: None,
        codes: &[200],
        produces,
        answer,
    }
}

/// The documents that belong to no version: their paths below `/openapi/v3/` and what they are about.
pub(super) const ROOTS: &[&str] = &[
    ".well-known/openid-configuration",
    "api",
    "apis",
    "openid/v1/jwks",
    "version",
];

/// What can be read at a path that belongs to no version: one of [`ROOTS`], or `apis/GROUP`.
pub(super) fn root<'a>(schema: &'a Schema, path: &str) -> Operation<'a> {
    match path {
        "api" => {
            let answer = meta(schema, "APIVersions");
            reading(
                "getCoreAPIVersions",
                "core",
                "get available API versions",
                OBJECT,
                answer,
            )
        }
        "apis" => {
            let answer = meta(schema, "APIGroupList");
            reading(
                "getAPIVersions",
                "apis",
                "get available API versions",
                OBJECT,
                answer,
            )
        }
        "version" => {
            let text = "get the version information for this server";
            reading("getCodeVersion", "version", text, JSON, Content::Version)
        }
        ".well-known/openid-configuration" => {
            let text = "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'";
            reading(
                "getServiceAccountIssuerOpenIDConfiguration",
                "WellKnown",
                text,
                JSON,
                Content::Text,
            )
        }
        "openid/v1/jwks" => {
            let text = "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)";
            reading(
                "getServiceAccountIssuerOpenIDKeyset",
                "openid",
                text,
                KEYS,
                Content::Text,
            )
        }
        group => {
            let group = group.trim_start_matches("apis/");
            let group = group.strip_suffix(".k8s.io").unwrap_or(group);
            let id = format!("get{}APIGroup", operation_id(group, true));
            let answer = meta(schema, "APIGroup");
            reading(
                &id,
                &operation_id(group, false),
                "get information of a group",
                OBJECT,
                answer,
            )
        }
    }
}

/// `AppsV1` and `apps_v1`.
fn title(group: &str, version: &str) -> (String, String) {
    let group = if group.is_empty() { "core" } else { group };
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let (name, tag) = (operation_id(group, true), operation_id(group, false));
    (
        format!("{name}{}", operation_id(version, true)),
        format!("{tag}_{}", operation_id(version, false)),
    )
}

/// A text without what can't be in a name, in camel case.
pub(super) fn operation_id(text: &str, capital: bool) -> String {
    let (mut id, mut capital) = (String::new(), capital);
    for (i, c) in text.chars().enumerate() {
        if c.is_alphabetic() || c == '_' || i != 0 && c.is_ascii_digit() {
            match capital {
                true => id.extend(c.to_uppercase()),
                false => id.push(c),
            }
            capital = false;
        } else {
            capital = true;
        }
    }
    id
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// `a Pod`, `an Ingress`, `Endpoints`.
fn with_article(kind: &str) -> String {
    match kind.chars().next().unwrap_or_default() {
        _ if kind.ends_with('s') && !kind.ends_with("ss") => kind.to_owned(),
        'A' | 'E' | 'I' | 'O' | 'U' => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// The name of the definition of a custom kind: the labels of the group come backwards.
pub(super) fn custom_name(resource: &Resource, kind: &str) -> String {
    let group: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{kind}", group.join("."), resource.version)
}

struct Maker<'a, 'c> {
    schema: &'a Schema,
    texts: &'c Descriptions,
    resource: &'c Resource,
    title: &'c (String, String),
}

impl<'a> Maker<'a, '_> {
    fn resource(&self, base: &str, paths: &mut Vec<(String, Vec<Operation<'a>>)>) {
        let resource = self.resource;
        let plural = &resource.plural;
        let scope = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let has = |verb| resource.verbs.contains(verb);
        let of = |verbs: &[Verb], place| -> Vec<Operation<'a>> {
            let own = verbs.iter().filter(|v| has(**v));
            own.map(|verb| self.operation(*verb, place, false))
                .collect()
        };
        let collection = of(
            &[Verb::DeleteCollection, Verb::List, Verb::Create],
            Place::Scope,
        );
        paths.push((format!("{base}{scope}/{plural}"), collection));
        let single = of(
            &[Verb::Delete, Verb::Get, Verb::Patch, Verb::Update],
            Place::Scope,
        );
        if !single.is_empty() {
            paths.push((format!("{base}{scope}/{plural}/{{name}}"), single));
        }
        if resource.namespaced && has(Verb::List) {
            let all = vec![self.operation(Verb::List, Place::AllNamespaces, false)];
            paths.push((format!("{base}/{plural}"), all));
        }
        if has(Verb::Watch) && !resource.is_custom() {
            self.watches(base, scope, paths);
        }
        for sub in &resource.subresources {
            self.subresource(
                sub,
                &format!("{base}{scope}/{plural}/{{name}}/{}", sub.name),
                paths,
            );
        }
    }

    fn watches(&self, base: &str, scope: &str, paths: &mut Vec<(String, Vec<Operation<'a>>)>) {
        let plural = &self.resource.plural;
        let list = |place| vec![self.operation(Verb::Watch, place, false)];
        paths.push((format!("{base}/watch{scope}/{plural}"), list(Place::Scope)));
        if self.resource.namespaced {
            paths.push((format!("{base}/watch/{plural}"), list(Place::AllNamespaces)));
        }
        if self.resource.verbs.contains(Verb::Get) {
            let single = vec![self.operation(Verb::Watch, Place::Scope, true)];
            paths.push((format!("{base}/watch{scope}/{plural}/{{name}}"), single));
        }
    }

    fn content(&self, kind: &GroupVersionKind) -> Content<'a> {
        let ty = self.schema.kind(&kind.group, &kind.version, &kind.kind);
        match (self.resource.is_custom(), ty) {
            (_, Some(ty)) => Content::Type(ty),
            (true, None) => Content::Named(custom_name(self.resource, &kind.kind)),
            (false, None) => Content::Text,
        }
    }

    fn path_parameters(&self, named: bool, kind: &str) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        if named {
            parameters.push(Parameter::in_path("name", &format!("name of the {kind}")));
        }
        if self.resource.namespaced {
            parameters.push(Parameter::namespace());
        }
        parameters
    }

    /// An operation on objects themselves. `single`: a watch of one object.
    fn operation(&self, verb: Verb, place: Place, single: bool) -> Operation<'a> {
        let resource = self.resource;
        let kind = &resource.kind;
        let scoped = resource.namespaced && place == Place::Scope;
        let namespaced = if scoped { "Namespaced" } else { "" };
        let suffix = if place == Place::AllNamespaces {
            "ForAllNamespaces"
        } else {
            ""
        };
        let watched = resource.verbs.contains(Verb::Watch);
        let (verb_name, middle, end, description) = match verb {
            Verb::Watch if single => (
                "watch",
                "",
                "",
                format!(
                    "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list \
                 operation instead, filtered to a single item with the 'fieldSelector' parameter."
                ),
            ),
            Verb::Watch => (
                "watch",
                "",
                "List",
                format!(
                    "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list \
                 operation instead."
                ),
            ),
            Verb::List if watched => (
                "list",
                "",
                "",
                format!("list or watch objects of kind {kind}"),
            ),
            Verb::List => ("list", "", "", format!("list objects of kind {kind}")),
            Verb::Create => ("create", "", "", format!("create {}", with_article(kind))),
            Verb::DeleteCollection => (
                "delete",
                "Collection",
                "",
                format!("delete collection of {kind}"),
            ),
            Verb::Delete => ("delete", "", "", format!("delete {}", with_article(kind))),
            Verb::Get => ("read", "", "", format!("read the specified {kind}")),
            Verb::Patch => (
                "patch",
                "",
                "",
                format!("partially update the specified {kind}"),
            ),
            Verb::Update => ("replace", "", "", format!("replace the specified {kind}")),
        };
        let named = single || matches!(verb, Verb::Delete | Verb::Get | Verb::Patch | Verb::Update);
        let mut parameters = match scoped {
            true => self.path_parameters(named, kind),
            false if named => vec![Parameter::in_path("name", &format!("name of the {kind}"))],
            false => Vec::new(),
        };
        parameters.push(Parameter::pretty());
        parameters.extend(parameters::of_verb(self.schema, self.texts, verb));
        parameters.sort();
        let gvk = resource.gvk();
        let own = self.content(&gvk);
        Operation {
            method: method(verb),
            id: format!(
                "{verb_name}{}{middle}{namespaced}{kind}{end}{suffix}",
                self.title.0
            ),
            tag: self.title.1.clone(),
            description,
            action: if verb == Verb::Watch && !single {
                "watchlist"
            } else {
                action(verb)
            },
            parameters,
            body: self.body(verb, &gvk),
            codes: codes(verb),
            produces: match verb {
                Verb::Get
                | Verb::Create
                | Verb::Update
                | Verb::Patch
                | Verb::Delete
                | Verb::DeleteCollection
                | Verb::List
                    if resource.is_custom() =>
                {
                    CUSTOM
                }
                Verb::List | Verb::Watch => STREAM,
                _ => OBJECT,
            },
            answer: match verb {
                Verb::List => self.content(&GroupVersionKind {
                    kind: resource.list_kind.clone(),
                    ..gvk.clone()
                }),
                Verb::Watch => Content::Event,
                Verb::DeleteCollection => self.meta("Status"),
                Verb::Delete if !shows_deleted(resource) => self.meta("Status"),
                _ => own,
            },
            kind: Some(gvk),
        }
    }

    fn meta(&self, kind: &str) -> Content<'a> {
        meta(self.schema, kind)
    }

    fn body(&self, verb: Verb, kind: &GroupVersionKind) -> Option<Body<'a>> {
        let custom = self.resource.is_custom();
        let media_types = if custom { CUSTOM } else { ANY };
        let (required, media_types, content) = match verb {
            Verb::Create | Verb::Update => (true, media_types, self.content(kind)),
            Verb::Delete | Verb::DeleteCollection => {
                (false, media_types, self.meta("DeleteOptions"))
            }
            Verb::Patch if custom => (true, CUSTOM_PATCHES, Content::Patch),
            Verb::Patch => (true, PATCHES, Content::Patch),
            Verb::Get | Verb::List | Verb::Watch => return None,
        };
        Some(Body {
            required,
            media_types,
            content,
        })
    }

    fn subresource(
        &self,
        sub: &Subresource,
        path: &str,
        paths: &mut Vec<(String, Vec<Operation<'a>>)>,
    ) {
        if let "exec" | "attach" | "portforward" | "proxy" = &*sub.name {
            return self.connections(sub, path, paths);
        }
        let verbs = [
            Verb::Get,
            Verb::Create,
            Verb::Patch,
            Verb::Update,
            Verb::Delete,
        ];
        let verbs = verbs.into_iter().filter(|v| sub.verbs.contains(*v));
        paths.push((
            path.to_owned(),
            verbs.map(|verb| self.sub_operation(sub, verb)).collect(),
        ));
    }

    fn sub_operation(&self, sub: &Subresource, verb: Verb) -> Operation<'a> {
        let (resource, name) = (self.resource, &sub.name);
        let kind = &resource.kind;
        let namespaced = if resource.namespaced {
            "Namespaced"
        } else {
            ""
        };
        let log = name == "log";
        let (verb_name, description) = match verb {
            Verb::Create => ("create", format!("create {name} of {}", with_article(kind))),
            Verb::Patch => (
                "patch",
                format!("partially update {name} of the specified {kind}"),
            ),
            Verb::Update => ("replace", format!("replace {name} of the specified {kind}")),
            Verb::Delete => ("delete", format!("delete {name} of {}", with_article(kind))),
            _ => ("read", format!("read {name} of the specified {kind}")),
        };
        let mut parameters = self.path_parameters(true, if log { kind } else { &sub.kind.kind });
        parameters.push(Parameter::pretty());
        match log {
            true => parameters.extend(parameters::of_options(
                self.schema,
                self.texts,
                "",
                "PodLogOptions",
                &[],
            )),
            false => parameters.extend(parameters::of_verb(self.schema, self.texts, verb)),
        }
        parameters.sort();
        let gvk = if log {
            resource.gvk()
        } else {
            sub.kind.clone()
        };
        Operation {
            method: method(verb),
            id: format!(
                "{verb_name}{}{namespaced}{kind}{}",
                self.title.0,
                capitalized(name)
            ),
            tag: self.title.1.clone(),
            description,
            action: action(verb),
            parameters,
            body: self.body(verb, &gvk),
            codes: codes(verb),
            produces: if log {
                LOG
            } else if resource.is_custom() {
                CUSTOM
            } else {
                OBJECT
            },
            answer: if log {
                Content::Text
            } else {
                self.content(&gvk)
            },
            kind: Some(gvk),
        }
    }

    /// Paths that lead to a node or a Pod, by any method.
    fn connections(
        &self,
        sub: &Subresource,
        path: &str,
        paths: &mut Vec<(String, Vec<Operation<'a>>)>,
    ) {
        let methods: &[&'static str] = match &*sub.name {
            "proxy" => &["delete", "get", "head", "options", "patch", "post", "put"],
            _ => &["get", "post"],
        };
        let of = |with_path: bool| -> Vec<Operation<'a>> {
            methods
                .iter()
                .map(|method| self.connection(sub, method, with_path))
                .collect()
        };
        paths.push((path.to_owned(), of(false)));
        if sub.name == "proxy" {
            paths.push((format!("{path}/{{path}}"), of(true)));
        }
    }

    fn connection(
        &self,
        sub: &Subresource,
        method: &'static str,
        with_path: bool,
    ) -> Operation<'a> {
        let (resource, name) = (self.resource, &sub.name);
        let kind = &resource.kind;
        let namespaced = if resource.namespaced {
            "Namespaced"
        } else {
            ""
        };
        let suffix = if with_path { "WithPath" } else { "" };
        let mut parameters = self.path_parameters(true, &sub.kind.kind);
        parameters.extend(parameters::of_options(
            self.schema,
            self.texts,
            &sub.kind.group,
            &sub.kind.kind,
            &[],
        ));
        if with_path {
            parameters.push(Parameter::in_path("path", "path to the resource"));
        }
        parameters.sort();
        let (verb, sub_name) = (capitalized(method), capitalized(name));
        Operation {
            method,
            id: format!(
                "connect{}{verb}{namespaced}{kind}{sub_name}{suffix}",
                self.title.0
            ),
            tag: self.title.1.clone(),
            description: format!(
                "connect {} requests to {name} of {kind}",
                method.to_uppercase()
            ),
            action: "connect",
            kind: Some(sub.kind.clone()),
            parameters,
            body: None,
            codes: &[200],
            produces: ANY,
            answer: Content::Text,
        }
    }
}

/// Upstream's document is wrong about Namespaces: it does not know that they are shown.
fn shows_deleted(resource: &Resource) -> bool {
    strategy::deletes_with_object(resource) && resource.kind != "Namespace"
}

fn codes(verb: Verb) -> &'static [u16] {
    match verb {
        Verb::Create => &[200, 201, 202],
        Verb::Update | Verb::Patch => &[200, 201],
        Verb::Delete => &[200, 202],
        Verb::Get | Verb::List | Verb::Watch | Verb::DeleteCollection => &[200],
    }
}

/// The text of a code.
pub(super) fn reason(code: u16) -> &'static str {
    match code {
        201 => "Created",
        202 => "Accepted",
        401 => "Unauthorized",
        _ => "OK",
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
