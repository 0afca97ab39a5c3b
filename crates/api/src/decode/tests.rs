use serde_json::json;

use super::*;
use crate::resource::Table;

fn expected(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    Table::builtin()
        .by_kind(group, version, kind)
        .expect("a built-in kind")
        .gvk()
}

fn decode_as(kind: &GroupVersionKind, format: Format, body: &str) -> Result<Decoded, String> {
    decode(body.as_bytes(), format, kind, Schema::builtin()).map_err(|e| e.to_string())
}

#[test]
fn bodies_that_are_refused() {
    let config_map = expected("", "v1", "ConfigMap");
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
    let handled = |rest: &str| {
        format!("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: {rest}")
    };
    let json =
        |rest: &str| format!("{unrecognized}couldn't get version/kind; json parse error: {rest}");
    let cases = [
        (Format::Json, "", json("unexpected end of JSON input (<empty>)")),
        (Format::Json, "{", json("unexpected end of JSON input ({)")),
        (
            Format::Json,
            "[]",
            json(
                "json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                 Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)",
            ),
        ),
        (
            Format::Json,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"z"}} trailing"#,
            json("invalid character 't' after top-level value ({\"apiVersion\":\"v1\",\"kind\":\"Con ...)"),
        ),
        (
            Format::Json,
            r#"{"apiVersion":"a/b/c","kind":"ConfigMap"}"#,
            format!("{unrecognized}unexpected GroupVersion string: a/b/c ({{\"apiVersion\":\"a/b/c\",\"kind\":\" ...)"),
        ),
        (Format::Yaml, "a: [b", format!("{unrecognized}yaml: line 1: did not find expected ',' or ']' (613a205b62)")),
        (
            Format::Json,
            r#"{"apiVersion":"v1","kind":"Secret"}"#,
            "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"
                .to_owned(),
        ),
        (
            Format::Json,
            r#"{"apiVersion":"apps/v1","kind":"ConfigMap"}"#,
            handled("no kind \"ConfigMap\" is registered for version \"apps/v1\" in scheme \"pkg/runtime/scheme.go:111\""),
        ),
        (
            Format::Json,
            r#"{"kind":"ConfigMap","metadata":[]}"#,
            handled("json: cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
        ),
        (
            Format::Yaml,
            "metadata:\n  name: y\n",
            handled("json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.name of type string"),
        ),
        (
            Format::Yaml,
            "data: {a: 1}",
            handled("json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        ),
    ];
    for (format, body, error) in cases {
        assert_eq!(decode_as(&config_map, format, body), Err(error), "{body}");
    }
}

#[test]
fn fields_of_the_wrong_type_are_named() {
    let service = expected("", "v1", "Service");
    let handled = |rest: &str| {
        Err(format!(
            "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal {rest}"
        ))
    };
    for (spec, error) in [
        (
            r#"{"ports":{}}"#,
            "object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
        ),
        (
            r#"{"ports":[{"port":"x"}]}"#,
            "string into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"ports":[{"port":1.0}]}"#,
            "number 1.0 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            r#"{"ports":[{"port":1,"targetPort":80.5}]}"#,
            "number 80.5 into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
        (
            r#"{"publishNotReadyAddresses":1}"#,
            "number into Go struct field ServiceSpec.spec.publishNotReadyAddresses of type bool",
        ),
        (
            r#"{"type":[]}"#,
            "array into Go struct field ServiceSpec.spec.type of type v1.ServiceType",
        ),
    ] {
        assert_eq!(
            decode_as(&service, Format::Json, &format!(r#"{{"spec":{spec}}}"#)),
            handled(error),
            "{spec}"
        );
    }
}

#[test]
fn unknown_and_duplicate_members_are_reported_in_order() {
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","foo":1,"labels":{"a":"b","a":"c"}},
        "data":{"k":"1","k":"2"},"bar":{"x":1},"bar":2}"#;
    let decoded =
        decode_as(&expected("", "v1", "ConfigMap"), Format::Json, body).expect("accepted");
    assert_eq!(
        strict_text(&decoded.strict),
        "strict decoding error: unknown field \"metadata.foo\", duplicate field \"metadata.labels.a\", \
         duplicate field \"data.k\", unknown field \"bar\""
    );
    assert_eq!(
        decoded.object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"a": "c"}}, "data": {"k": "2"}})
    );
    let pod = r#"{"spec":{"containers":[{"name":"c","foo":"bar","ports":[{"containerport":80}]}],"hostnetwork":true}}"#;
    let decoded = decode_as(&expected("", "v1", "Pod"), Format::Json, pod).expect("accepted");
    assert_eq!(
        decoded.strict,
        [
            "unknown field \"spec.containers[0].foo\"",
            "unknown field \"spec.containers[0].ports[0].containerport\"",
            "unknown field \"spec.hostnetwork\""
        ]
    );
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yam\n  foo: bar\ndata:\n  a: b\n  a: c\n";
    let decoded =
        decode_as(&expected("", "v1", "ConfigMap"), Format::Yaml, yaml).expect("accepted");
    assert_eq!(
        strict_error(&expected("", "v1", "ConfigMap"), &decoded.strict).to_string(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  \
         line 8: key \"a\" already set in map, unknown field \"metadata.foo\""
    );
}

#[test]
fn objects_come_back_as_through_gos_types() {
    let pod = r#"{"metadata":{"name":"p","creationTimestamp":null,"labels":{}},"spec":{"volumes":[],"nodeSelector":{},
        "containers":[{"name":"c","env":[],"args":null,"securityContext":{},"resources":{"limits":{"cpu":"1000m","memory":null}}}, null]}}"#;
    let decoded = decode_as(&expected("", "v1", "Pod"), Format::Json, pod).expect("accepted");
    assert_eq!(
        decoded.object,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {}, "spec": {"containers": [
            {"name": "c", "securityContext": {}, "resources": {"limits": {"cpu": "1", "memory": "0"}}},
            {"name": "", "resources": {}},
        ]}})
    );
    let decoded = decode_as(
        &expected("rbac.authorization.k8s.io", "v1", "Role"),
        Format::Json,
        r#"{"rules":[]}"#,
    );
    let mut role = decoded.expect("accepted").object;
    assert_eq!(role["rules"], json!([]));
    crate::schema::tidy::tidy(
        &mut role,
        Schema::builtin()
            .kind("rbac.authorization.k8s.io", "v1", "Role")
            .expect("Role"),
    );
    assert_eq!(role["rules"], json!(null));
    let decoded = decode_as(&expected("", "v1", "ConfigMap"), Format::Json, "null")
        .expect("null is an empty object");
    assert_eq!(
        decoded.object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})
    );
}

#[test]
fn bytes_and_times_are_spelt_anew() {
    let secret = expected("", "v1", "Secret");
    let decoded = decode_as(
        &secret,
        Format::Json,
        "{\"data\":{\"a\":\"aGVs\\nbG8=\",\"n\":null}}",
    )
    .expect("accepted");
    assert_eq!(decoded.object["data"], json!({"a": "aGVsbG8=", "n": ""}));
    let error = decode_as(&secret, Format::Json, r#"{"data":{"a":"!!"}}"#).expect_err("no base64");
    assert_eq!(
        error,
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0"
    );
    let meta = r#"{"metadata":{"creationTimestamp":"2024-01-02T03:04:05.9+02:00","deletionGracePeriodSeconds":0}}"#;
    let decoded = decode_as(&secret, Format::Json, meta).expect("accepted");
    assert_eq!(
        decoded.object["metadata"],
        json!({"creationTimestamp": "2024-01-02T01:04:05Z", "deletionGracePeriodSeconds": 0})
    );
}

#[test]
fn the_deepest_objects_fit_the_stack_of_a_worker() {
    let crd = expected("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let ty = Schema::builtin()
        .kind(&crd.group, &crd.version, &crd.kind)
        .expect("a type");
    let levels = json::MAX_DEPTH - 6;
    let schema = "{\"not\":".repeat(levels) + "{}" + &"}".repeat(levels);
    let body =
        format!("{{\"spec\":{{\"versions\":[{{\"schema\":{{\"openAPIV3Schema\":{schema}}}}}]}}}}");
    let walk = move || {
        let mut object = decode(body.as_bytes(), Format::Json, &crd, Schema::builtin())
            .expect("deep, but not too deep")
            .object;
        crate::schema::tidy::tidy(&mut object, ty);
        let bytes = crate::encode::json(&object, Some(ty));
        let patched = crate::patch::patch(crate::patch::Kind::Merge, &object, &bytes, ty)
            .expect("a fitting patch");
        assert_eq!(patched.object, object);
        let reset = crate::apply::FieldSet::default();
        let writer = crate::apply::Writer {
            manager: "m",
            api_version: "apiextensions.k8s.io/v1",
            subresource: "",
            time: "",
            reset: &reset,
        };
        crate::apply::update_managers(None, &mut object, ty, &writer);
        assert!(object["metadata"]["managedFields"].is_array());
    };
    // Half of what a worker of the runtime has.
    let thread = std::thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(walk)
        .expect("a thread");
    thread.join().expect("no overflow");
}

#[test]
fn options_of_deletions_come_in_the_version_of_what_is_deleted() {
    let kind = GroupVersionKind {
        group: "".into(),
        version: "v1".into(),
        kind: "DeleteOptions".into(),
    };
    for version in [
        "v1",
        "meta.k8s.io/v1",
        "apps/v1",
        "policy/v1beta1",
        "example.com/v2",
    ] {
        let body = format!(
            r#"{{"apiVersion":"{version}","kind":"DeleteOptions","gracePeriodSeconds":5}}"#
        );
        let decoded = decode_as(&kind, Format::Json, &body).expect(version);
        assert_eq!(decoded.object["gracePeriodSeconds"], 5, "{version}");
    }
    assert!(decode_as(&kind, Format::Json, r#"{"apiVersion":"v1","kind":"Pod"}"#).is_err());
}
