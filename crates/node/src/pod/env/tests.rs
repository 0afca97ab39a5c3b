use k8s_openapi::ByteString;
use serde_json::json;

use super::*;

#[test]
fn references_are_expanded_as_upstream_does() {
    let lookup = |name: &str| match name {
        "A" => Some("1".to_owned()),
        "B" => Some("2".to_owned()),
        _ => None,
    };
    let rows = [
        ("$(A)", "1"),
        ("$(NONE)", "$(NONE)"),
        ("$$(A)", "$(A)"),
        ("$(A)$(B)", "12"),
        ("x$(B)", "x2"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("$$$(A)", "$1"),
        ("ä$(A)ö", "ä1ö"),
        ("$()", "$()"),
    ];
    for (text, want) in rows {
        assert_eq!(expand(text, lookup), want, "{text}");
    }
}

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "namespace": "ns", "uid": "u", "labels": {"tier": "t1"}, "annotations": {"note": "n1"}},
        "spec": {"nodeName": "node1", "serviceAccountName": "default", "containers": []}
    }))
    .expect("a pod")
}

/// The container of the recorded scenario env-sources.
fn container() -> Container {
    serde_json::from_value(json!({
        "name": "c",
        "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "250m", "memory": "64Mi"}},
        "env": [
            {"name": "PLAIN", "value": "v"}, {"name": "REF", "value": "$(PLAIN)-x"}, {"name": "ESC", "value": "$$(PLAIN)"},
            {"name": "FWD", "value": "$(LATER)"}, {"name": "LATER", "value": "l"}, {"name": "BAD", "value": "$(PLAIN"},
            {"name": "EMPTY", "value": ""},
            {"name": "CM", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "one"}}},
            {"name": "SEC", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "pw"}}},
            {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": true}}},
            {"name": "OPTK", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "no", "optional": true}}},
            {"name": "F_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "F_LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
            {"name": "F_ANN", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['note']"}}},
            {"name": "F_NOLABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['none']"}}},
            {"name": "F_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "F_SA", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
            {"name": "F_HOSTIP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "F_PODIP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "R_CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "R_CPUM", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "R_RCPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
            {"name": "R_MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            {"name": "R_MEMM", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}}
        ],
        "envFrom": [
            {"configMapRef": {"name": "conf"}}, {"prefix": "S_", "secretRef": {"name": "sec"}},
            {"configMapRef": {"name": "gone", "optional": true}}
        ]
    }))
    .expect("a container")
}

fn objects() -> Objects {
    let map = BTreeMap::from([
        ("one".to_owned(), "1".to_owned()),
        ("multi".to_owned(), "a\nb".to_owned()),
    ]);
    let secret = BTreeMap::from([("pw".to_owned(), ByteString(b"s3cret".to_vec()))]);
    Objects {
        config_maps: [(
            "conf".to_owned(),
            ConfigMap {
                data: Some(map),
                ..ConfigMap::default()
            },
        )]
        .into(),
        secrets: [(
            "sec".to_owned(),
            Secret {
                data: Some(secret),
                ..Secret::default()
            },
        )]
        .into(),
    }
}

#[test]
fn every_source_gives_the_recorded_value() {
    let ips = ["10.244.1.5".parse().expect("ip")];
    let hosts = ["192.168.64.2".parse().expect("ip")];
    let pod = pod();
    let facts = Facts {
        pod: &pod,
        pod_ips: &ips,
        host_ips: &hosts,
        allocatable: (2000, 1 << 30),
    };
    let services = BTreeMap::from([("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned())]);
    let vars = environment(&container(), facts, &objects(), &services).expect("all there");
    let text: Vec<String> = vars.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let want = "BAD=$(PLAIN|CM=1|EMPTY=|ESC=$(PLAIN)|FWD=$(LATER)|F_ANN=n1|F_HOSTIP=192.168.64.2|F_LABEL=t1|F_NAME=a|\
        F_NODE=node1|F_NOLABEL=|F_PODIP=10.244.1.5|F_SA=default|KUBERNETES_SERVICE_HOST=10.96.0.1|LATER=l|PLAIN=v|\
        REF=v-x|R_CPU=1|R_CPUM=250|R_MEM=67108864|R_MEMM=32|R_RCPU=100|SEC=s3cret|S_pw=s3cret|multi=a\nb|one=1";
    assert_eq!(text.join("|"), want);
}

#[test]
fn what_is_missing_is_named_as_upstream_names_it() {
    let rows = [
        (
            json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "no"}}}]}),
            "couldn't find key no in ConfigMap ns/conf",
        ),
        (
            json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "no"}}}]}),
            "couldn't find key no in Secret ns/sec",
        ),
        (
            json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "nosec", "key": "k"}}}]}),
            "secret \"nosec\" not found",
        ),
        (
            json!({"envFrom": [{"configMapRef": {"name": "nofrom"}}]}),
            "configmap \"nofrom\" not found",
        ),
        (
            json!({"envFrom": [{"secretRef": {"name": "nofrom"}}]}),
            "secret \"nofrom\" not found",
        ),
    ];
    let pod = pod();
    let facts = Facts {
        pod: &pod,
        pod_ips: &[],
        host_ips: &[],
        allocatable: (0, 0),
    };
    for (mut container, want) in rows {
        container["name"] = json!("c");
        let container: Container = serde_json::from_value(container).expect("a container");
        let error = environment(&container, facts, &objects(), &BTreeMap::new()).expect_err(want);
        assert_eq!(error.to_string(), want);
    }
}
