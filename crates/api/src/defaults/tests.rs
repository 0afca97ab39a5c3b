//! Objects as they were sent to and as they came back from kube-apiserver v1.37.2, for every built-in kind.

use super::*;
use crate::decode::conform::conform_value;
use crate::resource::Table;
use crate::schema::Schema;
use crate::schema::tidy::tidy;
use crate::strategy::{Caller, Creation, prepare_create, service};
use serde_json::json;
use std::collections::BTreeMap;

/// Without what only a server knows: its marks stand for uid, time, addresses and ports.
fn normalise(value: &mut Value, marks: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|v| normalise(v, marks)),
        Value::Array(items) => items.iter_mut().for_each(|v| normalise(v, marks)),
        Value::String(text) => {
            for (real, mark) in marks.iter() {
                if text.contains(real) {
                    *text = text.replace(real, mark);
                }
            }
        }
        _ => {}
    }
}

/// What allocation gives is left out on both sides.
fn without_allocated(object: &mut Value, resource: &Resource) {
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    for name in ["resourceVersion", "namespace", "managedFields"] {
        metadata.remove(name);
    }
    if resource.group.is_empty() && resource.plural == "services" {
        let spec = object["spec"].as_object_mut().expect("spec");
        for name in [
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "healthCheckNodePort",
        ] {
            spec.remove(name);
        }
        for port in spec["ports"].as_array_mut().expect("ports") {
            port.as_object_mut().expect("port").remove("nodePort");
        }
    }
}

fn admit(resource: &Resource, object: &mut Value) {
    admission::storage_protection(resource, object);
    match (&*resource.group, &*resource.plural) {
        ("", "pods") => {
            let class =
                json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000});
            let named = object["spec"]["priorityClassName"].is_string();
            admission::service_account(object, &json!({}), "kube-api-access-xxxxx");
            admission::priority(object, named.then_some(&class));
            admission::default_tolerations(object);
        }
        ("", "nodes") => admission::not_ready_taint(object),
        _ => {}
    }
}

fn created(resource: &Resource, sent: &Value) -> Value {
    let ty = Schema::builtin()
        .kind(&resource.group, &resource.version, &resource.kind)
        .expect("has a type");
    let mut object = conform_value(sent, ty).expect("right").value;
    apply(resource, &mut object);
    let once = object.clone();
    apply(resource, &mut object);
    assert_eq!(object, once, "defaults of {} are idempotent", resource.kind);
    admit(resource, &mut object);
    let groups = [
        "system:masters".to_owned(),
        "system:authenticated".to_owned(),
    ];
    let caller = Caller {
        name: "admin",
        uid: "admin-uid",
        groups: &groups,
        extra: None,
    };
    let now = "2026-11-24T20:00:00Z".parse().expect("a time");
    if resource.plural == "services" {
        service::begin_create(&mut object);
    }
    prepare_create(
        resource,
        &mut object,
        &Creation {
            now,
            uid: "the-uid",
            caller,
        },
    );
    tidy(&mut object, ty);
    object
}

#[test]
fn every_kind_comes_back_as_recorded() {
    let mut failures = Vec::new();
    let mut count = 0;
    for line in include_str!("../../testdata/defaults.jsonl").lines() {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        let name = case["resource"].as_str().expect("a name");
        let mut parts = name.split('/');
        let mut next = || parts.next().expect("three parts");
        let (group, version, plural) = (next(), next(), next());
        let group = if group == "core" { "" } else { group };
        let resource = Table::builtin().lookup(group, version, plural).expect(name);
        let mut got = created(resource, &case["sent"]);
        let mut wanted = case["came_back"].clone();
        let mut marks = BTreeMap::from([
            ("the-uid".to_owned(), "<uid:1>".to_owned()),
            ("2026-11-24T20:00:00Z".to_owned(), "<time>".to_owned()),
            (
                "kube-api-access-xxxxx".to_owned(),
                "kube-api-access-<name:1>".to_owned(),
            ),
        ]);
        normalise(&mut got, &mut marks);
        without_allocated(&mut got, resource);
        without_allocated(&mut wanted, resource);
        count += 1;
        if got != wanted {
            failures.push(format!("{name}\n   got    {got}\n   wanted {wanted}"));
        }
    }
    assert_eq!(count, 99);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
