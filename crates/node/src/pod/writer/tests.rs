//! Against a fake API that plays a script of answers and remembers what it was asked.

use std::collections::VecDeque;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;

#[derive(Clone, Default)]
struct Fake {
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Fake {
    fn answering(answers: impl IntoIterator<Item = (u16, Value)>) -> Fake {
        Fake {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            ..Fake::default()
        }
    }

    fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| fake.clone().answer(request));
        Client::new(service, "default")
    }

    async fn answer(
        self,
        request: Request<Body>,
    ) -> Result<Response<Body>, std::convert::Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("in memory").to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        self.asked
            .lock()
            .push((format!("{} {}", head.method, head.uri.path()), body));
        let (code, answer) = self.answers.lock().pop_front().unwrap_or((500, json!({})));
        let answer = if code < 400 { answer } else { failure(code) };
        let bytes = serde_json::to_vec(&answer).expect("serializes");
        Ok(Response::builder()
            .status(code)
            .body(Body::from(bytes))
            .expect("a response"))
    }

    fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .iter()
            .map(|(request, _)| request.clone())
            .collect()
    }
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no", "reason": "No", "code": code})
}

fn pod(version: &str, uid: &str, phase: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "ns", "uid": uid, "resourceVersion": version},
        "status": {"phase": phase}})
}

fn wanted(phase: &str, remove: bool) -> Wanted {
    let status = PodStatus {
        phase: Some(phase.to_owned()),
        ..PodStatus::default()
    };
    Wanted {
        status: Some(status),
        remove,
    }
}

const STATUS: &str = "PATCH /api/v1/namespaces/ns/pods/a/status";
const GET: &str = "GET /api/v1/namespaces/ns/pods/a";
const DELETE: &str = "DELETE /api/v1/namespaces/ns/pods/a";

/// Writes what is wanted until an outcome other than `Stale`.
async fn write(fake: &Fake, wanted: &Wanted) -> (Writer, Outcome) {
    let recorded = serde_json::from_value(pod("1", "u", "Pending")).expect("a pod");
    let mut writer = Writer::new(fake.client(), Arc::new(recorded));
    loop {
        match writer.write(wanted).await {
            Outcome::Stale => {}
            outcome => return (writer, outcome),
        }
    }
}

#[tokio::test]
async fn a_status_is_written_once_and_the_answer_is_believed() {
    let fake = Fake::answering([(200, pod("2", "u", "Running"))]);
    let (mut writer, outcome) = write(&fake, &wanted("Running", false)).await;
    assert!(matches!(outcome, Outcome::Done));
    assert!(matches!(
        writer.write(&wanted("Running", false)).await,
        Outcome::Done
    ));
    assert_eq!(fake.asked(), [STATUS]);
    // The watch is behind the answer: nothing is written again.
    writer.learn(Arc::new(
        serde_json::from_value(pod("1", "u", "Pending")).expect("a pod"),
    ));
    assert!(matches!(
        writer.write(&wanted("Running", false)).await,
        Outcome::Done
    ));
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_pod_that_changed_meanwhile_is_read_and_written_again() {
    let fake = Fake::answering([
        (409, json!({})),
        (200, pod("5", "u", "Pending")),
        (200, pod("6", "u", "Running")),
    ]);
    let (_, outcome) = write(&fake, &wanted("Running", false)).await;
    assert!(matches!(outcome, Outcome::Done));
    assert_eq!(fake.asked(), [STATUS, GET, STATUS]);
}

#[tokio::test]
async fn a_pod_made_anew_under_the_name_is_left_alone() {
    let fake = Fake::answering([(422, json!({})), (200, pod("5", "other", "Pending"))]);
    let (_, outcome) = write(&fake, &wanted("Running", false)).await;
    assert!(matches!(outcome, Outcome::Unknown));
    let gone = Fake::answering([(404, json!({}))]);
    assert!(matches!(
        write(&gone, &wanted("Running", false)).await.1,
        Outcome::Unknown
    ));
}

#[tokio::test]
async fn the_last_status_is_written_before_the_pod_is_removed_by_its_uid() {
    let fake = Fake::answering([
        (200, pod("2", "u", "Failed")),
        (200, pod("3", "u", "Failed")),
    ]);
    let (mut writer, outcome) = write(&fake, &wanted("Failed", true)).await;
    assert!(matches!(outcome, Outcome::Done));
    assert!(matches!(
        writer.write(&wanted("Failed", true)).await,
        Outcome::Done
    ));
    assert_eq!(fake.asked(), [STATUS, DELETE], "removed once");
    let body = fake.asked.lock()[1].1.clone();
    assert_eq!(
        (&body["gracePeriodSeconds"], &body["preconditions"]["uid"]),
        (&json!(0), &json!("u"))
    );
}

#[tokio::test]
async fn a_refused_status_is_a_failure_to_be_told() {
    let fake = Fake::answering([(422, json!({})), (200, pod("1", "u", "Pending"))]);
    let (_, outcome) = write(&fake, &wanted("Running", false)).await;
    assert!(matches!(outcome, Outcome::Failed(err) if status_code(&err) == Some(422)));
}
