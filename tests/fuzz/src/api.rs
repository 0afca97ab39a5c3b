//! Selectors, patches, apply and encodings of objects.

use karve_api::apply::{self, FieldSet, Writer};
use karve_api::decode::{self, Format, json, protobuf as wire, yaml as text};
use karve_api::encode;
use karve_api::patch::{self as patches, Kind};
use karve_api::resource::GroupVersionKind;
use karve_api::schema::{Schema, Type};
use karve_api::selector::{FieldSelector, LabelSelector};
use serde_json::{Value, json};

use crate::parts;

/// Kinds with lists of every sort, free JSON, quantities and times.
const KINDS: [(&str, &str, &str); 8] = [
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
    ("", "v1", "Event"),
    ("apps", "v1", "Deployment"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
];

/// An object may become this much larger than all that was sent: a patch may copy 3 MiB, YAML may repeat itself as
/// often as its limit allows.
const GROWTH_MAX: usize = 64 << 20;

fn kind(number: u8) -> (GroupVersionKind, Type<'static>) {
    let (group, version, kind) = KINDS[usize::from(number) % KINDS.len()];
    let gvk = GroupVersionKind {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
    };
    let ty = Schema::builtin().kind(group, version, kind);
    (gvk, ty.expect("built in"))
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "labels": {"a": "b"}, "finalizers": ["x/y", "x/z"]},
        "spec": {"containers": [
            {"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
             "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]},
            {"name": "d", "image": "j"}],
            "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{"key": "k", "operator": "Exists"}]}})
}

/// What is parsed prints as a text that means the same.
pub fn label_selector(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(selector) = LabelSelector::parse(&text) else {
        return;
    };
    let printed = selector.to_string();
    let again = LabelSelector::parse(&printed).expect("a printed selector is one");
    assert_eq!(again.to_string(), printed);
    assert_eq!(
        selector.matches_object(&pod()),
        again.matches_object(&pod())
    );
}

/// As [`label_selector`].
pub fn field_selector(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(selector) = FieldSelector::parse(&text) else {
        return;
    };
    let printed = selector.to_string();
    let again = FieldSelector::parse(&printed).expect("a printed selector is one");
    assert_eq!(again.to_string(), printed);
}

/// The kind of patch by its first byte, then the patch, then an object that it is applied to (a Pod if there is none).
pub fn patch(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let kind = [Kind::Json, Kind::Merge, Kind::Strategic][usize::from(*first) % 3];
    let mut parts = parts(rest);
    let body = parts.next().unwrap_or_default();
    let object = parts.next().and_then(|bytes| object(bytes, 0));
    let object = object.unwrap_or_else(pod);
    let (_, ty) = self::kind(0);
    if let Ok(patched) = patches::patch(kind, &object, body, ty) {
        assert!(encode::json(&patched.object, Some(ty)).len() < GROWTH_MAX);
        assert_eq!(patched.object["kind"], "Pod");
    }
}

/// A JSON object that conforms to a kind.
fn object(bytes: &[u8], number: u8) -> Option<Value> {
    let (gvk, _) = kind(number);
    let decoded = decode::decode(bytes, Format::Json, &gvk, Schema::builtin());
    decoded.ok().map(|decoded| decoded.object)
}

/// Configurations that are applied one after the other. The first byte of each says by whom, and whether by force.
pub fn apply(input: &[u8]) {
    let (gvk, ty) = kind(0);
    let reset = FieldSet::of_names(&[&["status"]]);
    let mut live: Option<Value> = None;
    for part in parts(input).take(6) {
        let Some((first, body)) = part.split_first() else {
            continue;
        };
        // The endpoint takes YAML, of which JSON is a part.
        let Ok(config) = text::parse(body) else {
            continue;
        };
        let config = config.node.to_value();
        let writer = Writer {
            manager: ["one", "two", "kubectl"][usize::from(first >> 1) % 3],
            api_version: "v1",
            subresource: "",
            time: "2026-01-01T00:00:00Z",
            reset: &reset,
        };
        let force = first & 1 == 1;
        let Ok(applied) = apply::apply(live.as_ref(), &config, ty, &gvk, &writer, force) else {
            continue;
        };
        let again = apply::apply(Some(&applied), &config, ty, &gvk, &writer, force);
        // Not always to the same effect: a key that is null is another one when it comes back. So upstream.
        assert!(again.is_ok(), "{again:?}");
        live = Some(applied);
    }
}

/// The kind by the first byte, then its message. What is read is written to bytes that read as the same.
pub fn protobuf(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let (gvk, ty) = kind(*first);
    // The envelope, if it is one, and the bare message.
    let _refused = decode::decode(bytes, Format::Protobuf, &gvk, Schema::builtin());
    let Ok(value) = wire::message(bytes, ty) else {
        return;
    };
    let Ok(conformed) = decode::conform::conform_value(&value, ty) else {
        return;
    };
    let stored = conformed.value;
    let mut written = Vec::new();
    encode::protobuf::message(&stored, ty, &mut written);
    let back = wire::message(&written, ty).expect("what was written can be read");
    let back = decode::conform::conform_value(&back, ty).expect("and is of the kind");
    let mut again = Vec::new();
    encode::protobuf::message(&back.value, ty, &mut again);
    assert_eq!(again, written);
}

/// The kind by the first byte, then YAML (and JSON, which takes other ways).
pub fn yaml(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let (gvk, _) = kind(*first);
    for format in [Format::Yaml, Format::Json] {
        let Ok(decoded) = decode::decode(bytes, format, &gvk, Schema::builtin()) else {
            continue;
        };
        let stored = encode::json(&decoded.object, None);
        assert!(stored.len() < GROWTH_MAX);
        assert!(json::parse(&stored).is_ok(), "what is stored is JSON");
    }
}
