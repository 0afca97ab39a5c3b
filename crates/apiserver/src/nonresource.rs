//! Paths that are no resources: discovery, schema, health, version.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, header};
use karve_api::discovery;
use karve_api::resource::Table;
use karve_api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::aggregate;
use crate::answer::{self, HttpResponse};
use crate::compress;
use crate::health;
use crate::media::{self, Format, Offers};
use crate::metrics::Metrics;
use crate::openapi;
use crate::query::Query;
use crate::respond;
use crate::server::{Served, Server};

/// Documents that were asked for, as bytes. They are made from a table, and die with it.
#[derive(Default)]
pub struct Documents {
    by_path: Mutex<HashMap<String, Arc<OnceLock<Bytes>>>>,
}

impl Documents {
    /// A document in JSON, made when it is not there.
    pub fn json(&self, path: &str, make: impl FnOnce() -> Value) -> Bytes {
        self.bytes(path, || {
            let mut bytes = serde_json::to_vec(&make()).expect("documents have string keys only");
            bytes.push(b'\n');
            bytes
        })
    }

    /// A document as bytes, made when it is not there. Whoever asks meanwhile waits rather than to make it, too.
    pub fn bytes(&self, path: &str, make: impl FnOnce() -> Vec<u8>) -> Bytes {
        let mut documents = self.by_path.lock();
        let document = match documents.get(path) {
            Some(document) => document.clone(),
            None => documents.entry(path.to_owned()).or_default().clone(),
        };
        drop(documents);
        document.get_or_init(|| make().into()).clone()
    }
}

/// Answers a path (without its trailing slash).
pub fn answer(server: &Server, parts: &Parts, path: &str, query: &Query) -> HttpResponse {
    let slash = parts.uri.path().ends_with('/') && !path.is_empty();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    if let ["healthz" | "livez" | "readyz", rest @ ..] = &segments[..] {
        return match slash {
            true => answer::page_not_found(),
            false => health::answer(server, segments[0], &rest.join("/"), query),
        };
    }
    let served = server.served();
    let table = &served.table;
    let document = match segments[..] {
        [] | [""] => Some(roots(table)),
        ["version"] if !slash => Some(version()),
        ["metrics"] if !slash => Some(server.metrics.render(server)),
        ["metrics", "slis"] if !slash => Some(Metrics::render_checks(health::results(server))),
        ["api"] | ["apis"] => Some(top(server, &served, parts, segments[0] == "api")),
        ["api", version] => Some(resources(parts, table, "", version)),
        ["apis", group] => match table.group(group) {
            Some(group) => Some(negotiated(parts, &discovery::group(group))),
            None => aggregate::one_group(server, group).map(|group| negotiated(parts, &group)),
        },
        ["apis", group, version] if table.group(group).is_some() => {
            Some(resources(parts, table, group, version))
        }
        [".well-known", "openid-configuration"] | ["openid", "v1", "jwks"] => {
            discovery_of_tokens(server, parts, segments[0])
        }
        ["openapi", "v2"] => Some(openapi::v2(&served, parts)),
        ["openapi", "v3"] => Some(openapi::index(server, &served)),
        ["openapi", "v3", ref rest @ ..] => {
            return openapi::v3(&served, parts, &rest.join("/"), query);
        }
        _ => None,
    };
    // Upstream's oldest paths answer every method.
    let any_method = matches!(segments[..], ["api"] | ["apis"]);
    match document {
        Some(response) if any_method => response,
        Some(_) if parts.method != Method::GET => answer::status(&Status::method_not_allowed()),
        Some(response) => response,
        None => answer::page_not_found(),
    }
}

/// What relying parties of ServiceAccount tokens read, for those who accept it.
fn discovery_of_tokens(server: &Server, parts: &Parts, root: &str) -> Option<HttpResponse> {
    let documents = server.authenticator.accounts()?.documents()?;
    let (response, own) = match root {
        "openid" => (documents.keys(), "application/jwk-set+json"),
        _ => (documents.configuration(), "application/json"),
    };
    let accept = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("*/*");
    let mut accepted = accept
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim());
    Some(
        match accepted.any(|media| matches!(media, "*/*" | "") || media == own) {
            true => response,
            false => answer::status(&Status::not_acceptable(&[own])),
        },
    )
}

fn roots(table: &Table) -> HttpResponse {
    let mut paths: Vec<String> = vec!["/api".into(), "/apis".into()];
    for (group, version) in table.group_versions() {
        match group.is_empty() {
            true => paths.push(format!("/api/{}", version.name)),
            false => {
                paths.push(format!("/apis/{group}"));
                paths.push(format!("/apis/{group}/{}", version.name));
            }
        }
    }
    paths.extend(health::paths());
    paths.extend(["/.well-known/openid-configuration", "/openid/v1/jwks"].map(String::from));
    paths.extend(["/metrics", "/metrics/slis", "/openapi/v3", "/version"].map(String::from));
    paths.sort();
    paths.dedup();
    answer::json(200, &json!({"paths": paths}))
}

fn top(server: &Server, served: &Served, parts: &Parts, core: bool) -> HttpResponse {
    let table = &served.table;
    if media::aggregated_discovery(&parts.headers, false) == Some(Format::Json) {
        if !core && aggregate::hands_over(server) {
            let mut document = discovery::aggregated(table, false);
            aggregate::merge_aggregated(server, &mut document);
            let mut response = answer::json(200, &document);
            let kind = HeaderValue::from_static(discovery::AGGREGATED);
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            return response;
        }
        let key = if core {
            "aggregated/api"
        } else {
            "aggregated/apis"
        };
        let bytes = served
            .documents
            .json(key, || discovery::aggregated(table, core));
        let response = answer::with_type(200, discovery::AGGREGATED, bytes);
        return compressed(parts, response);
    }
    match core {
        true => {
            let address = server.options.advertise.to_string();
            negotiated(parts, &discovery::core_versions(table, &address))
        }
        false => {
            let mut groups = discovery::groups(table);
            aggregate::merge_groups(server, &mut groups);
            negotiated(parts, &groups)
        }
    }
}

fn resources(parts: &Parts, table: &Table, group: &str, version: &str) -> HttpResponse {
    match table.version(group, version) {
        Some(version) => negotiated(parts, &discovery::resources(group, version)),
        None => answer::status(&Status::unknown_resource()),
    }
}

/// A document in the format that the client wants.
fn negotiated(parts: &Parts, document: &Value) -> HttpResponse {
    let pretty = media::pretty(
        Query::parse(parts.uri.query()).get("pretty"),
        &parts.headers,
    );
    let response = match media::negotiate(&parts.headers, Offers::Document, pretty) {
        Ok(media) => respond::document(media.format, 200, document),
        Err(refusal) => {
            let format = media::for_status(&parts.headers, pretty);
            respond::status(format, refusal.status())
        }
    };
    compressed(parts, response)
}

/// Large documents are compressed for those who take it.
fn compressed(parts: &Parts, response: HttpResponse) -> HttpResponse {
    match media::accepts_gzip(&parts.headers) {
        true => compress::large(response),
        false => response,
    }
}

fn version() -> HttpResponse {
    let platform = format!("{}/{}", std::env::consts::OS, go_architecture());
    answer::json(200, &discovery::version("", "", &platform))
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The text of a header, empty when it is absent.
pub fn text<'p>(parts: &'p Parts, name: &header::HeaderName) -> &'p str {
    let value = parts.headers.get(name).and_then(|v| v.to_str().ok());
    value.unwrap_or_default()
}
