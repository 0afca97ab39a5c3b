//! Answers and refusals, before and after they are HTTP.

use std::borrow::Cow;

use http::{HeaderValue, Response, StatusCode, header};
use karve_api::status::Status;

use crate::body::Body;

/// A [`Status`] that ends a request. Boxed, because most requests succeed.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Status>);

impl Refusal {
    /// The status.
    pub fn status(&self) -> &Status {
        &self.0
    }

    /// The status.
    pub fn into_status(self) -> Status {
        *self.0
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        Refusal(Box::new(status))
    }
}

/// The HTTP answer of a handler.
pub type HttpResponse = Response<Body>;

/// An answer with a content type.
pub fn with_type(code: u16, content_type: &'static str, body: impl Into<Body>) -> HttpResponse {
    let mut response = Response::new(body.into());
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// `application/json`.
pub const JSON: &str = "application/json";
/// What Go's server calls text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// JSON with a newline at the end, as Go's encoder writes it.
pub fn json(code: u16, value: &impl serde::Serialize) -> HttpResponse {
    let mut bytes = serde_json::to_vec(value).expect("answers have string keys only");
    bytes.push(b'\n');
    with_type(code, JSON, bytes)
}

/// A text.
pub fn text(code: u16, text: impl Into<Cow<'static, str>>) -> HttpResponse {
    match text.into() {
        Cow::Borrowed(text) => with_type(code, TEXT, text),
        Cow::Owned(text) => with_type(code, TEXT, text.into_bytes()),
    }
}

/// What Go's mux says about a path that nobody has.
pub fn page_not_found() -> HttpResponse {
    error(404, "404 page not found")
}

/// A text that says what went wrong, as Go's `http.Error` sends it.
pub fn error(code: u16, text: &str) -> HttpResponse {
    nosniff(self::text(code, format!("{text}\n")))
}

/// Forbids browsers to guess another type.
pub fn nosniff(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// A status in JSON, with its `Retry-After`.
pub fn status(status: &Status) -> HttpResponse {
    let mut response = json(status.http_code(), status);
    retry_after(&mut response, status);
    response
}

/// Sets `Retry-After` as the status says.
pub fn retry_after(response: &mut HttpResponse, status: &Status) {
    if let Some(seconds) = status.retry_after_seconds() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// Adds a `Warning` header, quoted as RFC 7234 wants it.
pub fn warn(response: &mut HttpResponse, text: &str) {
    let mut quoted = String::with_capacity(text.len() + 8);
    quoted.push_str("299 - \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    if let Ok(value) = HeaderValue::from_bytes(quoted.as_bytes()) {
        response.headers_mut().append(header::WARNING, value);
    }
}
