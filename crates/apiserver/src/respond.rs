//! Stored bytes made into answers of the form and format that the client wants.

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header;
use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::{self, HttpResponse};
use crate::body::Body;
use crate::call::Call;
use crate::media::{Form, Format, Media};
use crate::object;
use crate::pretty;
use crate::table;

/// One object of the call's resource (or of the subresource's kind) in stored form.
pub fn object(call: &Call, code: u16, stored: &Bytes) -> HttpResponse {
    let resource = &call.resource;
    let mut response = match call.media.form {
        Form::Object => {
            let head = object::head(&resource.api_version(), &resource.kind);
            let mut out = BytesMut::with_capacity(head.len() + stored.len());
            object::splice(&mut out, &head, stored);
            bytes(call.media, code, out)
        }
        Form::Table => {
            let value = object::decode(stored, resource);
            document(call.media, code, &table::of_one(call, &value))
        }
        Form::Metadata => {
            let value = object::decode(stored, resource);
            let partial = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"],
            });
            document(call.media, code, &partial)
        }
    };
    call.warnings
        .iter()
        .for_each(|w| answer::warn(&mut response, w));
    response
}

/// A document that is not stored as it is: a Scale, a Table, a review.
pub fn value(call: &Call, code: u16, value: &Value) -> HttpResponse {
    let mut response = document(call.media, code, value);
    call.warnings
        .iter()
        .for_each(|w| answer::warn(&mut response, w));
    response
}

/// A status that is the answer of a call, with its warnings.
pub fn status_to(call: &Call, status: &Status) -> HttpResponse {
    let mut response = self::status(call.media.format, status);
    call.warnings
        .iter()
        .for_each(|w| answer::warn(&mut response, w));
    response
}

/// A Scale.
pub fn scale(call: &Call, scale: &Value) -> HttpResponse {
    match call.media.form {
        Form::Table => value(call, 200, &table::of_scale(call, scale)),
        _ => value(call, 200, scale),
    }
}

/// A status.
pub fn status(format: Format, status: &Status) -> HttpResponse {
    let media = Media {
        format,
        form: Form::Object,
    };
    let mut response = document(media, status.http_code(), status);
    answer::retry_after(&mut response, status);
    response
}

/// JSON that was put together from stored bytes.
pub fn spliced(call: &Call, code: u16, json: BytesMut) -> HttpResponse {
    let mut response = bytes(call.media, code, json);
    call.warnings
        .iter()
        .for_each(|w| answer::warn(&mut response, w));
    response
}

fn bytes(media: Media, code: u16, mut json: BytesMut) -> HttpResponse {
    match media.format {
        Format::Json => {
            json.extend_from_slice(b"\n");
            answer::with_type(code, media.content_type(), json.freeze())
        }
        Format::Pretty => answer::with_type(code, media.content_type(), pretty::indent(&json)),
        Format::Yaml => {
            let value: Value = serde_json::from_slice(&json).expect("just spliced from JSON");
            document(media, code, &value)
        }
    }
}

/// A document in the format that was negotiated.
pub fn document(media: Media, code: u16, value: &impl serde::Serialize) -> HttpResponse {
    let body = match media.format {
        Format::Json => {
            let mut bytes = serde_json::to_vec(value).expect("answers have string keys only");
            bytes.push(b'\n');
            bytes
        }
        Format::Pretty => {
            pretty::indent(&serde_json::to_vec(value).expect("answers have string keys only"))
        }
        Format::Yaml => {
            let value = serde_json::to_value(value).expect("answers have string keys only");
            serde_saphyr::to_string(&value)
                .unwrap_or_default()
                .into_bytes()
        }
    };
    answer::with_type(code, media.content_type(), body)
}

/// Some body that is JSON already, in the format that the client wants.
pub fn list(call: &Call, body: Body) -> HttpResponse {
    let mut response = answer::with_type(200, call.media.content_type(), body);
    call.warnings
        .iter()
        .for_each(|w| answer::warn(&mut response, w));
    response
}

/// A stream of events.
pub fn stream(body: Body) -> HttpResponse {
    let mut response = answer::with_type(200, answer::JSON, body);
    // Proxies on the way must not wait for more.
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
