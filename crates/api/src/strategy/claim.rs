//! What a PersistentVolumeClaim is filled from: `dataSource`, and `dataSourceRef` that came after it (KEP-1495).

use serde_json::{Value, json};

fn is_set(spec: &Value, member: &str) -> bool {
    spec.get(member).is_some_and(|v| !v.is_null())
}

fn text<'a>(node: &'a Value, member: &str) -> &'a str {
    node.get(member).and_then(Value::as_str).unwrap_or("")
}

/// Makes the two fields of a written claim say the same. Sources that the old field never took are forgotten, and so is a
/// reference into another namespace, whose feature is off.
pub(super) fn prepare(old: Option<&Value>, new: &mut Value) {
    let old = old.map(|old| &old["spec"]);
    let spec = &mut new["spec"];
    let Some(members) = spec.as_object_mut() else {
        return;
    };
    let reference = members.get("dataSourceRef").unwrap_or(&Value::Null);
    let stored = |member: &str| old.is_some_and(|old| is_set(old, member));
    if !text(reference, "namespace").is_empty() && !stored("dataSourceRef") {
        members.remove("dataSourceRef");
    }
    let in_use = stored("dataSource") || stored("dataSourceRef");
    let known = |source: &Value| {
        matches!(
            (text(source, "apiGroup"), text(source, "kind")),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    if !in_use
        && !is_set(spec, "dataSourceRef")
        && !known(&spec["dataSource"])
        && let Some(members) = spec.as_object_mut()
    {
        members.remove("dataSource");
    }
    normalize(spec);
}

/// Fills the field of the two that is not set.
pub(super) fn normalize(spec: &mut Value) {
    let copy = |from: &Value| {
        let mut to = json!({"kind": text(from, "kind"), "name": text(from, "name")});
        if let Some(group) = from.get("apiGroup").filter(|g| !g.is_null()) {
            to["apiGroup"] = group.clone();
        }
        to
    };
    match (is_set(spec, "dataSource"), is_set(spec, "dataSourceRef")) {
        (true, false) => spec["dataSourceRef"] = copy(&spec["dataSource"]),
        (false, true) if text(&spec["dataSourceRef"], "namespace").is_empty() => {
            spec["dataSource"] = copy(&spec["dataSourceRef"]);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fields_say_the_same() {
        let snapshot =
            json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
        let other = json!({"apiGroup": "x.io", "kind": "Image", "name": "i"});
        let away = json!({"kind": "PersistentVolumeClaim", "name": "c", "namespace": "n"});
        let table = [
            (
                json!({"dataSource": snapshot}),
                json!({"dataSource": snapshot, "dataSourceRef": snapshot}),
            ),
            (
                json!({"dataSourceRef": other}),
                json!({"dataSource": other, "dataSourceRef": other}),
            ),
            (json!({"dataSource": other}), json!({})),
            (json!({"dataSourceRef": away}), json!({})),
        ];
        for (spec, want) in table {
            let mut claim = json!({"spec": spec});
            prepare(None, &mut claim);
            assert_eq!(claim["spec"], want);
        }
    }
}
