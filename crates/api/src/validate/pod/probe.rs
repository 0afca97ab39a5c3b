//! Probes and lifecycle hooks.

use super::super::checks::{
    Errors, int, invalid_each, list, non_negative, one_of, port_number, port_number_or_name, some,
    text,
};
use super::positive;
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

const HEADER_TEXT: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

/// A probe; `kind` is the member that it was found in.
pub(super) fn probe(errors: &mut Errors, path: &Path<'_>, probe: &Value, kind: &str) {
    handler(errors, path, probe);
    for member in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        non_negative(errors, path, probe, member);
    }
    let grace = some(probe, "terminationGracePeriodSeconds");
    match kind {
        "readinessProbe" if grace.is_some() => errors.push(Error::invalid(
            &path.field("terminationGracePeriodSeconds"),
            grace,
            "must not be set for readinessProbes",
        )),
        "readinessProbe" => {}
        _ => {
            if grace.is_some() {
                positive(
                    errors,
                    path,
                    probe,
                    "terminationGracePeriodSeconds",
                    "must be greater than 0",
                );
            }
            let successes = int(probe, "successThreshold");
            if successes != 1 {
                errors.push(Error::invalid(
                    &path.field("successThreshold"),
                    successes,
                    "must be 1",
                ));
            }
        }
    }
}

/// Hooks at start and stop.
pub(super) fn lifecycle(errors: &mut Errors, path: &Path<'_>, lifecycle: &Value) {
    for member in ["postStart", "preStop"] {
        if let Some(hook) = some(lifecycle, member) {
            handler(errors, &path.field(member), hook);
        }
    }
}

fn handler(errors: &mut Errors, path: &Path<'_>, handler: &Value) {
    let mut found = 0;
    for member in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = some(handler, member) else {
            continue;
        };
        let at = path.field(member);
        found += 1;
        if found > 1 {
            errors.push(Error::forbidden(
                &at,
                "may not specify more than 1 handler type",
            ));
            continue;
        }
        match member {
            "exec" if list(action, "command").is_empty() => {
                errors.push(Error::required(&at.field("command"), ""))
            }
            "httpGet" => http_get(errors, &at, action),
            "tcpSocket" => port_number_or_name(errors, &at.field("port"), &action["port"]),
            "grpc" => port_number(errors, &at.field("port"), int(action, "port")),
            _ => {}
        }
    }
    if found == 0 {
        errors.push(Error::required(path, "must specify a handler type"));
    }
}

fn http_get(errors: &mut Errors, path: &Path<'_>, action: &Value) {
    if text(action, "path").is_empty() {
        errors.push(Error::required(&path.field("path"), ""));
    }
    port_number_or_name(errors, &path.field("port"), &action["port"]);
    one_of(errors, path, action, "scheme", &["HTTP", "HTTPS"]);
    let headers = path.field("httpHeaders");
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        let right = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if name.is_empty() || !name.bytes().all(right) {
            errors.push(Error::invalid(&headers, name, HEADER_TEXT));
        }
    }
    let host = text(action, "host");
    if !host.is_empty() && host.contains('/') {
        invalid_each(errors, &path.field("host"), host, names::path_segment(host));
    }
}
