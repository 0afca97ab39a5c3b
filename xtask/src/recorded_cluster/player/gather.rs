//! What a scenario came to: its objects, events and answers out of the journal, normalised.

use serde_json::Value;

use super::Player;
use crate::recorded_cluster::compare::{Event, Observed, Shown};
use crate::recorded_cluster::journal::Life;
use crate::recorded_cluster::kinds::Kind;
use crate::recorded_cluster::normal::Normal;
use crate::recorded_cluster::view::view;

/// Answers as they came.
#[derive(Default)]
pub struct Answers {
    pub kubectl: Vec<Value>,
    pub logs: Vec<(String, String)>,
    pub requests: Vec<Value>,
}

impl Player<'_> {
    /// Everything that is compared.
    pub(super) fn observed(&self) -> Observed {
        let (scenario, stage) = (self.scenario, self.stage);
        let mut lives: Vec<Life> = scenario
            .namespaces()
            .into_iter()
            .flat_map(|namespace| stage.journal.within(namespace))
            .collect();
        lives.extend(
            stage
                .journal
                .within("")
                .into_iter()
                .filter(|life| self.is_own(life)),
        );
        let optional: Vec<&str> = scenario.texts("also").collect();
        for reference in &optional {
            if let Ok((kind, namespace, name)) = scenario.resolve(reference) {
                let others = stage.journal.within(namespace).into_iter();
                lives.extend(others.filter(|life| life.kind == kind.name && life.name == name));
            }
        }
        lives.sort_by_key(|life| life.number);
        lives.dedup_by_key(|life| life.number);
        let normal = Normal::new(
            &lives,
            &scenario.file["manifests"],
            stage.node_address,
            &stage.cluster.server,
        );
        let objects = lives
            .iter()
            .filter(|life| Kind::is_shown(life.kind) && !self.is_default(life));
        let mut events: Vec<Life> = lives
            .iter()
            .filter(|life| life.kind == "Event" && life.namespace == scenario.name)
            .cloned()
            .collect();
        if !scenario.namespaces().contains("default") {
            let cluster = stage
                .journal
                .within("default")
                .into_iter()
                .filter(|life| life.kind == "Event");
            events.extend(cluster.filter(|event| self.concerns(event, &lives)));
        }
        events.sort_by_key(|life| life.number);
        Observed {
            objects: objects.map(|life| self.shown(life, &normal)).collect(),
            events: different(events.iter().map(|life| event(life, &normal))),
            kubectl: self
                .answers
                .kubectl
                .iter()
                .map(|answer| printed(answer, &normal))
                .collect(),
            logs: self
                .answers
                .logs
                .iter()
                .map(|(key, text)| (key.clone(), normal.text(text)))
                .collect(),
            requests: self
                .answers
                .requests
                .iter()
                .map(|answer| normal.value(answer))
                .collect(),
            optional: optional.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Cluster objects of the scenario: those in its manifests, and those called like it.
    fn is_own(&self, life: &Life) -> bool {
        if life.kind == "Namespace" && life.name == self.scenario.name {
            return self.scenario.is("show_namespace");
        }
        let reference = format!("{}/{}", life.kind, life.name);
        let sent = self.scenario.manifest(&reference).is_some();
        // A Namespace that is called like this scenario may be another one's.
        sent || life.kind != "Namespace" && life.name.starts_with(&self.scenario.name)
    }

    /// What every Namespace has, unless the scenario is about it.
    fn is_default(&self, life: &Life) -> bool {
        let has = [
            ("ServiceAccount", "default"),
            ("ConfigMap", "kube-root-ca.crt"),
        ];
        !self.scenario.is("show_defaults") && has.contains(&(life.kind, &life.name))
    }

    /// Whether an event in Namespace `default` is about a cluster object of the scenario.
    fn concerns(&self, event: &Life, lives: &[Life]) -> bool {
        let involved = &event.last()["involvedObject"];
        if involved["kind"] == "Node" && !self.scenario.is("node_events") {
            return false;
        }
        lives.iter().any(|life| {
            life.namespace.is_empty()
                && involved["kind"] == *life.kind
                && involved["name"] == *life.name
        })
    }

    fn shown(&self, life: &Life, normal: &Normal) -> Shown {
        let name = normal.text(&life.name);
        let within = match life.namespace.is_empty() || life.namespace == self.scenario.name {
            true => String::new(),
            false => format!("{}/", life.namespace),
        };
        Shown {
            base: format!("{}/{within}{name}", life.kind),
            end: (!life.deleted).then(|| normal.value(life.last())),
            states: life
                .states
                .iter()
                .map(|state| normal.value(&view(state)))
                .collect(),
        }
    }
}

fn event(life: &Life, normal: &Normal) -> Event {
    let object = normal.value(life.last());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let involved = &object["involvedObject"];
    let from = [
        &object["reportingComponent"],
        &object["source"]["component"],
    ];
    Event {
        involved: format!("{}/{}", text(&involved["kind"]), text(&involved["name"])),
        field: text(&involved["fieldPath"]),
        kind: text(&object["type"]),
        reason: text(&object["reason"]),
        message: text(&object["message"]),
        from: from
            .into_iter()
            .map(text)
            .find(|name| !name.is_empty())
            .unwrap_or_default(),
    }
}

fn different(events: impl Iterator<Item = Event>) -> Vec<Event> {
    let mut different: Vec<Event> = Vec::new();
    for event in events {
        if !different.contains(&event) {
            different.push(event);
        }
    }
    different
}

fn printed(answer: &Value, normal: &Normal) -> Value {
    let mut answer = answer.clone();
    for stream in ["stdout", "stderr", "received"] {
        if let Some(text) = answer[stream].as_str() {
            answer[stream] = Value::String(normal.output(text));
        }
    }
    answer
}
