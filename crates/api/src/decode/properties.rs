//! Properties of the codecs that tables of examples can't show.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::conform::conform_value;
use super::{Format, decode, json, yaml};
use crate::encode;
use crate::patch::{Kind, patch};
use crate::resource::Table;
use crate::schema::{Schema, tidy};

/// Any JSON value of a few levels.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z$/~.]{0,6}", inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An object whose members mostly have the names and types of a Pod's.
fn pod() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let port = (80..83_i32, prop::sample::select(vec!["TCP", "UDP"])).prop_map(
        |(port, protocol)| serde_json::json!({"containerPort": port, "protocol": protocol}),
    );
    let container = (name.clone(), prop::collection::vec(port, 0..3), prop::option::of("[0-9]{1,4}m?"))
        .prop_map(|(name, ports, cpu)| serde_json::json!({"name": name, "ports": ports, "resources": {"limits": {"cpu": cpu}}}));
    let labels = prop::collection::btree_map("[a-c]", "[x-z]{0,2}", 0..3);
    (labels, prop::collection::btree_map(name, container, 0..3), prop::option::of(0..5_i64)).prop_map(
        |(labels, containers, grace)| {
            let containers: Vec<_> = containers.into_iter().map(|(name, mut c)| {
                c["name"] = name.into();
                c
            }).collect();
            serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels},
                "spec": {"containers": containers, "terminationGracePeriodSeconds": grace}})
        },
    )
}

fn stored(pod: &Value) -> Value {
    let ty = Schema::builtin().kind("", "v1", "Pod").expect("Pod");
    let mut object = conform_value(pod, ty).expect("a pod").value;
    tidy::tidy(&mut object, ty);
    object
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), format in 0..3_u8) {
        let format = [Format::Json, Format::Yaml, Format::Protobuf][usize::from(format)];
        let mut body = if format == Format::Protobuf { b"k8s\0\x12".to_vec() } else { Vec::new() };
        if format == Format::Protobuf {
            body.push(bytes.len().min(127) as u8);
        }
        body.extend(bytes);
        let kind = Table::builtin().by_kind("", "v1", "Pod").expect("Pod").gvk();
        let _ = decode(&body, format, &kind, Schema::builtin());
    }

    #[test]
    fn json_is_read_as_it_is_written(value in value()) {
        let bytes = encode::json(&value, None);
        prop_assert_eq!(json::parse(&bytes).expect("well formed").to_value(), value.clone());
        prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("well formed"), value);
    }

    #[test]
    fn json_is_yaml(value in value()) {
        // In Go's map keys bools and numbers become texts, as they are texts here already.
        let bytes = encode::json(&value, None);
        prop_assert_eq!(yaml::parse(&bytes).expect("well formed").node.to_value(), value);
    }

    #[test]
    fn stored_objects_are_their_own_stored_form(pod in pod()) {
        let once = stored(&pod);
        prop_assert_eq!(stored(&once), once);
    }

    #[test]
    fn patches_with_the_object_itself_change_nothing(pod in pod()) {
        let ty = Schema::builtin().kind("", "v1", "Pod").expect("Pod");
        let pod = stored(&pod);
        let body = encode::json(&pod, Some(ty));
        for kind in [Kind::Merge, Kind::Strategic] {
            let mut patched = patch(kind, &pod, &body, ty).expect("a fitting patch").object;
            tidy::tidy(&mut patched, ty);
            let duplicates = kind == Kind::Strategic && has_twins(&pod);
            prop_assert!(patched == pod || duplicates, "{:?}: {} from {}", kind, patched, pod);
        }
    }

    #[test]
    fn no_patch_makes_the_engine_panic(pod in pod(), patch_value in value()) {
        let ty = Schema::builtin().kind("", "v1", "Pod").expect("Pod");
        let body = encode::json(&patch_value, None);
        for kind in [Kind::Json, Kind::Merge, Kind::Strategic] {
            let _ = patch(kind, &pod, &body, ty);
        }
    }
}

/// Whether two ports of a container have equal numbers, which strategic merge takes for one.
fn has_twins(pod: &Value) -> bool {
    let containers = pod["spec"]["containers"].as_array();
    containers.into_iter().flatten().any(|container| {
        let ports: Vec<_> = container["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| &p["containerPort"])
            .collect();
        (1..ports.len()).any(|i| ports[..i].contains(&ports[i]))
    })
}
