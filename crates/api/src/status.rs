//! `Status` answers, with upstream's texts, reasons, codes and details.
//!
//! One constructor per case of apimachinery's `errors` package. Serializing keeps upstream's order of members.
//! Absent: which case applies; that is the server's business.

mod conflict;
mod denied;
mod foreign;

pub use denied::Denied;

use crate::field;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

/// One cause in [`Details`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Cause {
    /// A machine-readable word; empty when there is none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
    /// A text for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path of the field; empty when there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What a [`Status`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Group of the resource or kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Plural of the resource, or a kind, as the case has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One for each thing that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Also the `Retry-After` header.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    continue_token: String,
}

/// An answer of kind `Status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: ListMeta,
    /// `Success` or `Failure`.
    pub status: &'static str,
    /// A text for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A machine-readable word; empty when there is none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP code; left out of the body of a success.
    #[serde(skip_serializing_if = "is_zero_code")]
    pub code: u16,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_zero_code(n: &u16) -> bool {
    *n == 0
}

/// `deployments.apps`, `pods`.
fn qualified(group: &str, resource: &str) -> String {
    match group.is_empty() {
        true => resource.to_owned(),
        false => format!("{resource}.{group}"),
    }
}

fn details(group: &str, kind: &str, name: &str) -> Option<Details> {
    Some(Details {
        name: name.to_owned(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        ..Details::default()
    })
}

impl Status {
    /// A failure with nothing but code, reason and message.
    pub fn failure(
        code: u16,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Status {
        Status {
            kind: "Status",
            api_version: "v1",
            metadata: ListMeta::default(),
            status: "Failure",
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Status {
        self.details = details(group, kind, name);
        self
    }

    /// 200 without details.
    pub fn success() -> Status {
        Status {
            status: "Success",
            ..Status::failure(0, "", "")
        }
    }

    /// 200 for a deletion that does not answer with the object.
    pub fn deleted(group: &str, resource: &str, name: &str, uid: &str) -> Status {
        let mut status = Status::success().about(group, resource, name);
        if let Some(details) = &mut status.details {
            details.uid = uid.to_owned();
        }
        status
    }

    /// 201 for a binding or an eviction.
    pub fn created() -> Status {
        Status {
            code: 201,
            ..Status::success()
        }
    }

    /// 404: no such object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Status {
        let message = format!(
            "{} {} not found",
            qualified(group, resource),
            field::quote(name)
        );
        Status::failure(404, "NotFound", message).about(group, resource, name)
    }

    /// 404: no such path, version or resource in a known group.
    pub fn unknown_resource() -> Status {
        Status::failure(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .about("", "", "")
    }

    /// 422: the object has wrong fields. `kind` is a kind, not a plural.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[field::Error]) -> Status {
        let mut message = format!(
            "{} {} is invalid",
            qualified(group, kind),
            field::quote(name)
        );
        match errors {
            [] => {}
            [one] => {
                let _ = write!(message, ": {one}");
            }
            many => {
                // As utilerrors.Aggregate: a text is shown once, causes are all listed.
                let mut seen = HashSet::with_capacity(many.len());
                let mut texts: Vec<String> = many.iter().map(ToString::to_string).collect();
                texts.retain(|text| seen.insert(text.clone()));
                let _ = match &texts[..] {
                    [only] => write!(message, ": {only}"),
                    texts => write!(message, ": [{}]", texts.join(", ")),
                };
            }
        }
        let mut status = Status::failure(422, "Invalid", message).about(group, kind, name);
        if let Some(details) = &mut status.details {
            details.causes = errors.iter().map(field::Error::cause).collect();
        }
        status
    }

    /// 422 without details: a JSON patch that does not apply.
    pub fn unprocessable() -> Status {
        Status::failure(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .about("", "", "")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::failure(400, "BadRequest", message)
    }

    /// 405.
    pub fn method_not_allowed() -> Status {
        Status::failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .about("", "", "")
    }

    /// 406. `accepted` in upstream's order.
    pub fn not_acceptable(accepted: &[&str]) -> Status {
        let message = format!(
            "only the following media types are accepted: {}",
            accepted.join(", ")
        );
        Status::failure(406, "NotAcceptable", message)
    }

    /// 406 by the router: what the endpoint produces, in upstream's order.
    pub fn no_representation(produced: &[&str]) -> Status {
        let message = format!(
            "406: Not Acceptable\n\nAvailable representations: {}",
            produced.join(", ")
        );
        Status::failure(406, "NotAcceptable", message).about("", "", "")
    }

    /// 415. `accepted` in upstream's order.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::failure(415, "UnsupportedMediaType", message)
    }

    /// 413. `limit` in bytes.
    pub fn too_large(limit: usize) -> Status {
        Status::failure(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 410: a revision or a continue token is too old.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::failure(410, "Expired", message)
    }

    /// 410 with a token that goes on at the newest revision.
    pub fn expired_continue(token: &str) -> Status {
        let mut status = Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list \
             without the continue parameter, or use the continue token in this response to retrieve the remainder of \
             the results. Continuing with the provided token results in an inconsistent list - objects that were \
             created, modified, or deleted between the time the first chunk was returned and now may show up in the \
             list.",
        );
        status.metadata.continue_token = token.to_owned();
        status
    }

    /// 429 with `Retry-After`.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut status = Status::failure(429, "TooManyRequests", message).about("", "", "");
        status.retry_after(retry_after_seconds);
        status
    }

    /// 504: a revision that has not been reached yet.
    pub fn version_too_large(wanted: u64, current: u64) -> Status {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let mut status = Status::failure(504, "Timeout", message).about("", "", "");
        status.retry_after(1);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".to_owned(),
                field: String::new(),
            });
        }
        status
    }

    /// 504: the server gave up.
    pub fn timeout(message: &str, retry_after_seconds: u32) -> Status {
        let mut status =
            Status::failure(504, "Timeout", format!("Timeout: {message}")).about("", "", "");
        status.retry_after(retry_after_seconds);
        status
    }

    /// 500: something that is nobody's fault but the server's.
    pub fn internal(message: impl Into<String>) -> Status {
        let message = message.into();
        let mut status = Status::failure(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
        .about("", "", "");
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                message,
                ..Cause::default()
            });
        }
        status
    }

    /// 500 as upstream answers errors that it did not classify: no reason, no details.
    pub fn unclassified(message: impl Into<String>) -> Status {
        Status::failure(500, "", message)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::failure(503, "ServiceUnavailable", message)
    }

    /// With one cause more.
    pub fn with_cause(mut self, reason: &'static str, message: impl Into<String>) -> Status {
        let details = self.details.get_or_insert_with(Details::default);
        details.causes.push(Cause {
            reason: reason.into(),
            message: message.into(),
            field: String::new(),
        });
        self
    }

    fn retry_after(&mut self, seconds: u32) {
        self.details
            .get_or_insert_with(Details::default)
            .retry_after_seconds = seconds;
    }

    /// Seconds for the `Retry-After` header.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details
            .as_ref()
            .map(|d| d.retry_after_seconds)
            .filter(|s| *s > 0)
    }

    /// The code for the HTTP head; a success without one is 200.
    pub fn http_code(&self) -> u16 {
        match self.code {
            0 => 200,
            code => code,
        }
    }

    /// As an object.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a Status has string keys only")
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests;
