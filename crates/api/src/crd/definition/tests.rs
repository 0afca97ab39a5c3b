use super::*;
use serde_json::json;

fn definition() -> Value {
    json!({"metadata": {"name": "apps.e.com"}, "spec": {"group": "e.com", "scope": "Namespaced",
        "names": {"plural": "apps", "singular": "app", "kind": "App", "listKind": "AppList"},
        "versions": [
            {"name": "v1beta1", "served": true, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": {"type": "object"}}},
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}},
            {"name": "v2", "served": false, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
        ]},
        "status": {"acceptedNames": {"plural": "apps", "singular": "app", "kind": "App", "listKind": "AppList"},
            "conditions": [{"type": "NamesAccepted", "status": "True"}]}})
}

#[test]
fn served_versions_become_resources() {
    let resources = resources(&definition(), 1);
    assert_eq!(resources.len(), 2);
    let old = resources[0].custom.as_ref().expect("custom");
    assert_eq!(
        old.deprecation.as_deref(),
        Some("e.com/v1beta1 App is deprecated; use e.com/v1 App")
    );
    let names: Vec<_> = resources[1].subresources.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["status", "scale"]);
    assert_eq!(
        resources[0].storage.as_ref().map(|s| &*s.version),
        Some("v1")
    );
    let table = table(resources);
    let group = table.group("e.com").expect("served");
    assert_eq!(group.versions[0].name, "v1");
    assert_eq!(table.groups().last().map(|g| &*g.name), Some("e.com"));
}

#[test]
fn names_that_are_not_accepted_serve_nothing() {
    let mut definition = definition();
    definition["status"]["conditions"] = json!([]);
    assert!(resources(&definition, 1).is_empty());
}

#[test]
fn versions_are_ordered_by_stability_and_number() {
    let mut versions = vec![
        "v1",
        "v2",
        "v10",
        "foo1",
        "v1beta1",
        "v1alpha1",
        "v3beta1",
        "v11alpha2",
        "foo10",
        "v12alpha1",
    ];
    versions.sort_by(|a, b| compare_versions(b, a));
    assert_eq!(
        versions,
        [
            "v10",
            "v2",
            "v1",
            "v3beta1",
            "v1beta1",
            "v12alpha1",
            "v11alpha2",
            "v1alpha1",
            "foo1",
            "foo10"
        ]
    );
}
