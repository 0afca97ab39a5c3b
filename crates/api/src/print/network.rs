//! Services and what carries their traffic.

use super::cells::{age, first_few, int, labels, list, name, selector, text, text_or};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

const SHOWN: usize = 3;

fn join(parts: &[Value]) -> String {
    let texts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
    texts.join(",")
}

fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

/// The addresses of a load balancer, sorted.
fn ingress(status: &Value) -> String {
    let entries = list(&status["loadBalancer"], "ingress");
    let all: BTreeSet<&str> = entries
        .iter()
        .map(|e| text_or(e, "ip", text(e, "hostname")))
        .filter(|t| !t.is_empty())
        .collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

fn external_ip(service: &Value) -> String {
    let spec = &service["spec"];
    let own = join(list(spec, "externalIPs"));
    match text(spec, "type") {
        "ClusterIP" | "NodePort" => or(&own, "<none>").to_owned(),
        "LoadBalancer" => {
            let balanced = ingress(&service["status"]);
            let comma = if balanced.is_empty() || own.is_empty() {
                ""
            } else {
                ","
            };
            or(&format!("{balanced}{comma}{own}"), "<pending>").to_owned()
        }
        "ExternalName" => text(spec, "externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(spec: &Value) -> String {
    let parts: Vec<String> = list(spec, "ports")
        .iter()
        .map(|port| {
            match (
                int(port, "port"),
                int(port, "nodePort"),
                text(port, "protocol"),
            ) {
                (port, node, protocol) if node > 0 => format!("{port}:{node}/{protocol}"),
                (port, _, protocol) => format!("{port}/{protocol}"),
            }
        })
        .collect();
    parts.join(",")
}

fn service(service: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &service["spec"];
    let first = list(spec, "clusterIPs").first().and_then(Value::as_str);
    let address = first.unwrap_or_else(|| text(spec, "clusterIP"));
    vec![
        name(service),
        text(spec, "type").into(),
        or(address, "<none>").into(),
        external_ip(service).into(),
        or(&ports(spec), "<none>").into(),
        age(service, now),
        labels(spec.get("selector")).into(),
    ]
}

fn endpoints(endpoints: &Value, now: Timestamp) -> Vec<Value> {
    let subsets = list(endpoints, "subsets");
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = list(subset, "addresses").iter().map(|a| text(a, "ip"));
        match list(subset, "ports") {
            // Headless Services may have no ports.
            [] => all.extend(addresses.map(str::to_owned)),
            ports => {
                for port in ports.iter().map(|p| int(p, "port")) {
                    all.extend(addresses.clone().map(|ip| match ip.contains(':') {
                        true => format!("[{ip}]:{port}"),
                        false => format!("{ip}:{port}"),
                    }));
                }
            }
        }
    }
    let shown = match subsets {
        [] => "<none>".to_owned(),
        _ => first_few(&all, SHOWN, ","),
    };
    vec![name(endpoints), shown.into(), age(endpoints, now)]
}

fn endpoint_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(slice, "ports")
        .iter()
        .map(
            |port| match (port["port"].as_i64(), port["name"].as_str()) {
                (Some(number), _) => number.to_string(),
                (None, Some(name)) => name.to_owned(),
                (None, None) => "*".to_owned(),
            },
        )
        .collect();
    let addresses: Vec<String> = list(slice, "endpoints")
        .iter()
        .flat_map(|e| list(e, "addresses"))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    vec![
        name(slice),
        text(slice, "addressType").into(),
        or(&first_few(&ports, SHOWN, ","), "<unset>").into(),
        or(&first_few(&addresses, SHOWN, ","), "<unset>").into(),
        age(slice, now),
    ]
}

/// Hosts of the rules. Upstream counts rules, also those without a host, when it says how many more there are.
fn hosts(rules: &[Value]) -> String {
    let named: Vec<&str> = rules
        .iter()
        .map(|r| text(r, "host"))
        .filter(|h| !h.is_empty())
        .collect();
    let more = rules
        .iter()
        .scan(0, |shown, rule| {
            let full = *shown == SHOWN;
            *shown += usize::from(!full && !text(rule, "host").is_empty());
            Some(full)
        })
        .any(|full| full);
    let shown = named[..named.len().min(SHOWN)].join(",");
    match more {
        true => format!("{shown} + {} more...", rules.len() - SHOWN),
        false => or(&shown, "*").to_owned(),
    }
}

fn parameters(parameters: &Value) -> String {
    if !parameters.is_object() {
        return "<none>".to_owned();
    }
    let group = text(parameters, "apiGroup");
    let dot = if group.is_empty() { "" } else { "." };
    format!(
        "{}{dot}{group}/{}",
        text(parameters, "kind"),
        text(parameters, "name")
    )
}

/// `services/default/x`, with the group after the resource.
fn parent(reference: &Value) -> String {
    let mut shown = text(reference, "resource").to_owned();
    for (separator, member) in [('.', "group"), ('/', "namespace"), ('/', "name")] {
        let part = text(reference, member);
        if !part.is_empty() {
            shown.push(separator);
            shown.push_str(part);
        }
    }
    shown
}

pub(super) fn cells(plural: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let spec = &object["spec"];
    Some(match plural {
        "services" => service(object, now),
        "endpoints" => endpoints(object, now),
        "endpointslices" => endpoint_slice(object, now),
        "ingresses" => vec![
            name(object),
            text_or(spec, "ingressClassName", "<none>").into(),
            hosts(list(spec, "rules")).into(),
            ingress(&object["status"]).into(),
            if list(spec, "tls").is_empty() {
                "80"
            } else {
                "80, 443"
            }
            .into(),
            age(object, now),
        ],
        "ingressclasses" => vec![
            name(object),
            text(spec, "controller").into(),
            parameters(&spec["parameters"]).into(),
            age(object, now),
        ],
        "networkpolicies" => vec![
            name(object),
            selector(spec.get("podSelector")).into(),
            age(object, now),
        ],
        // One cell more than columns: so answers upstream.
        "ipaddresses" => vec![
            name(object),
            parent(&spec["parentRef"]).into(),
            age(object, now),
        ],
        "servicecidrs" => vec![
            name(object),
            join(list(spec, "cidrs")).into(),
            age(object, now),
        ],
        _ => return None,
    })
}
