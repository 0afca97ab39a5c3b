//! Plays one scenario.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::answer;
use super::client::{self, Answer, Client};
use super::kubectl::{Kubectl, Place};
use super::matcher::{self, Bindings};
use super::request::Captured;
use super::scenario::Scenario;
use super::server::Server;
use super::watch::{Close, Watch};

/// Between two requests of a step that waits for an answer. The recordings were made so.
const UNTIL_PAUSE: Duration = Duration::from_millis(100);

/// What playing came to.
#[derive(Default)]
pub struct Played {
    /// Steps that compare something.
    pub steps: usize,
    pub differing: Vec<Differing>,
}

/// A step whose answer was another one.
pub struct Differing {
    pub index: usize,
    pub what: String,
    pub differences: Vec<String>,
}

/// Plays all steps, and cleans up whatever happened.
pub async fn play(scenario: &Scenario, server: &Server, kubectl: &Kubectl) -> Result<Played> {
    let mut player = Player {
        server,
        client: Client::new(server.address)?,
        bindings: Bindings::default(),
        captured: Captured::default(),
        watches: HashMap::new(),
        place: Place::new(&scenario.files)?,
        kubectl,
    };
    let played = player
        .steps(scenario)
        .await
        .with_context(|| format!("play {}", scenario.path));
    player.watches.clear();
    for path in &scenario.cleanup {
        player
            .answer(&json!({"method": "DELETE", "path": path}))
            .await?;
    }
    played
}

struct Player<'a> {
    server: &'a Server,
    client: Client,
    bindings: Bindings,
    captured: Captured,
    watches: HashMap<String, Watch>,
    place: Place,
    kubectl: &'a Kubectl,
}

impl Player<'_> {
    async fn steps(&mut self, scenario: &Scenario) -> Result<Played> {
        self.begin(scenario).await?;
        let mut played = Played::default();
        for (index, step) in scenario.steps.iter().enumerate() {
            let what = describe(step);
            let differences = self
                .step(step)
                .await
                .with_context(|| format!("step {index}, {what}"));
            // An answer that doesn't come, or is none, is one that differs.
            let differences = differences.unwrap_or_else(|error| Some(vec![format!("{error:#}")]));
            let Some(differences) = differences else {
                continue;
            };
            played.steps += 1;
            if !differences.is_empty() {
                played.differing.push(Differing {
                    index,
                    what,
                    differences,
                });
            }
        }
        Ok(played)
    }

    async fn begin(&mut self, scenario: &Scenario) -> Result<()> {
        if !scenario.namespace {
            return Ok(());
        }
        let name = &scenario.name;
        let post = |path: String, name: &str| json!({"method": "POST", "path": path, "body": {"metadata": {"name": name}}});
        self.answer(&post("/api/v1/namespaces".to_owned(), name))
            .await?;
        if scenario.service_account {
            let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
            self.answer(&post(path, "default")).await?;
        }
        Ok(())
    }

    /// What differs; `None` when the step compares nothing.
    async fn step(&mut self, step: &Value) -> Result<Option<Vec<String>>> {
        if let Some(seconds) = step["sleep_s"].as_f64() {
            sleep(Duration::from_secs_f64(seconds)).await;
            return Ok(None);
        }
        if step["kubectl"].is_array() {
            let played = self
                .place
                .play(step, self.kubectl, self.server, &mut self.bindings);
            return played.await.map(Some);
        }
        match step["watch"].as_str() {
            Some("open") => return self.open(step).await.map(Some),
            Some("close") => return self.close(step).await.map(Some),
            _ => {}
        }
        let answer = self.until(step).await?;
        self.captured.take(&step["capture"], &answer.body);
        Ok(Some(answer::compare(step, &answer, &mut self.bindings)))
    }

    /// The answer, or the last one of a step that asks until something holds.
    async fn until(&mut self, step: &Value) -> Result<Answer> {
        let until = &step["until"];
        let deadline =
            Instant::now() + Duration::from_secs_f64(until["timeout_s"].as_f64().unwrap_or(20.0));
        loop {
            let answer = self.answer(&step["request"]).await?;
            if until.is_null() || holds(until, &answer) || Instant::now() >= deadline {
                return Ok(answer);
            }
            sleep(UNTIL_PAUSE).await;
        }
    }

    async fn answer(&mut self, request: &Value) -> Result<Answer> {
        let request = self.captured.request(request, self.server)?;
        self.client.ask(request).await
    }

    async fn open(&mut self, step: &Value) -> Result<Vec<String>> {
        let request = self.captured.request(&step["request"], self.server)?;
        let response = self.client.open(request).await?;
        if response.status() != 200 {
            let answer = client::whole(response).await?;
            return Ok(answer::compare(step, &answer, &mut self.bindings));
        }
        let (head, body) = response.into_parts();
        let id = step["id"].as_str().unwrap_or_default().to_owned();
        self.watches
            .insert(id, Watch::follow(body, step["bookmarks"] == true));
        let answer = Answer {
            code: head.status.as_u16(),
            headers: head.headers,
            body: Default::default(),
        };
        Ok(answer::compare_head(step, &answer, &mut self.bindings))
    }

    async fn close(&mut self, step: &Value) -> Result<Vec<String>> {
        let id = step["id"].as_str().unwrap_or_default();
        let watch = self.watches.remove(id).context("the watch is not open")?;
        let close = Close {
            expect: step["expect_events"].as_u64().unwrap_or(0) as usize,
            within: Duration::from_secs_f64(step["timeout_s"].as_f64().unwrap_or(5.0)),
        };
        let seen = watch.close(close).await?;
        let mut out = Vec::new();
        let have = json!(seen.events);
        matcher::json(
            &step["events"],
            &have,
            "events",
            &mut self.bindings,
            &mut out,
        );
        if step["ended"]
            .as_bool()
            .is_some_and(|want| want != seen.ended)
        {
            out.push(format!(
                "ended: want {}, have {}",
                step["ended"], seen.ended
            ));
        }
        Ok(out)
    }
}

fn describe(step: &Value) -> String {
    if let Some(words) = step["kubectl"].as_array() {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return format!("kubectl {}", words.join(" "));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let request = &step["request"];
    match step["watch"].as_str() {
        Some("close") => format!("close the watch {}", text(&step["id"])),
        watch => {
            let watch = watch.map(|_| "watch ").unwrap_or_default();
            format!(
                "{watch}{} {}",
                text(&request["method"]),
                text(&request["path"])
            )
        }
    }
}

fn holds(until: &Value, answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body);
    let code = &until["code"];
    (code.is_null() || *code == answer.code)
        && until["contains"]
            .as_str()
            .is_none_or(|wanted| text.contains(wanted))
        && until["not_contains"]
            .as_str()
            .is_none_or(|unwanted| !text.contains(unwanted))
}
