//! Plays one scenario.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use karve_apiserver::{ApiServer, Authentication, Body, Identity, Options};
use karve_store::Store;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::matcher::{self, Bindings};

/// How many steps agreed.
pub struct Outcome {
    pub agreed: usize,
    pub total: usize,
}

struct Player {
    server: ApiServer,
    bindings: Bindings,
    captured: HashMap<String, Value>,
    watches: HashMap<String, tokio::task::JoinHandle<(Vec<Value>, bool)>>,
    closers: HashMap<String, tokio::sync::oneshot::Sender<(usize, Duration)>>,
}

/// An answer that was read.
struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Bytes,
}

/// A user of the recordings.
fn known(name: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|g| (*g).to_owned());
    Identity::authenticated(name, groups).with(&format!("{name}-uid"), Default::default())
}

/// Plays a scenario against a fresh server.
pub async fn scenario(scenario: &Value, verbose: bool) -> anyhow::Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let store = Store::open(directory.path().join("state.db"), Default::default())?;
    let key = directory.path().join("sa.key");
    std::fs::write(&key, rcgen::KeyPair::generate()?.serialize_pem())?;
    let options = Options {
        service_account_tokens: true,
        secondary_service_cidr: Some("fd00:10:96::/112".parse()?),
        authentication: Authentication {
            service_account_issuers: vec!["https://kubernetes.default.svc".to_owned()],
            service_account_signing_key_file: Some(key),
            ..Authentication::default()
        },
        ..Options::default()
    };
    let mut player = Player {
        server: ApiServer::new(store, options)?,
        bindings: Bindings::default(),
        captured: HashMap::new(),
        watches: HashMap::new(),
        closers: HashMap::new(),
    };
    let name = scenario["name"].as_str().unwrap_or_default();
    if scenario["namespace"] != false {
        player
            .post("/api/v1/namespaces", json!({"metadata": {"name": name}}))
            .await?;
        if scenario["service_account"] != false {
            let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
            player
                .post(&path, json!({"metadata": {"name": "default"}}))
                .await?;
        }
    }
    let mut outcome = Outcome {
        agreed: 0,
        total: 0,
    };
    for (i, step) in scenario["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if step.get("kubectl").is_some() {
            continue;
        }
        let Some(differences) = player.step(step).await? else {
            continue;
        };
        outcome.total += 1;
        match differences.is_empty() {
            true => outcome.agreed += 1,
            false if verbose => {
                let request = &step["request"];
                println!(
                    "  [{i}] {} {} {}",
                    request["method"], request["path"], step["watch"]
                );
                differences
                    .iter()
                    .take(8)
                    .for_each(|d| println!("      {d}"));
            }
            false => {}
        }
    }
    Ok(outcome)
}

impl Player {
    async fn post(&mut self, path: &str, body: Value) -> anyhow::Result<()> {
        let request = json!({"method": "POST", "path": path, "body": body});
        self.send(&request).await.map(drop)
    }

    /// `None` when the step compares nothing.
    async fn step(&mut self, step: &Value) -> anyhow::Result<Option<Vec<String>>> {
        if let Some(seconds) = step["sleep_s"].as_f64() {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            return Ok(None);
        }
        match step["watch"].as_str() {
            Some("open") => return self.open(step).await.map(Some),
            Some("close") => return self.close(step).await.map(Some),
            _ => {}
        }
        let until = &step["until"];
        let mut answer = self.answer(&step["request"]).await?;
        for _ in 0..20 {
            if until.is_null() || holds(until, &answer) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            answer = self.answer(&step["request"]).await?;
        }
        if let Some(captures) = step["capture"].as_object() {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            for (name, pointer) in captures {
                let value = body.pointer(pointer.as_str().unwrap_or_default()).cloned();
                self.captured
                    .insert(name.clone(), value.unwrap_or_default());
            }
        }
        Ok(Some(self.compare(step, &answer)))
    }

    fn compare(&mut self, step: &Value, answer: &Answer) -> Vec<String> {
        let want = &step["response"];
        let mut out = Vec::new();
        if want["code"] != answer.code {
            let text = String::from_utf8_lossy(&answer.body);
            out.push(format!(
                "code: want {}, have {}: {}",
                want["code"],
                answer.code,
                text.trim_end()
            ));
        }
        self.compare_headers(&want["headers"], answer, &mut out);
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if let Some(recorded) = want.get("body") {
            let (mut want, mut have) = (recorded.clone(), body);
            if !step["unordered"].is_null() {
                unordered(&mut want, &mut have);
            }
            matcher::json(&want, &have, "", &mut self.bindings, &mut out);
        } else if let Some(only) = want["only"].as_object() {
            for (pointer, value) in only {
                let absent = json!("<absent>");
                let have = body.pointer(pointer).unwrap_or(&absent);
                matcher::json(value, have, pointer, &mut self.bindings, &mut out);
            }
        } else if let Some(keys) = want["keys"].as_object() {
            for (pointer, value) in keys {
                let at = if pointer == "/" {
                    Some(&body)
                } else {
                    body.pointer(pointer)
                };
                let names: Vec<&String> = at
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                    .map(|(k, _)| k)
                    .collect();
                if json!(names) != *value {
                    out.push(format!(
                        "keys {pointer}: want {value}, have {}",
                        json!(names)
                    ));
                }
            }
        } else if let Some(text) = want["text"].as_str() {
            let have = String::from_utf8_lossy(&answer.body);
            if !matcher::text(text, &have, &mut self.bindings) {
                out.push(format!("text: want {text:?}\n        have {have:?}"));
            }
        }
        out
    }

    fn compare_headers(&mut self, want: &Value, answer: &Answer, out: &mut Vec<String>) {
        for name in ["content-type", "retry-after", "location", "allow"] {
            let have = answer.headers.get(name).and_then(|v| v.to_str().ok());
            let want = want[name].as_str();
            if have != want && !(want.is_none() && answer.body.is_empty()) {
                out.push(format!("header {name}: want {want:?}, have {have:?}"));
            }
        }
        let have: Vec<&str> = answer
            .headers
            .get_all("warning")
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        let want: Vec<&str> = want["warning"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if have != want {
            out.push(format!("warnings: want {want:?}, have {have:?}"));
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.captured {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            text = text.replace(&format!("${{{name}}}"), &value);
        }
        text
    }

    fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill(text).into(),
            Value::Array(items) => items.iter().map(|v| self.fill_value(v)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(k, v)| (k.clone(), self.fill_value(v)))
                .collect(),
            other => other.clone(),
        }
    }

    fn body(&self, request: &Value) -> Option<Vec<u8>> {
        if let Some(raw) = request["raw"].as_str() {
            return Some(self.fill(raw).into_bytes());
        }
        if let Some(name) = request["body_of"].as_str() {
            let mut body = self.captured.get(name).cloned().unwrap_or_default();
            for (pointer, value) in request["set"].as_object().into_iter().flatten() {
                set(&mut body, pointer, self.fill_value(value));
            }
            for pointer in request["unset"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                unset(&mut body, pointer);
            }
            return serde_json::to_vec(&body).ok();
        }
        if let Some(repeat) = request["repeat"].as_object() {
            let text = |name: &str| repeat.get(name).and_then(Value::as_str).unwrap_or_default();
            let count = repeat.get("count").and_then(Value::as_u64).unwrap_or(0) as usize;
            return Some(
                format!(
                    "{}{}{}",
                    text("prefix"),
                    text("unit").repeat(count),
                    text("suffix")
                )
                .into_bytes(),
            );
        }
        let body = request.get("body")?;
        serde_json::to_vec(&self.fill_value(body)).ok()
    }

    async fn send(&self, request: &Value) -> anyhow::Result<Response<Body>> {
        let body = self.body(request);
        let user = request["user"].as_str().unwrap_or("admin");
        let identity = match user {
            "admin" => known("admin", &["system:masters"]),
            "alice" => known("alice", &["dev"]),
            "bob" => known("bob", &[]),
            _ => Identity::anonymous(),
        };
        let mut headers: HashMap<String, Option<String>> = HashMap::from([
            ("accept".into(), Some("application/json".into())),
            ("user-agent".into(), Some("rec".into())),
        ]);
        if !matches!(user, "admin" | "alice" | "bob" | "none") {
            headers.insert(
                "authorization".into(),
                Some(format!("Bearer {}", self.fill(user))),
            );
        }
        if body.is_some() {
            headers.insert("content-type".into(), Some("application/json".into()));
        }
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            headers.insert(name.to_lowercase(), value.as_str().map(|v| self.fill(v)));
        }
        let path = self.fill(request["path"].as_str().unwrap_or_default());
        let mut builder = Request::builder()
            .method(request["method"].as_str().unwrap_or("GET"))
            .uri(path);
        for (name, value) in headers {
            if let Some(value) = value {
                builder = builder.header(name, value);
            }
        }
        let request = builder.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        Ok(self
            .server
            .service(identity)
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {}))
    }

    async fn answer(&self, request: &Value) -> anyhow::Result<Answer> {
        let response = self.send(request).await?;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(Duration::from_secs(10), body.collect())
            .await
            .map(|collected| collected.map(|c| c.to_bytes()).unwrap_or_default())
            .unwrap_or_default();
        Ok(Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    async fn open(&mut self, step: &Value) -> anyhow::Result<Vec<String>> {
        let response = self.send(&step["request"]).await?;
        let id = step["id"].as_str().unwrap_or_default().to_owned();
        if response.status() != 200 {
            let (parts, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map(|c| c.to_bytes())
                .unwrap_or_default();
            let answer = Answer {
                code: parts.status.as_u16(),
                headers: parts.headers,
                body,
            };
            return Ok(self.compare(step, &answer));
        }
        let mut out = Vec::new();
        if step["response"]["code"] != 200 {
            out.push(format!("code: want {}, have 200", step["response"]["code"]));
        }
        let (close, closed) = tokio::sync::oneshot::channel();
        let bookmarks = step["bookmarks"] == true;
        self.watches.insert(
            id.clone(),
            tokio::spawn(follow(response.into_body(), closed, bookmarks)),
        );
        self.closers.insert(id, close);
        Ok(out)
    }

    async fn close(&mut self, step: &Value) -> anyhow::Result<Vec<String>> {
        let id = step["id"].as_str().unwrap_or_default();
        let (Some(watch), Some(close)) = (self.watches.remove(id), self.closers.remove(id)) else {
            return Ok(vec!["the watch is not open".to_owned()]);
        };
        let expected = step["expect_events"].as_u64().unwrap_or(0) as usize;
        let seconds = step["timeout_s"].as_f64().unwrap_or(5.0);
        // The receiver is gone when the server ended the stream.
        let _ = close.send((expected, Duration::from_secs_f64(seconds)));
        let (events, ended) = watch.await.context("follow a watch")?;
        let mut out = Vec::new();
        matcher::json(
            &step["events"],
            &json!(events),
            "events",
            &mut self.bindings,
            &mut out,
        );
        if step["ended"].as_bool().is_some_and(|want| want != ended) {
            out.push(format!("ended: want {}, have {ended}", step["ended"]));
        }
        Ok(out)
    }
}

/// Reads events until told to stop: then as many as are expected, at most for some time, and a moment more.
async fn follow(
    mut body: Body,
    closed: tokio::sync::oneshot::Receiver<(usize, Duration)>,
    bookmarks: bool,
) -> (Vec<Value>, bool) {
    let mut events = Vec::new();
    let mut text = Vec::new();
    let mut closed = std::pin::pin!(closed);
    let mut expected = None;
    let mut deadline = tokio::time::Instant::now() + Duration::from_secs(3600);
    loop {
        if expected.is_some_and(|n| events.len() >= n) {
            expected = None;
            deadline = deadline.min(tokio::time::Instant::now() + Duration::from_millis(250));
        }
        tokio::select! {
            frame = body.frame() => match frame {
                Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().map_or(&[][..], |d| d)),
                _ => return (events, true),
            },
            Ok((count, time)) = &mut closed, if deadline > tokio::time::Instant::now() + Duration::from_secs(1800) => {
                expected = Some(count);
                deadline = tokio::time::Instant::now() + time;
            }
            () = tokio::time::sleep_until(deadline) => return (events, false),
        }
        while let Some(end) = text.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let Ok(event) = serde_json::from_slice::<Value>(&line) else {
                continue;
            };
            let marker = event.pointer("/object/metadata/annotations/k8s.io~1initial-events-end");
            if event["type"] != "BOOKMARK" || bookmarks || marker.is_some() {
                events.push(event);
            }
        }
    }
}

fn holds(until: &Value, answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body);
    (until["code"].is_null() || until["code"] == answer.code)
        && until["contains"].as_str().is_none_or(|t| text.contains(t))
        && until["not_contains"]
            .as_str()
            .is_none_or(|t| !text.contains(t))
}

/// Sorts causes, and does not compare the message that lists them.
fn unordered(want: &mut Value, have: &mut Value) {
    for side in [want, have] {
        side["message"] = "".into();
        if let Some(causes) = side
            .pointer_mut("/details/causes")
            .and_then(Value::as_array_mut)
        {
            causes.sort_by_key(|c| (c["field"].to_string(), c["message"].to_string()));
        }
    }
}

fn set(value: &mut Value, pointer: &str, new: Value) {
    let mut at = value;
    let names: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|n| n.replace("~1", "/").replace("~0", "~"))
        .collect();
    for name in &names {
        at = match at {
            Value::Array(items) => match name.parse::<usize>().ok().filter(|i| *i < items.len()) {
                Some(i) => &mut items[i],
                None => return,
            },
            other => {
                if !other.is_object() {
                    *other = json!({});
                }
                &mut other[name.as_str()]
            }
        };
    }
    *at = new;
}

fn unset(value: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return;
    };
    let name = name.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&name);
        }
        Some(Value::Array(items)) => {
            if let Some(i) = name.parse::<usize>().ok().filter(|i| *i < items.len()) {
                items.remove(i);
            }
        }
        _ => {}
    }
}
