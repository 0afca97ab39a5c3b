//! Each row: a volume, and the files (or the text) that follow from what the API has.

use serde_json::{Value, json};

use super::*;

fn seen<K: serde::de::DeserializeOwned>(object: Value) -> Seen<K> {
    Seen::There(std::sync::Arc::new(
        serde_json::from_value(object).expect("an object"),
    ))
}

/// What a volume of a pod shows: `path mode data`, or why it can't.
fn shown(volume: Value, security: Value) -> String {
    let mut volume = volume;
    volume["name"] = json!("v");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "a", "namespace": "ns", "labels": {"l": "1"}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}],
            "volumes": [volume], "securityContext": security}}))
    .expect("a pod");
    let spec = pod.spec.as_ref().expect("a spec");
    let map = json!({"data": {"one": "1", "two": "2"}, "binaryData": {"bin": "AAE="}});
    let facts = Facts {
        pod: &pod,
        spec,
        allocatable: (2000, 1 << 30),
        config_maps: BTreeMap::from([
            ("map".to_owned(), seen(map)),
            ("none".to_owned(), Seen::Missing),
        ]),
        secrets: BTreeMap::from([
            ("sec".to_owned(), seen(json!({"data": {"pw": "c2VjcmV0"}}))),
            ("none".to_owned(), Seen::Missing),
        ]),
        bundles: None,
        tokens: BTreeMap::from([
            (("v".to_owned(), 0), Ok("token".to_owned())),
            (("v".to_owned(), 1), Err("no token".to_owned())),
        ]),
    };
    let volume = &spec.volumes.as_ref().expect("volumes")[0];
    match files(volume, &facts) {
        Err(Lack::Unknown(kind)) => format!("unknown {kind}"),
        Err(Lack::Awaited) => "awaited".to_owned(),
        Err(Lack::Failed(message)) => format!("failed: {message}"),
        Ok(files) => {
            let lines: Vec<String> = files
                .iter()
                .map(|f| {
                    let owner = f.user.map(|user| format!(" {user}")).unwrap_or_default();
                    let data = String::from_utf8_lossy(&f.data);
                    format!("{} {:o}{owner} {data}", f.path.display(), f.mode)
                })
                .collect();
            lines.join("; ")
        }
    }
}

#[test]
fn config_maps_and_secrets_are_shown_by_their_keys() {
    let item = |key: &str, path: &str| json!({"key": key, "path": path});
    let rows = [
        (
            json!({"configMap": {"name": "map", "defaultMode": 0o400}}),
            "bin 400 \0\u{1}; one 400 1; two 400 2",
        ),
        (
            json!({"configMap": {"name": "map", "items": [item("one", "a/./b"), {"key": "bin", "path": "x", "mode": 0o777}]}}),
            "a/b 644 1; x 777 \0\u{1}",
        ),
        (json!({"secret": {"secretName": "sec"}}), "pw 644 secret"),
        (
            json!({"configMap": {"name": "map", "items": [item("no", "x")]}}),
            "failed: configmap references non-existent config key: no",
        ),
        (
            json!({"secret": {"secretName": "sec", "items": [item("no", "x")]}}),
            "failed: references non-existent secret key: no",
        ),
        (
            json!({"configMap": {"name": "map", "optional": true, "items": [item("no", "x"), item("one", "y")]}}),
            "y 644 1",
        ),
        (
            json!({"configMap": {"name": "none"}}),
            "failed: configmap \"none\" not found",
        ),
        (
            json!({"secret": {"secretName": "none"}}),
            "failed: secret \"none\" not found",
        ),
        (
            json!({"secret": {"secretName": "none", "optional": true}}),
            "",
        ),
        (json!({"configMap": {"name": "other"}}), "unknown configmap"),
        (
            json!({"configMap": {"name": "map", "items": [item("one", "../x")]}}),
            "failed: invalid path: must be relative, without '..': ../x",
        ),
        (
            json!({"configMap": {"name": "map", "items": [item("one", "..data")]}}),
            "failed: invalid path: must be relative, without '..': ..data",
        ),
    ];
    for (volume, want) in rows {
        assert_eq!(shown(volume.clone(), json!({})), want, "{volume}");
    }
}

#[test]
fn facts_of_the_pod_are_shown() {
    let volume = json!({"downwardAPI": {"items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "requests.cpu", "divisor": "1m"}, "mode": 0o400},
        {"path": "mem", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}}]}});
    let want = "cpu 400 100; labels 644 l=\"1\"; mem 644 1024";
    assert_eq!(shown(volume, json!({})), want);
}

#[test]
fn sources_are_projected_over_one_another_and_their_troubles_told_together() {
    let token = json!({"serviceAccountToken": {"path": "token"}});
    let map = |name: &str| json!({"configMap": {"name": name}});
    let namespace = json!({"downwardAPI": {"items": [{"path": "one", "fieldRef": {"fieldPath": "metadata.namespace"}}]}});
    let rows = [
        (
            json!([token, map("map"), namespace]),
            "bin 644 \0\u{1}; one 644 ns; token 644 token; two 644 2",
        ),
        (json!([map("map"), token]), "failed: no token"),
        (json!([map("map"), map("map"), token]), "awaited"),
        (
            json!([map("none"), token, map("none")]),
            "failed: [configmap \"none\" not found, no token]",
        ),
        (
            json!([map("other"), token, map("none")]),
            "unknown configmap",
        ),
    ];
    for (sources, want) in rows {
        let volume = json!({"projected": {"sources": sources}});
        assert_eq!(shown(volume.clone(), json!({})), want, "{volume}");
    }
}

#[test]
fn a_token_is_for_the_pods_user_or_group_alone() {
    let volume = json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}], "defaultMode": 0o444}});
    let rows = [
        (json!({}), "t 444 token"),
        (json!({"runAsUser": 7}), "t 600 7 token"),
        (json!({"fsGroup": 8}), "t 600 token"),
    ];
    for (security, want) in rows {
        assert_eq!(shown(volume.clone(), security.clone()), want, "{security}");
    }
}
