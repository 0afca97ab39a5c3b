//! Whatever a client sends, patches, selectors, YAML and quantities answer, and answer soon.

use std::time::{Duration, Instant};

use karve_api::decode::{json, yaml};
use karve_api::patch::{self, Kind};
use karve_api::quantity::Quantity;
use karve_api::schema::Schema;
use karve_api::selector::{FieldSelector, LabelSelector};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Far more than linear work takes, in debug builds on busy machines; far less than quadratic work takes.
const SOON: Duration = Duration::from_secs(20);
const MANY: usize = 200_000;

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}]}})
}

fn patched(kind: Kind, body: &[u8]) {
    let ty = Schema::builtin().kind("", "v1", "Pod").expect("built in");
    // Only that there is an answer matters here.
    let _answer = patch::patch(kind, &pod(), body, ty);
}

/// Any JSON, made of names and directives that mean something to patches of Pods.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "metadata",
        "spec",
        "labels",
        "containers",
        "name",
        "env",
        "finalizers",
        "a",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["", "delete", "replace", "merge", "c", "A", "x/y"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(n, v)| (n.to_owned(), v))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}

fn operation() -> impl Strategy<Value = Value> {
    let op = prop::sample::select(vec![
        "add", "remove", "replace", "move", "copy", "test", "?",
    ]);
    let path = prop::sample::select(vec![
        "",
        "/",
        "/metadata",
        "/metadata/labels/a",
        "/spec/containers/-",
        "/spec/containers/0",
        "/spec/containers/-1",
        "/spec/containers/99999999999999999999",
        "/a~1b",
        "/a~2",
        "spec",
    ]);
    (op, path.clone(), path, any_json()).prop_map(
        |(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_patch_is_answered(body in any_json(), operations in prop::collection::vec(operation(), 0..6)) {
        for kind in [Kind::Json, Kind::Merge, Kind::Strategic] {
            patched(kind, body.to_string().as_bytes());
        }
        patched(Kind::Json, Value::from(operations).to_string().as_bytes());
    }

    #[test]
    fn every_text_is_answered(text in "[a-z0-9 .,:!=()&*\\[\\]{}\"'|>\n-]{0,60}") {
        let _answers = (
            LabelSelector::parse(&text).is_ok(),
            FieldSelector::parse(&text).is_ok(),
            Quantity::parse(&text).is_ok(),
            yaml::parse(text.as_bytes()).is_ok(),
            json::parse(text.as_bytes()).is_ok(),
        );
        for kind in [Kind::Json, Kind::Merge, Kind::Strategic] {
            patched(kind, text.as_bytes());
        }
    }
}

fn soon(what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let took = start.elapsed();
    assert!(took < SOON, "{what} took {took:?}");
}

#[test]
fn deep_documents_are_answered_soon() {
    const DEEP: usize = 100_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let text = format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
        soon("JSON", || {
            let _answer = json::parse(text.as_bytes()).is_ok();
        });
        soon("YAML", || {
            let _answer = yaml::parse(text.as_bytes()).is_ok();
        });
        for kind in [Kind::Json, Kind::Merge, Kind::Strategic] {
            soon("a patch", || patched(kind, text.as_bytes()));
        }
    }
}

#[test]
fn wide_documents_are_answered_soon() {
    let members: Vec<String> = (0..MANY).map(|i| format!("\"k{i}\":\"v\"")).collect();
    let labels = format!(
        "{{\"metadata\":{{\"labels\":{{{0},{0}}}}}}}",
        members.join(",")
    );
    let items: Vec<String> = (0..MANY / 10)
        .map(|i| format!("{{\"name\":\"n{i}\"}}"))
        .collect();
    let containers = format!("{{\"spec\":{{\"containers\":[{}]}}}}", items.join(","));
    for body in [&labels, &containers] {
        for kind in [Kind::Merge, Kind::Strategic] {
            soon("a wide patch", || patched(kind, body.as_bytes()));
        }
    }
}

#[test]
fn long_selectors_and_quantities_are_answered_soon() {
    let keys: Vec<String> = (0..MANY).map(|i| format!("k{i}=v")).collect();
    let (keys, values) = (
        keys.join(","),
        (0..MANY)
            .map(|i| format!("v{i}"))
            .collect::<Vec<_>>()
            .join(","),
    );
    soon("a label selector", || {
        let _answer = LabelSelector::parse(&keys).is_ok();
    });
    soon("a set of values", || {
        let _answer = LabelSelector::parse(&format!("a in ({values})")).is_ok();
    });
    soon("a field selector", || {
        let _answer = FieldSelector::parse(&keys).is_ok();
    });
    for text in [
        "9".repeat(MANY),
        format!("0.{}1", "0".repeat(MANY)),
        format!("1e{}", "9".repeat(MANY)),
    ] {
        soon("a quantity", || {
            let _answer = Quantity::parse(&text).is_ok();
        });
    }
}

#[test]
fn yaml_that_doubles_is_answered_soon() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (from, to) in ('a'..='y').zip('b'..='z') {
        let uses = vec![format!("*{from}"); 9].join(",");
        text.push_str(&format!("{to}: &{to} [{uses}]\n"));
    }
    soon("doubling YAML", || {
        let _answer = yaml::parse(text.as_bytes()).is_ok();
    });
}
