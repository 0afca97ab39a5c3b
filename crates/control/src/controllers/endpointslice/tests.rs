use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
    },
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::{
    plan::{ENDPOINTS_PER_SLICE, Family, Nodes, Plan, plan},
    trigger::TriggerTime,
};
use crate::fixture::merge;

fn service(changes: Value) -> Service {
    let mut object = json!({
        "metadata": {"name": "s", "namespace": "ns", "uid": "s1",
            "creationTimestamp": "2026-11-24T12:00:00Z"},
        "spec": {
            "clusterIP": "10.96.0.7", "ipFamilies": ["IPv4"], "selector": {"app": "x"},
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    });
    merge(&mut object, &changes);
    serde_json::from_value(object).unwrap()
}

/// A ready pod with the address 10.244.1.N.
fn pod(number: u8, changes: Value) -> Arc<Pod> {
    let name = format!("p{number:03}");
    let mut object = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "x"}},
        "spec": {"nodeName": "node1", "containers": [{"name": "c"}]},
        "status": {
            "phase": "Running",
            "podIP": format!("10.244.1.{number}"),
            "podIPs": [{"ip": format!("10.244.1.{number}")}],
            "conditions": [{"type": "Ready", "status": "True",
                "lastTransitionTime": "2026-11-24T12:00:05Z"}],
        },
    });
    merge(&mut object, &changes);
    Arc::new(serde_json::from_value(object).unwrap())
}

fn plan_for(service: &Service, pods: &[Arc<Pod>], existing: &[Arc<EndpointSlice>]) -> Plan {
    let nodes = Nodes {
        zone: &|_| Some(None),
        shares: &|| None,
    };
    plan(service, pods, existing, Family::V4, &nodes, None)
}

/// The slices after a plan: created ones get names in order.
pub(super) fn applied(existing: &[Arc<EndpointSlice>], plan: Plan) -> Vec<Arc<EndpointSlice>> {
    let deleted = |slice: &Arc<EndpointSlice>| {
        plan.delete
            .iter()
            .any(|gone| gone.metadata.name == slice.metadata.name)
    };
    let mut slices: Vec<_> = existing
        .iter()
        .filter(|slice| !deleted(slice))
        .cloned()
        .collect();
    for (slice, patch) in plan.update {
        let position = slices
            .iter()
            .position(|one| one.metadata.name == slice.metadata.name);
        let mut value = serde_json::to_value(&*slice).unwrap();
        merge(&mut value, &patch);
        let labels = value["metadata"]["labels"].as_object_mut().unwrap();
        labels.retain(|_, value| !value.is_null());
        if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
            annotations.retain(|_, value| !value.is_null());
        }
        slices[position.unwrap()] = Arc::new(serde_json::from_value(value).unwrap());
    }
    for mut slice in plan.create {
        slice.metadata.name = Some(format!("s-{}", unused(&slices)));
        slices.push(Arc::new(slice));
    }
    slices
}

/// A number that no slice has.
fn unused(slices: &[Arc<EndpointSlice>]) -> usize {
    let taken = |number: &usize| {
        slices
            .iter()
            .any(|one| one.metadata.name == Some(format!("s-{number}")))
    };
    (slices.len()..).find(|number| !taken(number)).unwrap()
}

fn addresses(slices: &[Arc<EndpointSlice>]) -> Vec<Vec<String>> {
    let of = |slice: &Arc<EndpointSlice>| {
        let endpoints = slice.endpoints.iter().flatten();
        endpoints
            .map(|one| one.addresses[0].replace("10.244.1.", ""))
            .collect()
    };
    slices.iter().map(of).collect()
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let plan = plan_for(&service(json!({})), &[], &[]);
    let slice = serde_json::to_value(&plan.create[0]).unwrap();
    assert_eq!(slice["metadata"]["generateName"], "s-");
    assert_eq!(
        slice["metadata"]["labels"],
        json!({
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": "s",
        })
    );
    assert_eq!(
        (&slice["endpoints"], &slice["ports"]),
        (&Value::Null, &Value::Null)
    );
    let slices = applied(&[], plan);
    let again = plan_for(&service(json!({})), &[], &slices);
    assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
}

#[test]
fn the_empty_slice_is_filled_and_emptied_again() {
    let service = service(json!({}));
    let empty = applied(&[], plan_for(&service, &[], &[]));
    let filled = applied(&empty, plan_for(&service, &[pod(1, json!({}))], &empty));
    assert_eq!(addresses(&filled), [["1"]]);
    let ports = serde_json::to_value(&filled[0].ports).unwrap();
    assert_eq!(
        ports,
        json!([{"name": "", "protocol": "TCP", "port": 8080}])
    );
    let plan = plan_for(&service, &[], &filled);
    assert_eq!(plan.update[0].1["endpoints"], Value::Null);
    assert_eq!(plan.update[0].1["ports"], Value::Null);
    assert!(plan.delete.is_empty() && plan.create.is_empty());
}

#[test]
fn conditions_follow_the_pod() {
    let unready = json!({"status": {"conditions": []}});
    let going = json!({"metadata": {"deletionTimestamp": "2026-11-24T12:01:00Z"}});
    let publishing = json!({"spec": {"publishNotReadyAddresses": true}});
    let plain = json!({});
    let table = [
        (&plain, &plain, [true, true, false]),
        (&plain, &unready, [false, false, false]),
        (&plain, &going, [false, true, true]),
        (&publishing, &unready, [true, false, false]),
        (&publishing, &going, [true, true, true]),
    ];
    for (service_changes, pod_changes, expected) in table {
        let service = service(service_changes.clone());
        let plan = plan_for(&service, &[pod(1, pod_changes.clone())], &[]);
        let endpoint = &plan.create[0].endpoints.as_ref().unwrap()[0];
        let conditions = endpoint.conditions.as_ref().unwrap();
        let got = [conditions.ready, conditions.serving, conditions.terminating];
        assert_eq!(got, expected.map(Some), "{service_changes} {pod_changes}");
    }
}

#[test]
fn ended_pods_and_pods_without_an_address_are_no_endpoints() {
    let pods = [
        pod(1, json!({"status": {"phase": "Succeeded"}})),
        pod(2, json!({"status": {"phase": "Failed"}})),
        pod(3, json!({"status": {"podIP": null, "podIPs": null}})),
        pod(
            4,
            json!({"status": {"podIP": "fd00::1", "podIPs": [{"ip": "fd00::1"}]}}),
        ),
    ];
    let plan = plan_for(&service(json!({})), &pods, &[]);
    assert_eq!(plan.create[0].endpoints, None);
}

#[test]
fn pods_with_different_ports_go_to_different_slices() {
    let service = service(json!({"spec": {"ports": [
        {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"},
        {"name": "m", "port": 81, "protocol": "TCP", "targetPort": 9000},
        {"name": "u", "port": 53, "protocol": "UDP", "targetPort": "none"},
    ]}}));
    let named = |port: u16| {
        json!({"spec": {"containers": [
        {"name": "c", "ports": [{"name": "web", "containerPort": port}]}]}})
    };
    let pods = [
        pod(1, named(8080)),
        pod(2, named(8081)),
        pod(3, named(8080)),
    ];
    let slices = applied(&[], plan_for(&service, &pods, &[]));
    assert_eq!(addresses(&slices), [vec!["1", "3"], vec!["2"]]);
    let ports = serde_json::to_value(&slices[1].ports).unwrap();
    assert_eq!(
        ports,
        json!([
            {"name": "http", "protocol": "TCP", "port": 8081},
            {"name": "m", "protocol": "TCP", "port": 9000},
        ])
    );
}

#[test]
fn a_named_port_of_a_sidecar_counts_and_one_of_another_protocol_does_not() {
    let service = service(json!({"spec": {"ports": [
        {"name": "a", "port": 80, "protocol": "TCP", "targetPort": "web"}]}}));
    let sidecar = json!({"spec": {"initContainers": [{"name": "i", "restartPolicy": "Always",
        "ports": [{"name": "web", "containerPort": 7}]}]}});
    let udp = json!({"spec": {"containers": [{"name": "c",
        "ports": [{"name": "web", "containerPort": 7, "protocol": "UDP"}]}]}});
    for (changes, expected) in [(sidecar, Some(7)), (udp, None)] {
        let plan = plan_for(&service, &[pod(1, changes)], &[]);
        let port = plan.create[0]
            .ports
            .iter()
            .flatten()
            .find_map(|port| port.port);
        assert_eq!(port, expected);
    }
}

#[test]
fn one_change_writes_one_slice() {
    let service = service(json!({}));
    let mut pods: Vec<_> = (1..=250).map(|number| pod(number, json!({}))).collect();
    let slices = applied(&[], plan_for(&service, &pods, &[]));
    let sizes: Vec<_> = addresses(&slices).iter().map(Vec::len).collect();
    assert_eq!(sizes, [ENDPOINTS_PER_SLICE, ENDPOINTS_PER_SLICE, 50]);

    pods[7] = pod(8, json!({"status": {"conditions": []}}));
    let plan = plan_for(&service, &pods, &slices);
    assert_eq!(
        (plan.update.len(), plan.create.len(), plan.delete.len()),
        (1, 0, 0)
    );
    let slices = applied(&slices, plan);

    // A pod that goes makes room in a slice that is written anyway.
    pods.remove(120);
    pods.push(pod(251, json!({})));
    let plan = plan_for(&service, &pods, &slices);
    assert_eq!(
        (plan.update.len(), plan.create.len(), plan.delete.len()),
        (1, 0, 0)
    );
    let slices = applied(&slices, plan);

    // A new pod goes to the fullest slice with room.
    pods.push(pod(252, json!({})));
    let plan = plan_for(&service, &pods, &slices);
    assert_eq!((plan.update.len(), plan.create.len()), (1, 0));
    assert_eq!(addresses(&applied(&slices, plan))[2].len(), 51);
}

#[test]
fn a_headless_service_is_marked_and_may_have_no_ports() {
    let service = service(json!({
        "metadata": {"labels": {"team": "a", "kubernetes.io/service-name": "lie"}},
        "spec": {"clusterIP": "None", "ports": null},
    }));
    let hostname = json!({"spec": {"hostname": "h", "subdomain": "s"}});
    let slices = applied(&[], plan_for(&service, &[pod(1, hostname)], &[]));
    let labels = slices[0].metadata.labels.as_ref().unwrap();
    assert_eq!(labels["service.kubernetes.io/headless"], "");
    assert_eq!(
        (
            labels["team"].as_str(),
            labels["kubernetes.io/service-name"].as_str()
        ),
        ("a", "s")
    );
    assert_eq!(slices[0].ports, None);
    let endpoint = &slices[0].endpoints.as_ref().unwrap()[0];
    assert_eq!(endpoint.hostname.as_deref(), Some("h"));
}

#[test]
fn labels_that_a_service_no_longer_has_are_removed() {
    let with = service(json!({"metadata": {"labels": {"team": "a"}}}));
    let slices = applied(&[], plan_for(&with, &[], &[]));
    let plan = plan_for(&service(json!({})), &[], &slices);
    assert_eq!(plan.update[0].1["metadata"]["labels"]["team"], Value::Null);
}

#[test]
fn hints_follow_traffic_distribution() {
    let zone = |_: &str| Some(Some("z1".to_owned()));
    let nodes = Nodes {
        zone: &zone,
        shares: &|| None,
    };
    let table = [
        (Value::Null, Value::Null),
        (json!("PreferClose"), json!({"forZones": [{"name": "z1"}]})),
        (
            json!("PreferSameZone"),
            json!({"forZones": [{"name": "z1"}]}),
        ),
        (
            json!("PreferSameNode"),
            json!({"forZones": [{"name": "z1"}], "forNodes": [{"name": "node1"}]}),
        ),
    ];
    for (wish, expected) in table {
        let service = service(json!({"spec": {"trafficDistribution": wish}}));
        let plan = plan(
            &service,
            &[pod(1, json!({}))],
            &[],
            Family::V4,
            &nodes,
            None,
        );
        let endpoint = &plan.create[0].endpoints.as_ref().unwrap()[0];
        assert_eq!(
            serde_json::to_value(&endpoint.hints).unwrap(),
            expected,
            "{wish}"
        );
    }
}

#[test]
fn the_trigger_is_the_earliest_change_that_is_new() {
    let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let service = service(json!({}));
    let (trigger, first) = TriggerTime::default().observe(&service, &[]);
    assert_eq!(first, time("2026-11-24T12:00:00Z"));
    let ready = [pod(1, json!({})), pod(2, json!({}))];
    let (trigger, second) = trigger.observe(&service, &ready);
    assert_eq!(second, time("2026-11-24T12:00:05Z"));
    assert_eq!(trigger.observe(&service, &ready).1, None);
    assert_eq!(trigger.observe(&service, &ready[..1]).1, None);
}

#[test]
fn pods_of_nodes_that_are_gone_are_no_endpoints() {
    let nodes = Nodes {
        zone: &|_| None,
        shares: &|| None,
    };
    let of = |service: &Service| {
        let plan = plan(service, &[pod(1, json!({}))], &[], Family::V4, &nodes, None);
        plan.create[0].endpoints.iter().flatten().count()
    };
    assert_eq!(of(&service(json!({}))), 0);
    assert_eq!(
        of(&service(
            json!({"spec": {"publishNotReadyAddresses": true}})
        )),
        1
    );
}

#[test]
fn hints_by_capacity_stay_while_they_fit() {
    let asked = service(
        json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}}),
    );
    let zone = |_: &str| Some(Some("a".to_owned()));
    let shares = || Some([("a".to_owned(), 0.5), ("b".to_owned(), 0.5)].into());
    let nodes = Nodes {
        zone: &zone,
        shares: &shares,
    };
    let pods: Vec<_> = (1..=4).map(|number| pod(number, json!({}))).collect();
    let first = plan(&asked, &pods, &[], Family::V4, &nodes, None);
    assert_eq!(first.hinted, Some(Ok(())));
    let slices = applied(&[], first);
    let for_zones: Vec<_> = slices[0]
        .endpoints
        .iter()
        .flatten()
        .map(|one| {
            one.hints.clone().unwrap().for_zones.unwrap()[0]
                .name
                .clone()
        })
        .collect();
    assert_eq!(
        for_zones.iter().filter(|zone| *zone == "b").count(),
        2,
        "{for_zones:?}"
    );
    let again = plan(&asked, &pods, &slices, Family::V4, &nodes, None);
    assert!(again.update.is_empty() && again.create.is_empty());
    let none = Nodes {
        zone: &zone,
        shares: &|| None,
    };
    let lost = plan(&asked, &pods, &slices, Family::V4, &none, None);
    assert!(matches!(lost.hinted, Some(Err(_))) && lost.update.len() == 1);
}
