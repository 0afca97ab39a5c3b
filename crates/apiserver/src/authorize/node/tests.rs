//! What nodes may ask for.

use karve_api::selector::FieldSelector;
use serde_json::{Value, json};

use super::*;
use crate::follow::Index as _;

fn graph() -> Graph {
    let mut graph = Graph::default();
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n1", "serviceAccountName": "bot",
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env-secret"}}}]}],
        "volumes": [
            {"name": "v", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}}]}});
    apply(&mut graph, "/core/pods/a/p", &pod);
    let mirror = json!({"metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "n1", "serviceAccountName": "admin"}});
    apply(&mut graph, "/core/pods/a/m", &mirror);
    let volume = json!({"spec": {"claimRef": {"namespace": "a", "name": "claim"},
        "csi": {"nodeStageSecretRef": {"namespace": "drivers", "name": "stage"}}}});
    apply(&mut graph, "/core/persistentvolumes/pv", &volume);
    apply(
        &mut graph,
        "/storage.k8s.io/volumeattachments/va",
        &json!({"spec": {"nodeName": "n1"}}),
    );
    graph
}

fn apply(graph: &mut Graph, key: &str, object: &Value) {
    graph.apply(key, Some(object.to_string().as_bytes()));
}

fn ask(graph: &Graph, node: &str, verb: &str, path: &str, fields: &str) -> Outcome {
    let user = Identity::authenticated(&format!("system:node:{node}"), ["system:nodes".to_owned()]);
    let crate::path::Target::Resource(path) = crate::path::parse(path) else {
        panic!("{path} names a resource")
    };
    let fields = FieldSelector::parse(fields).expect("a selector");
    let asked = Attributes {
        name: &path.name,
        namespace: &path.namespace,
        subresource: &path.subresource,
        fields: Some(&fields),
        ..Attributes::resource(&user, verb, &path.group, &path.resource)
    };
    decide(&asked, || graph)
}

#[test]
fn nodes_reach_what_is_theirs() {
    let graph = graph();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let rows = [
        ("watch", "/api/v1/pods", "spec.nodeName=n1", true),
        ("watch", "/api/v1/pods", "spec.nodeName=n2", false),
        ("watch", "/api/v1/pods", "spec.nodeName!=n1", false),
        ("list", "/api/v1/pods", "", false),
        ("get", "/api/v1/namespaces/a/pods/p", "", true),
        ("get", "/api/v1/namespaces/a/pods/other", "", false),
        ("patch", "/api/v1/namespaces/a/pods/p/status", "", true),
        ("delete", "/api/v1/namespaces/a/pods/p", "", true),
        ("update", "/api/v1/namespaces/a/pods/p", "", false),
        ("create", "/api/v1/nodes", "", true),
        ("get", "/api/v1/nodes/n1", "", true),
        ("get", "/api/v1/nodes/n2", "", false),
        ("delete", "/api/v1/nodes/n1", "", false),
        ("get", "/api/v1/namespaces/a/secrets/env-secret", "", true),
        ("get", "/api/v1/namespaces/b/secrets/env-secret", "", false),
        ("list", "/api/v1/namespaces/a/secrets", "", false),
        ("get", "/api/v1/namespaces/drivers/secrets/stage", "", true),
        ("get", "/api/v1/persistentvolumes/pv", "", true),
        (
            "get",
            "/api/v1/namespaces/a/configmaps/kube-root-ca.crt",
            "",
            true,
        ),
        (
            "create",
            "/api/v1/namespaces/a/serviceaccounts/bot/token",
            "",
            true,
        ),
        (
            "create",
            "/api/v1/namespaces/a/serviceaccounts/admin/token",
            "",
            false,
        ),
        (
            "get",
            "/apis/storage.k8s.io/v1/volumeattachments/va",
            "",
            true,
        ),
        ("create", "/api/v1/namespaces/a/events", "", true),
        ("get", "/api/v1/namespaces/a/endpoints/e", "", true),
        (
            "watch",
            "/apis/discovery.k8s.io/v1/endpointslices",
            "",
            false,
        ),
        ("patch", &format!("{leases}/n1"), "", true),
        ("patch", &format!("{leases}/n2"), "", false),
        ("list", "/apis/apps/v1/deployments", "", false),
    ];
    for (verb, path, fields, want) in rows {
        assert_eq!(
            ask(&graph, "n1", verb, path, fields).allowed(),
            want,
            "{verb} {path} {fields}"
        );
    }
}

#[test]
fn other_nodes_and_gone_pods_reach_nothing() {
    let mut graph = graph();
    let secret = "/api/v1/namespaces/a/secrets/env-secret";
    let refused = ask(&graph, "n2", "get", secret, "");
    assert_eq!(
        refused.reason,
        "no relationship found between node 'n2' and this object"
    );
    graph.apply("/core/pods/a/p", None);
    assert!(!ask(&graph, "n1", "get", secret, "").allowed());
    assert!(!ask(&graph, "n1", "get", "/api/v1/persistentvolumes/pv", "").allowed());
}
