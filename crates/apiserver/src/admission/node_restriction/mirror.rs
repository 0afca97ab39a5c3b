//! Mirror pods: what a node may show of a pod that it has from a file.

use serde_json::Value;

use super::Verdict;
use crate::object::Meta;

const ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Refuses a pod that is no mirror pod of the node, or that would give the node more than it has. `own` is its Node.
pub fn check(pod: &Value, node: &str, own: Option<&Value>) -> Verdict {
    if pod["metadata"]["annotations"].get(ANNOTATION).is_none() {
        return Err(format!(
            "pod does not have \"{ANNOTATION}\" annotation, node \"{node}\" can only create mirror pods"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!(
            "node \"{node}\" can only create pods with spec.nodeName set to itself"
        ));
    }
    let owners = pod["metadata"]["ownerReferences"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    match owners {
        [] => Err(format!(
            "node \"{node}\" can only create pods with an owner reference set to itself"
        )),
        [owner] => check_owner(owner, node, own),
        _ => Err(format!(
            "node \"{node}\" can only create pods with a single owner reference set to itself"
        )),
    }?;
    match reference(pod) {
        None => Ok(()),
        Some(what) => Err(format!(
            "node \"{node}\" can not create pods that reference {what}"
        )),
    }
}

fn check_owner(owner: &Value, node: &str, own: Option<&Value>) -> Verdict {
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return Err(format!(
            "node \"{node}\" can only create pods with an owner reference set to itself"
        ));
    }
    if owner["controller"] != true {
        return Err(format!(
            "node \"{node}\" can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!(
            "node \"{node}\" must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let given = owner["uid"].as_str().unwrap_or_default();
    match own.map(|own| own.meta("uid")) {
        None => Err(format!(
            "error looking up node {node} to verify uid: node \"{node}\" not found"
        )),
        Some(uid) if uid == given => Ok(()),
        Some(uid) => Err(format!(
            "node {node} UID mismatch: expected {given} got {uid}"
        )),
    }
}

/// The first kind of API objects that a pod refers to.
fn reference(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    if spec["serviceAccountName"]
        .as_str()
        .is_some_and(|name| !name.is_empty())
    {
        return Some("serviceaccounts");
    }
    let refers = crate::authorize::refers_to(spec, "");
    let kind = |wanted| refers.iter().any(|(kind, ..)| *kind == wanted);
    if kind(crate::authorize::NodeKind::Secret) {
        return Some("secrets");
    }
    if kind(crate::authorize::NodeKind::ConfigMap) {
        return Some("configmaps");
    }
    if spec["resourceClaims"]
        .as_array()
        .is_some_and(|claims| !claims.is_empty())
    {
        return Some("resourceclaims");
    }
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    volumes.into_iter().find_map(of_volume)
}

fn of_volume(volume: &Value) -> Option<&'static str> {
    const SOURCES: [(&str, &str); 4] = [
        ("csi", "csidrivers (via CSI volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        (
            "ephemeral",
            "persistentvolumeclaims (via ephemeral volumes)",
        ),
    ];
    const PROJECTED: [(&str, &str); 3] = [
        (
            "serviceAccountToken",
            "serviceaccounts (via projected volumes)",
        ),
        ("clusterTrustBundle", "clustertrustbundles"),
        ("podCertificate", "podcertificates"),
    ];
    let of = |value: &Value, table: &[(&str, &'static str)]| {
        table
            .iter()
            .find(|(source, _)| !value[*source].is_null())
            .map(|(_, what)| *what)
    };
    of(volume, &SOURCES).or_else(|| {
        let sources = volume["projected"]["sources"]
            .as_array()
            .into_iter()
            .flatten();
        sources
            .into_iter()
            .find_map(|source| of(source, &PROJECTED))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_shows_its_own_pods_that_refer_to_nothing() {
        let own = json!({"metadata": {"uid": "u"}});
        let good = json!({"metadata": {"annotations": {ANNOTATION: "h"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u", "controller": true}]},
            "spec": {"nodeName": "n1", "volumes": [{"name": "h", "hostPath": {"path": "/"}}]}});
        assert_eq!(check(&good, "n1", Some(&own)), Ok(()));
        let rows = [
            (
                "/spec/nodeName",
                json!("n2"),
                "can only create pods with spec.nodeName set to itself",
            ),
            (
                "/metadata/annotations",
                json!({}),
                "can only create mirror pods",
            ),
            (
                "/metadata/ownerReferences",
                json!([]),
                "with an owner reference set to itself",
            ),
            (
                "/metadata/ownerReferences/0/uid",
                json!("x"),
                "UID mismatch: expected x got u",
            ),
            (
                "/metadata/ownerReferences/0/controller",
                json!(false),
                "a controller owner reference",
            ),
            (
                "/spec/volumes",
                json!([{"name": "s", "secret": {"secretName": "s"}}]),
                "that reference secrets",
            ),
            (
                "/spec/volumes",
                json!([{"name": "c", "csi": {"driver": "d"}}]),
                "csidrivers (via CSI volumes)",
            ),
        ];
        for (pointer, value, want) in rows {
            let mut pod = good.clone();
            *pod.pointer_mut(pointer).expect(pointer) = value;
            let why = check(&pod, "n1", Some(&own)).expect_err(want);
            assert!(why.contains(want), "{why}");
        }
    }
}
