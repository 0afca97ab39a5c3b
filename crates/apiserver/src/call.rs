//! One request for a resource, understood: who wants what of which objects.

use std::sync::Arc;

use http::{HeaderMap, header};
use karve_api::resource::{GroupVersionKind, Resource, Verb};
use karve_api::status::Status;

use crate::admission::Notes;
use crate::answer::Refusal;
use crate::identity::Identity;
use crate::media::{self, Format, Media, Offers};
use crate::path::ResourcePath;
use crate::query::Query;

/// One request for a resource.
pub struct Call {
    /// The resource.
    pub resource: Arc<Resource>,
    /// What to do.
    pub verb: Verb,
    /// The names in the path.
    pub path: ResourcePath,
    /// The parameters.
    pub query: Query,
    /// Who asks.
    pub identity: Identity,
    /// What the answer looks like.
    pub media: Media,
    /// How a status is written.
    pub status_format: Format,
    /// Whether the client takes gzip.
    pub gzip: bool,
    /// The content type of the body, without parameters.
    pub content_type: String,
    /// The client's program, which is the default field manager.
    pub user_agent: String,
    /// What the answer warns of.
    pub warnings: Vec<String>,
    /// What admission tells the audit log.
    pub annotations: Vec<(String, String)>,
}

impl Call {
    /// Puts the parts of a request together.
    pub fn new(
        resource: Arc<Resource>,
        verb: Verb,
        path: ResourcePath,
        query: Query,
        identity: Identity,
        headers: &HeaderMap,
    ) -> Result<Call, Refusal> {
        let text = |name| {
            headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
        };
        check_route(&resource, verb, &path, headers)?;
        let pretty = media::pretty(query.get("pretty"), headers);
        let media = media::negotiate(headers, Offers::of(&resource, &path.subresource), pretty)?;
        let content_type = text(header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        Ok(Call {
            resource,
            verb,
            path,
            query,
            identity,
            media,
            status_format: media::for_status(headers, pretty),
            gzip: media::accepts_gzip(headers),
            content_type: content_type.to_owned(),
            user_agent: text(header::USER_AGENT).to_owned(),
            warnings: Vec::new(),
            annotations: Vec::new(),
        })
    }

    /// The namespace of the objects; empty at the cluster scope, or for all namespaces.
    pub fn namespace(&self) -> &str {
        match self.resource.namespaced {
            true => &self.path.namespace,
            false => "",
        }
    }

    /// The name in the path.
    pub fn name(&self) -> &str {
        &self.path.name
    }

    /// The key of the object in the path.
    pub fn key(&self) -> String {
        crate::keys::key(&self.resource, self.namespace(), self.name())
    }

    /// Who owns the fields that are written: the parameter, or the name of the client's program.
    pub fn manager(&self) -> &str {
        let given = self.query.text("fieldManager");
        match given.is_empty() {
            false => given,
            true => self.user_agent.split('/').next().unwrap_or_default(),
        }
    }

    /// Whether it is server-side apply.
    pub fn is_apply(&self) -> bool {
        matches!(
            self.content_type.as_str(),
            "application/apply-patch+yaml" | "application/apply-patch+json"
        )
    }

    /// The kind that the body has.
    pub fn body_kind(&self) -> GroupVersionKind {
        match self.resource.subresource(&self.path.subresource) {
            Some(subresource) => subresource.kind.clone(),
            None => self.resource.gvk(),
        }
    }

    /// Takes over what admission tells, once although a write may be tried again.
    pub fn note(&mut self, notes: Notes) {
        for warning in notes.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        for (key, value) in notes.annotations {
            if !self.annotations.iter().any(|(known, _)| *known == key) {
                self.annotations.push((key, value));
            }
        }
    }

    /// 404 for the object in the path.
    pub fn not_found(&self) -> Refusal {
        self.not_found_name(self.name())
    }

    /// 404 for an object of this resource.
    pub fn not_found_name(&self, name: &str) -> Refusal {
        Status::not_found(&self.resource.group, &self.resource.plural, name).into()
    }

    /// 409 with upstream's text on concurrent changes.
    pub fn modified(&self, name: &str) -> Refusal {
        Status::modified(&self.resource.group, &self.resource.plural, name).into()
    }
}

/// What the router of built-in endpoints looks at before the handler does. Connections answer with whatever they like.
fn check_route(
    resource: &Resource,
    verb: Verb,
    path: &ResourcePath,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let also: &[&str] = match &*path.subresource {
        "exec" | "attach" | "portforward" | "proxy" => return Ok(()),
        "log" => &["text/plain"],
        _ => &[],
    };
    match resource.is_custom() {
        true => Ok(()),
        false => media::check_route(headers, also, matches!(verb, Verb::List | Verb::Watch)),
    }
}
