//! The evaluator against small clusters.

use serde_json::{Value, json};

use super::*;
use crate::authorize::Decision;

fn rbac(objects: &[(&str, Value)]) -> Rbac {
    let mut rbac = Rbac::default();
    for (key, object) in objects {
        let key = format!("/rbac.authorization.k8s.io/{key}");
        rbac.apply(&key, Some(object.to_string().as_bytes()));
    }
    rbac
}

fn small() -> Rbac {
    let role = |kind: &str, name: &str| json!({"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    rbac(&[
        (
            "roles/a/reader",
            json!({"rules": [
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["x"]},
                {"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}]}),
        ),
        (
            "clusterroles/urls",
            json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]}]}),
        ),
        (
            "rolebindings/a/b",
            json!({"roleRef": role("Role", "reader"), "subjects": [{"kind": "ServiceAccount", "name": "bot"}]}),
        ),
        (
            "rolebindings/a/dangling",
            json!({"roleRef": role("Role", "none"), "subjects": [{"kind": "User", "name": "eve"}]}),
        ),
        (
            "clusterrolebindings/c",
            json!({"roleRef": role("ClusterRole", "urls"), "subjects": [{"kind": "Group", "name": "dev"}]}),
        ),
    ])
}

#[test]
fn rules_allow_what_their_subjects_ask() {
    let rbac = small();
    let bot = Identity::authenticated("system:serviceaccount:a:bot", []);
    let dev = Identity::authenticated("someone", ["dev".to_owned()]);
    let reason =
        "RBAC: allowed by RoleBinding \"b/a\" of Role \"reader\" to ServiceAccount \"bot/a\"";
    let of = |user, verb, resource, name, namespace| Attributes {
        name,
        namespace,
        ..Attributes::resource(user, verb, "", resource)
    };
    let log = Attributes {
        subresource: "log",
        ..of(&bot, "get", "pods", "p", "a")
    };
    let metrics =
        "RBAC: allowed by ClusterRoleBinding \"c\" of ClusterRole \"urls\" to Group \"dev\"";
    let rows = [
        (of(&bot, "get", "configmaps", "x", "a"), Some(reason)),
        (of(&bot, "get", "configmaps", "y", "a"), None),
        (of(&bot, "list", "configmaps", "", "a"), None),
        (of(&bot, "get", "configmaps", "x", "b"), None),
        (of(&bot, "get", "configmaps", "x", ""), None),
        (log, Some(reason)),
        (of(&bot, "get", "pods", "p", "a"), None),
        (of(&dev, "get", "configmaps", "x", "a"), None),
        (Attributes::path(&dev, "get", "/metrics"), Some(metrics)),
        (Attributes::path(&dev, "get", "/logs/x"), Some(metrics)),
        (Attributes::path(&dev, "get", "/metrics/x"), None),
        (Attributes::path(&bot, "get", "/metrics"), None),
    ];
    for (asked, want) in rows {
        let outcome = rbac.decide(&asked);
        let have = outcome.allowed().then_some(&*outcome.reason);
        assert_eq!(have, want, "{asked:?}");
    }
}

#[test]
fn missing_roles_are_named() {
    let rbac = small();
    let eve = Identity::authenticated("eve", []);
    let asked = Attributes {
        namespace: "a",
        ..Attributes::resource(&eve, "get", "", "pods")
    };
    let outcome = rbac.decide(&asked);
    assert_eq!(outcome.decision, Decision::NoOpinion);
    assert_eq!(
        outcome.reason,
        "RBAC: role.rbac.authorization.k8s.io \"none\" not found"
    );
}

#[test]
fn what_is_gone_allows_nothing() {
    let mut rbac = small();
    let dev = Identity::authenticated("someone", ["dev".to_owned()]);
    let asked = Attributes::path(&dev, "get", "/metrics");
    assert!(rbac.decide(&asked).allowed());
    rbac.apply("/rbac.authorization.k8s.io/clusterrolebindings/c", None);
    assert_eq!(rbac.decide(&asked), Outcome::none(""));
    assert!(!rbac.scopes.contains_key(""));
}
