//! How a definition converts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Errors, list, one_of, some, text};
use crate::field::{Error, Path};
use crate::names;

pub(super) fn check(errors: &mut Errors, path: &Path<'_>, conversion: &Value, is_update: bool) {
    if conversion.is_null() {
        return;
    }
    let strategy = text(conversion, "strategy");
    one_of(
        errors,
        &path.field("strategy"),
        strategy,
        &["None", "Webhook"],
    );
    let webhook = &conversion["webhook"];
    let config = some(webhook, "clientConfig");
    let (at, versions) = (
        path.field("webhookClientConfig"),
        path.field("conversionReviewVersions"),
    );
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.push(Error::forbidden(&at, detail));
        }
        if !list(webhook, "conversionReviewVersions").is_empty() {
            errors.push(Error::forbidden(&versions, detail));
        }
        return;
    }
    match config {
        None => errors.push(Error::required(
            &at,
            "required when strategy is set to Webhook",
        )),
        Some(config) => client(errors, &at, config, is_update),
    }
    review_versions(errors, &versions, list(webhook, "conversionReviewVersions"));
}

fn client(errors: &mut Errors, path: &Path<'_>, config: &Value, is_update: bool) {
    match (some(config, "url"), some(config, "service")) {
        (None, None) | (Some(_), Some(_)) => {
            errors.push(Error::required(
                path,
                "exactly one of url or service is required",
            ));
        }
        (Some(url), None) => {
            self::url(errors, &path.field("url"), url.as_str().unwrap_or_default());
        }
        (None, Some(reference)) => service(errors, &path.field("service"), reference),
    }
    let bundle = &config["caBundle"];
    if is_update
        && !bundle.is_null()
        && let Some(why) = ca_bundle(bundle)
    {
        errors.push(Error::invalid(&path.field("caBundle"), bundle, why));
    }
}

fn url(errors: &mut Errors, path: &Path<'_>, url: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(Error::invalid(path, scheme, detail));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if url.contains("://") {
        rest.split('/').next().unwrap_or_default()
    } else {
        ""
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.is_empty() {
        errors.push(Error::invalid(
            path,
            "",
            format!("host must be specified{FORM}"),
        ));
    }
    if let Some(user) = user {
        errors.push(Error::invalid(
            path,
            user,
            "user information is not permitted in the URL",
        ));
    }
    if !fragment.is_empty() {
        errors.push(Error::invalid(
            path,
            fragment,
            "fragments are not permitted in the URL",
        ));
    }
    if !query.is_empty() {
        errors.push(Error::invalid(
            path,
            query,
            "query parameters are not permitted in the URL",
        ));
    }
}

/// Upstream passes name and namespace in the wrong order, and so are the fields of its errors.
fn service(errors: &mut Errors, path: &Path<'_>, service: &Value) {
    if text(service, "namespace").is_empty() {
        errors.push(Error::required(&path.field("name"), ""));
    }
    if text(service, "name").is_empty() {
        errors.push(Error::required(&path.field("namespace"), ""));
    }
    let port = service["port"].as_i64().unwrap_or(443);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let detail = format!("port is not valid: {}", wrong.join(", "));
        errors.push(Error::invalid(&path.field("port"), port, detail));
    }
    let at = path.field("path");
    let url_path = text(service, "path");
    let mut invalid = |detail: String| errors.push(Error::invalid(&at, url_path, detail));
    match url_path {
        "" | "/" => return,
        "//" => return invalid("segment[0] may not be empty".to_owned()),
        other if !other.starts_with('/') => invalid("must start with a '/'".to_owned()),
        _ => {}
    }
    let inner = url_path.get(1..).unwrap_or_default();
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (i, step) in inner.split('/').enumerate() {
        if step.is_empty() {
            invalid(format!("segment[{i}] may not be empty"));
            continue;
        }
        for wrong in names::dns1123_subdomain(step) {
            invalid(format!("segment[{i}]: {wrong}"));
        }
    }
}

fn review_versions(errors: &mut Errors, path: &Path<'_>, versions: &[Value]) {
    if versions.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let texts: Vec<&str> = versions.iter().filter_map(Value::as_str).collect();
    for (i, version) in texts.iter().enumerate() {
        if texts[..i].contains(version) {
            errors.push(Error::invalid(
                &path.index(i),
                *version,
                "duplicate version",
            ));
            continue;
        }
        for wrong in names::dns1035_label(version) {
            errors.push(Error::invalid(&path.index(i), *version, wrong));
        }
    }
    if !texts.iter().any(|v| matches!(*v, "v1" | "v1beta1")) {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(Error::invalid(path, Value::from(versions), detail));
    }
}

/// Why a bundle of certificates (base64 of PEM) is none; an absent one is right.
pub fn ca_bundle(bundle: &Value) -> Option<String> {
    let encoded = bundle.as_str().filter(|b| !b.is_empty())?;
    let wrong =
        || Some("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
    let Some(pem) = STANDARD
        .decode(encoded)
        .ok()
        .and_then(|b| String::from_utf8(b).ok())
    else {
        return wrong();
    };
    let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let whole = |block: &str| {
        let inner = block
            .split("-----END CERTIFICATE-----")
            .next()
            .unwrap_or_default();
        let digits: String = inner.split_whitespace().collect();
        block.contains("-----END CERTIFICATE-----")
            && STANDARD
                .decode(digits)
                .is_ok_and(|der| der.first() == Some(&0x30))
    };
    let blocks: Vec<&str> = blocks.collect();
    match !blocks.is_empty() && blocks.iter().all(|b| whole(b)) {
        true => None,
        false => wrong(),
    }
}
