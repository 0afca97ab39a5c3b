//! What a pod or volume refers to, and so its node may read.

use std::collections::HashSet;

use serde_json::Value;

use super::graph::{self, Kind, Thing};

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Volume sources with a reference to a secret: where, in pods.
const VOLUME_SECRETS: [(&str, &str); 10] = [
    ("azureFile", "/secretName"),
    ("cephfs", "/secretRef/name"),
    ("cinder", "/secretRef/name"),
    ("flexVolume", "/secretRef/name"),
    ("rbd", "/secretRef/name"),
    ("secret", "/secretName"),
    ("scaleIO", "/secretRef/name"),
    ("iscsi", "/secretRef/name"),
    ("storageos", "/secretRef/name"),
    ("csi", "/nodePublishSecretRef/name"),
];

/// What a pod refers to. A mirror pod gives its node nothing: the node itself has made it.
pub fn of_pod(pod: &Value, namespace: &str) -> HashSet<Thing> {
    let mut found = HashSet::new();
    if graph::is_mirror(pod) {
        return found;
    }
    let spec = &pod["spec"];
    found.extend(of_spec(spec, namespace));
    let mut add = |kind, name: &Value| {
        if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
            found.insert((kind, Box::from(namespace), Box::from(name)));
        }
    };
    for volume in items(&spec["volumes"]) {
        if let (true, Some(name)) = (volume["ephemeral"].is_object(), volume["name"].as_str()) {
            add(Kind::Claim, &graph::ephemeral_claim(pod, name).into());
        }
    }
    let status = &pod["status"];
    let claims = items(&spec["resourceClaims"]).chain(items(&status["resourceClaimStatuses"]));
    claims.for_each(|c| add(Kind::ResourceClaim, &c["resourceClaimName"]));
    add(
        Kind::ResourceClaim,
        &status["extendedResourceClaimStatus"]["resourceClaimName"],
    );
    found
}

/// What a pod's spec names.
pub fn of_spec(spec: &Value, namespace: &str) -> HashSet<Thing> {
    let mut found = HashSet::new();
    let mut add = |kind, name: &Value| {
        if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
            found.insert((kind, Box::from(namespace), Box::from(name)));
        }
    };
    add(Kind::ServiceAccount, &spec["serviceAccountName"]);
    items(&spec["imagePullSecrets"]).for_each(|s| add(Kind::Secret, &s["name"]));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(&spec[list]) {
            of_container(container, &mut add);
        }
    }
    items(&spec["volumes"]).for_each(|volume| of_pod_volume(volume, &mut add));
    found
}

fn of_container(container: &Value, add: &mut impl FnMut(Kind, &Value)) {
    for from in items(&container["envFrom"]) {
        add(Kind::Secret, &from["secretRef"]["name"]);
        add(Kind::ConfigMap, &from["configMapRef"]["name"]);
    }
    for env in items(&container["env"]) {
        add(Kind::Secret, &env["valueFrom"]["secretKeyRef"]["name"]);
        add(
            Kind::ConfigMap,
            &env["valueFrom"]["configMapKeyRef"]["name"],
        );
    }
}

fn of_pod_volume(volume: &Value, add: &mut impl FnMut(Kind, &Value)) {
    for (source, pointer) in VOLUME_SECRETS {
        if let Some(name) = volume[source].pointer(pointer) {
            add(Kind::Secret, name);
        }
    }
    add(Kind::ConfigMap, &volume["configMap"]["name"]);
    add(Kind::Claim, &volume["persistentVolumeClaim"]["claimName"]);
    for source in items(&volume["projected"]["sources"]) {
        add(Kind::Secret, &source["secret"]["name"]);
        add(Kind::ConfigMap, &source["configMap"]["name"]);
    }
}

/// The secrets that a node needs for a volume.
pub fn of_volume(volume: &Value, claim_namespace: &str) -> Vec<Thing> {
    let spec = &volume["spec"];
    let mut found = Vec::new();
    let mut add = |namespace: &Value, name: &Value| {
        let namespace = namespace
            .as_str()
            .filter(|n| !n.is_empty())
            .unwrap_or(claim_namespace);
        if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
            found.push((Kind::Secret, Box::from(namespace), Box::from(name)));
        }
    };
    let azure = &spec["azureFile"];
    add(&azure["secretNamespace"], &azure["secretName"]);
    let refs = [
        "cephfs",
        "cinder",
        "flexVolume",
        "rbd",
        "scaleIO",
        "iscsi",
        "storageos",
    ];
    let drivers = refs.iter().map(|source| &spec[*source]["secretRef"]);
    let csi = [
        "nodePublishSecretRef",
        "nodeStageSecretRef",
        "nodeExpandSecretRef",
    ]
    .map(|r| &spec["csi"][r]);
    for secret in drivers.chain(csi) {
        add(&secret["namespace"], &secret["name"]);
    }
    found
}
