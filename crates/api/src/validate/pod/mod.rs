//! Pods and templates of Pods.
//!
//! The order of checks is upstream's, since errors are told in it.

mod affinity;
mod container;
mod env;
mod probe;
mod resources;
mod scheduling;
mod security;
mod update;
mod volume;

pub(super) use affinity::node_selector;
pub(super) use resources::{amount, resource_name};
pub(super) use scheduling::taint_effect;
pub(super) use update::{ephemeral, resize, update};
pub(super) use volume::{host_path, nfs};

use super::address;
use super::checks::{
    Errors, int, invalid_each, label_selector, labels, list, one_of, one_of_if_set, some, text,
};
use super::meta;
use crate::field::{Error, Path};
use crate::names;
use crate::selector::LabelSelector;
use serde_json::Value;

/// A new Pod, its metadata already checked.
pub(super) fn create(errors: &mut Errors, pod: &Value) {
    let (spec, path) = (&pod["spec"], Path::root("spec"));
    own(errors, pod);
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(
            &path.field("ephemeralContainers"),
            "cannot be set on create",
        ));
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&path.field("nodeName"), detail));
    }
}

/// What holds for Pods, new or changed, but not for their templates.
fn own(errors: &mut Errors, pod: &Value) {
    let (spec, path) = (&pod["spec"], Path::root("spec"));
    self::spec(errors, &path, spec);
    for member in ["containers", "initContainers"] {
        let list_path = path.field(member);
        for (i, container) in list(spec, member).iter().enumerate() {
            let image = text(container, "image");
            if image.trim() != image {
                let at = list_path.index(i);
                let detail = "must not have leading or trailing whitespace";
                errors.push(Error::invalid(&at.field("image"), image, detail));
            }
        }
    }
}

/// A template: labels, annotations and a spec. Upstream leaves `metadata` out of the paths.
pub(super) fn template(errors: &mut Errors, path: &Path<'_>, template: &Value) {
    meta::template(errors, path, &template["metadata"]);
    spec(errors, &path.field("spec"), &template["spec"]);
    if !list(&template["spec"], "ephemeralContainers").is_empty() {
        let spec = path.field("spec");
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(Error::forbidden(&spec.field("ephemeralContainers"), detail));
    }
}

/// A template whose labels a selector must match.
pub(super) fn selected_template(
    errors: &mut Errors,
    path: &Path<'_>,
    template: &Value,
    selector: &LabelSelector,
) {
    let labels = template["metadata"].get("labels");
    if !selector.is_everything() && !selector.matches(labels.and_then(Value::as_object)) {
        let meta = path.field("metadata");
        let detail = "`selector` does not match template `labels`";
        errors.push(Error::invalid(&meta.field("labels"), labels, detail));
    }
    self::template(errors, path, template);
}

/// A Pod's spec.
pub(super) fn spec(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    const DNS: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    let volumes = volume::volumes(errors, path, spec);
    container::all(errors, path, spec, &volumes);
    one_of(
        errors,
        path,
        spec,
        "restartPolicy",
        &["Always", "OnFailure", "Never"],
    );
    one_of(errors, path, spec, "dnsPolicy", &DNS);
    labels(
        errors,
        &path.field("nodeSelector"),
        spec.get("nodeSelector"),
    );
    security::pod(errors, path, spec);
    affinity::affinity(errors, &path.field("affinity"), &spec["affinity"]);
    dns_config(errors, path, spec);
    let gates = path.field("readinessGates");
    for (i, gate) in list(spec, "readinessGates").iter().enumerate() {
        let (at, name) = (gates.index(i), text(gate, "conditionType"));
        let wrong = names::qualified_name(name);
        invalid_each(errors, &at.field("conditionType"), name, wrong);
    }
    scheduling::gates(errors, path, spec);
    scheduling::spread(errors, path, spec);
    name_if_set(
        errors,
        path,
        spec,
        "serviceAccountName",
        names::dns1123_subdomain,
    );
    name_if_set(errors, path, spec, "nodeName", names::dns1123_subdomain);
    if let Some(seconds) = some(spec, "activeDeadlineSeconds").and_then(Value::as_i64)
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let at = path.field("activeDeadlineSeconds");
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(Error::invalid(&at, seconds, detail));
    }
    name_if_set(errors, path, spec, "hostname", names::dns1123_label);
    name_if_set(errors, path, spec, "subdomain", names::dns1123_label);
    scheduling::tolerations(errors, path, spec);
    host_aliases(errors, path, spec);
    name_if_set(
        errors,
        path,
        spec,
        "priorityClassName",
        names::dns1123_subdomain,
    );
    name_if_set(
        errors,
        path,
        spec,
        "runtimeClassName",
        names::dns1123_subdomain,
    );
    let policies = ["PreemptLowerPriority", "Never"];
    one_of_if_set(errors, path, spec, "preemptionPolicy", &policies);
    operating_system(errors, &path.field("os"), spec);
}

fn name_if_set(
    errors: &mut Errors,
    path: &Path<'_>,
    spec: &Value,
    member: &str,
    check: fn(&str) -> Vec<String>,
) {
    let name = text(spec, member);
    if !name.is_empty() {
        invalid_each(errors, &path.field(member), name, check(name));
    }
}

fn operating_system(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let Some(os) = some(spec, "os") else {
        return;
    };
    match text(os, "name") {
        "" => errors.push(Error::required(&path.field("name"), "cannot be empty")),
        "linux" | "windows" => {}
        other => errors.push(Error::not_supported(path, other, &["linux", "windows"])),
    }
}

fn dns_config(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    const NAMESERVERS: usize = 3;
    const SEARCHES: usize = 32;
    let config_path = path.field("dnsConfig");
    let config = some(spec, "dnsConfig");
    let none = text(spec, "dnsPolicy") == "None";
    let Some(config) = config else {
        if none {
            errors.push(Error::required(
                &config_path,
                "must provide `dnsConfig` when `dnsPolicy` is None",
            ));
        }
        return;
    };
    let servers_path = config_path.field("nameservers");
    let servers = list(config, "nameservers");
    if none && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(Error::required(&servers_path, detail));
    }
    if servers.len() > NAMESERVERS {
        let detail = format!("must not have more than {NAMESERVERS} nameservers");
        errors.push(Error::invalid(
            &servers_path,
            some(config, "nameservers"),
            detail,
        ));
    }
    for (i, server) in servers.iter().enumerate() {
        address::ip(
            errors,
            &servers_path.index(i),
            server.as_str().unwrap_or(""),
            false,
        );
    }
    let searches_path = config_path.field("searches");
    let searches = list(config, "searches");
    if searches.len() > SEARCHES {
        let detail = format!("must not have more than {SEARCHES} search paths");
        errors.push(Error::invalid(
            &searches_path,
            some(config, "searches"),
            detail,
        ));
    }
    for (i, search) in searches.iter().filter_map(Value::as_str).enumerate() {
        // A lone dot and underscores are legal (KEP-4427).
        let name = search.strip_suffix('.').unwrap_or(search).replace('_', "-");
        let name = name.trim_matches('-');
        if search != "." {
            invalid_each(
                errors,
                &searches_path.index(i),
                search,
                names::dns1123_subdomain(name),
            );
        }
    }
    let options_path = config_path.field("options");
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            let at = options_path.index(i);
            errors.push(Error::required(&at.field("name"), "must not be empty"));
        }
    }
}

fn host_aliases(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let path = path.field("hostAliases");
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let at = path.index(i);
        address::ip(errors, &at.field("ip"), text(alias, "ip"), false);
        let names_path = at.field("hostnames");
        for (j, name) in list(alias, "hostnames")
            .iter()
            .filter_map(Value::as_str)
            .enumerate()
        {
            invalid_each(
                errors,
                &names_path.index(j),
                name,
                names::dns1123_subdomain(name),
            );
        }
    }
}

/// A label selector that other parts of a Pod refer by.
fn selector_if_set(errors: &mut Errors, path: &Path<'_>, node: &Value, member: &str) {
    if let Some(selector) = some(node, member) {
        label_selector(errors, &path.field(member), selector);
    }
}

/// A number of seconds and the like.
fn positive(errors: &mut Errors, path: &Path<'_>, node: &Value, member: &str, detail: &str) {
    let number = int(node, member);
    if number <= 0 {
        errors.push(Error::invalid(&path.field(member), number, detail));
    }
}
