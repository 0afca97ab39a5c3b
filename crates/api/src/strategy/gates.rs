//! Fields of features that upstream's gates switch off by default: left out of what is written, unless the stored object
//! has them already.
//!
//! The table names each field by its path; `x[]` is every item of a list, `x{}` every value of a map, and `containers[]` stands for the three lists
//! of a Pod's containers. Absent: gates themselves. A feature is on or off with upstream's release.

use crate::resource::Resource;
use serde_json::Value;

/// One feature's fields.
type Feature = &'static [&'static str];

const POD: &[Feature] = &[
    &["schedulingGroup"],
    &["evictionResponders"],
    &["volumes[].emptyDir.mode"],
    &["containers[].volumeMounts[].bindMountOptions"],
    &["containers[].lifecycle.stopSignal"],
    &[
        "containers[].livenessProbe.httpGet.protocol",
        "containers[].readinessProbe.httpGet.protocol",
        "containers[].startupProbe.httpGet.protocol",
        "containers[].lifecycle.postStart.httpGet.protocol",
        "containers[].lifecycle.preStop.httpGet.protocol",
    ],
    &[
        "containers[].livenessProbe.grpc.mode",
        "containers[].readinessProbe.grpc.mode",
        "containers[].startupProbe.grpc.mode",
    ],
    &[
        "volumes[].secret.defaultUser",
        "volumes[].secret.items[].user",
        "volumes[].configMap.defaultUser",
        "volumes[].configMap.items[].user",
        "volumes[].downwardAPI.defaultUser",
        "volumes[].downwardAPI.items[].user",
        "volumes[].projected.defaultUser",
        "volumes[].projected.sources[].secret.items[].user",
        "volumes[].projected.sources[].configMap.items[].user",
        "volumes[].projected.sources[].downwardAPI.items[].user",
        "volumes[].projected.sources[].serviceAccountToken.user",
        "volumes[].projected.sources[].clusterTrustBundle.user",
        "volumes[].projected.sources[].podCertificate.user",
    ],
];
const JOB: &[Feature] = &[&["scheduling"]];
const LEASE: &[Feature] = &[&["strategy", "preferredHolder"]];
const SLICE: &[Feature] = &[
    &["partitionTypeAttribute"],
    &["skipNodeOperations"],
    &["devices[].nodeAllocatableResources"],
    &[
        "devices[].attributes{}.bools",
        "devices[].attributes{}.ints",
        "devices[].attributes{}.strings",
        "devices[].attributes{}.versions",
    ],
    &["devices[].consumesCounters[].compatibilityGroups"],
];
const NODE: &[Feature] = &[&["spec.configSource"], &["spec.podPreemptionPolicy"]];
/// Readable only, in what older versions of the API stored.
const ENDPOINTS: &[Feature] = &[&["endpoints[].deprecatedTopology"]];
const CSI_NODE: &[Feature] = &[&["status.storageHealth"]];
const VOLUME_CLAIM: &[Feature] = &[&["status.healthStatus"]];
const CLAIM: &[Feature] = &[&[
    "devices.requests[].exactly.derivedAttributes",
    "devices.requests[].firstAvailable[].derivedAttributes",
]];

/// Leaves out of `new` what its kind's switched-off features would read.
pub(super) fn drop_fields(resource: &Resource, old: Option<&Value>, new: &mut Value) {
    let mut part = |features: &[Feature], pointer: &str| {
        if let Some(node) = new.pointer_mut(pointer) {
            let before = old.and_then(|old| old.pointer(pointer));
            features
                .iter()
                .for_each(|feature| leave_out(feature, before, node));
        }
    };
    match (&*resource.group, &*resource.plural) {
        ("", "pods") => part(POD, "/spec"),
        ("", "nodes") => part(NODE, ""),
        ("", "persistentvolumeclaims") => part(VOLUME_CLAIM, ""),
        ("storage.k8s.io", "csinodes") => part(CSI_NODE, ""),
        ("", "podtemplates") => part(POD, "/template/spec"),
        ("", "replicationcontrollers") | ("apps", _) => part(POD, "/spec/template/spec"),
        ("batch", "jobs") => {
            part(JOB, "/spec");
            part(POD, "/spec/template/spec");
        }
        ("batch", "cronjobs") => {
            part(JOB, "/spec/jobTemplate/spec");
            part(POD, "/spec/jobTemplate/spec/template/spec");
        }
        ("coordination.k8s.io", "leases") => part(LEASE, "/spec"),
        ("discovery.k8s.io", "endpointslices") => part(ENDPOINTS, ""),
        ("resource.k8s.io", "resourceslices") => part(SLICE, "/spec"),
        ("resource.k8s.io", "resourceclaims") => part(CLAIM, "/spec"),
        ("resource.k8s.io", "resourceclaimtemplates") => part(CLAIM, "/spec/spec"),
        _ => {}
    }
}

fn leave_out(feature: Feature, before: Option<&Value>, node: &mut Value) {
    if before.is_some_and(|old| feature.iter().any(|path| is_in_use(old, path))) {
        return;
    }
    feature.iter().for_each(|path| remove(node, path));
}

/// The lists that a step of a path means.
fn lists(name: &str) -> &[&str] {
    match name {
        "containers" => &["containers", "initContainers", "ephemeralContainers"],
        _ => &[],
    }
}

fn is_in_use(node: &Value, path: &str) -> bool {
    let (step, rest) = path
        .split_once('.')
        .map_or((path, None), |(s, r)| (s, Some(r)));
    let Some(rest) = rest else {
        return node.get(step).is_some_and(|v| !v.is_null());
    };
    if let Some(map) = step.strip_suffix("{}") {
        let values = node.get(map).and_then(Value::as_object);
        return values
            .into_iter()
            .flat_map(|m| m.values())
            .any(|value| is_in_use(value, rest));
    }
    let Some(list) = step.strip_suffix("[]") else {
        return node.get(step).is_some_and(|next| is_in_use(next, rest));
    };
    let any = |name: &str| {
        let items = node.get(name).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .any(|item| is_in_use(item, rest))
    };
    any(list) || lists(list).iter().any(|name| any(name))
}

fn remove(node: &mut Value, path: &str) {
    let (step, rest) = path
        .split_once('.')
        .map_or((path, None), |(s, r)| (s, Some(r)));
    let Some(rest) = rest else {
        if let Some(members) = node.as_object_mut() {
            members.remove(step);
        }
        return;
    };
    if let Some(map) = step.strip_suffix("{}") {
        let values = node.get_mut(map).and_then(Value::as_object_mut);
        let values = values.into_iter().flat_map(|m| m.values_mut());
        values.for_each(|value| remove(value, rest));
        return;
    }
    let Some(list) = step.strip_suffix("[]") else {
        let Some(next) = node.get_mut(step) else {
            return;
        };
        let had = next.get(rest).is_some();
        remove(next, rest);
        // A hook that held nothing else is none.
        let empty = next.as_object().is_some_and(serde_json::Map::is_empty);
        if step == "lifecycle"
            && had
            && empty
            && let Some(members) = node.as_object_mut()
        {
            members.remove(step);
        }
        return;
    };
    let mut each = |name: &str| {
        let items = node.get_mut(name).and_then(Value::as_array_mut);
        items
            .into_iter()
            .flatten()
            .for_each(|item| remove(item, rest));
    };
    match lists(list) {
        [] => each(list),
        names => names.iter().for_each(|name| each(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_features_that_are_off_go_unless_they_are_in_use() {
        let pod = json!({"schedulingGroup": {"podGroupName": "g"}, "initContainers": [{"name": "c",
            "lifecycle": {"stopSignal": "SIGTERM"}, "livenessProbe": {"grpc": {"port": 1, "mode": "x"}}}]});
        let drop_all = |old: Option<&Value>| {
            let mut new = pod.clone();
            POD.iter()
                .for_each(|feature| leave_out(feature, old, &mut new));
            new
        };
        let bare =
            json!({"initContainers": [{"name": "c", "livenessProbe": {"grpc": {"port": 1}}}]});
        assert_eq!(drop_all(None), bare);
        assert_eq!(drop_all(Some(&bare)), bare);
        assert_eq!(drop_all(Some(&pod)), pod);
    }
}
