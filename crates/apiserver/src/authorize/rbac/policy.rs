//! The roles and bindings that every cluster has: `data/rbac.txt`, upstream's and karve's own.
//!
//! At each start what is missing of them is added; what a cluster has beyond them stays, and an object whose annotation
//! `rbac.authorization.kubernetes.io/autoupdate` is `false` is left alone. As upstream.

use serde_json::{Map, Value, json};

use super::{Rule, rule};

const POLICY: &str = include_str!("../../../data/rbac.txt");
const AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const API_GROUP: &str = "rbac.authorization.k8s.io";

/// The objects, complete but for uid and time.
pub fn wanted() -> Vec<Value> {
    let mut objects = Vec::new();
    for line in POLICY.lines().filter(|line| !line.starts_with('#')) {
        match (line.strip_prefix("  "), objects.last_mut()) {
            (Some(rule), Some(role)) => push(role, "rules", parse_rule(rule)),
            _ => objects.push(parse_head(line)),
        }
    }
    objects
}

fn push(object: &mut Value, member: &str, item: Value) {
    if let Some(list) = object[member].as_array_mut() {
        list.push(item);
    } else {
        object[member] = json!([item]);
    }
}

fn texts(list: &str) -> Vec<&str> {
    list.split(',')
        .map(|t| if t == "core" { "" } else { t })
        .collect()
}

/// `VERBS GROUPS RESOURCES [NAMES]` or `VERBS url PATHS`.
fn parse_rule(line: &str) -> Value {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (verbs, groups, resources, names) = (texts(next()), next(), next(), next());
    let resources = texts(resources);
    match (groups, names) {
        ("url", _) => json!({"verbs": verbs, "nonResourceURLs": resources}),
        (groups, "") => json!({"verbs": verbs, "apiGroups": texts(groups), "resources": resources}),
        (groups, names) => {
            json!({"verbs": verbs, "apiGroups": texts(groups), "resources": resources, "resourceNames": texts(names)})
        }
    }
}

/// `KIND [NAMESPACE/]NAME …`, then what the kind has.
fn parse_head(line: &str) -> Value {
    let mut words = line.split(' ');
    let (kind, name) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut labels = Map::from_iter([(
        "kubernetes.io/bootstrapping".to_owned(),
        "rbac-defaults".into(),
    )]);
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}},
    });
    if let (false, Some((namespace, name))) = (kind.starts_with("Cluster"), name.split_once('/')) {
        object["metadata"]["namespace"] = namespace.into();
        object["metadata"]["name"] = name.into();
    }
    for word in words {
        if let Some(from) = word.strip_prefix("from=") {
            let labels = Map::from_iter([(format!("{AGGREGATE_TO}{from}"), "true".into())]);
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        } else if let Some(to) = word.strip_prefix("to=") {
            labels.insert(format!("{AGGREGATE_TO}{to}"), "true".into());
        } else if let Some((kind, name)) = word.split_once(':') {
            match object.get("roleRef") {
                None => {
                    object["roleRef"] = json!({"apiGroup": API_GROUP, "kind": kind, "name": name})
                }
                Some(_) => push(&mut object, "subjects", subject(kind, name)),
            }
        }
    }
    object["metadata"]["labels"] = Value::Object(labels);
    if kind.ends_with("Role") {
        object["rules"] = Value::Null;
    }
    object
}

fn subject(kind: &str, name: &str) -> Value {
    match name.split_once('/').filter(|_| kind == "ServiceAccount") {
        Some((namespace, name)) => json!({"kind": kind, "name": name, "namespace": namespace}),
        None => json!({"kind": kind, "apiGroup": API_GROUP, "name": name}),
    }
}

/// A stored object with what it lacks of the wanted one; `None` when it lacks nothing.
pub fn reconciled(stored: &Value, wanted: &Value) -> Option<Value> {
    if stored["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let mut next = stored.clone();
    for member in ["labels", "annotations"] {
        for (name, value) in wanted["metadata"][member].as_object().into_iter().flatten() {
            if next["metadata"][member].get(name).is_none() {
                next["metadata"][member][name] = value.clone();
            }
        }
    }
    let selectors = &wanted["aggregationRule"]["clusterRoleSelectors"];
    add_missing(
        &mut next["aggregationRule"],
        "clusterRoleSelectors",
        selectors,
    );
    if selectors.is_null() {
        add_rules(&mut next, wanted);
    }
    add_missing(&mut next, "subjects", &wanted["subjects"]);
    // A role that is referred to is never another one; upstream makes the binding anew.
    if !wanted["roleRef"].is_null() && next["roleRef"] != wanted["roleRef"] {
        next["roleRef"] = wanted["roleRef"].clone();
        next["subjects"] = wanted["subjects"].clone();
    }
    if next["aggregationRule"].is_null() {
        next.as_object_mut()?.remove("aggregationRule");
    }
    if next["subjects"].is_null() {
        next.as_object_mut()?.remove("subjects");
    }
    (next != *stored).then_some(next)
}

fn add_missing(object: &mut Value, member: &str, wanted: &Value) {
    for item in wanted.as_array().into_iter().flatten() {
        let there = object[member]
            .as_array()
            .is_some_and(|list| list.contains(item));
        if !there {
            push(object, member, item.clone());
        }
    }
}

fn add_rules(role: &mut Value, wanted: &Value) {
    let rules = |object: &Value| -> Vec<Rule> {
        let list = object["rules"].as_array().into_iter().flatten();
        list.filter_map(|r| serde_json::from_value(r.clone()).ok())
            .collect()
    };
    let (have, want) = (rules(role), rules(wanted));
    let have: Vec<&Rule> = have.iter().collect();
    let missing: Vec<Value> = rule::missing(&have, &want)
        .map(|rule| rule.shown())
        .collect();
    for rule in missing {
        push(role, "rules", rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_is_whole() {
        let objects = wanted();
        let named = |kind: &str, name: &str| {
            objects
                .iter()
                .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
                .expect(name)
                .clone()
        };
        assert_eq!(
            named("ClusterRole", "cluster-admin")["rules"],
            json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}])
        );
        assert_eq!(
            named("ClusterRole", "edit")["metadata"]["labels"],
            json!({"kubernetes.io/bootstrapping": "rbac-defaults", "rbac.authorization.k8s.io/aggregate-to-admin": "true"})
        );
        let signer = named("RoleBinding", "system:controller:bootstrap-signer");
        assert_eq!(
            signer["subjects"],
            json!([{"kind": "ServiceAccount", "name": "bootstrap-signer", "namespace": "kube-system"}])
        );
        let roles = |kind: &str| {
            objects
                .iter()
                .filter(|o| o["kind"] == kind)
                .map(|o| o["metadata"]["name"].clone())
                .collect::<Vec<_>>()
        };
        let cluster_roles = roles("ClusterRole");
        for binding in objects.iter().filter(|o| o["kind"] == "ClusterRoleBinding") {
            assert!(
                cluster_roles.contains(&binding["roleRef"]["name"]),
                "{binding}"
            );
        }
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let objects = wanted();
        for object in &objects {
            assert_eq!(reconciled(object, object), None, "{object}");
        }
        let view = objects
            .iter()
            .find(|o| o["metadata"]["name"] == "system:discovery")
            .expect("there");
        let mut less = view.clone();
        less["rules"] = json!([{"verbs": ["get"], "nonResourceURLs": ["/api*", "/mine", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz"]}]);
        let more = reconciled(&less, view).expect("lacks something");
        let added: Vec<&Value> = more["rules"]
            .as_array()
            .expect("list")
            .iter()
            .skip(1)
            .map(|r| &r["nonResourceURLs"][0])
            .collect();
        assert_eq!(added, ["/version", "/version/"]);
        less["metadata"]["annotations"][AUTOUPDATE] = "false".into();
        assert_eq!(reconciled(&less, view), None);
    }
}
