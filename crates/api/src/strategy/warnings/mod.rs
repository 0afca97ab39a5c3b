//! Texts of `Warning` headers for objects that are right but unwise.

mod key_pair;
mod pod;

use crate::field::Path;
use crate::quantity::Quantity;
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
    let spec = Path::root("spec");
    let own = &object["spec"];
    match (&*resource.group, &*resource.plural) {
        ("", "services") => service(object),
        ("", "pods") => pod::pod(object),
        ("apps", "statefulsets") => {
            let mut warnings = pod::template(&spec.field("template"), &own["template"]);
            let path = spec.field("volumeClaimTemplates");
            for (i, claim) in own["volumeClaimTemplates"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
            {
                warnings.extend(storage_request(&path.index(i), &claim["spec"]));
            }
            warnings
        }
        ("apps", "controllerrevisions") => Vec::new(),
        ("apps", _) | ("batch", "jobs") | ("", "replicationcontrollers") => {
            pod::template(&spec.field("template"), &own["template"])
        }
        ("batch", "cronjobs") => {
            let job = spec.field("jobTemplate");
            let job_spec = job.field("spec");
            pod::template(
                &job_spec.field("template"),
                &own["jobTemplate"]["spec"]["template"],
            )
        }
        ("", "podtemplates") => pod::template(&Path::root("template"), &object["template"]),
        ("", "persistentvolumeclaims") => claim(object),
        ("", "persistentvolumes") if own["persistentVolumeReclaimPolicy"] == "Recycle" => {
            vec![RECYCLE.to_owned()]
        }
        ("", "serviceaccounts") if annotation(object, MOUNTABLE).is_some() => {
            vec![format!(
                "metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            )]
        }
        ("discovery.k8s.io", "endpointslices") => endpoint_slice(object),
        ("", "secrets") if object["type"] == "kubernetes.io/tls" => key_pair::warning(object),
        ("networking.k8s.io", "ingresses") if annotation(object, INGRESS_CLASS).is_some() => {
            vec![format!(
                "annotation \"{INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
            )]
        }
        _ => Vec::new(),
    }
}

fn endpoint_slice(slice: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if slice["addressType"] == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    for (i, endpoint) in slice["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        for (j, text) in endpoint["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let field = format!("endpoints[{i}].addresses[{j}]");
            warnings.extend(address(&field, text.as_str().unwrap_or("")));
        }
    }
    warnings
}

const RECYCLE: &str = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["metadata"]["annotations"].get(name)
}

/// An amount of bytes that has a fraction.
fn fraction(path: &Path<'_>, list: &Value, name: &str) -> Option<String> {
    let value = list.get(name)?;
    let quantity = Quantity::from_json(value).ok()?;
    (!quantity.is_integer()).then(|| {
        format!(
            "{}: fractional byte value {} is invalid, must be an integer",
            path.key(name),
            crate::field::quote(value.as_str().unwrap_or(""))
        )
    })
}

fn storage_request(path: &Path<'_>, spec: &Value) -> Option<String> {
    let resources = path.field("resources");
    fraction(
        &resources.field("requests"),
        &spec["resources"]["requests"],
        "storage",
    )
}

fn claim(claim: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if annotation(claim, STORAGE_CLASS).is_some() {
        warnings.push(format!(
            "metadata.annotations[{STORAGE_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    warnings.extend(storage_request(&Path::root("spec"), &claim["spec"]));
    warnings
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

#[cfg(test)]
mod tests;
