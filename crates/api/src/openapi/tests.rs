use super::*;

fn doc(group: &str, version: &str) -> Value {
    let version = Table::builtin().version(group, version).expect("built in");
    document(Schema::builtin(), group, version)
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
        let document = document(Schema::builtin(), group, version);
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
    assert_eq!(index["paths"].as_object().expect("paths").len(), 23);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .expect("an url");
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
}
