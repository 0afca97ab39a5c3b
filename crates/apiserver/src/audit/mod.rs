//! The audit log: who did what, by upstream's policy ([`policy`]), events ([`event`]) and file ([`log`]).
//!
//! Deliberately absent: the webhook backend, and batches; the log's thread writes at once.

mod event;
mod log;
mod policy;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::answer::HttpResponse;
use crate::body::Body;
use crate::seen::Seen;
use crate::trail::{self, Trail};
use event::{Answered, Head};
use log::Log;
pub use log::LogOptions;
use policy::{Level, Stage};
pub use policy::{Policy, PolicyError, Scope};

/// What is logged and where.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// The policy.
    pub policy_file: PathBuf,
    /// The log.
    pub log: LogOptions,
}

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy's file can't be read.
    #[error("read the audit policy {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        err: std::io::Error,
    },
    /// The policy is none.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The log can't be opened.
    #[error("open the audit log {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        err: std::io::Error,
    },
}

/// The audit log.
pub struct Audit {
    policy: Policy,
    log: Log,
}

/// The name of the header with the request's id, in both directions.
pub const ID_HEADER: &str = "audit-id";
/// A longer id of a client's is not taken.
const ID_MAX: usize = 64;

/// The id of a request: the client's, or a new one.
pub fn id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(ID_HEADER).filter(|v| !v.is_empty());
    if let Some(given) = given.filter(|v| v.len() <= ID_MAX) {
        return given.clone();
    }
    // From the thread's generator: one of the system's calls per request would show.
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    HeaderValue::from_str(id.as_hyphenated().encode_lower(&mut text)).expect("hexadecimal digits")
}

/// One request, as the log sees it. Without a log there is none.
pub struct Record {
    audit: Arc<Audit>,
    head: Head,
}

impl Audit {
    /// Reads the policy and opens the log.
    pub fn open(options: &AuditOptions) -> Result<Audit, AuditError> {
        let path = &options.policy_file;
        let text = std::fs::read_to_string(path).map_err(|err| AuditError::Read {
            path: path.clone(),
            err,
        })?;
        let open = |err| AuditError::Open {
            path: options.log.path.clone(),
            err,
        };
        Ok(Audit {
            policy: Policy::parse(&text)?,
            log: Log::open(options.log.clone()).map_err(open)?,
        })
    }

    /// A request comes.
    pub fn record(self: &Arc<Self>, id: &HeaderValue, parts: &Parts, seen: &Seen) -> Record {
        let id = id.to_str().unwrap_or_default();
        Record {
            audit: self.clone(),
            head: Head::of(id, parts, seen, jiff::Timestamp::now()),
        }
    }
}

impl Record {
    /// The user is known: from here on it is known what is logged. Writes the first event.
    pub async fn received(&self, seen: &Seen) {
        let mut line = None;
        trail::note(|trail| {
            let scope = self.audit.policy.scope(trail.user.as_ref(), seen);
            if scope.covers(Stage::RequestReceived) {
                line = Some(self.line(
                    scope.level,
                    Stage::RequestReceived,
                    trail,
                    Answered::default(),
                ));
            }
            trail.scope = Some(scope);
        });
        if let Some(line) = line {
            self.audit.log.write(line).await;
        }
    }

    /// The answer is there; its object may be read for the log. Writes the last event, at the end of a stream.
    pub async fn answered(
        self: Arc<Self>,
        response: HttpResponse,
        seen: &Seen,
        mut trail: Trail,
        panicked: bool,
    ) -> HttpResponse {
        let unknown = || self.audit.policy.scope(None, seen);
        let scope = trail.scope.take().unwrap_or_else(unknown);
        if scope.level == Level::None {
            return response;
        }
        if scope.omit_managed_fields {
            trail.request_object = trail.request_object.map(event::without_managed_fields);
        }
        let (response, answered) = read_answer(response, &scope).await;
        if seen.runs_long() {
            if scope.covers(Stage::ResponseStarted) {
                let head = Answered {
                    status: answered.status.clone(),
                    object: None,
                };
                let line = self.line(scope.level, Stage::ResponseStarted, &trail, head);
                self.audit.log.write(line).await;
            }
            return self.at_the_end(response, scope, trail, answered);
        }
        let stage = match panicked {
            true => Stage::Panic,
            false => Stage::ResponseComplete,
        };
        if scope.covers(stage) {
            self.audit
                .log
                .write(self.line(scope.level, stage, &trail, answered))
                .await;
        }
        response
    }

    /// Lets the stream write the last event when it ends or is dropped.
    fn at_the_end(
        self: Arc<Self>,
        response: HttpResponse,
        scope: Scope,
        trail: Trail,
        answered: Answered,
    ) -> HttpResponse {
        struct Ending(Option<Box<dyn FnOnce() + Send>>);
        impl Drop for Ending {
            fn drop(&mut self) {
                if let Some(end) = self.0.take() {
                    end();
                }
            }
        }
        let ending = Ending(Some(Box::new(move || {
            if scope.covers(Stage::ResponseComplete) {
                let line = self.line(scope.level, Stage::ResponseComplete, &trail, answered);
                self.audit.log.write_now(line);
            }
        })));
        response.map(|body| match body {
            Body::Stream(stream) => Body::Stream(Box::pin(futures::stream::unfold(
                (stream, ending),
                |(mut stream, ending)| async move {
                    let item = futures::StreamExt::next(&mut stream).await?;
                    Some((item, (stream, ending)))
                },
            ))),
            other => other,
        })
    }

    fn line(&self, level: Level, stage: Stage, trail: &Trail, answered: Answered) -> Vec<u8> {
        let event = self.head.event(level, stage, trail, answered);
        let mut line = serde_json::to_vec(&event).expect("events have string keys only");
        line.push(b'\n');
        line
    }
}

/// What the log shows of the answer: a Status that is one, and at the highest level the object.
async fn read_answer(response: HttpResponse, scope: &Scope) -> (HttpResponse, Answered) {
    let code = response.status().as_u16();
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    let wanted = code >= 400 || scope.level == Level::RequestResponse;
    let mut answered = Answered {
        status: Some(json!({"metadata": {}, "code": code})),
        object: None,
    };
    if !wanted || !is_json || matches!(response.body(), Body::Stream(_)) {
        return (response, answered);
    }
    let (parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => Bytes::new(),
    };
    if let Ok(mut object) = serde_json::from_slice::<Value>(&bytes) {
        if object["kind"] == "Status" && code >= 400 {
            let mut status = object.clone();
            if let Some(members) = status.as_object_mut() {
                members.remove("kind");
                members.remove("apiVersion");
            }
            answered.status = Some(status);
        }
        if scope.level == Level::RequestResponse {
            if scope.omit_managed_fields {
                object = event::without_managed_fields(object);
            }
            answered.object = Some(object);
        }
    }
    (HttpResponse::from_parts(parts, Body::from(bytes)), answered)
}

impl Scope {
    /// Whether the log wants the objects that are sent.
    pub fn wants_objects(&self) -> bool {
        self.level >= Level::Request
    }
}
