//! Labels that a node may not give itself: they steer workloads to it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Those that are the node's own to set.
const OWN: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// The labels that differ and may not, sorted.
pub fn forbidden(old: &Value, new: &Value) -> Vec<String> {
    let of = |node: &Value, key: &str| node["metadata"]["labels"].get(key).cloned();
    let keys = |node: &Value| -> BTreeSet<String> {
        node["metadata"]["labels"]
            .as_object()
            .into_iter()
            .flat_map(|m| m.keys().cloned())
            .collect()
    };
    let all: BTreeSet<String> = keys(old).union(&keys(new)).cloned().collect();
    let changed = all.into_iter().filter(|key| of(old, key) != of(new, key));
    changed.filter(|key| is_forbidden(key)).collect()
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |of: &str| {
        domain == of
            || domain
                .strip_suffix(of)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    let own = OWN.contains(&label) || OWN_DOMAINS.iter().any(|of| within(of));
    within(RESTRICTED) || kubernetes && !own
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_set_their_own_labels_only() {
        let rows = [
            ("kubernetes.io/hostname", false),
            ("node.kubernetes.io/anything", false),
            ("x.kubelet.kubernetes.io/y", false),
            ("example.com/role", false),
            ("role", false),
            ("node-role.kubernetes.io/master", true),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
            ("other.k8s.io/x", true),
            ("notkubernetes.io/x", false),
        ];
        for (label, want) in rows {
            let node = json!({"metadata": {"labels": {label: "1"}}});
            assert_eq!(!forbidden(&Value::Null, &node).is_empty(), want, "{label}");
            assert!(forbidden(&node, &node).is_empty(), "{label}");
            assert_eq!(
                !forbidden(&node, &json!({})).is_empty(),
                want,
                "{label} removed"
            );
        }
    }
}
