use super::*;
use serde_json::json;

fn definition(change: impl FnOnce(&mut Value)) -> Value {
    let mut value = json!({"metadata": {"name": "as.e.com"}, "spec": {"group": "e.com", "scope": "Namespaced",
        "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        "conversion": {"strategy": "None"}}, "status": {"storedVersions": ["v1"]}});
    change(&mut value);
    value
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut errors = Vec::new();
    create(&mut errors, &definition(change));
    errors.iter().map(ToString::to_string).collect()
}

fn with_schema(schema: Value) -> Vec<String> {
    faults(|d| d["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema)
}

#[test]
fn a_small_definition_is_right() {
    assert_eq!(faults(|_| {}), Vec::<String>::new());
}

#[test]
fn errors_of_one_version_are_told_of_all() {
    assert_eq!(
        with_schema(json!({"type": "object", "properties": {"a": {}}})),
        [
            "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields"
        ]
    );
    let two = faults(|d| {
        let mut second = d["spec"]["versions"][0].clone();
        second["name"] = "v2".into();
        second["storage"] = false.into();
        second["schema"]["openAPIV3Schema"] = json!({"type": "string"});
        d["spec"]["versions"]
            .as_array_mut()
            .expect("a list")
            .push(second);
    });
    assert_eq!(
        two,
        [
            "spec.versions[1].schema.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root"
        ]
    );
}

#[test]
fn names_versions_and_groups_are_checked() {
    assert_eq!(
        faults(|d| d["metadata"]["name"] = "x.e.com".into()),
        ["metadata.name: Invalid value: \"x.e.com\": must be spec.names.plural+\".\"+spec.group"]
    );
    let protected = faults(|d| {
        d["spec"]["group"] = "e.k8s.io".into();
        d["metadata"]["name"] = "as.e.k8s.io".into();
    });
    assert_eq!(
        protected,
        [
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
        ]
    );
    let unstored = faults(|d| d["spec"]["versions"][0]["storage"] = false.into());
    assert_eq!(
        unstored,
        [
            "spec.versions: Invalid value: [{\"Name\":\"v1\",\"Served\":true,\"Storage\":false,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]: must have exactly one version marked as storage version"
        ]
    );
}

#[test]
fn schemas_are_checked() {
    let a = |schema: Value| json!({"type": "object", "properties": {"a": schema}});
    let at = "spec.validation.openAPIV3Schema.properties[a]";
    let table = [
        (
            json!({"type": "string", "default": 5}),
            vec![format!(
                "{at}.default: Invalid value: \"integer\":  in body must be of type string: \"integer\""
            )],
        ),
        (
            json!({"type": "foo"}),
            vec![format!(
                "{at}.type: Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\""
            )],
        ),
        (
            json!({"type": "object", "$ref": "#/x"}),
            vec![format!("{at}.$ref: Forbidden: $ref is not supported")],
        ),
        (
            json!({"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            vec![format!(
                "{at}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"
            )],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
            vec![format!(
                "{at}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"
            )],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
            vec![format!(
                "{at}.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )],
        ),
        (
            json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}}),
            vec![format!(
                "{at}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            )],
        ),
        (
            json!({"type": "object", "default": {"x": 1}}),
            vec![format!(
                "{at}.default: Invalid value: {{\"x\":1}}: must not have unknown fields"
            )],
        ),
    ];
    for (schema, expected) in table {
        assert_eq!(with_schema(a(schema.clone())), expected, "{schema}");
    }
}

#[test]
fn columns_scale_and_selectable_fields_are_checked() {
    let version = |member: &str, value: Value| faults(|d| d["spec"]["versions"][0][member] = value);
    assert_eq!(
        version(
            "additionalPrinterColumns",
            json!([{"name": "A", "type": "x", "jsonPath": "spec"}])
        ),
        [
            "spec.additionalPrinterColumns[0].type: Invalid value: \"x\": must be one of boolean,date,integer,number,string",
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"spec\": must be a simple json path starting with ."
        ]
    );
    assert_eq!(
        version(
            "subresources",
            json!({"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.r"}})
        ),
        [
            "spec.subresources.scale.specReplicasPath: Invalid value: \".x\": should be a json path under .spec"
        ]
    );
    assert_eq!(
        version("selectableFields", json!([{"jsonPath": ".spec.x"}])),
        [
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.x\": is an invalid path: does not refer to a valid field"
        ]
    );
}
