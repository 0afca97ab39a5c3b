//! `/openapi/v2` and `/openapi/v3`: documents in JSON and protobuf, made when somebody asks, kept as bytes with the table
//! that they were made of, and cached by clients under their hash.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, header};
use jiff::{Timestamp, ToSpan as _};
use karve_api::openapi;
use karve_api::schema::Schema;
use serde_json::Value;

use crate::answer::{self, HttpResponse};
use crate::body::Body;
use crate::media;
use crate::nonresource;
use crate::query::Query;
use crate::server::{Served, Server};
use crate::{aggregate, compress};

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// How a document is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Protobuf,
}

/// The first form that the client takes; `old` and `protobuf` are the two names of protobuf.
fn negotiate(parts: &Parts, old: &str, protobuf: &str) -> Option<Form> {
    let forms = [
        (answer::JSON, Form::Json),
        (protobuf, Form::Protobuf),
        (old, Form::Protobuf),
    ];
    media::first_of(&parts.headers, &forms)
}

/// Answers `/openapi/v2`.
pub fn v2(served: &Served, parts: &Parts) -> HttpResponse {
    let old = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let Some(form) = negotiate(parts, old, V2_PROTOBUF) else {
        return bare(406);
    };
    let make = || openapi::document_v2(Schema::builtin(), &served.table);
    let (kind, bytes) = match form {
        Form::Json => (answer::JSON, served.documents.json("openapi/v2", make)),
        Form::Protobuf => (
            V2_PROTOBUF,
            served
                .documents
                .bytes("openapi/v2+protobuf", || openapi::v2_protobuf(&make())),
        ),
    };
    cacheable(parts, kind, bytes, &openapi::hash_v2(&served.table))
}

/// Answers `/openapi/v3`. Upstream serves JSON under the type of texts.
pub fn index(server: &Server, served: &Served) -> HttpResponse {
    if aggregate::hands_over(server) {
        let mut index = openapi::index(&served.table);
        aggregate::merge_index(server, &mut index);
        let mut response = answer::json(200, &index);
        let kind = HeaderValue::from_static(answer::TEXT);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        return response;
    }
    let bytes = served
        .documents
        .json("openapi/v3", || openapi::index(&served.table));
    answer::with_type(200, answer::TEXT, bytes)
}

/// Answers `/openapi/v3/PATH`.
pub fn v3(served: &Served, parts: &Parts, path: &str, query: &Query) -> HttpResponse {
    let old = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    let Some(hash) = openapi::hash(&served.table, path) else {
        return bare(404);
    };
    let Some(form) = negotiate(parts, old, V3_PROTOBUF) else {
        return bare(406);
    };
    let wanted = query.text("hash");
    if !wanted.is_empty() && wanted != hash {
        return moved(path, &hash);
    }
    let make = || openapi::document(Schema::builtin(), &served.table, path).unwrap_or(Value::Null);
    let key = format!("openapi/v3/{path}");
    let (kind, bytes) = match form {
        Form::Json => (answer::JSON, served.documents.json(&key, make)),
        Form::Protobuf => (
            V3_PROTOBUF,
            served
                .documents
                .bytes(&format!("{key}+protobuf"), || openapi::v3_protobuf(&make())),
        ),
    };
    let mut response = cacheable(parts, kind, bytes, &hash);
    if !wanted.is_empty() {
        let headers = response.headers_mut();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, immutable"),
        );
        headers.extend(next_year().map(|at| (header::EXPIRES, at)));
    }
    response
}

/// A document with its tag; 304 for who has it already.
fn cacheable(parts: &Parts, kind: &'static str, bytes: Bytes, hash: &str) -> HttpResponse {
    let etag = format!("\"{hash}\"");
    let known = nonresource::text(parts, &header::IF_NONE_MATCH);
    let known = known
        .split(',')
        .any(|tag| matches!(tag.trim().trim_start_matches("W/"), "*") || tag.trim() == etag);
    let mut response = match known {
        true => bare(304),
        false => {
            let response = answer::with_type(200, kind, bytes);
            match media::accepts_gzip(&parts.headers) {
                true => compress::large(response),
                false => response,
            }
        }
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    headers.extend(HeaderValue::from_str(&etag).map(|etag| (header::ETAG, etag)));
    response
}

fn bare(code: u16) -> HttpResponse {
    let mut response = answer::with_type(code, answer::JSON, Body::empty());
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// To the document as it is now.
fn moved(path: &str, hash: &str) -> HttpResponse {
    let mut response = bare(301);
    let place = HeaderValue::from_str(&format!("/openapi/v3/{path}?hash={hash}"));
    response
        .headers_mut()
        .extend(place.map(|place| (header::LOCATION, place)));
    response
}

fn next_year() -> Option<HeaderValue> {
    let at = Timestamp::now().checked_add((365 * 24).hours()).ok()?;
    let text = at.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
    HeaderValue::from_str(&text).ok()
}
