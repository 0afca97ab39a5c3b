//! The actions of scenarios.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::Request;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::Player;
use crate::recorded::client::Answer;
use crate::recorded_cluster::fits::{fits, named};
use crate::recorded_cluster::journal::Life;
use crate::recorded_cluster::kinds::Kind;

/// Where a wait says nothing.
const WAIT_S: u64 = 90;

impl Player<'_> {
    pub(super) async fn act(&mut self, action: &Value) -> Result<()> {
        let text = |name: &str| action[name].as_str();
        if let Some(seconds) = action["sleep_s"].as_f64() {
            sleep(Duration::from_secs_f64(seconds)).await;
            Ok(())
        } else if !action["create"].is_null() {
            self.create(&action["create"]).await
        } else if let Some(reference) = text("patch") {
            self.patch(reference, action).await
        } else if let Some(reference) = text("delete") {
            self.delete(reference, action).await
        } else if action["wait"].is_object() {
            self.wait(&action["wait"]).await
        } else if action["kubectl"].is_array() {
            self.kubectl(action).await
        } else if action["port_forward"].is_array() {
            self.port_forward(action).await
        } else if let Some(reference) = text("logs") {
            self.logs(reference, text("container")).await
        } else if action["request"].is_object() {
            self.request(&action["request"]).await
        } else {
            match text("host") {
                Some("stop-kubelet") => self.stage.cluster.stop_kubelet(),
                Some("start-kubelet") => self.stage.cluster.start_kubelet(),
                _ => bail!("an action of an unknown kind"),
            }
        }
    }

    async fn create(&mut self, what: &Value) -> Result<()> {
        let scenario = self.scenario;
        let manifests: Vec<&Value> = match what.as_array() {
            Some(references) => references
                .iter()
                .filter_map(Value::as_str)
                .map(|reference| {
                    scenario
                        .manifest(reference)
                        .with_context(|| format!("no manifest of {reference}"))
                })
                .collect::<Result<_>>()?,
            None => scenario.manifests().collect(),
        };
        for manifest in manifests {
            let name = manifest["kind"].as_str().context("a manifest has a kind")?;
            let kind = Kind::of(name).with_context(|| format!("{name} is a known kind"))?;
            let path = kind.path(scenario.namespace_of(manifest), "");
            let answer = self
                .send("POST", &path, "application/json", Some(manifest))
                .await?;
            let object = format!(
                "{name}/{}",
                manifest["metadata"]["name"].as_str().unwrap_or_default()
            );
            self.keep("create", json!(object), &answer, false);
        }
        Ok(())
    }

    async fn patch(&mut self, reference: &str, action: &Value) -> Result<()> {
        let life = self.oldest(reference)?;
        let kind = match action["type"].as_str() {
            Some("merge") => "application/merge-patch+json",
            Some("json") => "application/json-patch+json",
            _ => "application/strategic-merge-patch+json",
        };
        let mut path = path_of(&life)?;
        if let Some(part) = action["subresource"].as_str() {
            path = format!("{path}/{part}");
        }
        let answer = self
            .send("PATCH", &path, kind, Some(&action["body"]))
            .await?;
        self.keep("patch", json!(reference), &answer, action["show"] == true);
        Ok(())
    }

    async fn delete(&mut self, reference: &str, action: &Value) -> Result<()> {
        let life = self.oldest(reference)?;
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        for (name, option) in [
            ("grace", "gracePeriodSeconds"),
            ("propagation", "propagationPolicy"),
        ] {
            if !action[name].is_null() {
                options[option] = action[name].clone();
            }
        }
        let answer = self
            .send(
                "DELETE",
                &path_of(&life)?,
                "application/json",
                Some(&options),
            )
            .await?;
        self.keep("delete", json!(reference), &answer, false);
        Ok(())
    }

    /// The oldest object of `Kind/pattern`.
    fn oldest(&self, reference: &str) -> Result<Life> {
        let lives = self.living(reference)?;
        lives
            .into_iter()
            .next()
            .with_context(|| format!("there is no {reference}"))
    }

    /// Keeps an answer that is shown, or that refused.
    fn keep(&mut self, what: &str, value: Value, answer: &Answer, show: bool) {
        if show || answer.code >= 400 {
            self.answers.requests.push(json!({
                what: value,
                "code": answer.code,
                "body": without_managed_fields(decoded(answer)),
            }));
        }
    }

    async fn wait(&mut self, wait: &Value) -> Result<()> {
        let seconds = Duration::from_secs(wait["timeout_s"].as_u64().unwrap_or(WAIT_S))
            .min(self.stage.wait_max);
        let event = &wait["event"];
        let reference = event["object"].as_str().or(wait["object"].as_str());
        let reference = reference.context("a wait names an object")?;
        let (kind, namespace, pattern) = self.scenario.resolve(reference)?;
        let within = match namespace {
            "" if event.is_object() => "default",
            namespace => namespace,
        };
        let look = |lives: &[Life]| {
            let reached = match event.is_object() {
                true => {
                    count_events(lives, kind.name, pattern, event)
                        >= event["count"].as_u64().unwrap_or(1)
                }
                false => reached(lives, kind, pattern, wait),
            };
            reached.then_some(())
        };
        timeout(seconds, self.stage.journal.until(within, look))
            .await
            .with_context(|| format!("waited in vain for {} s", seconds.as_secs()))?
    }

    async fn logs(&mut self, reference: &str, container: Option<&str>) -> Result<()> {
        let life = self.oldest(reference)?;
        let query = container
            .map(|name| format!("?container={name}"))
            .unwrap_or_default();
        let answer = self
            .send("GET", &format!("{}/log{query}", path_of(&life)?), "", None)
            .await?;
        let key = match container {
            Some(container) => format!("{reference}/{container}"),
            None => reference.to_owned(),
        };
        self.answers
            .logs
            .push((key, String::from_utf8_lossy(&answer.body).into_owned()));
        Ok(())
    }

    async fn request(&mut self, request: &Value) -> Result<()> {
        let mut path = request["path"]
            .as_str()
            .context("a request has a path")?
            .replace("{ns}", &self.scenario.name);
        while let Some((start, rest)) = path.split_once("${") {
            let (reference, end) = rest.split_once('}').context("a reference ends")?;
            path = format!("{start}{}{end}", self.oldest(reference)?.name);
        }
        let method = request["method"].as_str().unwrap_or("GET");
        let body = Some(&request["body"]).filter(|body| !body.is_null());
        let answer = self.send(method, &path, "application/json", body).await?;
        self.answers.requests.push(json!({
            "request": request,
            "code": answer.code,
            "body": without_managed_fields(decoded(&answer)),
        }));
        Ok(())
    }
}

fn decoded(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()))
}

fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

fn path_of(life: &Life) -> Result<String> {
    let kind = Kind::of(life.kind).with_context(|| format!("{} is a known kind", life.kind))?;
    let path = kind.path(&life.namespace, &life.name);
    ensure!(
        Request::builder().uri(&path).body(()).is_ok(),
        "{path} is a path"
    );
    Ok(path)
}

/// Whether the objects are as the wait wants them.
fn reached(lives: &[Life], kind: Kind, pattern: &str, wait: &Value) -> bool {
    let there =
        |life: &&Life| life.kind == kind.name && !life.deleted && named(pattern, &life.name);
    let mut of = lives.iter().filter(there);
    if wait["gone"] == true {
        return of.next().is_none();
    }
    let (fitting, others): (Vec<&Life>, Vec<&Life>) =
        of.partition(|life| fits(life.last(), &wait["all"]));
    match wait["count"].as_u64() {
        Some(count) => fitting.len() as u64 == count && (wait["only"] != true || others.is_empty()),
        None => !fitting.is_empty(),
    }
}

/// How often events of a reason came for an object.
fn count_events(lives: &[Life], kind: &str, pattern: &str, event: &Value) -> u64 {
    let fits = |object: &Value| {
        let involved = &object["involvedObject"];
        let part = event["message"].as_str().unwrap_or_default();
        involved["kind"] == *kind
            && involved["name"]
                .as_str()
                .is_some_and(|name| named(pattern, name))
            && object["reason"] == event["reason"]
            && object["message"]
                .as_str()
                .unwrap_or_default()
                .contains(part)
    };
    let events = lives
        .iter()
        .filter(|life| life.kind == "Event")
        .map(Life::last);
    let counts = events.filter(|object| fits(object)).map(|object| {
        let series = object["series"]["count"].as_u64();
        series.or(object["count"].as_u64()).unwrap_or(1).max(1)
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(kind: &'static str, name: &str, object: Value) -> Life {
        Life {
            kind,
            namespace: "ns".into(),
            name: name.into(),
            states: vec![object],
            deleted: false,
            number: 1,
        }
    }

    #[test]
    fn waits() {
        let pod = Kind::of("Pod").unwrap();
        let lives = [
            life("Pod", "web-a", json!({"status": {"phase": "Running"}})),
            life("Pod", "web-b", json!({"status": {"phase": "Pending"}})),
        ];
        let running = json!([{"path": "/status/phase", "is": "Running"}]);
        let cases = [
            (json!({"all": running}), true),
            (json!({"all": running, "count": 1}), true),
            (json!({"all": running, "count": 2}), false),
            (json!({"all": running, "count": 1, "only": true}), false),
            (json!({"all": [], "count": 2, "only": true}), true),
            (json!({"gone": true}), false),
        ];
        for (wait, expected) in cases {
            assert_eq!(reached(&lives, pod, "web-*", &wait), expected, "{wait}");
        }
        assert!(reached(&lives, pod, "other", &json!({"gone": true})));
    }

    #[test]
    fn events_are_added_up() {
        let event = |message: &str, count: u64| {
            let involved = json!({"kind": "Pod", "name": "a"});
            life(
                "Event",
                "e",
                json!({"involvedObject": involved, "reason": "BackOff", "message": message, "count": count}),
            )
        };
        let lives = [event("x 404", 2), event("y", 1)];
        let count = |event: Value| count_events(&lives, "Pod", "a", &event);
        assert_eq!(count(json!({"reason": "BackOff"})), 3);
        assert_eq!(count(json!({"reason": "BackOff", "message": "404"})), 2);
        assert_eq!(count(json!({"reason": "Other"})), 0);
    }
}
