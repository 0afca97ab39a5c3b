//! The labels of a request. Pure.

use http::Method;
use karve_api::resource::Verb;

use crate::path::Target;
use crate::seen::Seen;

const COMPONENT: &str = "apiserver";

/// Labels of a request, borrowed from it.
pub struct Labels<'a> {
    verb: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
}

/// The labels of a request, if it is counted: those for resources that there are, and health.
pub fn reported(seen: &Seen, known: bool) -> Option<Labels<'_>> {
    match &seen.target {
        Target::Resource(_) => known.then(|| Labels::of(seen, true)),
        Target::Other(path) => matches!(path.as_str(), "/healthz" | "/livez" | "/readyz")
            .then(|| Labels::of(seen, false)),
    }
}

/// `dryRun`, if it is what it should be.
pub fn dry_run(seen: &Seen) -> &'static str {
    match seen.query.get("dryRun") {
        None => "",
        Some("All") => "All",
        Some(_) => "invalid",
    }
}

impl<'a> Labels<'a> {
    /// Of a request; without a resource, the path counts as the subresource.
    pub fn of(seen: &'a Seen, resource: bool) -> Labels<'a> {
        let scope = scope(seen);
        let mut labels = Labels {
            verb: verb(seen, scope),
            group: "",
            version: "",
            resource: "",
            subresource: "",
            scope,
        };
        match &seen.target {
            Target::Resource(path) if resource => {
                labels.group = &path.group;
                labels.version = &path.version;
                labels.resource = &path.resource;
                labels.subresource = &path.subresource;
            }
            Target::Other(path) if !resource => labels.subresource = path,
            _ => {}
        }
        labels
    }

    /// For `apiserver_request_total`.
    pub fn with_code<'b>(&'b self, dry_run: &'b str, code: &'b str) -> [&'b str; 9] {
        let [
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            component,
        ] = self.without_code();
        [
            verb,
            dry_run,
            group,
            version,
            resource,
            subresource,
            scope,
            component,
            code,
        ]
    }

    /// For `apiserver_request_duration_seconds`.
    pub fn with_dry_run<'b>(&'b self, dry_run: &'b str) -> [&'b str; 8] {
        let [
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            component,
        ] = self.without_code();
        [
            verb,
            dry_run,
            group,
            version,
            resource,
            subresource,
            scope,
            component,
        ]
    }

    /// For `apiserver_request_terminations_total`.
    pub fn terminated<'b>(&'b self, code: &'b str) -> [&'b str; 8] {
        let [
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            component,
        ] = self.without_code();
        [
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            component,
            code,
        ]
    }

    /// For the others.
    pub fn without_code(&self) -> [&str; 7] {
        [
            self.verb,
            self.group,
            self.version,
            self.resource,
            self.subresource,
            self.scope,
            COMPONENT,
        ]
    }
}

fn scope(seen: &Seen) -> &'static str {
    match seen.resource() {
        None => "",
        Some(path) if !path.name.is_empty() || seen.verb == Some(Verb::Create) => "resource",
        Some(path) if !path.namespace.is_empty() => "namespace",
        Some(_) => "cluster",
    }
}

fn verb(seen: &Seen, scope: &str) -> &'static str {
    if seen.connects() {
        return "CONNECT";
    }
    match seen.method {
        _ if seen.verb == Some(Verb::Watch) => "WATCH",
        Method::GET | Method::HEAD if matches!(scope, "namespace" | "cluster") => "LIST",
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH if seen.applies => "APPLY",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_upstream() {
        let rows = [
            (
                "GET",
                "/api/v1/namespaces/a/pods/b",
                "",
                "GET,,v1,pods,,resource",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods",
                "",
                "LIST,,v1,pods,,namespace",
            ),
            ("GET", "/api/v1/pods?watch=1", "", "WATCH,,v1,pods,,cluster"),
            (
                "POST",
                "/apis/apps/v1/namespaces/a/deployments",
                "",
                "POST,apps,v1,deployments,,resource",
            ),
            (
                "PATCH",
                "/api/v1/nodes/n/status",
                "application/apply-patch+yaml",
                "APPLY,,v1,nodes,status,resource",
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/b/log",
                "",
                "CONNECT,,v1,pods,log,resource",
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods",
                "",
                "DELETE,,v1,pods,,namespace",
            ),
            ("GET", "/readyz", "", "GET,,,,/readyz,"),
        ];
        for (method, uri, kind, want) in rows {
            let request = http::Request::builder()
                .method(method)
                .uri(uri)
                .header("content-type", kind);
            let (parts, ()) = request.body(()).expect("request").into_parts();
            let seen = Seen::of(&parts);
            let labels = reported(&seen, true).expect("counted");
            assert_eq!(labels.without_code()[..6].join(","), want, "{method} {uri}");
        }
        let request = http::Request::builder()
            .uri("/made/up")
            .body(())
            .expect("request");
        assert!(reported(&Seen::of(&request.into_parts().0), true).is_none());
    }
}
