use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::decode::protobuf as decode;
use crate::resource::split_api_version;
use crate::schema::{Schema, tidy};

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

#[test]
fn messages_are_those_of_client_go_to_the_byte() {
    let lines = include_str!("../../testdata/protobuf/objects.txt")
        .lines()
        .filter(|l| !l.starts_with('#'));
    for line in lines {
        let (hex, json) = line.split_once(' ').expect("two columns");
        let mut value: Value = serde_json::from_str(json).expect("JSON");
        let api_version = value["apiVersion"].as_str().expect("a version").to_owned();
        let kind = value["kind"].as_str().expect("a kind").to_owned();
        let (group, version) = split_api_version(&api_version).expect("a version");
        let ty = Schema::builtin()
            .kind(group, version, &kind)
            .expect("a type");
        tidy::tidy(&mut value, ty);
        let have = object(&value, &api_version, &kind, ty);
        let want = bytes_of(hex);
        assert_eq!(have, want, "{kind}:\n{have:02x?}\n{want:02x?}");
    }
}

/// A value of a type, as it would be stored. Zero values and absences come often: they are what differs.
fn of_type(ty: Type<'static>, depth: u32) -> BoxedStrategy<Value> {
    match ty.shape() {
        Shape::Scalar(scalar) => of_scalar(scalar),
        Shape::List(item) => prop::collection::vec(of_type(item, depth + 1), 0..3)
            .prop_map(Value::Array)
            .boxed(),
        Shape::Map(inner) => {
            prop::collection::btree_map("[a-z/.]{1,5}", of_type(inner, depth + 1), 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
                .boxed()
        }
        Shape::Struct(_) if depth > 6 => Just(json!({})).boxed(),
        Shape::Struct(fields) => {
            // Few members at a time, so that deep objects stay small.
            let count = fields.fields().len();
            prop::collection::btree_set(0..count.max(1), 0..6)
                .prop_flat_map(move |chosen| {
                    let members: Vec<_> = chosen
                        .into_iter()
                        .filter_map(|i| fields.fields().get(i))
                        .filter(|field| !matches!(&*field.name, "apiVersion" | "kind"))
                        .map(|field| {
                            (
                                Just(field.name.to_string()),
                                of_type(ty.of(field), depth + 1),
                            )
                        })
                        .collect();
                    members.prop_map(|members| Value::Object(members.into_iter().collect()))
                })
                .boxed()
        }
    }
}

fn of_scalar(scalar: Scalar) -> BoxedStrategy<Value> {
    let json = prop_oneof![
        Just(json!({"a": [1, "x", null, true]})),
        Just(json!({"f:metadata": {".": {}, "f:name": {}}}))
    ];
    match scalar {
        Scalar::String => prop_oneof!["", "[a-zé<]{1,9}"]
            .prop_map(Value::from)
            .boxed(),
        Scalar::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Scalar::Int32 => any::<i32>().prop_map(Value::from).boxed(),
        Scalar::Int64 => any::<i64>().prop_map(Value::from).boxed(),
        Scalar::Uint32 => any::<u32>().prop_map(Value::from).boxed(),
        Scalar::Uint64 => any::<u64>().prop_map(Value::from).boxed(),
        Scalar::Float64 => (-1e9..1e9).prop_map(Value::from).boxed(),
        Scalar::Bytes => prop::collection::vec(any::<u8>(), 0..5)
            .prop_map(|bytes| STANDARD.encode(bytes).into())
            .boxed(),
        Scalar::Quantity => prop_oneof!["0", "[1-9]{1,2}(m|Ki|)"]
            .prop_map(Value::from)
            .boxed(),
        Scalar::IntOrString => prop_oneof![
            any::<i32>().prop_map(Value::from),
            "[a-z0-9%]{0,4}".prop_map(Value::from)
        ]
        .boxed(),
        Scalar::Time => (1..4_000_000_000i64)
            .prop_map(|s| crate::time::format(Timestamp::from_second(s).expect("in range")).into())
            .boxed(),
        Scalar::MicroTime => (1..4_000_000_000_000_000i64)
            .prop_map(|s| {
                crate::time::format_micro(Timestamp::from_microsecond(s).expect("in range")).into()
            })
            .boxed(),
        Scalar::Duration => Just(Value::from("17ns")).boxed(),
        Scalar::FieldsV1 | Scalar::Raw => json.boxed(),
        Scalar::Json => prop_oneof![
            json,
            any::<i64>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from)
        ]
        .boxed(),
        Scalar::SchemaOrArray => prop_oneof![
            Just(json!({"type": "string"})),
            Just(json!([{"type": "string"}, {}]))
        ]
        .boxed(),
        Scalar::SchemaOrBool => prop_oneof![
            Just(json!({"type": "string"})),
            any::<bool>().prop_map(Value::from)
        ]
        .boxed(),
        Scalar::SchemaOrStrings => {
            prop_oneof![Just(json!({"type": "string"})), Just(json!(["a", "b"]))].boxed()
        }
    }
}

/// Every kind that has endpoints or is put into requests.
fn kinds() -> Vec<(String, String, String)> {
    let mut kinds = Vec::new();
    for (group, version) in crate::resource::Table::builtin().group_versions() {
        for (kind, _) in Schema::builtin().kinds(group, &version.name) {
            kinds.push((group.to_owned(), version.name.to_string(), kind.to_owned()));
        }
    }
    for (kind, _) in Schema::builtin().kinds("meta.k8s.io", "v1") {
        // Tables have no protobuf: their cells are of any type.
        if !matches!(kind, "Table" | "List" | "TableOptions") {
            kinds.push(("meta.k8s.io".into(), "v1".into(), kind.to_owned()));
        }
    }
    kinds
}

fn kind_and_object() -> impl Strategy<Value = (usize, Value)> {
    let kinds = kinds();
    (0..kinds.len()).prop_flat_map(move |i| {
        let (group, version, kind) = &kinds[i];
        let ty = Schema::builtin()
            .kind(group, version, kind)
            .expect("a type");
        (Just(i), of_type(ty, 0))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again((i, mut value) in kind_and_object()) {
        let (group, version, kind) = &kinds()[i];
        let ty = Schema::builtin().kind(group, version, kind).expect("a type");
        tidy::tidy(&mut value, ty);
        let written = object(&value, "v1", kind, ty);
        let envelope = decode::open(&written).expect("an envelope");
        prop_assert_eq!(&envelope.kind, kind);
        let mut read = decode::message(envelope.raw, ty).expect("a message");
        if let Value::Object(members) = &mut read {
            for name in ["apiVersion", "kind"] {
                if let Some(given) = value.get(name) {
                    members.insert(name.to_owned(), given.clone());
                }
            }
        }
        tidy::tidy(&mut read, ty);
        prop_assert_eq!(&read, &value, "{} {:?}", kind, envelope.raw);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), i in 0..60usize) {
        let all = kinds();
        let (group, version, kind) = &all[i % all.len()];
        let ty = Schema::builtin().kind(group, version, kind).expect("a type");
        let _ = decode::open(&bytes);
        let _ = decode::message(&bytes, ty);
    }

    #[test]
    fn damaged_messages_are_read_or_refused((i, value) in kind_and_object(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (group, version, kind) = &kinds()[i];
        let ty = Schema::builtin().kind(group, version, kind).expect("a type");
        let mut message = Vec::new();
        super::message(&value, ty, &mut message);
        if !message.is_empty() {
            let at = at.index(message.len());
            message[at] = byte;
            let _ = decode::message(&message, ty);
            let _ = decode::message(&message[..at], ty);
        }
    }
}

#[test]
fn lengths_need_as_many_bytes_as_they_do() {
    for length in [0usize, 1, 127, 128, 16383, 16384, 2_097_151, 2_097_152] {
        let mut out = Vec::new();
        nested(1, &mut out, |out| out.resize(out.len() + length, 7));
        let mut want = vec![0x0a];
        varint(length as u64, &mut want);
        assert_eq!(want.len() - 1, varint_length(length as u64));
        want.resize(want.len() + length, 7);
        assert_eq!(out, want, "{length}");
    }
}

#[test]
fn lists_are_put_together_from_their_items() {
    let ty = Schema::builtin()
        .kind("", "v1", "ConfigMap")
        .expect("a type");
    let list_ty = Schema::builtin()
        .kind("", "v1", "ConfigMapList")
        .expect("a type");
    let items: Vec<Value> = (0..300)
        .map(|i| json!({"metadata": {"name": format!("n{i}")}, "data": {"a": "b".repeat(i)}}))
        .collect();
    let metadata = json!({"resourceVersion": "12", "continue": "x", "remainingItemCount": 4});
    let whole = object(
        &json!({"metadata": metadata, "items": items}),
        "v1",
        "ConfigMapList",
        list_ty,
    );
    let mut list = List::default();
    let messages: Vec<Vec<u8>> = items
        .iter()
        .map(|item| {
            let mut out = Vec::new();
            message(item, ty, &mut out);
            list.count(out.len());
            out
        })
        .collect();
    let mut out = list.head("v1", "ConfigMapList", &metadata, list_ty);
    for message in messages {
        List::item_head(message.len(), &mut out);
        out.extend_from_slice(&message);
    }
    out.extend_from_slice(List::tail());
    assert_eq!(out, whole);
}
