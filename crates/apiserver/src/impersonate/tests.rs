//! Who may act as whom.

use http::Method;
use karve_store::{Op, Store, Value};
use serde_json::json;

use super::*;
use crate::path;
use crate::query::Query;

fn store(directory: &std::path::Path) -> Store {
    let store = Store::open(directory.join("state.db"), Default::default()).expect("opens");
    let role = json!({"rules": [
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["eve"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["dev"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/acme.com/scopes"]},
        {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users"]},
        {"verbs": ["impersonate-on:user-info:list"], "apiGroups": [""], "resources": ["pods"]}]});
    let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "me"}]});
    let put =
        |key: &str, value: &serde_json::Value| Op::create(key, Value::plain(value.to_string()));
    let ops = vec![
        put("/rbac.authorization.k8s.io/clusterroles/r", &role),
        put("/rbac.authorization.k8s.io/clusterrolebindings/b", &binding),
    ];
    store.commit_blocking(ops).expect("stored");
    store
}

fn act(
    authorizer: &Authorizer,
    own: Identity,
    headers: &[(&'static str, &str)],
) -> Result<String, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a header"));
    }
    let target = path::parse("/api/v1/pods");
    let query = Query::parse(None);
    let request = Request::new(&Method::GET, &target, &query);
    match identity(authorizer, own, &request, &map) {
        Ok(who) => Ok(format!(
            "{} {} {:?}",
            who.user,
            who.groups.join(","),
            who.extra
        )),
        Err(refusal) => Err(refusal.status().message.clone()),
    }
}

#[test]
fn rules_say_who_acts_as_whom() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let authorizer = Authorizer::new(store(directory.path()));
    let me = |headers: &[(&'static str, &str)]| {
        act(&authorizer, Identity::authenticated("me", []), headers)
    };
    let user = ("impersonate-user", "eve");
    assert_eq!(me(&[]).as_deref(), Ok("me system:authenticated {}"));
    assert_eq!(me(&[user]).as_deref(), Ok("eve system:authenticated {}"));
    assert_eq!(
        me(&[user, ("impersonate-group", "dev")]).as_deref(),
        Ok("eve dev,system:authenticated {}")
    );
    let scopes = ("impersonate-extra-acme.com%2fscopes", "view");
    let want = "eve system:authenticated {\"acme.com/scopes\": [\"view\"]}";
    assert_eq!(me(&[user, scopes]).as_deref(), Ok(want));
    // Only for lists, and only with the user's name: a constrained mode.
    assert_eq!(
        me(&[("impersonate-user", "adam")]).as_deref(),
        Ok("adam system:authenticated {}")
    );
    let account = ("impersonate-user", "system:serviceaccount:a:bot");
    let want = "system:serviceaccount:a:bot system:serviceaccounts,system:serviceaccounts:a,system:authenticated {}";
    assert_eq!(me(&[account]).as_deref(), Ok(want));
    let refused = me(&[user, ("impersonate-group", MASTERS)]).expect_err("no such right");
    assert_eq!(
        refused,
        "groups.authentication.k8s.io \"system:masters\" is forbidden: User \"me\" cannot impersonate:user-info resource \
         \"groups\" in API group \"authentication.k8s.io\" at the cluster scope: impersonating the system:masters group is \
         not allowed"
    );
    let alone = me(&[("impersonate-group", "dev")]).expect_err("nobody to be");
    let want = "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"dev\"}, Extra:map[string][]string(nil)} \
                without impersonating a user name";
    assert_eq!(alone, want);
}

#[test]
fn strangers_act_as_nobody_and_administrators_as_anybody() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let authorizer = Authorizer::new(store(directory.path()));
    let eve = ("impersonate-user", "eve");
    let refused =
        act(&authorizer, Identity::authenticated("stranger", []), &[eve]).expect_err("no rights");
    let want = "pods is forbidden: User \"stranger\" cannot impersonate-on:user-info:list resource \"pods\" in API group \
                \"\" at the cluster scope";
    assert_eq!(refused, want);
    let admin = Identity::authenticated("admin", [MASTERS.to_owned()]);
    let anonymous = act(
        &authorizer,
        admin.clone(),
        &[("impersonate-user", "system:anonymous")],
    );
    assert_eq!(
        anonymous.as_deref(),
        Ok("system:anonymous system:unauthenticated {}")
    );
    let node = act(
        &authorizer,
        admin,
        &[("impersonate-user", "system:node:n1")],
    );
    assert_eq!(
        node.as_deref(),
        Ok("system:node:n1 system:nodes,system:authenticated {}")
    );
}
