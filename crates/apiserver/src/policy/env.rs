//! What expressions of policies may speak of.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use karve_cel::env::Env;
use karve_cel::schema::{Decl, Shape};
use karve_cel::types::Type;

/// The type of `variables`.
const VARIABLES: &str = "kubernetes.variables";

/// Which variables there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// Whether the expression was accepted before.
    pub stored: bool,
    /// Whether there are `params`.
    pub params: bool,
    /// Whether an authorizer may be asked.
    pub authorizer: bool,
    /// Whether objects may be changed.
    pub mutation: bool,
}

/// The surroundings of an expression, which may use the variables that were composed before it.
pub fn env(given: Given, variables: Option<&BTreeMap<String, Type>>) -> Env {
    let mut env = Env::new(given.stored)
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .declared("request", &REQUEST)
        .declared("namespaceObject", &NAMESPACE);
    if given.params {
        env = env.variable("params", Type::Dyn);
    }
    if given.authorizer {
        let resource = Type::object("kubernetes.authorization.ResourceCheck");
        env = env
            .variable(
                "authorizer",
                Type::object("kubernetes.authorization.Authorizer"),
            )
            .variable("authorizer.requestResource", resource);
    }
    if given.mutation {
        env = env.mutation();
    }
    match variables {
        Some(fields) => env
            .object_type(VARIABLES, fields.clone())
            .variable("variables", Type::object(VARIABLES)),
        None => env,
    }
}

/// The type that a composed variable has for the expressions after it.
pub fn variable_type(output: &Type) -> Type {
    match output {
        Type::List(element) => Type::list(variable_type(element)),
        Type::Map(entry) => Type::map(variable_type(&entry.0), variable_type(&entry.1)),
        Type::Bool
        | Type::Int
        | Type::Uint
        | Type::Double
        | Type::String
        | Type::Bytes
        | Type::Duration
        | Type::Timestamp => output.clone(),
        _ => Type::Dyn,
    }
}

static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let kind = || {
        let fields = ["group", "version", "kind"].map(|name| (name, text()));
        object("kubernetes.GroupVersionKind", fields)
    };
    let resource = || {
        let fields = ["group", "version", "resource"].map(|name| (name, text()));
        object("kubernetes.GroupVersionResource", fields)
    };
    let user = object(
        "kubernetes.UserInfo",
        [
            ("username", text()),
            ("uid", text()),
            ("groups", list(text())),
            ("extra", map(list(text()))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", plain(Shape::Bool)),
            ("options", Decl::dynamic()),
        ],
    )
});

static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", map(text())),
            ("annotations", map(text())),
            ("UID", text()),
            ("creationTimestamp", plain(Shape::DateTime)),
            ("deletionGracePeriodSeconds", plain(Shape::Int)),
            ("deletionTimestamp", plain(Shape::DateTime)),
            ("generation", plain(Shape::Int)),
            ("resourceVersion", text()),
            ("finalizers", list(text())),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", [("finalizers", list(text()))]);
    let status = object("kubernetes.NamespaceStatus", [("phase", text())]);
    object(
        "kubernetes.Namespace",
        [("metadata", metadata), ("spec", spec), ("status", status)],
    )
});

fn plain(shape: Shape) -> Arc<Decl> {
    Arc::new(Decl {
        shape,
        max_elements: u64::MAX,
        min_size: 1,
        nullable: false,
    })
}

fn text() -> Arc<Decl> {
    plain(Shape::String)
}

fn list(element: Arc<Decl>) -> Arc<Decl> {
    plain(Shape::List(element, karve_cel::schema::ListKind::Atomic))
}

fn map(value: Arc<Decl>) -> Arc<Decl> {
    plain(Shape::Map(value))
}

fn object<const N: usize>(name: &str, fields: [(&str, Arc<Decl>); N]) -> Arc<Decl> {
    let fields = fields.map(|(name, decl)| (name.to_owned(), decl));
    Decl::object(name, BTreeMap::from(fields))
}
