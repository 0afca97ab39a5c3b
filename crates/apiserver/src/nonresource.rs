//! Paths that are no resources: discovery, schema, health, version.

use http::Method;
use http::request::Parts;
use karve_api::resource::Table;
use karve_api::status::Status;
use serde_json::json;

use crate::answer::{self, HttpResponse};
use crate::query::Query;
use crate::server::Server;
use crate::{discovery, media};

/// Answers a path (without its trailing slash).
pub fn answer(server: &Server, parts: &Parts, path: &str, query: &Query) -> HttpResponse {
    let _ = query;
    let health = ["/healthz", "/livez", "/readyz"]
        .into_iter()
        .find(|root| path == *root || path.strip_prefix(root).is_some_and(|r| r.starts_with('/')));
    if let Some(root) = health {
        // A server that answers is healthy: it opens its port when the store is read and bootstrapped.
        return match path == root && !parts.uri.path().ends_with('/') {
            true => answer::text(200, "ok"),
            false => answer::page_not_found(),
        };
    }
    let table = server.table();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let known = matches!(segments[..], ["version"] | ["api"] | ["apis"] | ["api", _] | ["apis", _] | ["apis", _, _] | [""]);
    if known && parts.method != Method::GET {
        return answer::status(&Status::method_not_allowed());
    }
    match segments[..] {
        ["version"] => version(),
        ["api"] if media::wants_aggregated_discovery(&parts.headers) => {
            aggregated(table, true)
        }
        ["apis"] if media::wants_aggregated_discovery(&parts.headers) => {
            aggregated(table, false)
        }
        _ => answer::page_not_found(),
    }
}

fn aggregated(table: &Table, core: bool) -> HttpResponse {
    let mut response = answer::json(200, &discovery::aggregated(table, core));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    );
    response
}

fn version() -> HttpResponse {
    answer::json(
        200,
        &json!({
            "major": "1",
            "minor": "37",
            "emulationMajor": "1",
            "emulationMinor": "37",
            "minCompatibilityMajor": "1",
            "minCompatibilityMinor": "36",
            "gitVersion": concat!("v1.37.2+karve.", env!("CARGO_PKG_VERSION")),
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "rustc",
            "platform": format!("{}/{}", std::env::consts::OS, go_architecture()),
        }),
    )
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
