//! What a deletion does to an object, as a table.

use karve_api::resource::Table;
use serde_json::json;

use super::*;

/// Plans a deletion: the marked version's finalizers, grace and generation, and whether the object goes.
fn planned(kind: &str, object: Value, options: Value) -> (Option<(Vec<String>, i64, i64)>, bool) {
    let resource = Table::builtin().by_kind("", "v1", kind).expect("built in");
    let options = Options::from_value(&options).expect("right options");
    let step = plan(resource, object, &options);
    let marked = step.marked.map(|object| {
        assert!(object.is_deleting());
        let finalizers = object.finalizers().into_iter().map(str::to_owned).collect();
        let number = |name: &str| object::number(&object["metadata"][name]);
        (
            finalizers,
            number("deletionGracePeriodSeconds"),
            number("generation"),
        )
    });
    (marked, step.gone)
}

fn marked(finalizers: &[&str], grace: i64, generation: i64) -> Option<(Vec<String>, i64, i64)> {
    Some((
        finalizers.iter().map(|f| (*f).to_owned()).collect(),
        grace,
        generation,
    ))
}

#[test]
fn finalizers_and_propagation_decide_whether_an_object_goes() {
    let with = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    let rows = [
        ("ConfigMap", json!({}), json!({}), None, true),
        (
            "ConfigMap",
            with(json!(["a/b"])),
            json!({}),
            marked(&["a/b"], 0, 0),
            false,
        ),
        (
            "ConfigMap",
            json!({}),
            json!({"propagationPolicy": "Foreground"}),
            marked(&["foregroundDeletion"], 0, 0),
            false,
        ),
        (
            "ConfigMap",
            json!({}),
            json!({"propagationPolicy": "Orphan"}),
            marked(&["orphan"], 0, 0),
            false,
        ),
        (
            "ConfigMap",
            json!({}),
            json!({"propagationPolicy": "Background"}),
            None,
            true,
        ),
        (
            "ConfigMap",
            with(json!(["orphan"])),
            json!({"propagationPolicy": "Background"}),
            None,
            true,
        ),
        (
            "ReplicationController",
            json!({"metadata": {"generation": 1}}),
            json!({}),
            marked(&["orphan"], 0, 2),
            false,
        ),
    ];
    for (kind, object, options, step, gone) in rows {
        assert_eq!(
            planned(kind, object.clone(), options.clone()),
            (step, gone),
            "{object} {options}"
        );
    }
}

#[test]
fn pods_have_grace_once_they_are_bound_and_until_they_are_over() {
    let pod = |spec: Value, phase: &str| json!({"metadata": {"generation": 1}, "spec": spec, "status": {"phase": phase}});
    let bound = || {
        pod(
            json!({"nodeName": "n", "terminationGracePeriodSeconds": 7}),
            "Running",
        )
    };
    let rows = [
        (
            pod(json!({}), "Pending"),
            json!({}),
            marked(&[], 0, 2),
            true,
        ),
        (
            pod(json!({"nodeName": "n"}), "Running"),
            json!({}),
            marked(&[], 30, 2),
            false,
        ),
        (bound(), json!({}), marked(&[], 7, 2), false),
        (
            bound(),
            json!({"gracePeriodSeconds": 3}),
            marked(&[], 3, 2),
            false,
        ),
        (
            bound(),
            json!({"gracePeriodSeconds": -1}),
            marked(&[], 1, 2),
            false,
        ),
        (
            bound(),
            json!({"gracePeriodSeconds": 0}),
            marked(&[], 0, 2),
            true,
        ),
        (
            pod(json!({"nodeName": "n"}), "Succeeded"),
            json!({}),
            marked(&[], 0, 2),
            true,
        ),
    ];
    for (object, options, step, gone) in rows {
        assert_eq!(
            planned("Pod", object.clone(), options.clone()),
            (step, gone),
            "{object} {options}"
        );
    }
}

#[test]
fn grace_of_a_deleted_pod_only_gets_shorter() {
    let pod = json!({
        "metadata": {"generation": 2, "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30},
        "spec": {"nodeName": "n"},
    });
    let rows = [
        (json!({}), None, false),
        (json!({"gracePeriodSeconds": 60}), None, false),
        (json!({"gracePeriodSeconds": 5}), marked(&[], 5, 2), false),
        (json!({"gracePeriodSeconds": 0}), marked(&[], 0, 2), true),
    ];
    for (options, step, gone) in rows {
        assert_eq!(
            planned("Pod", pod.clone(), options.clone()),
            (step, gone),
            "{options}"
        );
    }
}

#[test]
fn namespace_is_marked_first_and_goes_when_it_is_empty() {
    let resource = Table::builtin()
        .by_kind("", "v1", "Namespace")
        .expect("built in");
    let namespace = json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let step = plan(resource, namespace, &Options::default());
    let mut marked = step.marked.expect("marked");
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(!step.gone);
    assert!(!plan(resource, marked.clone(), &Options::default()).gone);
    marked["spec"]["finalizers"] = json!([]);
    assert!(plan(resource, marked, &Options::default()).gone);
}
