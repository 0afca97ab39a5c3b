//! `watch`: changes as a stream of events.
//!
//! A change is encoded once for all who want it in the same form (see [`frames`]). What a selector needs of a version is
//! derived once, too, and kept with the event. Invariant: a watcher sees every change of what it selects, in the order
//! of revisions, or its stream ends.

mod frames;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use karve_api::encode::protobuf;
use karve_api::field;
use karve_api::status::Status;
use karve_store::{Entry, Error, Event, Range, Store, Watch};
use rand::Rng as _;
use serde_json::Value;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::answer::{HttpResponse, Refusal};
use crate::body::Body;
use crate::call::Call;
use crate::encoder::{self, Encoder};
use crate::media::{self, Form};
use crate::metrics::WatchCounters;
use crate::select::{self, Selection};
use crate::server::Server;
use crate::{compress, object, respond};
use frames::Cell;
pub use frames::Frames;

/// Events are gathered into pieces of about this size when many are waiting.
const PIECE: usize = 64 << 10;
/// How often a quiet watch tells how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch tells how far it is.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// What is as good as no end.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// What ends the initial events (KEP-3157).
const INITIAL_EVENTS_END: (&str, &str) = ("k8s.io/initial-events-end", "true");

/// What all watchers share of an event.
#[derive(Default)]
struct View {
    current: OnceLock<Value>,
    previous: OnceLock<Value>,
    frames: Arc<Cell>,
}

/// What a watcher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is there, for this watcher.
    Added,
    /// It is another.
    Modified,
    /// It is gone, for this watcher.
    Deleted,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Added => "ADDED",
            Kind::Modified => "MODIFIED",
            Kind::Deleted => "DELETED",
        }
    }
}

/// Checks the parameters and starts a watch.
pub fn watch(server: &Server, call: &Call) -> Result<HttpResponse, Refusal> {
    let store = &server.store;
    call.query.number("limit")?;
    let seconds = call.query.number("timeoutSeconds")?;
    let initial = Initial::parse(call)?;
    let selection = Selection::parse(call)?;
    let prefix = selection.scope(call);
    let start = start(store, call, &prefix, initial);
    let encoder = Encoder::new(call)?;
    media::check_stream(call.media)?;
    if let Form::MetadataList(_) = call.media.form {
        encoder::check_form(call, false)?;
    }
    let bookmarks = call.query.flag("allowWatchBookmarks");
    // Only watches that stand for a list are worth it.
    let compressed = call.gzip && bookmarks && initial == Initial::State;
    let start = match start {
        Ok(start) => start,
        Err(Start::Refused(refusal)) => return Err(refusal),
        Err(Start::Ended(refusal)) => {
            let line = error_frame(refusal.status(), encoder.is_protobuf());
            let line = if compressed {
                compress::member(&line)
            } else {
                line
            };
            return Ok(respond::stream(call, Body::from(line), compressed));
        }
    };
    let timeout = timeout(seconds, server.options.limits.min_request_timeout);
    let now = Instant::now();
    let ends_at = now + timeout;
    let watcher = Watcher {
        store: store.clone(),
        frames: server.frames.clone(),
        changes: start.changes,
        initial: start.entries.into(),
        ends_initial: (bookmarks && initial == Initial::State).then_some(start.revision),
        started: start.revision,
        encoder,
        selection,
        bookmark_at: bookmarks.then(|| next_bookmark(now, ends_at)).flatten(),
        bookmarks,
        timer: Box::pin(tokio::time::sleep_until(ends_at)),
        ends_at,
        first: true,
        ended: false,
        shutdown: server.options.shutdown.clone(),
        counters: server
            .metrics
            .watch(&call.path.group, &call.path.version, &call.path.resource),
    };
    let stream = futures::stream::unfold(watcher, move |mut watcher| async move {
        let piece = watcher.next().await?;
        let piece = if compressed {
            compress::member(&piece)
        } else {
            piece
        };
        Some((Ok(piece), watcher))
    });
    Ok(respond::stream(call, Body::stream(stream), compressed))
}

/// How long a watch lasts. Go multiplies without looking, and what becomes negative ends at once.
fn timeout(seconds: Option<i64>, least: Duration) -> Duration {
    let nanos = seconds.unwrap_or_default().wrapping_mul(1_000_000_000);
    match nanos {
        0 if least.is_zero() => FOREVER,
        0 => least.mul_f64(rand::rng().random_range(1.0..2.0)),
        nanos => Duration::from_nanos(u64::try_from(nanos).unwrap_or_default()),
    }
}

/// When the next bookmark is due: a minute from now, or shortly before the end; then no more.
fn next_bookmark(now: Instant, ends_at: Instant) -> Option<Instant> {
    let before_end = ends_at.checked_sub(BOOKMARK_BEFORE_END)?;
    let next = before_end.min(now + BOOKMARK_EVERY);
    (next > now).then_some(next)
}

/// What comes before the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Initial {
    /// Nothing was said: what comes depends on the revision.
    Unsaid,
    /// All that is there, as ADDED events.
    State,
    /// Nothing.
    Nothing,
}

impl Initial {
    /// Reads the parameters as upstream's rules have them.
    fn parse(call: &Call) -> Result<Initial, Refusal> {
        let query = &call.query;
        let mut matching = query.text("resourceVersionMatch");
        let mut wanted = query
            .get("sendInitialEvents")
            .map(|_| query.flag("sendInitialEvents"));
        if wanted.is_none() && matching.is_empty() {
            // Upstream takes a watch from nowhere for one that wants the state, and ends that with a bookmark.
            if !matches!(query.text("resourceVersion"), "" | "0") {
                return Ok(Initial::Unsaid);
            }
            (wanted, matching) = (Some(true), "NotOlderThan");
        }
        let path = field::Path::root("resourceVersionMatch");
        let mut errors = Vec::new();
        if wanted.is_some() && matching != "NotOlderThan" {
            errors.push(field::Error::forbidden(
                &path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !matching.is_empty() && wanted.is_none() {
            errors.push(field::Error::forbidden(
                &path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if !matching.is_empty() && matching != "NotOlderThan" {
            errors.push(field::Error::not_supported(
                &path,
                matching,
                &["NotOlderThan"],
            ));
        }
        if !matching.is_empty() && !query.text("continue").is_empty() {
            errors.push(field::Error::forbidden(
                &path,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        match (errors.is_empty(), wanted == Some(true)) {
            (true, true) => Ok(Initial::State),
            (true, false) => Ok(Initial::Nothing),
            (false, _) => Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors).into()),
        }
    }
}

/// Where a watch begins.
struct Started {
    entries: Vec<Arc<Entry>>,
    revision: u64,
    changes: Watch,
}

/// Why a watch did not begin.
enum Start {
    Refused(Refusal),
    /// The head of the answer is 200, the first event is this error.
    Ended(Refusal),
}

fn start(store: &Store, call: &Call, prefix: &str, initial: Initial) -> Result<Started, Start> {
    let text = call.query.text("resourceVersion");
    let version = match text {
        "" => 0,
        text => parse_version(text).map_err(Start::Refused)?,
    };
    let current = store.revision();
    if version > current && initial == Initial::State {
        return Err(Start::Ended(
            Status::version_too_large(version, current).into(),
        ));
    }
    if version == 0 || initial == Initial::State {
        let range = Range {
            prefix,
            ..Range::default()
        };
        let (page, changes) = store
            .range_and_watch(&range)
            .expect("the present is always readable");
        let with_state = initial != Initial::Nothing;
        return Ok(Started {
            entries: if with_state { page.entries } else { Vec::new() },
            revision: page.revision,
            changes,
        });
    }
    match store.watch(prefix, version) {
        Ok(changes) => Ok(Started {
            entries: Vec::new(),
            revision: version,
            changes,
        }),
        Err(Error::Expired { oldest, .. }) => {
            Err(Start::Ended(too_old(call, version, oldest).into()))
        }
        Err(err) => Err(Start::Refused(Status::internal(err.to_string()).into())),
    }
}

/// How upstream reads a resourceVersion in gets, watches and updates: 500 when it is none.
pub fn parse_version(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| {
        let quoted = field::quote(text);
        let why =
            format!("resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: invalid syntax");
        Status::unclassified(why).into()
    })
}

fn too_old(call: &Call, version: u64, oldest: u64) -> Status {
    // Events are not in upstream's watch cache, so etcd answers for them.
    match &*call.resource.plural {
        "events" => Status::expired("The resourceVersion for the provided watch is too old."),
        _ => Status::expired(format!("too old resource version: {version} ({oldest})")),
    }
}

fn error_frame(status: &Status, protobuf: bool) -> Bytes {
    let object = encoder::any(&status.to_value(), protobuf).unwrap_or_default();
    frame("ERROR", &object, protobuf)
}

/// One event as it is sent.
fn frame(kind: &str, object: &[u8], protobuf: bool) -> Bytes {
    if protobuf {
        return protobuf::event(kind, object).into();
    }
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}

struct Watcher {
    store: Store,
    frames: Frames,
    changes: Watch,
    initial: VecDeque<Arc<Entry>>,
    /// The revision of the initial state, until its end has been told.
    ends_initial: Option<u64>,
    /// The revision that the client knew from the start.
    started: u64,
    encoder: Encoder,
    selection: Selection,
    bookmarks: bool,
    bookmark_at: Option<Instant>,
    /// Fires at the next bookmark or at the end.
    timer: Pin<Box<Sleep>>,
    ends_at: Instant,
    /// Whether nothing has been told: a Table shows its columns once.
    first: bool,
    ended: bool,
    shutdown: CancellationToken,
    counters: WatchCounters,
}

/// Frames that are sent together; a single one is not copied.
#[derive(Default)]
struct Piece {
    only: Option<Bytes>,
    many: BytesMut,
}

impl Piece {
    fn push(&mut self, frame: Bytes) {
        if self.only.is_none() && self.many.is_empty() {
            self.only = Some(frame);
            return;
        }
        if let Some(first) = self.only.take() {
            self.many.reserve(PIECE);
            self.many.extend_from_slice(&first);
        }
        self.many.extend_from_slice(&frame);
    }

    /// Appends an event of plain JSON without making it first.
    fn splice(&mut self, kind: Kind, head: &str, stored: &[u8]) {
        if let Some(first) = self.only.take() {
            self.many.extend_from_slice(&first);
        }
        if self.many.is_empty() {
            self.many.reserve(PIECE + PIECE / 4);
        }
        self.many.extend_from_slice(b"{\"type\":\"");
        self.many.extend_from_slice(kind.as_str().as_bytes());
        self.many.extend_from_slice(b"\",\"object\":");
        object::splice(&mut self.many, head, stored);
        self.many.extend_from_slice(b"}\n");
    }

    fn len(&self) -> usize {
        self.only.as_ref().map_or(0, Bytes::len) + self.many.len()
    }

    fn take(self) -> Option<Bytes> {
        self.only
            .or_else(|| (!self.many.is_empty()).then(|| self.many.freeze()))
    }
}

impl Watcher {
    /// The next bytes of the stream; `None` ends it.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Piece::default();
        self.write_initial(&mut out);
        while out.len() == 0 && !self.ended {
            let due = self
                .bookmark_at
                .map_or(self.ends_at, |at| at.min(self.ends_at));
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                change = self.changes.next() => match change {
                    Ok(Some(event)) => self.write_event(&event, &mut out),
                    // The client sees the connection end, and starts again from what it has.
                    Ok(None) | Err(karve_store::Lagged) => self.ended = true,
                },
                () = self.timer.as_mut() => self.write_bookmark(&mut out),
                // The client starts again, at another server or when this one is back.
                () = self.shutdown.cancelled() => self.ended = true,
            }
        }
        while out.len() < PIECE && !self.ended {
            let Some(event) = self.changes.ready() else {
                break;
            };
            self.write_event(&event, &mut out);
        }
        out.take()
    }

    fn write_initial(&mut self, out: &mut Piece) {
        while out.len() < PIECE
            && let Some(entry) = self.initial.pop_front()
        {
            if !self.selection.matches(&entry) {
                continue;
            }
            if let Some(head) = self.encoder.plain_head() {
                out.splice(Kind::Added, head, entry.value());
            } else {
                let first = std::mem::take(&mut self.first);
                let object = self
                    .encoder
                    .document(&self.encoder.read(entry.value()), first);
                out.push(frame(
                    Kind::Added.as_str(),
                    &object,
                    self.encoder.is_protobuf(),
                ));
            }
        }
        if self.initial.is_empty()
            && let Some(revision) = self.ends_initial.take()
        {
            self.push_bookmark(revision, &[INITIAL_EVENTS_END], out);
        }
    }

    fn write_event(&mut self, event: &Event, out: &mut Piece) {
        let view = event.view(|_| View::default());
        let matches = |entry: Option<&Arc<Entry>>, cell: &OnceLock<Value>| {
            entry.is_some_and(|entry| {
                let skeleton = || cell.get_or_init(|| select::skeleton(entry.value()));
                self.selection.matches_with(entry, skeleton)
            })
        };
        let before = matches(event.previous(), &view.previous);
        let now = matches(event.current(), &view.current);
        let (kind, entry) = match (before, now, event.current(), event.previous()) {
            (false, true, Some(entry), _) => (Kind::Added, entry),
            (true, true, Some(entry), _) => (Kind::Modified, entry),
            (true, false, _, Some(entry)) => (Kind::Deleted, entry),
            _ => return,
        };
        let first = std::mem::take(&mut self.first);
        let key = (kind, self.encoder.key(first));
        let frame = self.frames.get(&view.frames, key, || {
            let bytes = match kind {
                // What it was when it was last seen, with the version at which it went.
                Kind::Deleted => entry.restamped(event.revision()),
                _ => entry.value().clone(),
            };
            let object = self.encoder.document(&self.encoder.read(&bytes), first);
            frame(kind.as_str(), &object, self.encoder.is_protobuf())
        });
        self.counters.sent(frame.len());
        out.push(frame);
    }

    /// The timer fired: the end, or a bookmark for those who want them.
    fn write_bookmark(&mut self, out: &mut Piece) {
        let now = Instant::now();
        if now >= self.ends_at {
            self.ended = true;
            return;
        }
        self.bookmark_at = self
            .bookmarks
            .then(|| next_bookmark(now, self.ends_at))
            .flatten();
        let published = self.store.published();
        // Whatever was published is in the queue by now and goes first.
        while let Some(event) = self.changes.ready() {
            self.write_event(&event, out);
        }
        // A watcher that was cut off has not seen what was published.
        if published > self.started && !self.changes.lagged() {
            self.push_bookmark(published, &[], out);
        }
    }

    fn push_bookmark(&mut self, revision: u64, annotations: &[(&str, &str)], out: &mut Piece) {
        let first = std::mem::take(&mut self.first);
        let object = self.encoder.bare(revision, annotations, first);
        out.push(frame("BOOKMARK", &object, self.encoder.is_protobuf()));
    }
}

#[cfg(test)]
mod tests;
