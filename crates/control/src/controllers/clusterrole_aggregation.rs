//! ClusterRoles with an aggregation rule hold the rules of the ClusterRoles that it selects.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    queue::{Outcome, Queue},
    selector,
    watch::Key,
    write::{self, Writer},
};

const PARALLEL: usize = 2;
/// Who owns the rules that were gathered.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// Runs the controller until shutdown. Keys are ClusterRoles.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let roles = Arc::clone(&context.kinds.cluster_roles);
    let changed = queue.clone();
    // Whatever changes may be selected by any of them.
    roles.subscribe({
        let roles = Arc::clone(&roles);
        move |change| {
            let all = roles.all();
            let changing = change.new.cloned();
            let gathering = all
                .iter()
                .chain(&changing)
                .filter(|role| role.aggregation_rule.is_some());
            changed.add_all(gathering.map(|role| Key::of(&**role)));
        }
    });
    let writer = Writer::new(&context.client, &roles);
    let reconcile = move |key: Key| {
        let (roles, writer) = (Arc::clone(&roles), writer.clone());
        async move {
            let Some(role) = roles.get(&key) else {
                return Ok(Outcome::Settled);
            };
            match plan(&role, &roles.all()) {
                None => Ok(Outcome::Settled),
                Some(rules) => apply(&writer, &key, &rules).await,
            }
        }
    };
    queue
        .run("clusterrole-aggregation", PARALLEL, shutdown, reconcile)
        .await;
}

async fn apply(
    writer: &Writer<ClusterRole>,
    key: &Key,
    rules: &[PolicyRule],
) -> Result<Outcome, write::Error> {
    let applied = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": &*key.name},
        "rules": rules,
    });
    match writer.apply(key, MANAGER, applied).await {
        Err(err) if !err.is_not_found() => Err(err),
        _ => Ok(Outcome::Settled),
    }
}

/// The rules that the role is to have, when it has others.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role
        .aggregation_rule
        .as_ref()?
        .cluster_role_selectors
        .as_ref();
    let mut sorted: Vec<&ClusterRole> = all.iter().map(|role| &**role).collect();
    sorted.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for chosen in selectors.into_iter().flatten() {
        let matching = sorted.iter().filter(|other| {
            other.metadata.name != role.metadata.name
                && selector::matches(chosen, other.metadata.labels.as_ref())
        });
        for rule in matching.flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    let have = role.rules.as_deref().unwrap_or_default();
    (have != rules).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(
        name: &str,
        label: Option<&str>,
        gathers: Option<&str>,
        verbs: &[&str],
    ) -> Arc<ClusterRole> {
        let rules: Vec<_> = verbs
            .iter()
            .map(|verb| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}))
            .collect();
        let mut role = json!({"metadata": {"name": name}, "rules": rules});
        if let Some(label) = label {
            role["metadata"]["labels"] = json!({label: "true"});
        }
        if let Some(label) = gathers {
            role["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        Arc::new(serde_json::from_value(role).expect("a role"))
    }

    #[test]
    fn rules_are_gathered_by_name_and_once() {
        let view = role("view", Some("edit"), Some("view"), &[]);
        let all = [
            view.clone(),
            role("b", Some("view"), None, &["list", "get"]),
            role("a", Some("view"), None, &["get"]),
            role("c", Some("other"), None, &["delete"]),
        ];
        let rules = plan(&view, &all).expect("there is something to gather");
        let verbs: Vec<&str> = rules.iter().map(|r| r.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "list"]);
        let full = role("view", Some("edit"), Some("view"), &["get", "list"]);
        assert_eq!(plan(&full, &all), None);
        assert_eq!(plan(&all[1], &all), None);
    }
}
