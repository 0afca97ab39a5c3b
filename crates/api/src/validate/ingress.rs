//! Ingresses.

use super::checks::{
    Errors, check_if_there, int, invalid_each, list, port_number, required, some, text,
};
use super::{address, service};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;

const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDINGS: [&str; 2] = ["/..", "/."];

pub(super) fn ingress(errors: &mut Errors, ingress: &Value) {
    let (spec, path) = (&ingress["spec"], Path::root("spec"));
    let class = text(spec, "ingressClassName");
    let annotated = text(&ingress["metadata"]["annotations"], CLASS_ANNOTATION);
    if !class.is_empty() && !annotated.is_empty() && class != annotated {
        let annotations = Path::root("annotations");
        let detail = "must match `ingressClassName` when both are specified";
        errors.push(Error::invalid(
            &annotations.field(CLASS_ANNOTATION),
            annotated,
            detail,
        ));
    }
    if list(spec, "rules").is_empty() && some(spec, "defaultBackend").is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(Error::invalid(&path, Value::Null, detail));
    }
    if let Some(default) = some(spec, "defaultBackend") {
        backend(errors, &path.field("defaultBackend"), default);
    }
    rules(errors, spec);
    tls(errors, spec);
    check_if_there(
        errors,
        &path,
        spec,
        "ingressClassName",
        names::dns1123_subdomain,
    );
}

/// A host, which may be a wildcard.
fn host(errors: &mut Errors, path: &Path<'_>, host: &str) {
    let wrong = match host.contains('*') {
        true => names::wildcard_subdomain(host),
        false => names::dns1123_subdomain(host),
    };
    invalid_each(errors, path, host, wrong);
}

fn rules(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("rules");
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        let at = path.index(i);
        let name = text(rule, "host");
        if !name.is_empty() {
            let host_path = at.field("host");
            if address::parse(name).is_some() {
                errors.push(Error::invalid(
                    &host_path,
                    name,
                    "must be a DNS name, not an IP address",
                ));
            }
            host(errors, &host_path, name);
        }
        let Some(http) = some(rule, "http") else {
            continue;
        };
        let http_path = at.field("http");
        let paths_path = http_path.field("paths");
        let paths = list(http, "paths");
        if paths.is_empty() {
            errors.push(Error::required(&paths_path, ""));
        }
        for (j, entry) in paths.iter().enumerate() {
            http_entry(errors, &paths_path.index(j), entry);
        }
    }
}

fn http_entry(errors: &mut Errors, path: &Path<'_>, entry: &Value) {
    let Some(kind) = some(entry, "pathType").and_then(Value::as_str) else {
        let detail = "pathType must be specified";
        errors.push(Error::required(&path.field("pathType"), detail));
        return;
    };
    let target = text(entry, "path");
    let target_path = path.field("path");
    match kind {
        "Exact" | "Prefix" => {
            if !target.starts_with('/') {
                errors.push(Error::invalid(
                    &target_path,
                    target,
                    "must be an absolute path",
                ));
            }
            if !target.is_empty() {
                for bad in BAD_SEQUENCES.into_iter().filter(|b| target.contains(b)) {
                    errors.push(Error::invalid(
                        &target_path,
                        target,
                        format!("must not contain '{bad}'"),
                    ));
                }
                for bad in BAD_ENDINGS.into_iter().filter(|b| target.ends_with(b)) {
                    errors.push(Error::invalid(
                        &target_path,
                        target,
                        format!("cannot end with '{bad}'"),
                    ));
                }
            }
        }
        "ImplementationSpecific" => {
            if !target.is_empty() && !target.starts_with('/') {
                errors.push(Error::invalid(
                    &target_path,
                    target,
                    "must be an absolute path",
                ));
            }
        }
        other => errors.push(Error::not_supported(
            &path.field("pathType"),
            other,
            &PATH_TYPES,
        )),
    }
    backend(errors, &path.field("backend"), &entry["backend"]);
}

fn backend(errors: &mut Errors, path: &Path<'_>, backend: &Value) {
    let (service, resource) = (some(backend, "service"), some(backend, "resource"));
    match (service, resource) {
        (Some(_), Some(_)) => {
            errors.push(Error::invalid(
                path,
                "",
                "cannot set both resource and service backends",
            ));
        }
        (None, None) => errors.push(Error::invalid(
            path,
            "",
            "resource or service backend is required",
        )),
        (None, Some(resource)) => object_reference(errors, &path.field("resource"), resource),
        (Some(service), None) => {
            let at = path.field("service");
            let name = text(service, "name");
            match name {
                "" => {
                    required(errors, &at, service, "name");
                }
                _ => invalid_each(errors, &at.field("name"), name, names::dns1123_label(name)),
            }
            let port = &service["port"];
            let (number, named) = (int(port, "number"), text(port, "name"));
            let port_path = at.field("port");
            match (number, named) {
                (0, "") => errors.push(Error::required(path, "port name or number is required")),
                (0, named) => invalid_each(
                    errors,
                    &port_path.field("name"),
                    named,
                    names::port_name(named),
                ),
                (number, "") => port_number(errors, &port_path.field("number"), number),
                _ => errors.push(Error::invalid(
                    path,
                    "",
                    "cannot set both port name & port number",
                )),
            }
        }
    }
}

/// An object of the Ingress's own namespace.
fn object_reference(errors: &mut Errors, path: &Path<'_>, resource: &Value) {
    check_if_there(errors, path, resource, "apiGroup", names::dns1123_subdomain);
    for member in ["kind", "name"] {
        if required(errors, path, resource, member) {
            let word = text(resource, member);
            invalid_each(errors, &path.field(member), word, names::path_segment(word));
        }
    }
}

fn tls(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("tls");
    for (i, entry) in list(spec, "tls").iter().enumerate() {
        let at = path.index(i);
        let hosts = at.field("hosts");
        for (j, name) in list(entry, "hosts")
            .iter()
            .filter_map(Value::as_str)
            .enumerate()
        {
            host(errors, &hosts.index(j), name);
        }
        let secret = text(entry, "secretName");
        if !secret.is_empty() {
            invalid_each(
                errors,
                &at.field("secretName"),
                secret,
                names::dns1123_subdomain(secret),
            );
        }
    }
}

/// The status: what the load balancer reports.
pub(super) fn status(errors: &mut Errors, ingress: &Value) {
    let (root, status) = (Path::root("status"), &ingress["status"]["loadBalancer"]);
    let parent = root.field("loadBalancer");
    let path = parent.field("ingress");
    for (i, entry) in list(status, "ingress").iter().enumerate() {
        let at = path.index(i);
        service::point_address(errors, &at, entry);
        service::point_host(errors, &at, entry);
    }
}
