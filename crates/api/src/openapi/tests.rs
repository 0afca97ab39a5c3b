use super::*;

fn doc(group: &str, version: &str) -> Value {
    let path = document_path(group, version);
    document(Schema::builtin(), Table::builtin(), &path).expect("built in")
}

/// Every `$ref` in a document.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn every_reference_has_its_component() {
    for (group, version) in Table::builtin().group_versions() {
        let document = doc(group, &version.name);
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty(), "{group}");
        for reference in found {
            let name = reference.trim_start_matches("#/components/schemas/");
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{group}: {reference}"
            );
        }
    }
}

#[test]
fn kubectl_finds_what_it_looks_for() {
    let core = doc("", "v1");
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    assert!(
        patch["requestBody"]["content"]
            .get("application/strategic-merge-patch+json")
            .is_some()
    );
    let validates = |p: &Value| p["name"] == "fieldValidation" && p["in"] == "query";
    assert!(
        patch["parameters"]
            .as_array()
            .is_some_and(|p| p.iter().any(validates))
    );
    let pod = &core["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let ports =
        &core["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(
        ports["x-kubernetes-list-map-keys"],
        json!(["containerPort", "protocol"])
    );
    let protocol = &core["components"]["schemas"]["io.k8s.api.core.v1.ContainerPort"]["properties"]
        ["protocol"];
    assert_eq!(
        (&protocol["type"], &protocol["default"]),
        (&json!("string"), &json!("TCP"))
    );
    assert_eq!(
        pod["properties"]["spec"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}])
    );
    let text = pod["description"].as_str().expect("a description");
    assert!(
        text.starts_with("Pod is a collection of containers"),
        "{text}"
    );
}

#[test]
fn index_leads_to_every_group_version() {
    let index = index(Table::builtin());
    assert_eq!(index["paths"].as_object().expect("paths").len(), 49);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .expect("an url");
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
}

#[test]
fn every_reference_of_v2_has_its_place() {
    let document = document_v2(Schema::builtin(), Table::builtin());
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let list = &document["paths"]["/api/v1/namespaces/{namespace}/pods"]["get"];
    assert_eq!(list["operationId"], "listCoreV1NamespacedPod");
    // The start of a gnostic document: `swagger` is field 1.
    assert!(v2_protobuf(&document).starts_with(b"\x0a\x032.0"));
}

#[test]
fn operations_have_upstreams_names() {
    let rows = [
        (
            "api/v1",
            "/api/v1/nodes/{name}/proxy/{path}",
            "head",
            "connectCoreV1HeadNodeProxyWithPath",
        ),
        (
            "apis/apps/v1",
            "/apis/apps/v1/deployments",
            "get",
            "listAppsV1DeploymentForAllNamespaces",
        ),
        (
            "apis/apps/v1",
            "/apis/apps/v1/namespaces/{namespace}/deployments",
            "delete",
            "deleteAppsV1CollectionNamespacedDeployment",
        ),
        ("apis/apps", "/apis/apps/", "get", "getAppsAPIGroup"),
        ("version", "/version/", "get", "getCodeVersion"),
    ];
    for (document, path, method, id) in rows {
        let document =
            super::document(Schema::builtin(), Table::builtin(), document).expect("built in");
        assert_eq!(document["paths"][path][method]["operationId"], id);
    }
}
