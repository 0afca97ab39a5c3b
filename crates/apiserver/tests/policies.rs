//! Admission policies as clients meet them: what they refuse, change, warn of, and how they fail.

mod served;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use served::Served;

const GROUP: &str = "admissionregistration.k8s.io";

async fn create(
    served: &Served,
    kind: &str,
    plural: &str,
    object: Value,
) -> Result<Value, (u16, String)> {
    let resource = ApiResource {
        group: GROUP.into(),
        version: "v1".into(),
        api_version: format!("{GROUP}/v1"),
        kind: kind.into(),
        plural: plural.into(),
    };
    let api: Api<DynamicObject> = Api::all_with(served.admin(), &resource);
    let mut object = object;
    object["kind"] = kind.into();
    object["apiVersion"] = format!("{GROUP}/v1").into();
    let object = serde_json::from_value(object).expect("an object");
    match api.create(&PostParams::default(), &object).await {
        Ok(object) => Ok(serde_json::to_value(object).expect("JSON")),
        Err(kube::Error::Api(status)) => Err((status.code, status.message.clone())),
        Err(other) => panic!("{other:?}"),
    }
}

fn constraints(operations: &[&str]) -> Value {
    json!({"resourceRules": [{
        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": operations,
    }]})
}

async fn validating(served: &Served, name: &str, spec: Value) -> Result<Value, (u16, String)> {
    let mut spec = spec;
    spec["matchConstraints"] = constraints(&["CREATE", "UPDATE", "DELETE"]);
    let policy = json!({"metadata": {"name": name}, "spec": spec});
    create(
        served,
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        policy,
    )
    .await
}

async fn bind(served: &Served, name: &str, spec: Value) {
    let mut spec = spec;
    spec["policyName"] = name.into();
    spec["validationActions"] = json!(["Deny"]);
    let binding = json!({"metadata": {"name": name}, "spec": spec});
    let plural = "validatingadmissionpolicybindings";
    let made = create(served, "ValidatingAdmissionPolicyBinding", plural, binding).await;
    made.expect("bound");
}

async fn mutating(served: &Served, name: &str, reinvocation: &str, mutations: Value) {
    let policy = json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": constraints(&["CREATE"]), "reinvocationPolicy": reinvocation, "mutations": mutations,
    }});
    let made = create(
        served,
        "MutatingAdmissionPolicy",
        "mutatingadmissionpolicies",
        policy,
    )
    .await;
    made.expect("made");
    let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
    let plural = "mutatingadmissionpolicybindings";
    let made = create(served, "MutatingAdmissionPolicyBinding", plural, binding).await;
    made.expect("bound");
}

fn map(name: &str, data: Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).expect("a map")
}

async fn write(served: &Served, name: &str, data: Value) -> Result<Value, (u16, String)> {
    let maps: Api<ConfigMap> = Api::namespaced(served.admin(), "default");
    match maps.create(&PostParams::default(), &map(name, data)).await {
        Ok(map) => Ok(serde_json::to_value(map).expect("JSON")),
        Err(kube::Error::Api(status)) => Err((status.code, status.message.clone())),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_hold_is_refused() {
    let served = Served::start().await;
    let spec = json!({
        "matchConditions": [{"name": "not-free", "expression": "object == null || !object.metadata.name.startsWith('free')"}],
        "variables": [
            {"name": "data", "expression": "has(object.data) ? object.data : {}"},
            {"name": "size", "expression": "size(variables.data)"},
        ],
        "validations": [
            {"expression": "request.operation == 'DELETE' || variables.size < 2",
             "messageExpression": "'has ' + string(variables.size) + ' in ' + namespaceObject.metadata.name"},
            {"expression": "request.operation != 'DELETE' || oldObject.metadata.name != 'kept'", "reason": "Forbidden"},
            {"expression": "authorizer.group('').resource('pods').namespace('default').check('get').allowed()"},
        ],
    });
    validating(&served, "small", spec).await.expect("made");
    let two = json!({"a": "1", "b": "2"});
    write(&served, "unbound", two.clone())
        .await
        .expect("no binding yet");
    bind(&served, "small", json!({})).await;
    write(&served, "kept", json!({"a": "1"}))
        .await
        .expect("holds");
    write(&served, "free", two.clone())
        .await
        .expect("no policy for it");
    let refused = write(&served, "big", two).await.expect_err("does not hold");
    assert_eq!(
        refused,
        (422, "configmaps \"big\" is forbidden: ValidatingAdmissionPolicy 'small' with binding 'small' denied request: has 2 in default".to_owned())
    );
    let maps: Api<ConfigMap> = Api::namespaced(served.admin(), "default");
    let refused = maps.delete("kept", &DeleteParams::default()).await;
    let Err(kube::Error::Api(status)) = refused else {
        panic!("{refused:?} is no refusal");
    };
    assert_eq!(status.code, 403);
    assert!(
        status
            .message
            .contains("failed expression: request.operation != 'DELETE'"),
        "{}",
        status.message
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_come_from_where_the_binding_says() {
    let served = Served::start().await;
    write(&served, "limits", json!({"max": "1"}))
        .await
        .expect("made");
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "!has(object.data) || size(object.data) <= int(params.data.max)"}],
    });
    validating(&served, "limited", spec.clone())
        .await
        .expect("made");
    let reference =
        json!({"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"});
    bind(&served, "limited", json!({"paramRef": reference})).await;
    write(&served, "small", json!({"a": "1"}))
        .await
        .expect("within");
    let (_, why) = write(&served, "big", json!({"a": "1", "b": "2"}))
        .await
        .expect_err("beyond");
    assert!(
        why.contains("failed expression: !has(object.data)"),
        "{why}"
    );

    validating(&served, "missing", spec).await.expect("made");
    let reference = json!({"name": "nothing", "parameterNotFoundAction": "Deny"});
    bind(&served, "missing", json!({"paramRef": reference})).await;
    let (_, why) = write(&served, "none", json!({}))
        .await
        .expect_err("no parameters");
    assert!(
        why.ends_with("denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_follow_the_failure_policy() {
    let served = Served::start().await;
    let spec = |policy: &str| json!({"failurePolicy": policy, "validations": [{"expression": "object.data.missing == 'x'"}]});
    validating(&served, "ignored", spec("Ignore"))
        .await
        .expect("made");
    bind(&served, "ignored", json!({})).await;
    write(&served, "a", json!({"b": "1"}))
        .await
        .expect("failures are ignored");
    validating(&served, "fails", spec("Fail"))
        .await
        .expect("made");
    bind(&served, "fails", json!({})).await;
    let (code, why) = write(&served, "c", json!({"b": "1"}))
        .await
        .expect_err("failures count");
    assert_eq!(code, 422);
    assert!(
        why.ends_with("denied request: expression 'object.data.missing == 'x'' resulted in error: no such key: missing"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_checked_when_they_are_made() {
    let served = Served::start().await;
    let rows = [
        (
            json!({"validations": [{"expression": "object.x +"}]}),
            "spec.validations[0].expression: Invalid value: \"object.x +\": compilation failed: ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>'",
        ),
        (
            json!({"validations": [{"expression": "1"}]}),
            "spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool but got int",
        ),
        (
            json!({}),
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
        ),
        (
            json!({"variables": [{"name": "if", "expression": "1"}], "validations": [{"expression": "true"}]}),
            "spec.variables[0].name: Invalid value: \"if\": must be a valid CEL identifier",
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}),
            "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int",
        ),
    ];
    for (spec, text) in rows {
        let (code, why) = validating(&served, "wrong", spec).await.expect_err(text);
        assert_eq!(code, 422);
        assert!(why.contains(text), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_changed_in_turn() {
    let served = Served::start().await;
    let apply = |text: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}});
    let patch = |text: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": text}});
    let early = "has(object.data) && 'late' in object.data ? [JSONPatch{op: 'add', path: '/data/early', value: 'saw it'}] : []";
    mutating(&served, "a-early", "IfNeeded", json!([patch(early)])).await;
    let labels = "Object{metadata: Object.metadata{labels: {'a': 'b'}}}";
    let late = "[JSONPatch{op: 'add', path: '/data', value: {'late': object.metadata.labels.a}}]";
    mutating(
        &served,
        "b-late",
        "Never",
        json!([apply(labels), patch(late)]),
    )
    .await;
    let made = write(&served, "m", json!({})).await.expect("changed");
    assert_eq!(made["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(made["data"], json!({"late": "b", "early": "saw it"}));

    mutating(
        &served,
        "c-wrong",
        "Never",
        json!([apply("Object{spec: Object.spec{x: 1}}")]),
    )
    .await;
    let (code, why) = write(&served, "n", json!({}))
        .await
        .expect_err("no such field");
    assert_eq!(code, 403);
    assert_eq!(
        why,
        "policy 'c-wrong' with binding 'c-wrong' denied request: error applying patch: failed to convert patch object to typed object: .spec: field not declared in schema"
    );
}
