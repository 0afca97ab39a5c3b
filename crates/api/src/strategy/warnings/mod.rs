//! Texts of `Warning` headers for objects that are right but unwise.

mod address;
mod key_pair;
mod pod;

use crate::field::Path;
use crate::names;
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

/// Warnings for an object that is created, or updated from `old`.
pub fn object(resource: &Resource, old: Option<&Value>, object: &Value) -> Vec<String> {
    let new = old.is_none();
    let mut warnings: Vec<String> = new
        .then(|| name(resource, object))
        .flatten()
        .into_iter()
        .collect();
    warnings.extend(of_kind(resource, old, object));
    warnings
}

/// Names that Pods inherit are read as host names.
fn name(resource: &Resource, object: &Value) -> Option<String> {
    let what = match (&*resource.group, &*resource.plural) {
        ("", "pods") => "the Pod's hostname",
        ("apps", "deployments" | "replicasets") | ("batch", _) | ("", "replicationcontrollers") => {
            "Pod names and hostnames"
        }
        _ => return None,
    };
    let wrong = names::dns1123_label(object["metadata"]["name"].as_str().unwrap_or(""));
    (!wrong.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        )
    })
}

/// The texts of a list, each with the warnings of a check about it; `shown` is the field without its place.
fn each<I: IntoIterator<Item = String>>(
    list: &Value,
    shown: &str,
    check: fn(&str, &str) -> I,
) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten().enumerate();
    texts
        .flat_map(|(i, text)| check(&format!("{shown}[{i}]"), text.as_str().unwrap_or("")))
        .collect()
}

fn of_kind(resource: &Resource, old: Option<&Value>, object: &Value) -> Vec<String> {
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
                let (at, spec) = (path.index(i), &claim["spec"]);
                // Upstream names Go's field on update.
                warnings.extend(match old {
                    None => storage_sizes(&at, spec),
                    Some(_) => storage_sizes(&at.field("Spec"), spec),
                });
            }
            if own["revisionHistoryLimit"].as_i64().is_some_and(|n| n < 0) {
                warnings.push(HISTORY.to_owned());
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
        ("discovery.k8s.io", "endpointslices") => endpoint_slice(old, object),
        ("", "endpoints") => endpoints(object),
        ("", "nodes") => node(own),
        ("storage.k8s.io", "csidrivers") => csi_driver(old, own),
        ("resource.k8s.io", "resourceslices") => slice_driver(own),
        ("networking.k8s.io", "networkpolicies") => network_policy(own),
        ("", "secrets") if object["type"] == "kubernetes.io/tls" => key_pair::warning(object),
        ("networking.k8s.io", "ingresses") if annotation(object, INGRESS_CLASS).is_some() => {
            vec![format!(
                "annotation \"{INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
            )]
        }
        _ => Vec::new(),
    }
}

fn endpoint_slice(old: Option<&Value>, slice: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if old.is_none() && slice["addressType"] == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    // Controllers of the cluster mend what they read.
    let manager = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    let own = [
        "endpointslice-controller.k8s.io",
        "endpointslicemirroring-controller.k8s.io",
    ];
    let unchanged = old.is_some_and(|old| old["endpoints"] == slice["endpoints"]);
    if unchanged || own.iter().any(|name| manager == name) {
        return warnings;
    }
    for (i, endpoint) in slice["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("endpoints[{i}].addresses");
        warnings.extend(each(&endpoint["addresses"], &field, address::ip));
    }
    warnings
}

fn endpoints(endpoints: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, subset) in endpoints["subsets"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        for member in ["addresses", "notReadyAddresses"] {
            for (j, entry) in subset[member].as_array().into_iter().flatten().enumerate() {
                let field = format!("subsets[{i}].{member}[{j}].ip");
                warnings.extend(address::ip(&field, entry["ip"].as_str().unwrap_or("")));
            }
        }
    }
    warnings
}

fn node(spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_set(spec, "configSource") {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if is_set(spec, "externalID") {
        let text = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
        warnings.push(text.to_owned());
    }
    warnings.extend(each(&spec["podCIDRs"], "spec.podCIDRs", address::cidr));
    warnings
}

fn slice_driver(spec: &Value) -> Vec<String> {
    let name = spec["driver"].as_str().unwrap_or("");
    let odd = name != name.to_lowercase();
    let text = || {
        format!(
            "spec.driver: driver names should be lowercase; {name:?} contains uppercase characters"
        )
    };
    odd.then(text).into_iter().collect()
}

fn csi_driver(old: Option<&Value>, spec: &Value) -> Vec<String> {
    const TEXT: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
    let unchanged = old.is_some_and(|old| old["spec"]["tokenRequests"] == spec["tokenRequests"]);
    let unwise = !unchanged
        && is_set(spec, "tokenRequests")
        && !is_set(spec, "serviceAccountTokenInSecrets");
    unwise.then(|| TEXT.to_owned()).into_iter().collect()
}

fn network_policy(spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (member, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in spec[member].as_array().into_iter().flatten().enumerate() {
            for (j, peer) in rule[peers].as_array().into_iter().flatten().enumerate() {
                let block = &peer["ipBlock"];
                let field = format!("spec.{member}[{i}].{peers}[{j}].ipBlock");
                if let Some(cidr) = block["cidr"].as_str() {
                    warnings.extend(address::cidr(&format!("{field}.cidr"), cidr));
                }
                warnings.extend(each(
                    &block["except"],
                    &format!("{field}.except"),
                    address::cidr,
                ));
            }
        }
    }
    warnings
}

const HISTORY: &str = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
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

/// The sizes that a claim asks for.
fn storage_sizes(path: &Path<'_>, spec: &Value) -> Vec<String> {
    let resources = path.field("resources");
    let sizes = ["requests", "limits"].into_iter().filter_map(|member| {
        fraction(
            &resources.field(member),
            &spec["resources"][member],
            "storage",
        )
    });
    sizes.collect()
}

fn claim(claim: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if annotation(claim, STORAGE_CLASS).is_some() {
        warnings.push(format!(
            "metadata.annotations[{STORAGE_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    warnings.extend(storage_sizes(&Path::root("spec"), &claim["spec"]));
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
    let headless = spec["type"] == "ClusterIP" && spec["clusterIP"] == "None";
    if !matches!(spec["clusterIP"].as_str(), None | Some("" | "None")) {
        warnings.extend(each(&spec["clusterIPs"], "spec.clusterIPs", address::ip));
    }
    if headless {
        let ignored = [
            ("spec.loadBalancerIP", is_set(spec, "loadBalancerIP")),
            ("spec.externalIPs", is_set(spec, "externalIPs")),
            ("spec.SessionAffinity", spec["sessionAffinity"] != "None"),
        ];
        let text = |(field, _): (&str, bool)| format!("{field} is ignored for headless services");
        warnings.extend(ignored.into_iter().filter(|(_, set)| *set).map(text));
    }
    warnings.extend(each(&spec["externalIPs"], "spec.externalIPs", address::ip));
    if is_set(spec, "externalIPs") && !headless && !external_name {
        let text =
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(text.to_owned());
    }
    let balancer = spec["loadBalancerIP"].as_str().unwrap_or("");
    warnings.extend(address::ip("spec.loadBalancerIP", balancer));
    let ranges = "spec.loadBalancerSourceRanges";
    warnings.extend(each(
        &spec["loadBalancerSourceRanges"],
        ranges,
        address::cidr,
    ));
    if is_set(spec, "externalIPs") && external_name {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
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
