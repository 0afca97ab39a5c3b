mod pairwise;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::decode::conform::conform;
use crate::schema::Schema;

fn conform_json(text: &str, ty: Type<'_>) -> Value {
    conform(&parse(text.as_bytes()).expect("JSON"), ty)
        .expect("an object of the type")
        .value
}

fn ty(group: &str, kind: &str) -> Type<'static> {
    Schema::builtin().kind(group, "v1", kind).expect("built in")
}

fn config_map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}, "data": {"a": "1", "b": "2"}})
}

fn deployment() -> Value {
    conform_json(
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","finalizers":["example.com/a","example.com/b"]},
        "spec":{"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{
        "containers":[{"name":"c","image":"nginx","env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"args":["x","y"],
        "ports":[{"containerPort":80}]},{"name":"d","image":"redis"}],"volumes":[{"name":"v","emptyDir":{}}],
        "tolerations":[{"key":"a","operator":"Exists"}],"imagePullSecrets":[{"name":"one"}]}}}}"#,
        ty("apps", "Deployment"),
    )
}

fn strategic(body: Value) -> Result<Value, PatchError> {
    patch(
        Kind::Strategic,
        &deployment(),
        body.to_string().as_bytes(),
        ty("apps", "Deployment"),
    )
    .map(|d| d.object)
}

/// The pod spec after a strategic patch of it.
fn pod_spec(patch: Value) -> Value {
    let patched =
        strategic(json!({"spec": {"template": {"spec": patch}}})).expect("a fitting patch");
    patched["spec"]["template"]["spec"].clone()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .expect("a list")
        .iter()
        .filter_map(|i| i["name"].as_str())
        .collect()
}

#[test]
fn merge_patches_remove_replace_and_add() {
    let apply = |body: &str| {
        patch(
            Kind::Merge,
            &config_map(),
            body.as_bytes(),
            ty("", "ConfigMap"),
        )
    };
    let patched = apply(r#"{"data":{"a":null,"c":"3"},"foo":"bar"}"#).expect("a fitting patch");
    assert_eq!(patched.object["data"], json!({"b": "2", "c": "3"}));
    assert_eq!(patched.strict, ["unknown field \"foo\""]);
    assert_eq!(
        apply(r#"{"data":null}"#)
            .expect("a fitting patch")
            .object
            .get("data"),
        None
    );
    let twice = apply(r#"{"data":{"a":"1","a":"2"},"zoo":1}"#).expect("a fitting patch");
    assert_eq!(
        twice.strict,
        ["duplicate field \"data.a\"", "unknown field \"zoo\""]
    );
}

#[test]
fn merge_patches_that_are_refused() {
    for (body, error) in [
        ("null", "Invalid JSON Patch"),
        ("{", "invalid JSON patch"),
        ("", "invalid JSON patch"),
        (
            "[]",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            r#"{"kind":"Secret","metadata":null,"data":null}"#,
            "Invalid value: \"{\\\"apiVersion\\\":\\\"v1\\\",\\\"kind\\\":\\\"Secret\\\"}\": converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        ),
        (
            r#"{"apiVersion":"v2","metadata":null,"data":null}"#,
            "Invalid value: \"{\\\"apiVersion\\\":\\\"v2\\\",\\\"kind\\\":\\\"ConfigMap\\\"}\": no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/runtime/scheme.go:111\"",
        ),
        (
            r#"{"data":{"x":1}}"#,
            "Invalid value: \"{\\\"apiVersion\\\":\\\"v1\\\",\\\"data\\\":{\\\"a\\\":\\\"1\\\",\\\"b\\\":\\\"2\\\",\\\"x\\\":1},\
             \\\"kind\\\":\\\"ConfigMap\\\",\\\"metadata\\\":{\\\"name\\\":\\\"a\\\",\\\"uid\\\":\\\"u\\\"}}\": \
             json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
    ] {
        let result = patch(
            Kind::Merge,
            &config_map(),
            body.as_bytes(),
            ty("", "ConfigMap"),
        );
        assert_eq!(result.expect_err(body).to_string(), error);
    }
}

#[test]
fn json_patches_change_places() {
    let apply = |body: Value| {
        let object = json!({"metadata": {"finalizers": ["x/a", "x/b"], "labels": {"a/b": "1"}}});
        patch(
            Kind::Json,
            &object,
            body.to_string().as_bytes(),
            ty("", "ConfigMap"),
        )
        .map(|d| d.object["metadata"].clone())
    };
    for (body, expected) in [
        (
            json!([{"op": "remove", "path": "/metadata/finalizers/0"}]),
            json!({"finalizers": ["x/b"], "labels": {"a/b": "1"}}),
        ),
        (
            json!([{"op": "add", "path": "/metadata/finalizers/-", "value": "x/c"}]),
            json!({"finalizers": ["x/a", "x/b", "x/c"], "labels": {"a/b": "1"}}),
        ),
        (
            json!([{"op": "add", "path": "/metadata/finalizers/1", "value": "x/c"}]),
            json!({"finalizers": ["x/a", "x/c", "x/b"], "labels": {"a/b": "1"}}),
        ),
        (
            json!([{"op": "move", "from": "/metadata/labels/a~1b", "path": "/metadata/labels/c"}]),
            json!({"finalizers": ["x/a", "x/b"], "labels": {"c": "1"}}),
        ),
        (
            json!([{"op": "copy", "from": "/metadata/finalizers/0", "path": "/metadata/name"}]),
            json!({"name": "x/a", "finalizers": ["x/a", "x/b"], "labels": {"a/b": "1"}}),
        ),
        (
            json!([{"op": "replace", "path": "/metadata/name", "value": "new"}]),
            json!({"name": "new", "finalizers": ["x/a", "x/b"], "labels": {"a/b": "1"}}),
        ),
        (
            json!([{"op": "test", "path": "/metadata/finalizers/1", "value": "x/b"}]),
            json!({"finalizers": ["x/a", "x/b"], "labels": {"a/b": "1"}}),
        ),
    ] {
        assert_eq!(apply(body.clone()), Ok(expected), "{body}");
    }
    for body in [
        json!([{"op": "test", "path": "/metadata/name", "value": "x"}]),
        json!([{"op": "remove", "path": "/metadata/name"}]),
        json!([{"op": "remove", "path": "/metadata/finalizers/2"}]),
        json!([{"op": "add", "path": "/spec/none/deep", "value": 1}]),
        json!([{"op": "foo", "path": "/metadata"}]),
        json!([{"op": "replace", "path": "", "value": {}}]),
    ] {
        assert_eq!(apply(body.clone()), Err(PatchError::Rejected), "{body}");
    }
}

#[test]
fn json_patches_report_what_they_do_not_know() {
    let body = br#"[{"op":"add","path":"/data","value":{"z":"1","z":"2"},"unk":1}]"#;
    let patched =
        patch(Kind::Json, &config_map(), body, ty("", "ConfigMap")).expect("a fitting patch");
    assert_eq!(
        patched.strict,
        [
            "json patch duplicate field \"[0].value.z\"",
            "json patch unknown field \"[0].unk\"",
            "duplicate field \"data.z\""
        ]
    );
    assert_eq!(patched.object["data"], json!({"z": "2"}));
}

#[test]
fn keyed_lists_merge_and_new_items_come_first() {
    let spec = pod_spec(
        json!({"containers": [{"name": "c", "image": "nginx:2", "env": [{"name": "B", "value": "3"}, {"name": "Z", "value": "z"}]}]}),
    );
    assert_eq!(names(&spec["containers"]), ["c", "d"]);
    assert_eq!(spec["containers"][0]["image"], "nginx:2");
    assert_eq!(names(&spec["containers"][0]["env"]), ["A", "B", "Z"]);
    assert_eq!(spec["containers"][0]["args"], json!(["x", "y"]));
    assert_eq!(
        names(&pod_spec(json!({"containers": [{"name": "e", "image": "new"}]}))["containers"]),
        ["e", "c", "d"]
    );
    let atomic = pod_spec(json!({"tolerations": [{"key": "b", "operator": "Exists"}]}));
    assert_eq!(
        atomic["tolerations"],
        json!([{"key": "b", "operator": "Exists"}])
    );
    let secrets = pod_spec(json!({"imagePullSecrets": [{"name": "two"}]}));
    assert_eq!(names(&secrets["imagePullSecrets"]), ["two", "one"]);
}

#[test]
fn directives_delete_replace_retain_and_order() {
    let deleted = pod_spec(json!({"containers": [{"name": "d", "$patch": "delete"}]}));
    assert_eq!(names(&deleted["containers"]), ["c"]);
    let replaced = pod_spec(
        json!({"containers": [{"name": "c", "env": [{"$patch": "replace"}, {"name": "R"}]}]}),
    );
    assert_eq!(names(&replaced["containers"][0]["env"]), ["R"]);
    let retained = pod_spec(
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}),
    );
    assert_eq!(
        retained["volumes"],
        json!([{"name": "v", "secret": {"secretName": "s"}}])
    );
    let nulled =
        pod_spec(json!({"volumes": [{"name": "v", "emptyDir": null, "configMap": {"name": "x"}}]}));
    assert_eq!(
        nulled["volumes"],
        json!([{"name": "v", "configMap": {"name": "x"}}])
    );
    let ordered = pod_spec(
        json!({"$setElementOrder/containers": [{"name": "d"}, {"name": "c"}], "containers": [{"name": "d", "image": "redis:7"}]}),
    );
    assert_eq!(names(&ordered["containers"]), ["d", "c"]);
    let finalizers = |patch: Value| {
        strategic(json!({"metadata": patch})).expect("a fitting patch")["metadata"]["finalizers"]
            .clone()
    };
    assert_eq!(
        finalizers(json!({"$deleteFromPrimitiveList/finalizers": ["example.com/a"]})),
        json!(["example.com/b"])
    );
    assert_eq!(
        finalizers(json!({"finalizers": ["example.com/c"]})),
        json!(["example.com/c", "example.com/a", "example.com/b"])
    );
}

#[test]
fn strategic_patches_that_are_refused() {
    for (spec, error) in [
        (
            json!({"containers": [{"image": "x"}]}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"name": "c", "$patch": "foo"}]}),
            "unknown patch type: foo in map: map[$patch:foo name:c]",
        ),
        (
            json!({"containers": [{"name": "c", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "c"}], "containers": [{"name": "d", "image": "q"}]}),
            "The order in patch list:\n[map[image:q name:d]]\n doesn't match $setElementOrder list:\n[map[name:c]]\n",
        ),
        (
            json!({"containers": {"name": "c"}}),
            "Invalid value: \"map[spec:map[template:map[spec:map[containers:map[name:c]]]]]\": cannot restore slice from map",
        ),
    ] {
        let result = strategic(json!({"spec": {"template": {"spec": spec}}}));
        assert_eq!(result.expect_err(error).to_string(), error);
    }
    assert_eq!(
        strategic(json!({"kind": "Pod"})).expect("ignored")["kind"],
        "Deployment"
    );
    let error = strategic(json!({"spec": {"replicas": "3"}})).expect_err("a text for a number");
    assert_eq!(
        error.to_string(),
        "Invalid value: \"map[spec:map[replicas:3]]\": unrecognized type: int32"
    );
}

#[test]
fn json_patches_cannot_nest_what_nobody_can_walk_through() {
    let nested = format!("{}1{}", "{\"a\":".repeat(90), "}".repeat(90));
    let bottom = format!("/metadata/n{}", "/a".repeat(90));
    let mut steps = Vec::new();
    for _ in 0..3_000 {
        steps.push(format!(
            r#"{{"op":"add","path":"/metadata/n","value":{nested}}}"#
        ));
        steps.push(format!(
            r#"{{"op":"move","from":"/metadata/m","path":"{bottom}"}}"#
        ));
        steps.push(r#"{"op":"move","from":"/metadata/n","path":"/metadata/m"}"#.to_owned());
    }
    // The first one has nothing to move yet.
    steps[1] = r#"{"op":"test","path":"/kind","value":"ConfigMap"}"#.to_owned();
    for count in [6, 60, steps.len()] {
        let body = format!("[{}]", steps[..count].join(","));
        let result = operations(&config_map(), body.as_bytes());
        assert_eq!(result, Err(PatchError::Rejected), "{count}");
    }
    let once = format!("[{}]", steps[..1].join(","));
    assert!(operations(&config_map(), once.as_bytes()).is_ok());
}

#[test]
fn json_patches_do_a_bounded_amount_of_work() {
    let items = vec!["0"; 500_000].join(",");
    let list = format!(r#"{{"op":"add","path":"/data","value":[{items}]}}"#);
    let body = |operation: &str| format!("[{list},{}]", vec![operation; 9_000].join(","));
    for operation in [
        r#"{"op":"add","path":"/data/0","value":1}"#,
        r#"{"op":"remove","path":"/data/0"}"#,
        r#"{"op":"copy","from":"/data","path":"/data/-"}"#,
    ] {
        let result = operations(&config_map(), body(operation).as_bytes());
        assert_eq!(result, Err(PatchError::Rejected), "{operation}");
    }
    let cheap = body(r#"{"op":"test","path":"/metadata/name","value":"a"}"#);
    assert!(operations(&config_map(), cheap.as_bytes()).is_ok());
}

/// Items of a keyed list: few names, so that they meet; some directives; some that are no objects, or have no key.
fn keyed_item() -> impl Strategy<Value = Value> {
    let name = || "[a-d]".prop_map(Value::from);
    prop_oneof![
        8 => (name(), 0..3i32).prop_map(|(name, n)| json!({"name": name, "value": n.to_string()})),
        2 => name().prop_map(|name| json!({"name": name, "$patch": "delete"})),
        2 => name().prop_map(|name| json!({"name": name, "$retainKeys": ["name", "value"], "value": "r"})),
        1 => Just(json!({"$patch": "replace"})),
        1 => Just(json!({"name": null, "value": "x"})),
        1 => Just(json!({"value": "nameless"})),
        1 => Just(json!("text")),
        1 => Just(json!({"name": 1.0})),
        1 => Just(json!({"name": 1})),
    ]
}

fn items<T: Strategy<Value = Value>>(item: impl Fn() -> T) -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(item(), 0..8)
}

fn text_item() -> impl Strategy<Value = Value> {
    "[a-e]".prop_map(Value::from)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn keyed_lists_merge_as_pairwise(old in items(keyed_item), new in items(keyed_item), deletes in prop::bool::weighted(0.1)) {
        let ty = ty("", "Pod").descend(&["spec", "containers"]).and_then(Type::element);
        let env = ty.and_then(|ty| ty.field("env")).and_then(|(_, ty)| ty.element());
        prop_assume!(deletes || old.iter().chain(&new).any(Value::is_object));
        let merged = strategic::merge_list(old.clone(), new.clone(), ty, "env", deletes);
        let plain = pairwise::merge_list(old, new, Some("name"), env, deletes);
        prop_assert_eq!(merged, plain);
    }

    #[test]
    fn lists_of_texts_merge_as_pairwise(old in items(text_item), new in items(text_item), deletes: bool) {
        let metadata = ty("", "Pod").descend(&["metadata"]);
        let merged = strategic::merge_list(old.clone(), new.clone(), metadata, "finalizers", deletes);
        prop_assert_eq!(merged, pairwise::merge_list(old, new, None, None, deletes));
    }

    #[test]
    fn lists_are_put_into_order_as_pairwise(merged in items(keyed_item), patch in items(keyed_item), server in items(keyed_item), keyed: bool) {
        let key = keyed.then_some("name");
        let arranged = order::arrange(merged.clone(), &patch, &server, order::Identity(key));
        prop_assert_eq!(arranged, pairwise::arrange(merged, &patch, &server, key));
        let order = strategic::server_order(Some(&server), Some(&patch), Some("name"));
        prop_assert_eq!(order, pairwise::server_order(&server, &patch, "name"));
    }
}
