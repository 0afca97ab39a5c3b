//! Whole rollouts, played with a ReplicaSet controller that is done at once.

use std::sync::Arc;

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};
use serde_json::{Value, json};

use super::{
    conditions,
    plan::{Plan, Step, plan},
    sets::{View, wanted},
};
use crate::fixture::merge;

/// A Deployment with its ReplicaSets, on which plans are carried out.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now: Timestamp,
    /// What the steps would tell people, with letters for ReplicaSets.
    told: Vec<String>,
    /// The reasons of condition Progressing, in order.
    progress: Vec<String>,
    pods_linger: bool,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "d1", "generation": 1},
            "spec": {
                "replicas": 2, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "v1"}]}},
            },
        });
        object["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        Self {
            deployment: serde_json::from_value(object).unwrap(),
            sets: Vec::new(),
            now: "2026-11-24T12:00:00Z".parse().unwrap(),
            told: Vec::new(),
            progress: Vec::new(),
            pods_linger: false,
        }
    }

    fn plan(&self) -> Plan {
        let sets = self.sets.iter().cloned().map(Arc::new).collect();
        let linger = self.pods_linger;
        let view = View::new(&self.deployment, sets, Box::new(move |_| linger));
        plan(&view, self.now)
    }

    /// Takes all steps until none is left.
    fn settle(&mut self) {
        for _ in 0..50 {
            let plan = self.plan();
            if plan.steps.is_empty() {
                return;
            }
            plan.steps.into_iter().for_each(|step| self.take(step));
        }
        panic!("the plan never ends: {:?}", self.plan());
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create(set) => {
                let mut set = *set;
                self.now += SignedDuration::from_secs(1);
                set.metadata.uid = set.metadata.name.clone();
                set.metadata.creation_timestamp = Some(Time(self.now));
                set.metadata.generation = Some(1);
                self.sets.push(set);
                let set = self.sets.last().unwrap();
                let (name, to) = (self.letter(set), wanted(set));
                if to > 0 {
                    self.told.push(format!("{name} 0>{to}"));
                }
            }
            Step::Scale { set, to, patch } => {
                let name = self.letter(&set);
                if wanted(&set) != to {
                    self.told.push(format!("{name} {}>{to}", wanted(&set)));
                }
                self.merge(&set, &patch);
            }
            Step::Annotate { set, patch } => self.merge(&set, &patch),
            Step::Delete(set) => {
                self.told.push(format!("{} gone", self.letter(&set)));
                self.find(&set).spec.replicas = Some(-1);
            }
            Step::Adopt(_) | Step::Release(_) => panic!("nothing to claim here"),
            Step::Status { revision, status } => self.set_status(revision, *status),
        }
    }

    fn set_status(&mut self, revision: Option<String>, status: DeploymentStatus) {
        if let Some(revision) = revision {
            let annotations = self.deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(super::revision::REVISION.into(), revision);
        }
        let progressing = conditions::get(&status, conditions::PROGRESSING);
        let reason = progressing
            .and_then(|one| one.reason.clone())
            .unwrap_or_default();
        if self.progress.last() != Some(&reason) {
            self.progress.push(reason);
        }
        self.deployment.status = Some(status);
    }

    fn letter(&self, set: &ReplicaSet) -> char {
        let position = self
            .sets
            .iter()
            .position(|one| one.metadata.name == set.metadata.name);
        char::from(b'a' + u8::try_from(position.unwrap()).unwrap())
    }

    fn find(&mut self, set: &ReplicaSet) -> &mut ReplicaSet {
        self.sets
            .iter_mut()
            .find(|one| one.metadata.name == set.metadata.name)
            .unwrap()
    }

    fn merge(&mut self, set: &ReplicaSet, patch: &Value) {
        let into = self.find(set);
        let mut value = serde_json::to_value(&*into).unwrap();
        merge(&mut value, patch);
        *into = serde_json::from_value(value).unwrap();
        *into.metadata.generation.as_mut().unwrap() += 1;
    }

    /// Every ReplicaSet has its pods, and all but `unready` of the newest are
    /// available.
    fn pods(&mut self, unready: i32) {
        self.sets.retain(|set| wanted(set) >= 0);
        let last = self.sets.len() - 1;
        for (n, set) in self.sets.iter_mut().enumerate() {
            let count = wanted(set);
            let ready = if n == last {
                count - unready.min(count)
            } else {
                count
            };
            set.status = Some(ReplicaSetStatus {
                replicas: count,
                ready_replicas: Some(ready),
                available_replicas: Some(ready),
                terminating_replicas: Some(0),
                observed_generation: set.metadata.generation,
                ..ReplicaSetStatus::default()
            });
        }
        self.now += SignedDuration::from_secs(1);
    }

    /// Lets everything become available, step by step.
    fn roll(&mut self) {
        for _ in 0..30 {
            self.settle();
            self.pods(0);
        }
        self.settle();
    }

    fn change(&mut self, change: impl FnOnce(&mut k8s_openapi::api::apps::v1::DeploymentSpec)) {
        change(&mut self.deployment.spec);
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
    }

    fn set_image(&mut self, image: &str) {
        self.change(|spec| {
            let pod = spec.template.spec.as_mut().unwrap();
            pod.containers[0].image = Some(image.into());
        });
    }

    fn status(&self) -> Value {
        serde_json::to_value(self.deployment.status.as_ref().unwrap()).unwrap()
    }

    fn annotation(&self, set: usize, name: &str) -> Option<&str> {
        let annotations = self.sets[set].metadata.annotations.as_ref()?;
        annotations
            .get(&format!("deployment.kubernetes.io/{name}"))
            .map(String::as_str)
    }
}

#[test]
fn a_new_deployment_gets_its_replica_set() {
    let mut world = World::new(json!({}));
    world.settle();
    let set = &world.sets[0];
    let hash = &set.metadata.labels.as_ref().unwrap()["pod-template-hash"];
    assert_eq!(set.metadata.name, Some(format!("web-{hash}")));
    assert_eq!(
        set.spec.selector.match_labels.as_ref().unwrap()["pod-template-hash"],
        *hash
    );
    assert_eq!(world.annotation(0, "revision"), Some("1"));
    assert_eq!(world.annotation(0, "desired-replicas"), Some("2"));
    assert_eq!(world.annotation(0, "max-replicas"), Some("3"));
    let status = world.status();
    assert_eq!(
        (
            &status["unavailableReplicas"],
            &status["terminatingReplicas"]
        ),
        (&json!(2), &json!(0))
    );
    assert_eq!(
        status["conditions"][1]["reason"],
        "MinimumReplicasUnavailable"
    );
    world.pods(1);
    world.settle();
    world.roll();
    assert_eq!(world.told, ["a 0>2"]);
    let reasons = [
        "NewReplicaSetCreated",
        "ReplicaSetUpdated",
        "NewReplicaSetAvailable",
    ];
    assert_eq!(world.progress, reasons);
    let kinds: Vec<_> = world.status()["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["Available", "Progressing"]);
}

/// Events of the recorded scenarios: strategy, first size, told after the change.
#[test]
fn a_new_template_rolls_out_by_the_strategy() {
    let rolling = |surge: Value, unavailable: Value| {
        json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    };
    let quarter = || rolling(json!("25%"), json!("25%"));
    let table: [(Value, i32, &[&str]); 7] = [
        (quarter(), 2, &["b 0>1", "a 2>1", "b 1>2", "a 1>0"]),
        (quarter(), 1, &["b 0>1", "a 1>0"]),
        (
            rolling(json!("50%"), json!(0)),
            3,
            &["b 0>2", "a 3>1", "b 2>3", "a 1>0"],
        ),
        (
            rolling(json!(0), json!(1)),
            2,
            &["a 2>1", "b 0>1", "a 1>0", "b 1>2"],
        ),
        (
            rolling(json!(0), json!("10%")),
            2,
            &["a 2>1", "b 0>1", "a 1>0", "b 1>2"],
        ),
        (rolling(json!("100%"), json!(0)), 2, &["b 0>2", "a 2>0"]),
        (json!({"type": "Recreate"}), 2, &["a 2>0", "b 0>2"]),
    ];
    for (strategy, size, expected) in table {
        let mut world = World::new(json!({"strategy": strategy, "replicas": size}));
        world.roll();
        world.told.clear();
        world.set_image("v2");
        world.roll();
        assert_eq!(world.told, expected, "{strategy} {size}");
        assert_eq!(world.annotation(1, "revision"), Some("2"));
    }
}

#[test]
fn undo_takes_the_old_replica_set_with_a_new_revision() {
    let mut world = World::new(json!({}));
    world.roll();
    world.set_image("v2");
    world.roll();
    world.told.clear();
    world.set_image("v1");
    world.roll();
    assert_eq!(world.told, ["a 0>1", "b 2>1", "a 1>2", "b 1>0"]);
    assert_eq!(world.annotation(0, "revision"), Some("3"));
    assert_eq!(world.annotation(0, "revision-history"), Some("1"));
    let revision = &world.deployment.metadata.annotations.as_ref().unwrap();
    assert_eq!(revision["deployment.kubernetes.io/revision"], "3");
}

#[test]
fn recreate_waits_for_old_pods_to_end() {
    let mut world = World::new(json!({"strategy": {"type": "Recreate"}}));
    world.roll();
    world.told.clear();
    world.set_image("v2");
    world.pods_linger = true;
    world.roll();
    assert_eq!(world.told, ["a 2>0"]);
    world.pods_linger = false;
    world.roll();
    assert_eq!(world.told, ["a 2>0", "b 0>2"]);
}

#[test]
fn a_rollout_that_does_not_become_ready_keeps_the_old_pods() {
    let mut world = World::new(json!({}));
    world.roll();
    world.told.clear();
    world.set_image("broken");
    for _ in 0..5 {
        world.settle();
        world.pods(9);
    }
    world.settle();
    assert_eq!(world.told, ["b 0>1"]);
    let deadline = world.plan().deadline.unwrap().as_secs();
    assert!((590..=601).contains(&deadline), "{deadline}");
    world.now += SignedDuration::from_secs(601);
    world.settle();
    assert_eq!(world.progress.last().unwrap(), "ProgressDeadlineExceeded");
    assert_eq!(world.plan().deadline, None);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let mut world = World::new(json!({"replicas": 4,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}}));
    world.roll();
    world.told.clear();
    world.set_image("broken");
    for _ in 0..5 {
        world.settle();
        world.pods(9);
    }
    assert_eq!(world.told, ["b 0>2", "a 4>3", "b 2>3"]);
    world.change(|spec| spec.replicas = Some(8));
    world.settle();
    assert_eq!(world.told[3..], ["b 3>5", "a 3>5"]);
    assert_eq!(world.annotation(0, "max-replicas"), Some("10"));
}

#[test]
fn scaling_a_settled_deployment_scales_its_replica_set() {
    let mut world = World::new(json!({}));
    world.roll();
    for size in [5, 0, 1] {
        world.change(|spec| spec.replicas = Some(size));
        world.roll();
        assert_eq!(wanted(&world.sets[0]), size);
    }
    assert_eq!(world.told, ["a 0>2", "a 2>5", "a 5>0", "a 0>1"]);
}

#[test]
fn a_paused_deployment_makes_no_replica_set_until_it_is_resumed() {
    let mut world = World::new(json!({"paused": true}));
    world.settle();
    assert!(world.sets.is_empty());
    assert_eq!(world.progress, ["DeploymentPaused"]);
    assert_eq!(world.status()["observedGeneration"], 1);
    world.change(|spec| spec.paused = None);
    world.settle();
    world.pods(9);
    world.roll();
    let reasons = [
        "DeploymentPaused",
        "DeploymentResumed",
        "NewReplicaSetCreated",
        "ReplicaSetUpdated",
        "NewReplicaSetAvailable",
    ];
    assert_eq!(world.progress, reasons);
}

#[test]
fn a_paused_deployment_still_scales() {
    let mut world = World::new(json!({}));
    world.roll();
    world.change(|spec| {
        spec.paused = Some(true);
        spec.replicas = Some(3);
    });
    world.set_image("v2");
    world.roll();
    assert_eq!(world.told, ["a 0>2", "a 2>3"]);
}

#[test]
fn old_replica_sets_beyond_the_limit_go_when_the_rollout_is_complete() {
    let mut world = World::new(json!({"replicas": 1, "revisionHistoryLimit": 1}));
    for image in ["v1", "v2", "v3"] {
        world.set_image(image);
        world.roll();
    }
    assert_eq!(world.sets.len(), 2);
    assert_eq!(world.told.last().unwrap(), "a gone");
}

#[test]
fn annotations_are_copied_but_not_those_of_kubectl_apply() {
    let mut world = World::new(json!({}));
    world.deployment.metadata.annotations = Some(
        [
            ("kubernetes.io/change-cause".to_owned(), "first".to_owned()),
            (
                "kubectl.kubernetes.io/last-applied-configuration".to_owned(),
                "{}".to_owned(),
            ),
        ]
        .into(),
    );
    world.roll();
    let annotations = world.sets[0].metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["kubernetes.io/change-cause"], "first");
    assert!(!annotations.keys().any(|name| name.contains("last-applied")));
}

#[test]
fn a_deployment_that_is_deleted_only_counts() {
    let mut world = World::new(json!({}));
    world.roll();
    world.told.clear();
    world.deployment.metadata.deletion_timestamp = Some(Time(world.now));
    world.sets.clear();
    world.settle();
    assert!(world.told.is_empty());
    let status = world.status();
    assert_eq!(status["replicas"], Value::Null);
    assert_eq!(
        status["conditions"][1]["reason"],
        "MinimumReplicasUnavailable"
    );
}
