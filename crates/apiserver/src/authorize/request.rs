//! A request as authorization sees it: upstream's RequestInfo, parsed once and asked about for two users when one acts
//! as the other.

use http::Method;
use karve_api::selector::{FieldSelector, LabelSelector};

use super::Attributes;
use crate::identity::Identity;
use crate::path::Target;
use crate::query::Query;

/// What is asked of the server, by whomever.
pub struct Request<'a> {
    target: &'a Target,
    verb: &'static str,
    method: String,
    name: String,
    fields: Option<FieldSelector>,
    labels: Option<LabelSelector>,
}

impl<'a> Request<'a> {
    /// From the parts of an HTTP request.
    pub fn new(method: &Method, target: &'a Target, query: &Query) -> Request<'a> {
        let mut request = Request {
            target,
            verb: "",
            method: method.as_str().to_lowercase(),
            name: String::new(),
            fields: None,
            labels: None,
        };
        let Target::Resource(path) = target else {
            return request;
        };
        let many = path.name.is_empty();
        request.name.clone_from(&path.name);
        request.verb = match method.as_str() {
            _ if path.watch => "watch",
            "GET" | "HEAD" if !many => "get",
            "GET" | "HEAD" if query.flag("watch") => "watch",
            "GET" | "HEAD" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if many => "deletecollection",
            "DELETE" => "delete",
            _ => "",
        };
        // The old form of a watch does not heed selectors in all its forms.
        if !path.watch && matches!(request.verb, "list" | "watch" | "deletecollection") {
            let fields = FieldSelector::parse(query.text("fieldSelector")).ok();
            let labels = LabelSelector::parse(query.text("labelSelector")).ok();
            request.fields = fields.filter(|f| !f.terms.is_empty());
            request.labels = labels.filter(|l| !l.is_everything());
        }
        // A collection that can have one object only counts as that object.
        let selected = request.fields.as_ref().and_then(FieldSelector::exact_name);
        if let (true, "list" | "watch", Some(name)) = (many, request.verb, selected)
            && !matches!(name, "." | "..")
            && !name.contains(['/', '%'])
        {
            request.name = name.to_owned();
        }
        request
    }

    /// The question whether `user` may make it.
    pub fn by<'b>(&'b self, user: &'b Identity) -> Attributes<'b> {
        let path = match self.target {
            Target::Other(path) => return Attributes::path(user, &self.method, path),
            Target::Resource(path) => path,
        };
        // A namespace is in itself.
        let namespace = match (&*path.group, &*path.resource) {
            ("", "namespaces") => &path.name,
            _ => &path.namespace,
        };
        Attributes {
            version: &path.version,
            subresource: &path.subresource,
            name: &self.name,
            namespace,
            fields: self.fields.as_ref(),
            labels: self.labels.as_ref(),
            ..Attributes::resource(user, self.verb, &path.group, &path.resource)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_asked_about_as_upstream_does() {
        let rows = [
            (
                "GET",
                "/api/v1/namespaces/a/pods/p/log",
                "get pods/log p in a",
            ),
            ("GET", "/api/v1/pods", "list pods/  in "),
            ("GET", "/api/v1/pods?watch=1", "watch pods/  in "),
            (
                "GET",
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx",
                "list pods/ x in a",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx",
                "deletecollection pods/  in a",
            ),
            ("GET", "/api/v1/namespaces/a", "get namespaces/ a in a"),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                "update namespaces/finalize a in a",
            ),
            (
                "GET",
                "/api/v1/watch/namespaces/a/pods/p",
                "watch pods/ p in a",
            ),
            ("HEAD", "/api/v1/namespaces/a/pods/p", "get pods/ p in a"),
            ("OPTIONS", "/api/v1/pods", " pods/  in "),
            ("POST", "/version", "post /version"),
        ];
        let user = Identity::anonymous();
        for (method, uri, want) in rows {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let target = crate::path::parse(path);
            let method: Method = method.parse().expect("a method");
            let request = Request::new(&method, &target, &Query::parse(Some(query)));
            let asked = request.by(&user);
            let have = match asked.resource_request {
                false => format!("{} {}", asked.verb, asked.path),
                true => format!(
                    "{} {}/{} {} in {}",
                    asked.verb, asked.resource, asked.subresource, asked.name, asked.namespace
                ),
            };
            assert_eq!(have, want, "{method} {uri}");
        }
    }
}
