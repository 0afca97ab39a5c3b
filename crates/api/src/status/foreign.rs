//! Statuses that somebody else made.

use super::{Cause, Details, Status};
use serde_json::Value;

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}

impl Status {
    /// A failure that another server describes: its reason, message, details and code, as far as they make sense.
    pub fn foreign(status: &Value) -> Status {
        let code = status["code"]
            .as_u64()
            .and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
        let mut failure = Status::failure(code, text(status, "reason"), text(status, "message"));
        let details = &status["details"];
        if details.is_object() {
            let causes = details["causes"].as_array().into_iter().flatten();
            let causes = causes.map(|cause| Cause {
                reason: text(cause, "reason").into(),
                message: text(cause, "message"),
                field: text(cause, "field"),
            });
            let seconds = details["retryAfterSeconds"].as_u64();
            failure.details = Some(Details {
                name: text(details, "name"),
                group: text(details, "group"),
                kind: text(details, "kind"),
                uid: text(details, "uid"),
                causes: causes.collect(),
                retry_after_seconds: seconds
                    .and_then(|s| u32::try_from(s).ok())
                    .unwrap_or_default(),
            });
        }
        failure
    }

    /// What upstream's client makes of an answer that is no Status, given its code and the beginning of its body.
    pub fn unexpected_response(code: u16, body: &str) -> Status {
        let (reason, message) = match code {
            409 => ("AlreadyExists", "the server reported a conflict"),
            404 => (
                "NotFound",
                "the server could not find the requested resource",
            ),
            400 => (
                "BadRequest",
                "the server rejected our request for an unknown reason",
            ),
            401 => (
                "Unauthorized",
                "the server has asked for the client to provide credentials",
            ),
            403 => ("Forbidden", body),
            406 => ("NotAcceptable", body),
            415 => ("UnsupportedMediaType", body),
            405 => (
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ),
            422 => (
                "Invalid",
                "the server rejected our request due to an error in our request",
            ),
            503 => (
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => (
                "Timeout",
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            ),
            429 => (
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            ),
            500.. => {
                let body = crate::field::quote(body);
                let why = format!(
                    "an error on the server ({body}) has prevented the request from succeeding"
                );
                return Status::failure(code, "InternalError", why);
            }
            _ => {
                let why = format!(
                    "the server responded with the status code {code} but did not return more information"
                );
                return Status::failure(code, "Unknown", why);
            }
        };
        Status::failure(code, reason, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn foreign_statuses_keep_what_makes_sense() {
        let status = Status::foreign(
            &json!({"code": 200, "reason": "Odd", "message": "m", "details": {
            "name": "n", "causes": [{"reason": "r", "field": "f"}, 1]}}),
        );
        assert_eq!(
            (status.code, &*status.reason, status.message.as_str()),
            (400, "Odd", "m")
        );
        let details = status.details.expect("given");
        assert_eq!((details.name.as_str(), details.causes.len()), ("n", 2));
        assert_eq!(Status::foreign(&json!(null)).code, 400);
    }
}
