//! Services: the rules of `spec`.

use super::checks::{
    Errors, immutable, int, invalid_each, labels, list, one_of, one_of_if_set, port_number,
    port_number_or_name, some, text, texts,
};
use super::{address, service_ips};
use crate::field::{Bad, Error, Path};
use crate::names;
use crate::strategy::service::{is_headless, needs_health_check_port, needs_node_port};
use serde_json::Value;
use std::collections::HashSet;

const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
const KUBELET_PORT: i64 = 10_250;
const AFFINITY_MAX: i64 = 86_400;
const RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const MODE_ANNOTATION: &str = "service.kubernetes.io/topology-mode";
const HINTS_ANNOTATION: &str = "service.kubernetes.io/topology-aware-hints";

fn is_balanced(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer"
}

/// A Service with its metadata already checked. `old` is the stored one on update.
pub(super) fn service(errors: &mut Errors, service: &Value, old: Option<&Value>) {
    let spec = &service["spec"];
    let path = Path::root("spec");
    let old_spec = old.map(|o| &o["spec"]);
    topology_annotations(errors, service);
    by_type(errors, spec);
    ports(errors, spec);
    labels(errors, &path.field("selector"), spec.get("selector"));
    affinity(errors, spec);
    service_ips::families(errors, spec, old_spec);
    external_ips(errors, spec, old_spec);
    one_of(
        errors,
        &path,
        spec,
        "type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    duplicates(errors, spec);
    source_ranges(errors, service, old);
    allocate_node_ports(errors, spec);
    load_balancer_class(errors, spec, None);
    external_traffic(errors, spec);
    internal_traffic(errors, spec);
    one_of_if_set(
        errors,
        &path,
        spec,
        "trafficDistribution",
        &["PreferClose", "PreferSameZone", "PreferSameNode"],
    );
}

/// What an update can't change.
pub(super) fn update(errors: &mut Errors, old: &Value, new: &Value) {
    let (old_spec, spec) = (&old["spec"], &new["spec"]);
    service_ips::changes(errors, old_spec, spec);
    load_balancer_class(errors, spec, Some(old_spec));
    let path = Path::root("spec");
    if needs_health_check_port(old_spec) && needs_health_check_port(spec) {
        let mut changed = Errors::new();
        immutable(&mut changed, &path, old_spec, spec, "healthCheckNodePort");
        if !changed.is_empty() {
            errors.push(Error::forbidden(
                &path.field("healthCheckNodePort"),
                "field is immutable",
            ));
        }
    }
    service(errors, new, Some(old));
}

fn topology_annotations(errors: &mut Errors, service: &Value) {
    let annotations = &service["metadata"]["annotations"];
    if let (Some(mode), Some(hints)) = (
        some(annotations, MODE_ANNOTATION),
        some(annotations, HINTS_ANNOTATION),
    ) && mode != hints
    {
        let (meta, detail) = (
            Path::root("metadata"),
            format!("must match annotations[{HINTS_ANNOTATION}] when both are specified"),
        );
        errors.push(Error::invalid(
            &meta.field("annotations").key(MODE_ANNOTATION),
            mode,
            detail,
        ));
    }
}

fn by_type(errors: &mut Errors, spec: &Value) {
    let path = Path::root("spec");
    let (ips, ports_path) = (path.field("clusterIPs"), path.field("ports"));
    let kind = text(spec, "type");
    if list(spec, "ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
        errors.push(Error::required(&ports_path, ""));
    }
    if kind == "LoadBalancer" {
        for (i, port) in list(spec, "ports").iter().enumerate() {
            if int(port, "port") == KUBELET_PORT {
                let detail = format!(
                    "may not expose port {KUBELET_PORT} externally since it is used by kubelet"
                );
                errors.push(Error::invalid(&ports_path.index(i), KUBELET_PORT, detail));
            }
        }
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(Error::invalid(&ips.index(0), "None", detail));
        }
        "ExternalName" => {
            for member in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !list(spec, member).is_empty() || spec[member].is_string() {
                    errors.push(Error::forbidden(
                        &path.field(member),
                        "may not be set for ExternalName services",
                    ));
                }
            }
            let name = text(spec, "externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            match name {
                "" => errors.push(Error::required(&path.field("externalName"), "")),
                _ => invalid_each(
                    errors,
                    &path.field("externalName"),
                    name,
                    names::dns1123_subdomain(name),
                ),
            }
        }
        _ => {}
    }
}

fn ports(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("ports");
    let all = list(spec, "ports");
    let mut seen = HashSet::new();
    for (i, port) in all.iter().enumerate() {
        let at = path.index(i);
        let name = text(port, "name");
        if name.is_empty() {
            if all.len() > 1 {
                errors.push(Error::required(&at.field("name"), ""));
            }
        } else {
            invalid_each(errors, &at.field("name"), name, names::dns1123_label(name));
            if !seen.insert(name) {
                errors.push(Error::duplicate(&at.field("name"), name));
            }
        }
        port_number(errors, &at.field("port"), int(port, "port"));
        one_of(errors, &at, port, "protocol", &["SCTP", "TCP", "UDP"]);
        port_number_or_name(errors, &at.field("targetPort"), &port["targetPort"]);
        if let Some(protocol) = some(port, "appProtocol").and_then(Value::as_str) {
            invalid_each(
                errors,
                &at.field("appProtocol"),
                protocol,
                names::qualified_name(protocol),
            );
        }
    }
}

/// Go's marshalling of the port that stands for the duplicate key.
fn port_key(protocol: &str, port: i64) -> Bad {
    Bad::Text(format!(
        r#"{{"Name":"","Protocol":"{protocol}","AppProtocol":null,"Port":{port},"TargetPort":0,"NodePort":0}}"#
    ))
}

fn duplicates(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("ports");
    let all = list(spec, "ports");
    if text(spec, "type") == "ClusterIP" {
        for (i, _) in all
            .iter()
            .enumerate()
            .filter(|(_, p)| int(p, "nodePort") != 0)
        {
            let at = path.index(i);
            errors.push(Error::forbidden(
                &at.field("nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
    }
    let mut seen = HashSet::new();
    for (i, port) in all.iter().enumerate() {
        let node_port = int(port, "nodePort");
        if node_port != 0 && !seen.insert((text(port, "protocol"), node_port)) {
            errors.push(Error::duplicate(
                &path.index(i).field("nodePort"),
                node_port,
            ));
        }
    }
    seen.clear();
    for (i, port) in all.iter().enumerate() {
        let (protocol, number) = (text(port, "protocol"), int(port, "port"));
        if !seen.insert((protocol, number)) {
            let key = port_key(protocol, number);
            errors.push(Error::duplicate(&path.index(i), key));
        }
    }
}

fn affinity(errors: &mut Errors, spec: &Value) {
    let path = Path::root("spec");
    one_of(
        errors,
        &path,
        spec,
        "sessionAffinity",
        &["ClientIP", "None"],
    );
    let config_path = path.field("sessionAffinityConfig");
    let config = some(spec, "sessionAffinityConfig");
    match (text(spec, "sessionAffinity"), config) {
        ("None", Some(_)) => {
            errors.push(Error::forbidden(
                &config_path,
                "must not be set when session affinity is None",
            ));
        }
        ("ClientIP", config) => {
            const WHEN: &str = "when session affinity type is ClientIP";
            let client = config_path.field("clientIP");
            let timeout_path = client.field("timeoutSeconds");
            let found =
                config.map(|c| (some(c, "clientIP"), c.pointer("/clientIP/timeoutSeconds")));
            match found {
                None => errors.push(Error::required(&config_path, WHEN)),
                Some((None, _)) => errors.push(Error::required(&client, WHEN)),
                Some((_, seconds)) => match seconds.and_then(Value::as_i64) {
                    None => errors.push(Error::required(&timeout_path, WHEN)),
                    Some(seconds) if !(1..=AFFINITY_MAX).contains(&seconds) => {
                        let detail = format!("must be greater than 0 and less than {AFFINITY_MAX}");
                        errors.push(Error::invalid(&timeout_path, seconds, detail));
                    }
                    Some(_) => {}
                },
            }
        }
        _ => {}
    }
}

fn external_ips(errors: &mut Errors, spec: &Value, old: Option<&Value>) {
    let parent = Path::root("spec");
    let path = parent.field("externalIPs");
    let before = old.map(|o| texts(o, "externalIPs")).unwrap_or_default();
    for (i, value) in list(spec, "externalIPs").iter().enumerate() {
        let text = value.as_str().unwrap_or("");
        let at = path.index(i);
        if address::ip(errors, &at, text, before.contains(text)) {
            address::not_special(errors, &at, text);
        }
    }
}

fn source_ranges(errors: &mut Errors, service: &Value, old: Option<&Value>) {
    let spec = &service["spec"];
    let (parent, meta) = (Path::root("spec"), Path::root("metadata"));
    let annotated =
        some(&service["metadata"]["annotations"], RANGES_ANNOTATION).and_then(Value::as_str);
    let ranges = list(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // Upstream spells the field so.
        let path = parent.field("LoadBalancerSourceRanges");
        if !is_balanced(spec) {
            errors.push(Error::forbidden(&path, ONLY_BALANCED));
        }
        let before = old
            .map(|o| texts(&o["spec"], "loadBalancerSourceRanges"))
            .unwrap_or_default();
        for (i, value) in ranges.iter().enumerate() {
            let text = value.as_str().unwrap_or("");
            address::cidr(errors, &path.index(i), text.trim(), before.contains(text));
        }
    } else if let Some(ranges) = annotated {
        let annotations = meta.field("annotations");
        let path = annotations.key(RANGES_ANNOTATION);
        if !is_balanced(spec) {
            errors.push(Error::forbidden(&path, ONLY_BALANCED));
        }
        for range in ranges
            .split(',')
            .map(str::trim)
            .filter(|_| !ranges.trim().is_empty())
        {
            address::cidr(errors, &path, range, false);
        }
    }
}

fn allocate_node_ports(errors: &mut Errors, spec: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("allocateLoadBalancerNodePorts");
    match (
        is_balanced(spec),
        some(spec, "allocateLoadBalancerNodePorts"),
    ) {
        (false, Some(_)) => errors.push(Error::forbidden(&path, ONLY_BALANCED)),
        (true, None) => errors.push(Error::required(
            &path,
            "field is required when `type` is 'LoadBalancer'",
        )),
        _ => {}
    }
}

fn load_balancer_class(errors: &mut Errors, spec: &Value, old: Option<&Value>) {
    let parent = Path::root("spec");
    let path = parent.field("loadBalancerClass");
    let class = some(spec, "loadBalancerClass");
    if let Some(old) = old
        && is_balanced(old)
        && is_balanced(spec)
        && some(old, "loadBalancerClass") != class
    {
        errors.push(Error::invalid(&path, class, "may not change once set"));
    }
    match (class.and_then(Value::as_str), is_balanced(spec)) {
        (Some(class), true) => invalid_each(errors, &path, class, names::qualified_name(class)),
        (Some(_), false) => errors.push(Error::forbidden(&path, ONLY_BALANCED)),
        (None, _) => {}
    }
}

fn external_traffic(errors: &mut Errors, spec: &Value) {
    let path = Path::root("spec");
    let accessible = needs_node_port(spec)
        || (text(spec, "type") == "ClusterIP" && !list(spec, "externalIPs").is_empty());
    let policy = text(spec, "externalTrafficPolicy");
    if accessible {
        one_of(
            errors,
            &path,
            spec,
            "externalTrafficPolicy",
            &["Cluster", "Local"],
        );
    } else if !policy.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(Error::invalid(
            &path.field("externalTrafficPolicy"),
            policy,
            detail,
        ));
    }
    let port = int(spec, "healthCheckNodePort");
    let port_path = path.field("healthCheckNodePort");
    match (needs_health_check_port(spec), port) {
        (false, 0) => {}
        (false, port) => errors.push(Error::invalid(
            &port_path,
            port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )),
        (true, 0) => errors.push(Error::required(&port_path, "")),
        (true, port) => port_number(errors, &port_path, port),
    }
}

fn internal_traffic(errors: &mut Errors, spec: &Value) {
    let path = Path::root("spec");
    match text(spec, "type") {
        "ClusterIP" | "NodePort" | "LoadBalancer"
            if some(spec, "internalTrafficPolicy").is_none() =>
        {
            errors.push(Error::required(&path.field("internalTrafficPolicy"), ""));
        }
        _ => one_of_if_set(
            errors,
            &path,
            spec,
            "internalTrafficPolicy",
            &["Cluster", "Local"],
        ),
    }
}

/// The status: what the load balancer reports.
pub(super) fn status(errors: &mut Errors, service: &Value) {
    let (root, status) = (Path::root("status"), &service["status"]["loadBalancer"]);
    let parent = root.field("loadBalancer");
    let path = parent.field("ingress");
    let all = list(status, "ingress");
    if !is_balanced(&service["spec"]) && !all.is_empty() {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(Error::forbidden(&path, detail));
        return;
    }
    for (i, entry) in all.iter().enumerate() {
        let at = path.index(i);
        point_address(errors, &at, entry);
        let mode_path = at.field("ipMode");
        let has_address = !text(entry, "ip").is_empty();
        match (some(entry, "ipMode"), has_address) {
            (None, true) => {
                let detail = "must be specified when `ip` is set";
                errors.push(Error::required(&mode_path, detail));
            }
            (None, false) => {}
            (Some(_), false) => {
                let detail = "may not be specified when `ip` is not set";
                errors.push(Error::forbidden(&mode_path, detail));
            }
            (Some(_), true) => one_of(errors, &at, entry, "ipMode", &["Proxy", "VIP"]),
        }
        point_host(errors, &at, entry);
    }
}

/// The address of a point of entry, of Services and Ingresses.
pub(super) fn point_address(errors: &mut Errors, path: &Path<'_>, entry: &Value) {
    let ip = text(entry, "ip");
    if !ip.is_empty() {
        address::ip(errors, &path.field("ip"), ip, false);
    }
}

/// The name of a point of entry, of Services and Ingresses.
pub(super) fn point_host(errors: &mut Errors, path: &Path<'_>, entry: &Value) {
    let host = text(entry, "hostname");
    if host.is_empty() {
        return;
    }
    let path = path.field("hostname");
    invalid_each(errors, &path, host, names::dns1123_subdomain(host));
    if address::parse(host).is_some() {
        let detail = "must be a DNS name, not an IP address";
        errors.push(Error::invalid(&path, host, detail));
    }
}
