use super::*;
use crate::resource::Table;
use serde_json::json;

fn resource(group: &str, plural: &str) -> &'static crate::resource::Resource {
    Table::builtin()
        .lookup(group, "v1", plural)
        .expect("built in")
}

fn now() -> Timestamp {
    "2026-11-24T20:00:00Z".parse().expect("a time")
}

fn merge(to: &mut Value, change: &Value) {
    match change {
        Value::Object(change) => change
            .iter()
            .for_each(|(name, value)| merge(&mut to[name], value)),
        value => *to = value.clone(),
    }
}

#[test]
fn generation_moves_with_what_counts() {
    let table = [
        ("apps", "deployments", json!({"spec": {"replicas": 2}}), 2),
        (
            "apps",
            "deployments",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            2,
        ),
        (
            "apps",
            "deployments",
            json!({"metadata": {"labels": {"a": "b"}}}),
            1,
        ),
        (
            "apps",
            "replicasets",
            json!({"metadata": {"annotations": {"a": "b"}}}),
            1,
        ),
        (
            "discovery.k8s.io",
            "endpointslices",
            json!({"metadata": {"labels": {"a": "b"}}}),
            2,
        ),
        ("apps", "deployments", json!({"status": {"replicas": 2}}), 1),
        (
            "apps",
            "deployments",
            json!({"metadata": {"generation": 77}}),
            1,
        ),
    ];
    for (group, plural, change, generation) in table {
        let old = json!({"metadata": {"name": "x", "uid": "u", "generation": 1, "creationTimestamp": "t"},
            "spec": {"replicas": 1}, "status": {}});
        let mut new = old.clone();
        merge(&mut new, &change);
        prepare_update(resource(group, plural), "", &old, &mut new, now());
        assert_eq!(
            new["metadata"]["generation"], generation,
            "{plural} {change}"
        );
        assert_eq!(
            new["status"],
            json!({}),
            "the status is not written through the object itself"
        );
    }
}

#[test]
fn a_revision_written_with_the_status_moves_no_generation() {
    let old = json!({"metadata": {"name": "x", "uid": "u", "generation": 1, "creationTimestamp": "t"},
        "spec": {"replicas": 1}, "status": {}});
    let mut new = old.clone();
    new["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
    prepare_update(
        resource("apps", "deployments"),
        "status",
        &old,
        &mut new,
        now(),
    );
    assert_eq!(new["metadata"]["generation"], 1);
    assert!(new["metadata"]["annotations"].is_object());
}

#[test]
fn identity_can_be_left_out_but_not_changed_in_time() {
    let old = json!({"metadata": {"name": "x", "uid": "u", "creationTimestamp": "t", "deletionTimestamp": "d",
        "deletionGracePeriodSeconds": 30}});
    let mut new = json!({"metadata": {"name": "x", "creationTimestamp": "other"}});
    prepare_update(resource("", "configmaps"), "", &old, &mut new, now());
    assert_eq!(new, old);
}

/// Recorded: what a patch of `/status` with labels and annotations leaves of them.
#[test]
fn status_writes_keep_the_spec_and_some_metadata() {
    let table = [
        ("apps", "deployments", false, true),
        ("apps", "replicasets", true, true),
        ("", "nodes", true, true),
        ("flowcontrol.apiserver.k8s.io", "flowschemas", false, false),
        ("storage.k8s.io", "volumeattachments", false, false),
    ];
    for (group, plural, labels, annotations) in table {
        let old = json!({"metadata": {"uid": "u"}, "spec": {"a": 1}, "status": {}});
        let mut new = json!({"metadata": {"labels": {"from": "status"}, "annotations": {"from": "status"}},
            "spec": {"a": 2}, "status": {"b": 1}});
        prepare_update(resource(group, plural), "status", &old, &mut new, now());
        assert_eq!(new["spec"], json!({"a": 1}));
        assert_eq!(new["status"], json!({"b": 1}));
        assert_eq!(new["metadata"].get("labels").is_some(), labels, "{plural}");
        assert_eq!(
            new["metadata"].get("annotations").is_some(),
            annotations,
            "{plural}"
        );
    }
}

#[test]
fn a_manifest_applied_again_keeps_its_addresses_and_ports() {
    let old = json!({"metadata": {}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
        "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}]}});
    let mut new = json!({"metadata": {}, "spec": {"type": "NodePort",
        "ports": [{"name": "b", "port": 81}, {"name": "a", "port": 90}, {"name": "c", "port": 7}]}});
    service::begin_update(&old, &mut new);
    assert_eq!(
        new["spec"],
        json!({"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
        "ports": [{"name": "b", "port": 81, "nodePort": 30002}, {"name": "a", "port": 90, "nodePort": 30001},
            {"name": "c", "port": 7}]})
    );
}

#[test]
fn linked_addresses_follow_each_other() {
    let old = json!({"spec": {"type": "ClusterIP", "clusterIP": "1", "clusterIPs": ["1"]}});
    let table = [
        (
            json!({"clusterIP": "1"}),
            json!({"clusterIP": "1", "clusterIPs": ["1"]}),
        ),
        (
            json!({"clusterIP": "2", "clusterIPs": ["1"]}),
            json!({"clusterIP": "2", "clusterIPs": ["2"]}),
        ),
        (
            json!({"clusterIP": "2", "clusterIPs": ["3"]}),
            json!({"clusterIP": "2", "clusterIPs": ["3"]}),
        ),
    ];
    for (sent, wanted) in table {
        let mut new = json!({"spec": sent});
        new["spec"]["type"] = "ExternalName".into();
        service::begin_update(&old, &mut new);
        new["spec"].as_object_mut().expect("spec").remove("type");
        assert_eq!(new["spec"], wanted);
    }
}

#[test]
fn a_change_of_type_drops_what_it_made_void() {
    let table = [
        (
            json!({"type": "NodePort", "clusterIP": "1", "clusterIPs": ["1"], "externalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "nodePort": 30001}]}),
            json!({"type": "ClusterIP"}),
            json!({"type": "ClusterIP", "clusterIP": "1", "clusterIPs": ["1"], "ports": [{"port": 80}]}),
        ),
        (
            json!({"type": "ClusterIP", "clusterIP": "1", "clusterIPs": ["1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster"}),
            json!({"type": "ExternalName", "externalName": "a.b"}),
            json!({"type": "ExternalName", "externalName": "a.b"}),
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30003,
                "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b"}),
            json!({"type": "ClusterIP", "externalTrafficPolicy": "Cluster"}),
            // Changed by the client, so validation tells.
            json!({"type": "ClusterIP", "externalTrafficPolicy": "Cluster"}),
        ),
    ];
    for (before, change, wanted) in table {
        let old = json!({"metadata": {}, "spec": before, "status": {"loadBalancer": {"ingress": [{"ip": "9"}]}}});
        let mut new = old.clone();
        merge(&mut new["spec"], &change);
        prepare_update(resource("", "services"), "", &old, &mut new, now());
        assert_eq!(new["spec"], wanted);
        assert_eq!(new["status"], json!({"loadBalancer": {}}));
    }
}

#[test]
fn pods_are_classed_by_requests_and_limits() {
    let both = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}});
    let table = [
        (json!([{}]), "BestEffort"),
        (json!([{"resources": both}]), "Guaranteed"),
        (json!([{"resources": both}, {}]), "Burstable"),
        (
            json!([{"resources": {"requests": {"cpu": "1m"}}}]),
            "Burstable",
        ),
        (
            json!([{"resources": {"requests": {"example.com/gpu": "1"}}}]),
            "BestEffort",
        ),
    ];
    for (containers, class) in table {
        let pod = json!({"spec": {"containers": containers}});
        assert_eq!(qos::class(&pod).as_str(), class);
    }
}

#[test]
fn scales_are_views_of_workloads() {
    let mut deployment = json!({"metadata": {"name": "w", "namespace": "n", "labels": {}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "x"}}}, "status": {"replicas": 1}});
    let mut view = scale::of(&deployment);
    assert_eq!(
        view,
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "w", "namespace": "n"},
        "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "app=x"}})
    );
    view["spec"] = json!({});
    scale::set(&mut deployment, &view);
    assert_eq!(deployment["spec"]["replicas"], 0);
}
