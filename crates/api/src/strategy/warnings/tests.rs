//! Warnings that kube-apiserver v1.37.2 gave.

use super::*;
use crate::resource::Table;
use serde_json::json;

fn warnings(group: &str, plural: &str, object: &Value) -> Vec<String> {
    let resource = Table::builtin()
        .lookup(group, "v1", plural)
        .expect("built in");
    super::object(resource, None, object)
}

#[test]
fn unwise_pods_are_told_of_in_upstreams_order() {
    let pod = json!({"metadata": {"name": "a", "annotations": {"scheduler.alpha.kubernetes.io/critical-pod": "",
        "seccomp.security.alpha.kubernetes.io/pod": "runtime/default"}},
        "spec": {"containers": [{"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
            "ports": [{"containerPort": 80}, {"containerPort": 80}],
            "resources": {"requests": {"memory": "100m", "ephemeral-storage": "1500m"}}}],
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "failure-domain.beta.kubernetes.io/zone"}],
            "hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}], "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]}});
    assert_eq!(
        warnings("", "pods", &pod),
        [
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
            "spec.hostAliases[1].ip: duplicate ip \"1.1.1.1\"",
            "spec.imagePullSecrets[1].name: duplicate name \"a\"",
            "spec.imagePullSecrets[2].name: invalid empty name \"\"",
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[ephemeral-storage]: fractional byte value \"1500m\" is invalid, must be an integer",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        ]
    );
}

#[test]
fn other_kinds_have_their_own() {
    let table = [
        (
            "",
            "pods",
            json!({"metadata": {"name": "dots.in.name"}}),
            vec![
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
            ],
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "ClusterIP", "externalName": "a.b"}}),
            vec!["spec.externalName is ignored when spec.type is not \"ExternalName\""],
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "ClusterIP", "externalIPs": ["2001:db8:0:0:0:0:0:8"]}}),
            vec![
                "spec.externalIPs[0]: IPv6 address \"2001:db8:0:0:0:0:0:8\" should be in RFC 5952 canonical format (\"2001:db8::8\")",
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
            ],
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "ExternalName", "externalName": "a", "externalIPs": ["192.0.2.9"]}}),
            vec!["spec.externalIPs is ignored when spec.type is \"ExternalName\""],
        ),
        (
            "apps",
            "statefulsets",
            json!({"spec": {"volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "1500m"}}}}]}}),
            vec![
                "spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer",
            ],
        ),
    ];
    for (group, plural, mut object, wanted) in table {
        if object["metadata"]["name"].is_null() {
            object["metadata"] = json!({"name": "a"});
        }
        assert_eq!(warnings(group, plural, &object), wanted);
    }
}
