use serde_json::json;

use super::*;
use crate::decode::{Format, decode};
use crate::resource::Table;
use crate::schema::Schema;

const TIME: &str = "2026-01-01T00:00:00Z";

/// One object of a kind and those who write it.
struct Scene {
    gvk: GroupVersionKind,
    ty: Type<'static>,
    object: Option<Value>,
    reset: FieldSet,
}

impl Scene {
    fn of(group: &str, kind: &str) -> Scene {
        let gvk = Table::builtin()
            .by_kind(group, "v1", kind)
            .expect("a built-in kind")
            .gvk();
        let ty = Schema::builtin()
            .kind(group, "v1", kind)
            .expect("a built-in kind");
        Scene {
            gvk,
            ty,
            object: None,
            reset: FieldSet::of_names(&[&["status"]]),
        }
    }

    fn writer<'a>(&'a self, manager: &'a str, api_version: &'a str) -> Writer<'a> {
        Writer {
            manager,
            api_version,
            subresource: "",
            time: TIME,
            reset: &self.reset,
        }
    }

    fn try_apply(
        &self,
        manager: &str,
        mut config: Value,
        force: bool,
    ) -> Result<Value, ApplyError> {
        let api_version = self.gvk.api_version().into_owned();
        config["apiVersion"] = json!(api_version);
        config["kind"] = json!(self.gvk.kind);
        let writer = self.writer(manager, &api_version);
        apply(
            self.object.as_ref(),
            &config,
            self.ty,
            &self.gvk,
            &writer,
            force,
        )
    }

    fn apply(&mut self, manager: &str, config: Value) {
        let applied = self.try_apply(manager, config, false).expect("no conflict");
        self.store(applied);
    }

    fn update(&mut self, manager: &str, change: impl FnOnce(&mut Value)) {
        let mut new = self.object.clone().unwrap_or_else(|| json!({}));
        change(&mut new);
        let decoded = decode(
            new.to_string().as_bytes(),
            Format::Json,
            &self.gvk,
            Schema::builtin(),
        );
        let mut new = decoded.expect("an object of the kind").object;
        let api_version = self.gvk.api_version().into_owned();
        update_managers(
            self.object.as_ref(),
            &mut new,
            self.ty,
            &self.writer(manager, &api_version),
        );
        self.store(new);
    }

    fn store(&mut self, mut object: Value) {
        tidy::tidy(&mut object, self.ty);
        object["metadata"]["uid"] = json!("u");
        self.object = Some(object);
    }

    fn object(&self) -> &Value {
        self.object.as_ref().expect("stored")
    }

    /// Manager, operation and fields of every entry.
    fn owners(&self) -> Value {
        let entries = self.object()["metadata"]
            .get("managedFields")
            .and_then(Value::as_array);
        entries
            .into_iter()
            .flatten()
            .map(|e| json!([e["manager"], e["operation"], e["fieldsV1"]]))
            .collect()
    }
}

fn config_map(data: Value) -> Value {
    json!({"metadata": {"name": "a"}, "data": data})
}

#[test]
fn creating_and_updating_owns_what_changed() {
    let mut scene = Scene::of("", "ConfigMap");
    scene.update(
        "creator",
        |o| *o = json!({"metadata": {"name": "a", "labels": {"l": "1"}}, "data": {"a": "1"}}),
    );
    let labels = json!({"f:labels": {".": {}, "f:l": {}}});
    assert_eq!(
        scene.owners(),
        json!([["creator", "Update", {"f:data": {".": {}, "f:a": {}}, "f:metadata": labels}]])
    );
    scene.update("editor", |o| o["data"] = json!({"a": "2", "b": "3"}));
    assert_eq!(
        scene.owners(),
        json!([
            ["creator", "Update", {"f:data": {}, "f:metadata": labels}],
            ["editor", "Update", {"f:data": {"f:a": {}, "f:b": {}}}],
        ])
    );
    scene.update("editor", |o| o["data"] = Value::Null);
    assert_eq!(
        scene.owners(),
        json!([["creator", "Update", {"f:metadata": labels}]])
    );
    scene.update("editor", |o| o["metadata"]["managedFields"] = json!([{}]));
    scene.update("editor", |o| o["data"] = json!({"z": "1"}));
    assert_eq!(
        scene.owners(),
        json!([]),
        "once forgotten, updates are not tracked"
    );
}

#[test]
fn structs_that_go_always_writes_are_not_owned_but_pointers_are() {
    let mut scene = Scene::of("apps", "Deployment");
    scene.update("rec", |o| {
        *o = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    });
    assert_eq!(
        scene.owners(),
        json!([["rec", "Update", {"f:spec": {
            "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}},
            },
        }}]])
    );
}

#[test]
fn appliers_share_lose_and_win_fields() {
    let mut scene = Scene::of("", "ConfigMap");
    scene.apply("m1", config_map(json!({"a": "1", "b": "2"})));
    let shared = scene
        .try_apply("m2", config_map(json!({"a": "1"})), false)
        .expect("equal values are shared");
    assert_eq!(
        shared["metadata"]["managedFields"][0].get("time"),
        None,
        "nothing changed, so there is no time"
    );
    scene.store(shared);
    let error = scene
        .try_apply("m2", config_map(json!({"a": "9"})), false)
        .expect_err("m1 has it");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"m1\": .data.a"
    );
    let error = scene
        .try_apply("m2", config_map(json!({"a": "9", "b": "9"})), false)
        .expect_err("m1 has both");
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b"
    );
    let forced = scene
        .try_apply("m2", config_map(json!({"a": "9"})), true)
        .expect("forced");
    scene.store(forced);
    assert_eq!(
        scene.owners(),
        json!([["m1", "Apply", {"f:data": {"f:b": {}}}], ["m2", "Apply", {"f:data": {"f:a": {}}}]])
    );
    scene.update("editor", |o| o["data"]["b"] = json!("edited"));
    let error = scene
        .try_apply("m1", config_map(json!({"b": "2"})), false)
        .expect_err("the editor has it");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.b"
    );
    scene.apply("m2", config_map(json!({})));
    assert_eq!(
        scene.object()["data"],
        json!({"b": "edited"}),
        "what only m2 applied goes"
    );
}

#[test]
fn objects_that_nobody_applied_belong_to_before_first_apply() {
    let mut scene = Scene::of("", "ConfigMap");
    scene.store(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "9"}}));
    let error = scene
        .try_apply("m1", config_map(json!({"a": "5"})), false)
        .expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
    scene.apply("m1", config_map(json!({"b": "5"})));
    assert_eq!(scene.object()["data"], json!({"a": "9", "b": "5"}));
}

#[test]
fn keyed_lists_merge_by_item_and_keys_have_defaults() {
    let mut scene = Scene::of("", "Service");
    let ports = |ports: Value| json!({"metadata": {"name": "s"}, "spec": {"ports": ports}});
    scene.apply("m1", ports(json!([{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "w", "port": 80}])));
    scene.apply("m2", ports(json!([{"name": "x", "port": 81}])));
    scene.apply("m1", ports(json!([{"name": "w", "port": 80}])));
    let names: Vec<_> = scene.object()["spec"]["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(names, ["w", "x"], "m1's other items go, m2's stays");
    let port = |port: u16| json!({format!("k:{{\"port\":{port},\"protocol\":\"TCP\"}}"): {".": {}, "f:name": {}, "f:port": {}}});
    assert_eq!(
        scene.owners(),
        json!([
            ["m1", "Apply", {"f:spec": {"f:ports": port(80)}}],
            ["m2", "Apply", {"f:spec": {"f:ports": port(81)}}],
        ])
    );
}

#[test]
fn applied_order_wins_over_the_stored_one() {
    let pod = |containers: &[&str]| {
        let containers: Vec<_> = containers
            .iter()
            .map(|name| json!({"name": name, "image": "i"}))
            .collect();
        json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
    };
    for (live, config, merged) in [
        (&["a", "b"][..], &["c", "b"][..], &["a", "c", "b"][..]),
        (&["c"], &["side", "c"], &["side", "c"]),
        (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        (&["x", "a", "y"], &["a", "b"], &["x", "a", "y", "b"]),
    ] {
        let mut scene = Scene::of("", "Pod");
        scene.apply("m1", pod(live));
        scene.apply("m2", pod(config));
        let names: Vec<_> = scene.object()["spec"]["containers"]
            .as_array()
            .expect("containers")
            .iter()
            .map(|c| &c["name"])
            .collect();
        assert_eq!(names, merged, "{live:?} with {config:?}");
    }
}

#[test]
fn configurations_that_are_refused() {
    let scene = Scene::of("apps", "Deployment");
    let typed = "failed to create typed patch object (/d; apps/v1, Kind=Deployment): ";
    let of_spec = |spec: Value| json!({"metadata": {"name": "d"}, "spec": spec});
    let containers = |list: Value| of_spec(json!({"template": {"spec": {"containers": list}}}));
    for (config, error) in [
        (
            containers(json!([{"name": "c"}, {"name": "c"}])),
            format!(
                "{typed}.spec.template.spec.containers: duplicate entries for key [name=\"c\"]"
            ),
        ),
        (
            of_spec(json!({"foo": 1})),
            format!("{typed}.spec.foo: field not declared in schema"),
        ),
        (
            of_spec(json!("x")),
            format!("{typed}.spec: expected map, got &{{x}}"),
        ),
        (
            of_spec(json!({"replicas": "x"})),
            format!("{typed}.spec.replicas: expected numeric (int or float), got string"),
        ),
        (
            json!({"metadata": {"name": "d", "managedFields": []}}),
            "metadata.managedFields must be nil".to_owned(),
        ),
    ] {
        assert_eq!(
            scene
                .try_apply("m", config, false)
                .expect_err(&error)
                .to_string(),
            error
        );
    }
    let wrong = apply(
        None,
        &json!({"apiVersion": "v1", "kind": "Secret"}),
        scene.ty,
        &scene.gvk,
        &scene.writer("m", "apps/v1"),
        false,
    );
    assert_eq!(
        wrong.expect_err("another kind").to_string(),
        "invalid object type: /v1, Kind=Secret"
    );
}

#[test]
fn kubectl_may_take_what_it_applied_by_itself_before() {
    let mut scene = Scene::of("", "ConfigMap");
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}});
    scene.update("kubectl-client-side-apply", |o| {
        *o = json!({"metadata": {"name": "a", "annotations": {LAST_APPLIED: last.to_string()}}, "data": {"a": "1"}});
    });
    assert!(
        scene
            .try_apply("other", config_map(json!({"a": "2"})), false)
            .is_err()
    );
    scene.apply("kubectl", config_map(json!({"a": "2"})));
    assert_eq!(scene.object()["data"], json!({"a": "2"}));
    let record = scene.object()["metadata"]["annotations"][LAST_APPLIED]
        .as_str()
        .expect("kubectl's record");
    assert!(record.contains("\"a\":\"2\""), "{record}");
}

#[test]
fn old_updaters_are_merged() {
    let mut scene = Scene::of("", "ConfigMap");
    for i in 0..14 {
        scene.update(&format!("m{i:02}"), |o| {
            o["metadata"]["name"] = json!("a");
            o["data"][format!("k{i}")] = json!("v");
        });
    }
    let owners = scene.owners();
    let names: Vec<_> = owners
        .as_array()
        .expect("entries")
        .iter()
        .map(|e| &e[0])
        .collect();
    assert_eq!(names.len(), 10);
    assert_eq!(names[0], "ancient-changes");
}
