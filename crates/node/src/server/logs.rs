//! `/containerLogs/{namespace}/{pod}/{container}`.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use karve_runtime::Runtime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::State;
use super::answer::{Body, text};
use crate::logs::{self, Options, Source, Stream};

/// Pieces on their way to a client; a slow one holds up the reading.
const QUEUE_MAX: usize = 4;

type Refusal = Response<Body>;

/// Sends a log, or says why not.
pub(super) async fn answer(
    state: &State,
    namespace: &str,
    pod_name: &str,
    container: &str,
    query: &str,
) -> Result<Response<Body>, Refusal> {
    let (options, previous) = options(query, Timestamp::now()).map_err(bad_request)?;
    let pod = find(state, namespace, pod_name).ok_or_else(|| {
        text(
            StatusCode::NOT_FOUND,
            format!("pod \"{pod_name}\" does not exist"),
        )
    })?;
    if !has_container(&pod, container) {
        let message = format!("container \"{container}\" not found in pod \"{pod_name}\"");
        return Err(text(StatusCode::NOT_FOUND, message));
    }
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let status = state
        .statuses
        .read()
        .get(&uid)
        .cloned()
        .or_else(|| pod.status.clone())
        .unwrap_or_default();
    let id = container_id(&status, pod_name, container, previous).map_err(bad_request)?;
    let found = state.runtime.container_status(&id).await.map_err(|err| {
        tracing::debug!(
            container = id,
            err = &err as &dyn std::error::Error,
            "no log"
        );
        bad_request(format!(
            "unable to retrieve container logs for karve://{id}"
        ))
    })?;
    let source = Source {
        path: found.log_path,
        ended: ended(state.runtime.clone(), id),
    };
    let (sender, pieces) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(async move {
        if let Err(err) = logs::stream(source, options, sender).await {
            tracing::debug!(err = &err as &dyn std::error::Error, "log cut off");
        }
    });
    Ok(streamed(pieces))
}

fn bad_request(message: String) -> Refusal {
    text(StatusCode::BAD_REQUEST, message)
}

fn streamed(pieces: mpsc::Receiver<Bytes>) -> Response<Body> {
    let frames = futures::stream::unfold(pieces, |mut pieces| async move {
        Some((pieces.recv().await?, pieces))
    });
    let body = StreamBody::new(frames.map(|piece| Ok(Frame::data(piece))));
    let mut response = Response::new(BodyExt::boxed(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain"),
    );
    response
}

fn find(state: &State, namespace: &str, name: &str) -> Option<Arc<Pod>> {
    let pods = state.pods.read();
    let is = |pod: &&Arc<Pod>| {
        pod.metadata.name.as_deref() == Some(name)
            && pod.metadata.namespace.as_deref() == Some(namespace)
    };
    // The old one of a name may still be here while the new one is.
    let mut all: Vec<&Arc<Pod>> = pods.values().filter(is).collect();
    all.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
    all.pop().cloned()
}

fn has_container(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .any(|c| c.name == name)
}

/// The container whose log is meant (upstream's `validateContainerLogStatus`).
fn container_id(
    status: &PodStatus,
    pod: &str,
    container: &str,
    previous: bool,
) -> Result<String, String> {
    let mut all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten();
    let found: Option<&ContainerStatus> = all.find(|s| s.name == container);
    let Some(found) = found else {
        return Err(format!(
            "container \"{container}\" in pod \"{pod}\" is not available"
        ));
    };
    let state = found.state.clone().unwrap_or_default();
    let last = found
        .last_state
        .clone()
        .unwrap_or_default()
        .terminated
        .and_then(|t| t.container_id);
    let id = |id: Option<String>| id.and_then(|id| Some(id.split_once("://")?.1.to_owned()));
    if previous {
        return id(last).ok_or_else(|| {
            format!("previous terminated container \"{container}\" in pod \"{pod}\" not found")
        });
    }
    let current = match (&state.running, &state.terminated) {
        (Some(_), _) => id(found.container_id.clone()),
        (None, Some(end)) => id(end.container_id.clone()),
        _ => None,
    };
    current.or_else(|| id(last)).ok_or_else(|| {
        let waits = format!("container \"{container}\" in pod \"{pod}\" is waiting to start");
        match state.waiting.and_then(|w| w.reason).as_deref() {
            Some("ErrImagePull") => format!("{waits}: image can't be pulled"),
            Some("ImagePullBackOff") => format!("{waits}: trying and failing to pull image"),
            Some(reason) => format!("{waits}: {reason}"),
            None => format!("{waits} - no logs yet"),
        }
    })
}

/// Ends when the container has ended.
async fn ended(runtime: Runtime, id: String) {
    let mut events = runtime.subscribe();
    loop {
        // Asked after the subscription and after each event, so that no end is missed.
        match runtime.container_status(&id).await {
            Ok(status) if status.state.is_running() => {}
            _ => return,
        }
        loop {
            match events.recv().await {
                Ok(event) if event.container_id != id => {}
                Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => break,
            }
        }
    }
}

/// The options of the query, and whether the log of the attempt before is meant.
fn options(query: &str, now: Timestamp) -> Result<(Options, bool), String> {
    let mut options = Options::default();
    let mut previous = false;
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        let wrong = || format!("Invalid value for {name}: {value:?}");
        let flag = || match value.as_str() {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong()),
        };
        let number = || value.parse::<u64>().map_err(|_| wrong());
        match name {
            "follow" => options.follow = flag()?,
            "previous" => previous = flag()?,
            "timestamps" => options.timestamps = flag()?,
            "tailLines" => options.tail = Some(number()?),
            "limitBytes" => options.limit = Some(number()?),
            "sinceSeconds" => {
                let seconds = i64::try_from(number()?).map_err(|_| wrong())?;
                options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
            }
            "sinceTime" => options.since = Some(value.parse().map_err(|_| wrong())?),
            "stream" => {
                options.stream = match value.as_str() {
                    "Stdout" => Some(Stream::Stdout),
                    "Stderr" => Some(Stream::Stderr),
                    "All" | "" => None,
                    _ => return Err(wrong()),
                }
            }
            _ => {}
        }
    }
    Ok((options, previous))
}

/// Percent-decoding of a query value (WHATWG URL, `application/x-www-form-urlencoded`).
fn decode(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(at + i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_are_read() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let since = "2026-01-01T00:00:00Z".parse().expect("a time");
        let rows = [
            ("", Options::default(), false),
            (
                "follow=true&previous=true",
                Options {
                    follow: true,
                    ..Options::default()
                },
                true,
            ),
            (
                "tailLines=3&limitBytes=9",
                Options {
                    tail: Some(3),
                    limit: Some(9),
                    ..Options::default()
                },
                false,
            ),
            (
                "sinceSeconds=60&timestamps=1",
                Options {
                    since: Some(since),
                    timestamps: true,
                    ..Options::default()
                },
                false,
            ),
            (
                "sinceTime=2026-01-01T00%3A00%3A00Z",
                Options {
                    since: Some(since),
                    ..Options::default()
                },
                false,
            ),
            (
                "stream=Stderr&x=y",
                Options {
                    stream: Some(Stream::Stderr),
                    ..Options::default()
                },
                false,
            ),
        ];
        for (query, want, previous) in rows {
            assert_eq!(options(query, now), Ok((want, previous)), "{query}");
        }
        for query in [
            "tailLines=-1",
            "tailLines=x",
            "follow=maybe",
            "sinceTime=yesterday",
            "stream=Foo",
        ] {
            assert!(options(query, now).is_err(), "{query}");
        }
    }

    #[test]
    fn the_container_is_found_or_its_wait_is_told_as_upstream_tells_it() {
        let ran = json!({"containerID": "karve://old", "exitCode": 1});
        let rows = [
            (json!({"running": {}}), json!({}), false, Ok("now")),
            (
                json!({"terminated": {"containerID": "karve://end", "exitCode": 0}}),
                json!({}),
                false,
                Ok("end"),
            ),
            (
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                json!({"terminated": ran}),
                false,
                Ok("old"),
            ),
            (
                json!({"running": {}}),
                json!({"terminated": ran}),
                true,
                Ok("old"),
            ),
            (
                json!({"running": {}}),
                json!({}),
                true,
                Err("previous terminated container \"c\" in pod \"a\" not found"),
            ),
            (
                json!({"waiting": {"reason": "ErrImageNeverPull"}}),
                json!({}),
                false,
                Err("container \"c\" in pod \"a\" is waiting to start: ErrImageNeverPull"),
            ),
            (
                json!({"waiting": {"reason": "ImagePullBackOff"}}),
                json!({}),
                false,
                Err(
                    "container \"c\" in pod \"a\" is waiting to start: trying and failing to pull image",
                ),
            ),
        ];
        for (state, last, previous, want) in rows {
            let status = serde_json::from_value(json!({"containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "containerID": "karve://now",
                "state": state, "lastState": last,
            }]}));
            let got = container_id(&status.expect("a status"), "a", "c", previous);
            assert_eq!(
                got,
                want.map(str::to_owned).map_err(str::to_owned),
                "{state} {last}"
            );
        }
    }
}
