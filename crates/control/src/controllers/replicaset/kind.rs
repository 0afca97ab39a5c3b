//! What the engine has to know of a kind of sets.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus},
        core::v1::{
            ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    selector,
    watch::{Kinds, Store},
    write::status_patch,
};

type Labels = BTreeMap<String, String>;

/// A kind of objects that keep a number of pods.
pub(super) trait Replicated:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
    /// The controller's name in logs.
    const NAME: &'static str;
    /// The controller's name in events.
    const COMPONENT: &'static str;

    fn store(kinds: &Kinds) -> &Arc<Store<Self>>;
    /// The object, read as a ReplicaSet.
    fn as_set(object: &Arc<Self>) -> Arc<ReplicaSet>;
    fn selects(&self, labels: Option<&Labels>) -> bool;
    /// The patch that makes `new` the object's status, if it is not.
    fn status_patch(&self, new: &ReplicaSetStatus) -> Option<Value>;
}

impl Replicated for ReplicaSet {
    const NAME: &'static str = "replicaset";
    const COMPONENT: &'static str = "replicaset-controller";

    fn store(kinds: &Kinds) -> &Arc<Store<Self>> {
        &kinds.replica_sets
    }

    fn as_set(object: &Arc<Self>) -> Arc<ReplicaSet> {
        Arc::clone(object)
    }

    fn selects(&self, labels: Option<&Labels>) -> bool {
        selector::matches(&self.spec.selector, labels)
    }

    fn status_patch(&self, new: &ReplicaSetStatus) -> Option<Value> {
        status_patch(self, &self.status.clone().unwrap_or_default(), new)
    }
}

impl Replicated for ReplicationController {
    const NAME: &'static str = "replicationcontroller";
    const COMPONENT: &'static str = "replication-controller";

    fn store(kinds: &Kinds) -> &Arc<Store<Self>> {
        &kinds.replication_controllers
    }

    fn as_set(object: &Arc<Self>) -> Arc<ReplicaSet> {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().map(|status| ReplicaSetStatus {
            conditions: status
                .conditions
                .map(|list| list.into_iter().map(as_set_condition).collect()),
            ..ReplicaSetStatus::default()
        });
        Arc::new(ReplicaSet {
            metadata: object.metadata.clone(),
            spec: ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: spec.replicas,
                selector: LabelSelector {
                    match_labels: spec.selector,
                    match_expressions: None,
                },
                template: spec.template,
            },
            status,
        })
    }

    /// An empty selector selects nothing: the server replaces it by the labels of the template.
    fn selects(&self, labels: Option<&Labels>) -> bool {
        let selector = self.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|wanted| !wanted.is_empty() && selector::contains(wanted, labels))
    }

    fn status_patch(&self, new: &ReplicaSetStatus) -> Option<Value> {
        let old = self.status.clone().unwrap_or_default();
        let conditions = new.conditions.clone();
        let new = ReplicationControllerStatus {
            available_replicas: new.available_replicas,
            conditions: conditions.map(|list| list.into_iter().map(as_older_condition).collect()),
            fully_labeled_replicas: new.fully_labeled_replicas,
            observed_generation: new.observed_generation,
            ready_replicas: new.ready_replicas,
            replicas: new.replicas,
        };
        status_patch(self, &old, &new)
    }
}

fn as_set_condition(one: ReplicationControllerCondition) -> ReplicaSetCondition {
    ReplicaSetCondition {
        last_transition_time: one.last_transition_time,
        message: one.message,
        reason: one.reason,
        status: Some(one.status),
        type_: Some(one.type_),
    }
}

fn as_older_condition(one: ReplicaSetCondition) -> ReplicationControllerCondition {
    ReplicationControllerCondition {
        last_transition_time: one.last_transition_time,
        message: one.message,
        reason: one.reason,
        status: one.status.unwrap_or_default(),
        type_: one.type_.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn controller(status: Value) -> Arc<ReplicationController> {
        let object = json!({
            "metadata": {"name": "r", "namespace": "ns", "uid": "r1", "resourceVersion": "7"},
            "spec": {"replicas": 2, "selector": {"app": "r"}, "template": {"metadata": {"labels": {"app": "r"}}}},
            "status": status,
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn older_form_is_read_as_a_set() {
        let set = ReplicationController::as_set(&controller(json!({"replicas": 0})));
        assert_eq!(set.spec.replicas, Some(2));
        assert_eq!(set.spec.selector.match_labels.as_ref().unwrap()["app"], "r");
        assert!(set.spec.template.is_some());
    }

    #[test]
    fn older_form_has_no_count_of_terminating_pods() {
        let failure =
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}]);
        let older = controller(json!({"replicas": 0, "conditions": failure}));
        let new = ReplicaSetStatus {
            replicas: 1,
            terminating_replicas: Some(3),
            ..ReplicaSetStatus::default()
        };
        let patch = older.status_patch(&new).unwrap();
        let expected = json!({"metadata": {"resourceVersion": "7"}, "status": {"replicas": 1, "conditions": null}});
        assert_eq!(patch, expected);
    }

    #[test]
    fn selectors_of_the_older_form_are_plain_labels() {
        let older = controller(json!(null));
        let labels = |value: &str| Labels::from([("app".to_owned(), value.to_owned())]);
        assert!(older.selects(Some(&labels("r"))));
        assert!(!older.selects(Some(&labels("x"))));
        assert!(!older.selects(None));
    }
}
