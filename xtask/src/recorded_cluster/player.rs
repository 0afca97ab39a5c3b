//! Plays one scenario: its Namespace, its actions, and what came of them.

mod act;
mod gather;
mod kubectl;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use self::gather::Answers;
use super::cluster::Cluster;
use super::compare::compare;
use super::difference::Difference;
use super::fits::named;
use super::journal::{Journal, Life};
use super::scenario::Scenario;
use crate::recorded::client::{Answer, Client};
use crate::recorded::kubectl::{Kubectl, Place};

/// A Namespace with everything in it may take this long to come or go.
const NAMESPACE_MAX: Duration = Duration::from_secs(90);
/// Where the recordings say nothing.
const SETTLE_S: f64 = 1.0;

/// What all scenarios play with.
pub struct Stage<'a> {
    pub cluster: &'a Cluster,
    pub journal: &'a Journal,
    pub kubectl: &'a Kubectl,
    /// The node's address.
    pub node_address: &'a str,
    /// No wait is longer.
    pub wait_max: Duration,
}

/// Plays a scenario, cleans up whatever happened, and says what differs.
pub async fn play(scenario: &Scenario, stage: &Stage<'_>) -> Result<Vec<Difference>> {
    let mut player = Player {
        scenario,
        stage,
        client: stage.cluster.client()?,
        place: Place::new(&[])?,
        answers: Answers::default(),
    };
    player.begin().await?;
    let stopped = player.actions().await?;
    let settle = scenario.file["settle_s"].as_f64().unwrap_or(SETTLE_S);
    sleep(Duration::from_secs_f64(settle)).await;
    let observed = player.observed();
    let loose: Vec<&str> = scenario.texts("loose").collect();
    let mut differences = compare(&scenario.file["observed"], &loose, &observed);
    differences.splice(0..0, stopped);
    player.end().await?;
    Ok(differences)
}

struct Player<'a> {
    scenario: &'a Scenario,
    stage: &'a Stage<'a>,
    client: Client,
    place: Place,
    answers: Answers,
}

impl Player<'_> {
    /// Makes the Namespace, and waits for what every Namespace has.
    async fn begin(&mut self) -> Result<()> {
        let name = &self.scenario.name;
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let answer = self
            .send(
                "POST",
                "/api/v1/namespaces",
                "application/json",
                Some(&body),
            )
            .await?;
        if answer.code != 201 {
            bail!(
                "make Namespace {name}: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
        let there = |lives: &[Life]| {
            let has = |kind: &str, name: &str| {
                lives
                    .iter()
                    .any(|life| life.kind == kind && life.name == name)
            };
            (has("ServiceAccount", "default") && has("ConfigMap", "kube-root-ca.crt")).then_some(())
        };
        timeout(NAMESPACE_MAX, self.stage.journal.until(name, there))
            .await
            .with_context(|| format!("wait for what Namespace {name} has"))?
    }

    /// Plays the actions. One that can't be done, or waits in vain, is a difference, and the last one.
    async fn actions(&mut self) -> Result<Option<Difference>> {
        for (number, action) in self.scenario.actions().enumerate() {
            if let Err(error) = self.act(action).await {
                let text = format!("{error:#}: {}", shortened(&action.to_string()));
                return Ok(Some(Difference::new(format!("action:{number}"), text)));
            }
        }
        Ok(None)
    }

    /// Removes everything, and waits until it is gone.
    async fn end(&mut self) -> Result<()> {
        for reference in self.scenario.texts("cleanup") {
            let (kind, namespace, name) = self.scenario.resolve(reference)?;
            self.send("DELETE", &kind.path(namespace, name), "", None)
                .await?;
        }
        let namespaces = self.scenario.namespaces();
        for namespace in &namespaces {
            self.send(
                "DELETE",
                &format!("/api/v1/namespaces/{namespace}"),
                "",
                None,
            )
            .await?;
        }
        let gone = |lives: &[Life]| {
            let left = |life: &&Life| {
                life.kind == "Namespace" && !life.deleted && namespaces.contains(&*life.name)
            };
            (!lives.iter().any(|life| left(&life))).then_some(())
        };
        if timeout(NAMESPACE_MAX, self.stage.journal.until("", gone))
            .await
            .is_err()
        {
            eprintln!("xtask: {}: its Namespace does not go", self.scenario.path);
        }
        Ok(())
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let body = body
            .map(|body| body.to_string().into_bytes())
            .unwrap_or_default();
        let request = self.stage.cluster.request(method, path, kind, body)?;
        self.client.ask(request).await
    }

    /// The objects of `Kind/pattern` that are there, oldest first.
    fn living(&self, reference: &str) -> Result<Vec<Life>> {
        let (kind, namespace, pattern) = self.scenario.resolve(reference)?;
        let mut lives = self.stage.journal.within(namespace);
        lives.retain(|life| life.kind == kind.name && !life.deleted && named(pattern, &life.name));
        Ok(lives)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}
