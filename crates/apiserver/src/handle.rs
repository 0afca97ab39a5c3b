//! What happens around every request, whatever it is about: its id, its time, its seat, its traces in metrics and the
//! audit log, and a defect that it meets.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
use karve_api::resource::Verb;
use karve_api::status::Status;

use crate::answer::{self, HttpResponse, Refusal};
use crate::audit::{self, Record};
use crate::body::Body;
use crate::flow::{self, Class, Seat, TooMany};
use crate::identity::{Identity, MASTERS};
use crate::path::Target;
use crate::query::Query;
use crate::seen::Seen;
use crate::server::Server;
use crate::trail::{self, Trail};
use crate::{duration, keys, media, respond};

/// What upstream says of a request that hit a defect.
const PANICKED: &str = "This request caused apiserver to panic. Look in the logs for details.";
/// What upstream says to who has to come again.
const TOO_MANY: &str = "Too many requests, please try again later.";
/// No request waits longer for a seat.
const WAIT_MAX: Duration = Duration::from_secs(60);

const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");

/// One request, for those that watch over it. In the extensions of the request.
#[derive(Clone)]
pub struct Watched {
    seen: Arc<Seen>,
    record: Option<Arc<Record>>,
    /// How long it may take; `None`: as long as it likes.
    patience: Option<Duration>,
}

/// The format of a status that ends a request before it is understood.
fn status_format(parts: &Parts) -> media::Format {
    let query = Query::parse(parts.uri.query());
    let pretty = media::pretty(query.get("pretty"), &parts.headers);
    media::for_status(&parts.headers, pretty)
}

impl Server {
    /// Answers a request. Never fails: whatever goes wrong is an answer.
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: Request<B>,
        identity: Identity,
    ) -> HttpResponse
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        let seen = Arc::new(Seen::of(&parts));
        let id = audit::id(&parts.headers);
        let record = self
            .audit
            .as_ref()
            .map(|audit| Arc::new(audit.record(&id, &parts, &seen)));
        let format = status_format(&parts);
        let patience = self.patience(&seen);
        let watched = Watched {
            seen: seen.clone(),
            record: record.clone(),
            patience: patience.as_ref().copied().unwrap_or_default(),
        };
        parts.extensions.insert(watched);
        let running = self.metrics.begin(&seen);
        let (answered, trail) = match patience {
            Ok(patience) => {
                // A defect met by one request must not end the connection that others share.
                let dispatched =
                    AssertUnwindSafe(self.dispatch(parts, body, identity)).catch_unwind();
                trail::follow(Trail::default(), patience, dispatched).await
            }
            Err(refusal) => (Some(Ok(Err(refusal))), Trail::default()),
        };
        let panicked = matches!(answered, Some(Err(_)));
        let mut response = match answered {
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(refusal))) => respond::status(format, refusal.status()),
            Some(Err(_)) => answer::error(500, PANICKED),
            None => respond::status(format, &timed_out()),
        };
        set_headers(&mut response, &id, trail.class.as_ref());
        self.told(&seen, &response, &trail, began, panicked);
        response = running.until_sent(response);
        if let Some(record) = record {
            response = record.answered(response, &seen, trail, panicked).await;
        }
        match seen.method == Method::HEAD {
            true => response.map(|_| Body::empty()),
            false => response,
        }
    }

    /// How long a request may take: what it says, or the server's limit.
    fn patience(&self, seen: &Seen) -> Result<Option<Duration>, Refusal> {
        if seen.runs_long() {
            return Ok(None);
        }
        let limit = self.options.limits.request_timeout;
        let text = seen.query.text("timeout");
        let wanted = match text.is_empty() {
            true => Duration::ZERO,
            false => duration::parse(text).map_err(|why| {
                Status::bad_request(format!(
                    "invalid timeout specified in the request URL - {why}"
                ))
            })?,
        };
        Ok(Some(match wanted.is_zero() {
            true => limit,
            false => wanted.min(limit),
        }))
    }

    /// Log and metrics.
    fn told(
        &self,
        seen: &Seen,
        response: &HttpResponse,
        trail: &Trail,
        began: Instant,
        panicked: bool,
    ) {
        let code = response.status().as_u16();
        let user = trail.user.as_ref().map_or("", |user| &*user.user);
        let took = began.elapsed();
        if panicked {
            tracing::error!(method = %seen.method, target = ?seen.target, user, "request panicked");
        }
        tracing::debug!(
            method = %seen.method,
            target = ?seen.target,
            user,
            code,
            micros = took.as_micros() as u64,
            "request answered"
        );
        let served = self.served();
        let known = seen.resource().is_some_and(|path| {
            served
                .table
                .lookup(&path.group, &path.version, &path.resource)
                .is_some()
        });
        self.metrics
            .answered(seen, known, response, took, trail.waited);
    }

    /// The user of a request is known: from here on it can be logged, and has to wait its turn. An answer means that it
    /// has to come again later.
    pub(crate) async fn admit_in_turn(
        &self,
        parts: &Parts,
        user: &Identity,
        acting: &Identity,
    ) -> Result<Turn, Box<HttpResponse>> {
        let Some(watched) = parts.extensions.get::<Watched>() else {
            return Ok(Turn::Free);
        };
        let seen = &watched.seen;
        trail::note(|trail| {
            trail.user = Some(user.clone());
            trail.impersonated = (acting != user).then(|| acting.clone());
        });
        if let Some(record) = &watched.record {
            record.received(seen).await;
        }
        if seen.runs_long() && seen.verb != Some(Verb::Watch) {
            return Ok(Turn::Free);
        }
        match &self.flow {
            Some(flow) => self.wait_for_seat(flow, watched, acting).await,
            None => self.below_maximum(seen, acting),
        }
    }

    async fn wait_for_seat(
        &self,
        flow: &flow::FlowControl,
        watched: &Watched,
        acting: &Identity,
    ) -> Result<Turn, Box<HttpResponse>> {
        let seen = &watched.seen;
        let verb = seen.verb();
        let resource;
        let target = match &seen.target {
            Target::Other(path) => flow::Target::Path(path),
            Target::Resource(path) => {
                resource = match path.subresource.is_empty() {
                    true => path.resource.clone(),
                    false => format!("{}/{}", path.resource, path.subresource),
                };
                flow::Target::Resource {
                    group: &path.group,
                    resource: &resource,
                    namespace: seen.namespace(),
                }
            }
        };
        let digest = flow::Digest {
            identity: acting,
            verb: &verb,
            target,
        };
        let Some((class, number)) = flow.classify(&digest) else {
            return Ok(Turn::Free);
        };
        trail::note(|trail| trail.class = Some(class.clone()));
        let patience = watched.patience.map_or(WAIT_MAX, |p| (p / 4).min(WAIT_MAX));
        let entered = flow.enter(&class, number, self.seats(seen), patience).await;
        self.metrics.entered(&class, &entered);
        match entered {
            Ok(seat) => {
                trail::note(|trail| trail.waited = seat.waited);
                Ok(Turn::Seated(seat))
            }
            Err(too_many) => {
                self.metrics.terminated(seen, 429);
                Err(Box::new(come_again(&too_many)))
            }
        }
    }

    /// The seats that a request takes: a list as many as it reads, everything else one.
    fn seats(&self, seen: &Seen) -> u64 {
        let Some(path) = seen.resource() else {
            return 1;
        };
        let version = seen.query.text("resourceVersion");
        let reads_all = match seen.verb {
            Some(Verb::List) => true,
            Some(Verb::Watch) => {
                seen.query.flag("sendInitialEvents") || matches!(version, "" | "0")
            }
            _ => false,
        };
        let one = seen.query.text("fieldSelector").contains("metadata.name=");
        if !reads_all || one {
            return 1;
        }
        let count = self
            .store
            .count(&keys::collection(&path.group, &path.resource));
        let limit = seen.query.text("limit").parse().ok();
        flow::seats_of_list(count.entries, count.bytes, limit)
    }

    /// Without flow control, all that counts is how many requests there are.
    fn below_maximum(&self, seen: &Seen, acting: &Identity) -> Result<Turn, Box<HttpResponse>> {
        if seen.runs_long() || acting.in_group(MASTERS) {
            return Ok(Turn::Free);
        }
        let places = if seen.reads() {
            &self.reading
        } else {
            &self.writing
        };
        places
            .clone()
            .try_acquire_owned()
            .map(Turn::Counted)
            .map_err(|_| {
                self.metrics.terminated(seen, 429);
                Box::new(refuse_for(1))
            })
    }
}

/// Held while a request is answered.
#[expect(dead_code, reason = "what is held is given back when it is dropped")]
pub enum Turn {
    /// Nothing.
    Free,
    /// Seats.
    Seated(Seat),
    /// A place.
    Counted(tokio::sync::OwnedSemaphorePermit),
}

fn come_again(too_many: &TooMany) -> HttpResponse {
    refuse_for(too_many.retry_after)
}

fn refuse_for(seconds: u64) -> HttpResponse {
    let mut response = answer::error(429, TOO_MANY);
    response
        .headers_mut()
        .insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer to a request that took too long.
fn timed_out() -> Status {
    Status::timeout("request did not complete within the allotted timeout", 0)
}

fn set_headers(response: &mut HttpResponse, id: &HeaderValue, class: Option<&Class>) {
    let headers = response.headers_mut();
    headers.insert(audit::ID_HEADER, id.clone());
    let Some(class) = class else {
        return;
    };
    for (name, uid) in [
        (LEVEL_UID, &class.level_uid),
        (SCHEMA_UID, &class.schema_uid),
    ] {
        if let Ok(value) = HeaderValue::from_str(uid) {
            headers.insert(name, value);
        }
    }
}
