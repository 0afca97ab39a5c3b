use serde_json::json;

use super::*;
use crate::decode::{Decoded, Format, decode};
use crate::resource::{GroupVersionKind, split_api_version};
use crate::schema::{Schema, tidy};

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn kind_of(object: &Value) -> GroupVersionKind {
    let (group, version) =
        split_api_version(object["apiVersion"].as_str().expect("apiVersion")).expect("a version");
    let text = |text: &str| text.to_owned().into();
    GroupVersionKind {
        group: text(group),
        version: text(version),
        kind: text(object["kind"].as_str().expect("kind")),
    }
}

fn stored(body: &[u8], format: Format, kind: &GroupVersionKind) -> Value {
    let Decoded { mut object, .. } =
        decode(body, format, kind, Schema::builtin()).expect("an object");
    tidy::tidy(
        &mut object,
        Schema::builtin()
            .kind(&kind.group, &kind.version, &kind.kind)
            .expect("a type"),
    );
    object
}

#[test]
fn messages_of_client_go_are_the_objects_they_were() {
    let lines = include_str!("../../testdata/protobuf/objects.txt")
        .lines()
        .filter(|l| !l.starts_with('#'));
    for line in lines {
        let (hex, json) = line.split_once(' ').expect("two columns");
        let kind = kind_of(&serde_json::from_str(json).expect("JSON"));
        let message = stored(&bytes(hex), Format::Protobuf, &kind);
        assert_eq!(
            message,
            stored(json.as_bytes(), Format::Json, &kind),
            "{kind}"
        );
    }
}

#[test]
fn broken_messages_are_refused() {
    let pod = Schema::builtin().kind("", "v1", "Pod").expect("Pod");
    for (message, error) in [
        (&b"\x0a\x05ab"[..], ProtobufError::End),
        (b"\x0f", ProtobufError::WireType(7)),
        (
            b"\x08\x01",
            ProtobufError::Field {
                wire: 0,
                field: "metadata".to_owned(),
            },
        ),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            ProtobufError::Overflow,
        ),
    ] {
        assert_eq!(super::message(message, pod), Err(error), "{message:?}");
    }
    assert_eq!(open(b"junk"), Err(ProtobufError::Magic));
    let error = decode(
        b"junk",
        Format::Protobuf,
        &kind_of(&json!({"apiVersion": "v1", "kind": "ConfigMap"})),
        Schema::builtin(),
    );
    assert_eq!(
        error.expect_err("no envelope").to_string(),
        "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf \
         message, expected prefix [107 56 115 0] (6a756e6b)"
    );
}

#[test]
fn depth_is_bounded() {
    // JSONSchemaProps.not is field 28 of itself: 0xe2 0x01, length.
    let mut message = Vec::new();
    for _ in 0..4 * MESSAGE_DEPTH_MAX {
        let mut outer = vec![0xe2, 0x01];
        let mut length = message.len();
        while length > 0x7f {
            outer.push(length as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(message);
        message = outer;
    }
    let schema = Schema::builtin().model(JSON_SCHEMA).expect("JSON schemas");
    assert_eq!(super::message(&message, schema), Err(ProtobufError::Depth));
}
