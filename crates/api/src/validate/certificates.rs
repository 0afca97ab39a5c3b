//! CertificateSigningRequests: what is asked for, who may say yes, and what was issued.
//!
//! Absent: what a signer makes of a request.

use super::checks::{Errors, list, text};
use crate::field::{Error, Path, quote};
use crate::names;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::HashSet;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const APPROVAL: [&str; 2] = ["Approved", "Denied"];
const KEPT: [&str; 3] = ["Approved", "Denied", "Failed"];
const SECONDS_MIN: i64 = 600;

/// A new request, or a changed one with what it was and through which subresource.
pub(super) fn request(errors: &mut Errors, object: &Value, old: Option<&Value>, subresource: &str) {
    spec(errors, &object["spec"], old.map(|old| &old["spec"]));
    conditions(errors, object, old);
    let certificate = text(&object["status"], "certificate");
    let before = old.map(|old| text(&old["status"], "certificate"));
    let at = Path::root("status");
    if before != Some(certificate)
        && before.is_none_or(|b| check_certificate(b).is_ok())
        && let Err(why) = check_certificate(certificate)
    {
        errors.push(Error::invalid(
            &at.field("certificate"),
            "<certificate data>",
            why,
        ));
    }
    let Some(old) = old else { return };
    kept(errors, object, old, subresource);
    let at = at.field("certificate");
    match before {
        Some(before) if before == certificate => {}
        _ if subresource != "status" => {
            errors.push(Error::forbidden(
                &at,
                "updates may not set certificate content",
            ));
        }
        Some("") | None => {}
        Some(_) => errors.push(Error::forbidden(
            &at,
            "updates may not modify existing certificate content",
        )),
    }
}

fn spec(errors: &mut Errors, spec: &Value, old: Option<&Value>) {
    let path = Path::root("spec");
    if let Err(why) = check_request(text(spec, "request")) {
        errors.push(Error::invalid(
            &path.field("request"),
            text(spec, "request"),
            why,
        ));
    }
    let usages: Vec<&str> = list(spec, "usages")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let at = path.field("usages");
    if usages.is_empty() {
        errors.push(Error::required(&at, ""));
    }
    // What was stored before may stay.
    let before: Vec<&str> = old
        .map(|old| {
            list(old, "usages")
                .iter()
                .filter_map(Value::as_str)
                .collect()
        })
        .unwrap_or_default();
    if before.iter().all(|usage| USAGES.contains(usage)) {
        for (i, usage) in usages
            .iter()
            .enumerate()
            .filter(|(_, usage)| !USAGES.contains(usage))
        {
            errors.push(Error::not_supported(&at.index(i), *usage, &USAGES));
        }
    }
    if !doubled(&before) {
        let mut seen = HashSet::new();
        for (i, usage) in usages
            .iter()
            .enumerate()
            .filter(|(_, usage)| !seen.insert(**usage))
        {
            errors.push(Error::duplicate(&at.index(i), *usage));
        }
    }
    let signer = text(spec, "signerName");
    let legacy = old.is_some_and(|old| text(old, "signerName") == LEGACY);
    match signer == LEGACY && !legacy {
        true => errors.push(Error::invalid(
            &path.field("signerName"),
            signer,
            "the legacy signerName is not allowed via this API version",
        )),
        false => signer_name(errors, &path.field("signerName"), signer),
    }
    if let Some(seconds) = spec["expirationSeconds"]
        .as_i64()
        .filter(|s| *s < SECONDS_MIN)
    {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(
            &path.field("expirationSeconds"),
            seconds,
            why,
        ));
    }
}

fn doubled(items: &[&str]) -> bool {
    let mut seen = HashSet::new();
    !items.iter().all(|item| seen.insert(*item))
}

/// `DOMAIN/PATH`.
pub(super) fn signer_name(errors: &mut Errors, path: &Path<'_>, name: &str) {
    const DOMAIN_MAX: usize = 253;
    const MAX: usize = DOMAIN_MAX + 253 + 63 + 2;
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, rest] = segments.as_slice() else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(Error::invalid(path, name, why));
        return;
    };
    if domain.len() > DOMAIN_MAX {
        errors.push(Error::too_long(path, DOMAIN_MAX));
    }
    label_errors(errors, path, domain, names::dns1123_label);
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path, *domain, why));
    }
    label_errors(errors, path, rest, names::dns1123_subdomain);
    if name.len() > MAX {
        errors.push(Error::too_long(path, MAX));
    }
}

/// The faults of the first wrong label; others would say the same.
fn label_errors(
    errors: &mut Errors,
    path: &Path<'_>,
    segment: &str,
    check: fn(&str) -> Vec<String>,
) {
    let labels = segment.split('.').map(|label| (label, check(label)));
    for (label, faults) in labels.filter(|(_, faults)| !faults.is_empty()).take(1) {
        let texts = faults
            .into_iter()
            .map(|why| format!("validating label {}: {why}", quote(label)));
        errors.extend(texts.map(|text| Error::invalid(path, segment, text)));
    }
}

/// PEM of one PKCS #10 request, signed by its own key.
fn check_request(request: &str) -> Result<(), String> {
    const NOT: &str = "PEM block type must be CERTIFICATE REQUEST";
    let pem = STANDARD.decode(request).map_err(|_| NOT.to_owned())?;
    let first = Pem::iter_from_buffer(&pem).next();
    let Some(Ok(block)) =
        first.filter(|b| b.as_ref().is_ok_and(|b| b.label == "CERTIFICATE REQUEST"))
    else {
        return Err(NOT.to_owned());
    };
    let (_, parsed) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|err| format!("asn1: {err}"))?;
    parsed
        .verify_signature()
        .map_err(|_| "x509: signature verification failure".to_owned())
}

/// PEM of certificates and nothing else; nothing is fine.
fn check_certificate(certificate: &str) -> Result<(), String> {
    if certificate.is_empty() {
        return Ok(());
    }
    let none = "must contain at least one CERTIFICATE PEM block";
    let pem = STANDARD.decode(certificate).map_err(|_| none.to_owned())?;
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&pem) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!(
                "only CERTIFICATE PEM blocks are allowed, found {}",
                quote(&block.label)
            ));
        }
        blocks += 1;
        X509Certificate::from_der(&block.contents).map_err(|err| format!("x509: {err}"))?;
    }
    if blocks == 0 {
        Err(none.to_owned())
    } else {
        Ok(())
    }
}

fn types(object: &Value) -> Vec<&str> {
    list(&object["status"], "conditions")
        .iter()
        .map(|c| text(c, "type"))
        .collect()
}

fn conditions(errors: &mut Errors, object: &Value, old: Option<&Value>) {
    let before = old.map(types).unwrap_or_default();
    let both = APPROVAL.iter().all(|wanted| before.contains(wanted));
    let status = Path::root("status");
    let path = status.field("conditions");
    let mut seen = Vec::new();
    for (i, condition) in list(&object["status"], "conditions").iter().enumerate() {
        let at = path.index(i);
        let (kind, value) = (text(condition, "type"), text(condition, "status"));
        if kind.is_empty() && !before.contains(&"") {
            errors.push(Error::required(&at.field("type"), ""));
        }
        let allowed: &[&str] = if KEPT.contains(&kind) {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        if value.is_empty() {
            errors.push(Error::required(&at.field("status"), ""));
        } else if !allowed.contains(&value) {
            errors.push(Error::not_supported(&at.field("status"), value, allowed));
        }
        let opposite = APPROVAL
            .iter()
            .find(|other| APPROVAL.contains(&kind) && **other != kind);
        if !both && opposite.is_some_and(|other| seen.contains(other)) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.push(Error::invalid(&path, kind, why));
        }
        if seen.contains(&kind) && !doubled(&before) {
            errors.push(Error::duplicate(&at.field("type"), kind));
        }
        seen.push(kind);
    }
}

/// Verdicts stay, and only the approval endpoint makes them.
fn kept(errors: &mut Errors, object: &Value, old: &Value, subresource: &str) {
    let status = Path::root("status");
    let path = status.field("conditions");
    let of = |object: &Value, kind: &str| -> Vec<Value> {
        let all = list(&object["status"], "conditions").iter();
        all.filter(|c| text(c, "type") == kind).cloned().collect()
    };
    for kind in KEPT {
        if of(object, kind).len() < of(old, kind).len() {
            let why = format!("updates may not remove a condition of type {}", quote(kind));
            errors.push(Error::forbidden(&path, why));
        }
    }
    for kind in APPROVAL.iter().filter(|_| subresource != "approval") {
        let (before, after) = (of(old, kind), of(object, kind));
        if after.len() > before.len() {
            let why = format!("updates may not add a condition of type {}", quote(kind));
            errors.push(Error::forbidden(&path, why));
        } else if after.len() == before.len() && after != before {
            let why = format!("updates may not modify a condition of type {}", quote(kind));
            errors.push(Error::forbidden(&path, why));
        }
    }
}
