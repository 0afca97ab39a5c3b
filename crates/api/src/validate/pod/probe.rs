//! Probes and lifecycle hooks.

use super::super::checks::{
    Errors, int, list, non_negative, one_of_if_set, port_number, port_number_or_name, some, text,
};
use super::positive;
use crate::field::{Error, Path};
use serde_json::Value;

const HEADER_TEXT: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

const HTTP_PROTOCOLS: [&str; 2] = ["HTTP1", "HTTP2"];
const GRPC_MODES: [&str; 2] = ["Plaintext", "TLS"];

/// A probe; `kind` is the member that it was found in.
pub(super) fn probe(errors: &mut Errors, path: &Path<'_>, probe: &Value, kind: &str) {
    handler(errors, path, probe, None);
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
    if grace.is_some() {
        let detail = "must be greater than 0";
        positive(errors, path, probe, "terminationGracePeriodSeconds", detail);
    }
    let successes = int(probe, "successThreshold");
    if kind != "readinessProbe" && successes != 1 {
        errors.push(Error::invalid(
            &path.field("successThreshold"),
            successes,
            "must be 1",
        ));
    }
    if kind == "readinessProbe" && grace.is_some() {
        let at = path.field("terminationGracePeriodSeconds");
        errors.push(Error::invalid(
            &at,
            grace,
            "must not be set for readinessProbes",
        ));
    }
}

/// Hooks at start and stop, and the signal to stop by (KEP-4960).
pub(super) fn lifecycle(errors: &mut Errors, path: &Path<'_>, lifecycle: &Value, spec: &Value) {
    let grace = some(spec, "terminationGracePeriodSeconds").and_then(Value::as_i64);
    for member in ["postStart", "preStop"] {
        if let Some(hook) = some(lifecycle, member) {
            handler(errors, &path.field(member), hook, grace);
        }
    }
    if let Some(signal) = some(lifecycle, "stopSignal").and_then(Value::as_str) {
        stop_signal(errors, &path.field("stopSignal"), signal, spec);
    }
}

fn stop_signal(errors: &mut Errors, path: &Path<'_>, signal: &str, spec: &Value) {
    const WORDS: &str = "SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT \
        SIGKILL SIGPIPE SIGPOLL SIGPROF SIGPWR SIGQUIT SIGRTMAX SIGRTMAX-1 SIGRTMAX-10 SIGRTMAX-11 SIGRTMAX-12 \
        SIGRTMAX-13 SIGRTMAX-14 SIGRTMAX-2 SIGRTMAX-3 SIGRTMAX-4 SIGRTMAX-5 SIGRTMAX-6 SIGRTMAX-7 SIGRTMAX-8 \
        SIGRTMAX-9 SIGRTMIN SIGRTMIN+1 SIGRTMIN+10 SIGRTMIN+11 SIGRTMIN+12 SIGRTMIN+13 SIGRTMIN+14 SIGRTMIN+15 \
        SIGRTMIN+2 SIGRTMIN+3 SIGRTMIN+4 SIGRTMIN+5 SIGRTMIN+6 SIGRTMIN+7 SIGRTMIN+8 SIGRTMIN+9 SIGSEGV \
        SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM \
        SIGWINCH SIGXCPU SIGXFSZ";
    let supported: Vec<&str> = match spec["os"]["name"].as_str() {
        None => {
            let detail = "may not be set for containers with empty `spec.os.name`";
            errors.push(Error::forbidden(path, detail));
            return;
        }
        Some("windows") => vec!["SIGKILL", "SIGTERM"],
        Some("linux") => WORDS.split_whitespace().collect(),
        Some(_) => return,
    };
    if !supported.contains(&signal) {
        errors.push(Error::not_supported(path, signal, &supported));
    }
}

/// `grace` is the time that a sleep may take at most.
fn handler(errors: &mut Errors, path: &Path<'_>, handler: &Value, grace: Option<i64>) {
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
            "grpc" => {
                port_number(errors, &at.field("port"), int(action, "port"));
                one_of_if_set(errors, &at, action, "mode", &GRPC_MODES);
            }
            "sleep" => {
                let seconds = int(action, "seconds");
                if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                    let detail = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                    );
                    errors.push(Error::invalid(&at, seconds, detail));
                }
            }
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
    let scheme = text(action, "scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.push(Error::not_supported(
            &path.field("scheme"),
            scheme,
            &["HTTP", "HTTPS"],
        ));
    }
    let headers = path.field("httpHeaders");
    for header in list(action, "httpHeaders") {
        let name = text(header, "name");
        let right = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if name.is_empty() || !name.bytes().all(right) {
            errors.push(Error::invalid(&headers, name, HEADER_TEXT));
        }
    }
    let (protocol, host) = (text(action, "protocol"), text(action, "host"));
    let at = path.field("protocol");
    match protocol {
        "" | "HTTP1" => {}
        "HTTP2" if scheme != "HTTP" => {
            errors.push(Error::invalid(
                &at,
                protocol,
                "is only supported with HTTP (H2C)",
            ));
        }
        "HTTP2" if !host.is_empty() => {
            let detail = "must be empty when `protocol` is \"HTTP2\"";
            errors.push(Error::invalid(&path.field("host"), host, detail));
        }
        "HTTP2" => {}
        other => errors.push(Error::not_supported(&at, other, &HTTP_PROTOCOLS)),
    }
}
