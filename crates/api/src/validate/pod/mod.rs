//! Pods and templates of Pods.
//!
//! The order of checks is upstream's, since errors are told in it.

mod affinity;
mod annotations;
mod container;
mod env;
mod mount;
mod probe;
mod resources;
mod restart;
mod scheduling;
mod security;
mod status;
mod update;
mod volume;
mod windows;

pub(super) use affinity::node_selector;
pub(super) use resources::{
    amount, container_resource_name, is_extended, may_overcommit, overhead, resource_name,
};
pub(super) use scheduling::{taint_effect, tolerations};
pub(super) use status::status;
pub(super) use update::{ephemeral, resize, update};

use super::address;
use super::checks::{
    Errors, int, invalid_each, label_selector, labels, list, non_negative, one_of, some, text,
};
use super::meta;
use crate::field::{Error, Path};
use crate::names;
use crate::selector::LabelSelector;
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";

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
    annotations::match_fields(errors, pod);
}

/// What holds for Pods, new or changed, but not for their templates.
fn own(errors: &mut Errors, pod: &Value) {
    let (spec, meta, path) = (&pod["spec"], &pod["metadata"], Path::root("spec"));
    let meta_path = Path::root("metadata");
    annotations::check(errors, &meta_path.field("annotations"), meta, spec);
    self::spec(errors, &path, spec, Some(meta));
    if text(spec, "serviceAccountName").is_empty() {
        tokens_without_account(errors, spec);
    }
    non_negative(errors, &path, spec, "terminationGracePeriodSeconds");
    for member in ["containers", "initContainers"] {
        let list_path = path.field(member);
        for (i, each) in list(spec, member).iter().enumerate() {
            container::image_padding(errors, &list_path.index(i), each);
        }
    }
}

fn tokens_without_account(errors: &mut Errors, spec: &Value) {
    let root = Path::root("spec");
    let volumes = root.field("volumes");
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let at = volumes.index(i);
        let projected = at.field("projected");
        let sources = projected.field("sources");
        for (j, source) in list(&volume["projected"], "sources").iter().enumerate() {
            if some(source, "serviceAccountToken").is_some() {
                let at = sources.index(j);
                let detail = "must not be specified when serviceAccountName is not set";
                errors.push(Error::forbidden(&at.field("serviceAccountToken"), detail));
            }
        }
    }
}

/// A template: labels, annotations and a spec. Upstream leaves `metadata` out of the paths.
pub(super) fn template(errors: &mut Errors, path: &Path<'_>, template: &Value) {
    let (meta, spec) = (&template["metadata"], &template["spec"]);
    meta::template(errors, path, meta);
    annotations::check(errors, &path.field("annotations"), meta, spec);
    self::spec(errors, &path.field("spec"), spec, None);
    // Until the template's Pods are made, nobody says what profile they run with.
    if !list(spec, "ephemeralContainers").is_empty() {
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

/// A spec: of a Pod, whose metadata is `meta`, or of a template.
fn spec(errors: &mut Errors, path: &Path<'_>, spec: &Value, meta: Option<&Value>) {
    const DNS: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    const RESTART: [&str; 3] = ["Always", "OnFailure", "Never"];
    if some(spec, "terminationGracePeriodSeconds").is_none() {
        errors.push(Error::required(
            &path.field("terminationGracePeriodSeconds"),
            "",
        ));
    }
    let claims = list(spec, "resourceClaims").iter().map(|c| text(c, "name"));
    let pod = container::Pod {
        spec,
        volumes: volume::volumes(errors, path, spec, meta.map(|m| text(m, "name"))),
        claims: claims.filter(|name| !name.is_empty()).collect(),
    };
    let mirror = meta.is_some_and(|m| m["annotations"].get(MIRROR).is_some());
    container::resource_claims(errors, path, spec, mirror);
    container::all(errors, path, &pod);
    security::host_ports(errors, path, spec, meta.is_some());
    one_of(errors, path, spec, "restartPolicy", &RESTART);
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
    windows::host_process(errors, path, spec);
    security::host_users(errors, path, spec);
    hostname_override(errors, path, spec);
    identity(errors, path, spec);
    tolerations(errors, path, spec);
    host_aliases(errors, path, spec);
    classes(errors, path, spec);
    windows::operating_system(errors, path, spec);
    scheduling_group(errors, path, spec);
    windows::file_keys(errors, path, spec);
}

/// A name of its own for the host that the Pod thinks it is (KEP-4762).
fn hostname_override(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    const MAX: usize = 64;
    let Some(name) = some(spec, "hostnameOverride").and_then(Value::as_str) else {
        return;
    };
    let at = path.field("hostnameOverride");
    for member in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec[member] == true {
            let detail = format!("may not be specified when {member} is true");
            errors.push(Error::forbidden(&at, detail));
        }
    }
    if name.len() > MAX {
        errors.push(Error::too_long(&at, MAX));
    }
    invalid_each(errors, &at, name, names::dns1123_subdomain(name));
}

/// Who and where the Pod is.
fn identity(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    name_if_set(
        errors,
        path,
        spec,
        "serviceAccountName",
        names::dns1123_subdomain,
    );
    let (account, old) = (
        text(spec, "serviceAccountName"),
        text(spec, "serviceAccount"),
    );
    if account != old {
        let detail = format!(
            "must be the same as serviceAccountName: {}",
            crate::field::quote(account)
        );
        errors.push(Error::invalid(
            &path.field("deprecatedServiceAccount"),
            old,
            detail,
        ));
    }
    name_if_set(errors, path, spec, "nodeName", names::dns1123_subdomain);
    if let Some(seconds) = some(spec, "activeDeadlineSeconds").and_then(Value::as_i64)
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let at = path.field("activeDeadlineSeconds");
        errors.push(Error::invalid(
            &at,
            seconds,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    name_if_set(errors, path, spec, "hostname", names::dns1123_label);
    name_if_set(errors, path, spec, "subdomain", names::dns1123_label);
}

fn classes(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    name_if_set(
        errors,
        path,
        spec,
        "priorityClassName",
        names::dns1123_subdomain,
    );
    if let Some(class) = some(spec, "runtimeClassName").and_then(Value::as_str) {
        let at = path.field("runtimeClassName");
        invalid_each(errors, &at, class, names::dns1123_subdomain(class));
    }
    if let Some(policy) = some(spec, "preemptionPolicy").and_then(Value::as_str) {
        let policies = ["PreemptLowerPriority", "Never"];
        super::checks::one_of_words(errors, &path.field("preemptionPolicy"), policy, &policies);
    }
    if let Some(overhead) = some(spec, "overhead") {
        resources::overhead(errors, &path.field("overhead"), overhead);
    }
}

/// The group that is scheduled at once (KEP-4671).
fn scheduling_group(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let Some(group) = some(spec, "schedulingGroup") else {
        return;
    };
    let path = path.field("schedulingGroup");
    let at = path.field("podGroupName");
    match some(group, "podGroupName").and_then(Value::as_str) {
        None => errors.push(Error::invalid(
            &at,
            Value::Null,
            "must specify one of: `podGroupName`",
        )),
        Some(name) => invalid_each(errors, &at, name, names::dns1123_subdomain(name)),
    }
    if !list(spec, "evictionResponders").is_empty() {
        let detail = "may not be set when evictionResponders is set";
        errors.push(Error::forbidden(&path, detail));
    }
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

fn dns_config(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    const NAMESERVERS: usize = 3;
    const SEARCHES: usize = 32;
    const SEARCH_LETTERS: usize = 2048;
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
        return;
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
    let all: Vec<&str> = searches.iter().filter_map(Value::as_str).collect();
    if all.join(" ").len() > SEARCH_LETTERS {
        let detail = format!(
            "must not have more than {SEARCH_LETTERS} characters (including spaces) in the search list"
        );
        errors.push(Error::invalid(
            &searches_path,
            some(config, "searches"),
            detail,
        ));
    }
    // A lone dot and underscores are legal (KEP-4427).
    for (i, search) in all
        .into_iter()
        .enumerate()
        .filter(|(_, search)| *search != ".")
    {
        let name = search.strip_suffix('.').unwrap_or(search);
        let wrong = names::dns1123_subdomain_with_underscore(name);
        invalid_each(errors, &searches_path.index(i), name, wrong);
    }
    let options_path = config_path.field("options");
    for (i, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(Error::required(&options_path.index(i), "must not be empty"));
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
