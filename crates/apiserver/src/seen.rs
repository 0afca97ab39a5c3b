//! What a request is about, as those see it who watch over requests: limits, metrics, the audit log.

use http::request::Parts;
use http::{Method, header};
use karve_api::resource::Verb;

use crate::path::{self, ResourcePath, Target};
use crate::query::Query;
use crate::server::requested_verb;

/// What a request is about.
#[derive(Debug)]
pub struct Seen {
    /// What the path names.
    pub target: Target,
    /// What is to be done with a resource.
    pub verb: Option<Verb>,
    /// The method.
    pub method: Method,
    /// The parameters.
    pub query: Query,
    /// Whether the body is an apply configuration.
    pub applies: bool,
}

impl Seen {
    /// Looks at the head of a request.
    pub fn of(parts: &Parts) -> Seen {
        let query = Query::parse(parts.uri.query());
        let target = path::parse(parts.uri.path());
        let verb = match &target {
            Target::Resource(path) => requested_verb(&parts.method, path, &query),
            Target::Other(_) => None,
        };
        let kind = parts.headers.get(header::CONTENT_TYPE);
        Seen {
            target,
            verb,
            method: parts.method.clone(),
            query,
            applies: kind.is_some_and(|v| v.as_bytes().starts_with(b"application/apply-patch")),
        }
    }

    /// The resource, if it is one.
    pub fn resource(&self) -> Option<&ResourcePath> {
        match &self.target {
            Target::Resource(path) => Some(path),
            Target::Other(_) => None,
        }
    }

    /// The verb as authorization and audit see it.
    pub fn verb(&self) -> String {
        match self.verb {
            Some(verb) => verb.as_str().to_owned(),
            None => self.method.as_str().to_lowercase(),
        }
    }

    /// The namespace; of a Namespace, its own name.
    pub fn namespace(&self) -> &str {
        match self.resource() {
            Some(path) if path.resource == "namespaces" && path.group.is_empty() => &path.name,
            Some(path) => &path.namespace,
            None => "",
        }
    }

    /// Whether the request is a connection to what a resource stands for.
    pub fn connects(&self) -> bool {
        let subresource = self.resource().map(|path| path.subresource.as_str());
        matches!(
            subresource,
            Some("log" | "exec" | "attach" | "portforward" | "proxy")
        )
    }

    /// Whether it may take as long as it likes.
    pub fn runs_long(&self) -> bool {
        self.verb == Some(Verb::Watch) || self.connects()
    }

    /// Whether it only reads.
    pub fn reads(&self) -> bool {
        match self.verb {
            Some(verb) => matches!(verb, Verb::Get | Verb::List | Verb::Watch),
            None => matches!(self.method, Method::GET | Method::HEAD),
        }
    }
}
