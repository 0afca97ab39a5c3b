//! Answers of the form and format that the client wants: documents made from stored bytes or from values, with their
//! warnings, compressed when they are large and the client takes that.

use bytes::Bytes;
use http::HeaderValue;
use http::header;
use karve_api::status::Status;
use serde_json::Value;

use crate::answer::{self, HttpResponse, Refusal};
use crate::body::Body;
use crate::call::Call;
use crate::encoder::{self, Encoder};
use crate::media::{Form, Format};
use crate::{compress, pretty, table};

/// One object of the call's resource in stored form.
pub fn object(call: &Call, code: u16, stored: &Bytes) -> HttpResponse {
    let encoder = encoder::check_form(call, false).and_then(|()| Encoder::new(call));
    match encoder {
        Ok(encoder) => finished(call, code, encoder.document(stored, true)),
        Err(refusal) => status_to(call, refusal.status()),
    }
}

/// A document that is not stored as it is: a Scale, a Table, a review.
pub fn value(call: &Call, code: u16, value: &Value) -> HttpResponse {
    complete(call, document(call.media.format, code, value))
}

/// A status that is the answer of a call, with its warnings.
pub fn status_to(call: &Call, status: &Status) -> HttpResponse {
    complete(call, self::status(call.status_format, status))
}

/// A Scale.
pub fn scale(call: &Call, scale: &Value) -> HttpResponse {
    match call.media.form {
        Form::Table(version) => match table::of_scale(call, scale, version) {
            Ok(table) => finished(call, 200, table),
            Err(refusal) => status_to(call, refusal.status()),
        },
        _ => value(call, 200, scale),
    }
}

/// A status.
pub fn status(format: Format, status: &Status) -> HttpResponse {
    let mut response = match format {
        Format::Json => answer::json(status.http_code(), status),
        format => document(format, status.http_code(), &status.to_value()),
    };
    answer::retry_after(&mut response, status);
    response
}

/// A list, whose parts are made while it is sent.
pub fn list(call: &Call, body: Body) -> HttpResponse {
    let kind = call.media.format.content_type();
    complete(call, answer::with_type(200, kind, body))
}

/// A document that is finished but for its format: compact JSON, or protobuf.
pub fn finished(call: &Call, code: u16, bytes: impl Into<Vec<u8>>) -> HttpResponse {
    complete(call, in_format(call.media.format, code, bytes.into()))
}

/// A document of the API in the format that was negotiated.
pub fn document(format: Format, code: u16, value: &Value) -> HttpResponse {
    match encoder::any(value, format == Format::Protobuf) {
        Some(bytes) => in_format(format, code, bytes),
        None => status(format, not_marshalable(value).status()),
    }
}

fn not_marshalable(value: &Value) -> Refusal {
    let kind = value["kind"].as_str().unwrap_or_default();
    let text = format!(
        "object {kind} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
    );
    Status::failure(406, "NotAcceptable", text).into()
}

fn in_format(format: Format, code: u16, mut bytes: Vec<u8>) -> HttpResponse {
    let body = match format {
        Format::Json => {
            bytes.push(b'\n');
            bytes
        }
        Format::Pretty => pretty::indent(&bytes),
        Format::Yaml => {
            let value: Value = serde_json::from_slice(&bytes).expect("just written as JSON");
            serde_saphyr::to_string(&value)
                .unwrap_or_default()
                .into_bytes()
        }
        Format::Protobuf => bytes,
    };
    answer::with_type(code, format.content_type(), body)
}

/// The warnings of a call, and compression.
fn complete(call: &Call, mut response: HttpResponse) -> HttpResponse {
    call.warnings
        .iter()
        .for_each(|w| answer::warn(&mut response, w));
    match call.gzip {
        true => compress::large(response),
        false => response,
    }
}

/// A stream of events.
pub fn stream(call: &Call, body: Body, compressed: bool) -> HttpResponse {
    let mut response = answer::with_type(200, call.media.format.stream_type(), body);
    call.warnings
        .iter()
        .for_each(|w| answer::warn(&mut response, w));
    // Proxies on the way must not wait for more.
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    if compressed {
        compress::label(&mut response);
    }
    response
}
