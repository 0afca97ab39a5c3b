//! Texts of `Warning` headers for objects that are right but unwise.

use crate::resource::Resource;
use serde_json::Value;

const ENDPOINTS: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// Warnings for each request to a resource, whatever it does.
pub fn resource(resource: &Resource) -> Option<&'static str> {
    match (&*resource.group, &*resource.plural) {
        ("", "endpoints") => Some(ENDPOINTS),
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// Warnings for an object that is created or updated.
pub fn object(resource: &Resource, object: &Value) -> Vec<String> {
    match (&*resource.group, &*resource.plural) {
        ("", "services") => service(object),
        _ => Vec::new(),
    }
}

fn is_set(spec: &Value, name: &str) -> bool {
    match spec.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

/// IPv6 addresses that are not in the form of RFC 5952.
fn address(field: &str, text: &str) -> Option<String> {
    let canonical = text.parse::<std::net::Ipv6Addr>().ok()?.to_string();
    let quote = crate::field::quote;
    (canonical != text).then(|| {
        format!(
            "{field}: IPv6 address {} should be in RFC 5952 canonical format ({})",
            quote(text),
            quote(&canonical)
        )
    })
}

fn service(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    let external_name = spec["type"] == "ExternalName";
    let mut warnings = Vec::new();
    if service
        .pointer("/metadata/annotations/service.kubernetes.io~1topology-aware-hints")
        .is_some()
    {
        warnings.push(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
             service.kubernetes.io/topology-mode instead"
                .to_owned(),
        );
    }
    for name in ["clusterIPs", "externalIPs"] {
        for (i, text) in spec[name].as_array().into_iter().flatten().enumerate() {
            warnings.extend(address(
                &format!("spec.{name}[{i}]"),
                text.as_str().unwrap_or(""),
            ));
        }
    }
    warnings.extend(address(
        "spec.loadBalancerIP",
        spec["loadBalancerIP"].as_str().unwrap_or(""),
    ));
    if is_set(spec, "externalIPs") {
        warnings.push(match external_name {
            true => "spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned(),
            false => {
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                    .to_owned()
            }
        });
    }
    if !external_name && is_set(spec, "externalName") {
        warnings
            .push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec["trafficDistribution"] == "PreferClose" {
        warnings.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .to_owned(),
        );
    }
    warnings
}
