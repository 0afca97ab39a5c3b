//! `watch`: changes as a stream of events, spliced from stored bytes.
//!
//! A change is encoded once for all who watch plain objects: the event is a head, the stored bytes and a newline. What a
//! selector or a Table needs of a version is derived once and kept with the event.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use karve_api::field;
use karve_api::resource::Resource;
use karve_api::status::Status;
use karve_store::{Entry, Error, Event, Range, Store, Watch};
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::{HttpResponse, Refusal};
use crate::body::Body;
use crate::call::Call;
use crate::media::Form;
use crate::metrics::WatchCounters;
use crate::select::{self, Selection};
use crate::server::Server;
use crate::{convert, object, respond, table};

/// Events are gathered into pieces of about this size when many are waiting.
const PIECE: usize = 64 << 10;
/// How often a quiet watch tells how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without `timeoutSeconds` ends after this, or up to twice as long, as upstream's do.
const MIN_TIMEOUT_SECONDS: u64 = 1800;

/// What selectors need of an event; derived once for all watchers.
#[derive(Default)]
struct View {
    current: OnceLock<Value>,
    previous: OnceLock<Value>,
}

/// What a watcher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Added,
    Modified,
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
    let selection = Selection::parse(call)?;
    let initial = check_options(call)?;
    let timeout = match call.query.number("timeoutSeconds")?.filter(|n| *n > 0) {
        Some(seconds) => Duration::from_secs(seconds as u64),
        None => {
            Duration::from_secs_f64(MIN_TIMEOUT_SECONDS as f64 * rand::rng().random_range(1.0..2.0))
        }
    };
    let prefix = selection.scope(call);
    let start = match start(store, call, &prefix, initial) {
        Ok(start) => start,
        Err(Start::Refused(refusal)) => return Err(refusal),
        Err(Start::Ended(status)) => {
            return Ok(respond::stream(Body::from(error_line(status.status()))));
        }
    };
    let now = Instant::now();
    let watcher = Watcher {
        store: store.clone(),
        changes: start.changes,
        initial: start.entries.into(),
        ends_initial: initial.then_some(start.revision),
        told: start.revision,
        encoder: Encoder::new(call),
        selection,
        bookmarks: call.query.flag("allowWatchBookmarks"),
        bookmark_at: now + BOOKMARK_EVERY.min(timeout.saturating_sub(Duration::from_secs(2))),
        ends_at: now + timeout,
        ended: false,
        shutdown: server.options.shutdown.clone(),
        counters: server
            .metrics
            .watch(&call.path.group, &call.path.version, &call.path.resource),
    };
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((Ok(piece), watcher))
    });
    Ok(respond::stream(Body::stream(stream)))
}

/// Whether the initial state is wanted as events with a bookmark behind it (KEP-3157).
fn check_options(call: &Call) -> Result<bool, Refusal> {
    let query = &call.query;
    let initial = query.get("sendInitialEvents").filter(|v| !v.is_empty());
    let matching = query.text("resourceVersionMatch");
    let path = field::Path::root("resourceVersionMatch");
    let mut errors = Vec::new();
    match initial {
        Some(_) if matching.is_empty() => errors.push(field::Error::forbidden(
            &path,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        Some(_) if matching != "NotOlderThan" => {
            errors.push(field::Error::not_supported(
                &path,
                matching,
                &["NotOlderThan"],
            ));
        }
        Some(_) => {}
        None if !matching.is_empty() => errors.push(field::Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        None => {}
    }
    if !query.text("continue").is_empty() {
        errors.push(field::Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    match errors.is_empty() {
        true => Ok(initial.is_some() && query.flag("sendInitialEvents")),
        false => Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors).into()),
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

fn start(store: &Store, call: &Call, prefix: &str, initial: bool) -> Result<Started, Start> {
    let text = call.query.text("resourceVersion");
    let version = match text {
        "" => 0,
        text => parse_version(text).map_err(Start::Refused)?,
    };
    let current = store.revision();
    if version > current && initial {
        return Err(Start::Refused(
            Status::version_too_large(version, current).into(),
        ));
    }
    if version == 0 || initial {
        let with_state = initial || call.query.text("sendInitialEvents").is_empty();
        let range = Range {
            prefix,
            ..Range::default()
        };
        let (page, changes) = store
            .range_and_watch(&range)
            .expect("the present is always readable");
        let entries = if with_state { page.entries } else { Vec::new() };
        return Ok(Started {
            entries,
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

fn error_line(status: &Status) -> Bytes {
    format!("{}\n", json!({"type": "ERROR", "object": status})).into()
}

struct Watcher {
    store: Store,
    changes: Watch,
    initial: VecDeque<Arc<Entry>>,
    /// The revision of the initial state, until its end has been told.
    ends_initial: Option<u64>,
    /// The newest revision that the client knows of.
    told: u64,
    encoder: Encoder,
    selection: Selection,
    bookmarks: bool,
    bookmark_at: Instant,
    ends_at: Instant,
    ended: bool,
    shutdown: CancellationToken,
    counters: WatchCounters,
}

impl Watcher {
    /// The next bytes of the stream; `None` ends it.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        self.write_initial(&mut out);
        while out.is_empty() && !self.ended {
            tokio::select! {
                biased;
                change = self.changes.next() => match change {
                    Ok(Some(event)) => self.write_event(&event, &mut out),
                    // The client sees the connection end, and starts again from what it has.
                    Ok(None) | Err(karve_store::Lagged) => self.ended = true,
                },
                () = tokio::time::sleep_until(self.bookmark_at), if self.bookmarks => {
                    self.write_bookmark(&mut out);
                }
                () = tokio::time::sleep_until(self.ends_at) => self.ended = true,
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
        (!out.is_empty()).then(|| out.freeze())
    }

    fn write_initial(&mut self, out: &mut BytesMut) {
        while out.len() < PIECE
            && let Some(entry) = self.initial.pop_front()
        {
            if self.selection.matches(&entry) {
                self.encoder.event(out, Kind::Added, entry.value());
            }
        }
        if self.initial.is_empty()
            && let Some(revision) = self.ends_initial.take()
        {
            self.encoder.bookmark(out, revision, true);
        }
    }

    fn write_event(&mut self, event: &Event, out: &mut BytesMut) {
        self.told = event.revision();
        let length = out.len();
        let view = event.view(|_| View::default());
        let matches = |entry: Option<&Arc<Entry>>, cell: &OnceLock<Value>| {
            entry.is_some_and(|entry| {
                let skeleton = || cell.get_or_init(|| select::skeleton(entry.value()));
                self.selection.matches_with(entry, skeleton)
            })
        };
        let before = matches(event.previous(), &view.previous);
        let now = matches(event.current(), &view.current);
        match (before, now, event.current(), event.previous()) {
            (false, true, Some(entry), _) => {
                self.encoder.event(out, Kind::Added, entry.value());
            }
            (true, true, Some(entry), _) => {
                self.encoder.event(out, Kind::Modified, entry.value());
            }
            (true, false, _, Some(entry)) => {
                // What it was when it was last seen, with the version at which it went.
                let bytes = entry.restamped(event.revision());
                self.encoder.event(out, Kind::Deleted, &bytes);
            }
            _ => return,
        }
        self.counters.sent(out.len() - length);
    }

    fn write_bookmark(&mut self, out: &mut BytesMut) {
        self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
        let published = self.store.published();
        // Whatever was published is in the queue by now and goes first.
        while let Some(event) = self.changes.ready() {
            self.write_event(&event, out);
        }
        if published > self.told {
            self.told = published;
            self.encoder.bookmark(out, published, false);
        }
    }
}

/// Writes events in the form that the client wants.
struct Encoder {
    resource: Arc<Resource>,
    form: Form,
    head: String,
    columns: Option<table::Columns>,
    first_table: bool,
}

impl Encoder {
    fn new(call: &Call) -> Encoder {
        let resource = call.resource.clone();
        let columns = (call.media.form == Form::Table).then(|| table::Columns::new(call));
        let head = object::head(&resource.api_version(), &resource.kind);
        Encoder {
            resource,
            form: call.media.form,
            head,
            columns,
            first_table: true,
        }
    }

    fn event(&mut self, out: &mut BytesMut, kind: Kind, stored: &Bytes) {
        let stored = convert::read(&self.resource, stored);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        match (self.form, &self.columns) {
            (Form::Table, Some(columns)) => {
                let object = object::decode(&stored, &self.resource);
                let table = columns.table_of(&object, std::mem::take(&mut self.first_table));
                out.extend_from_slice(table.to_string().as_bytes());
            }
            (Form::Metadata, _) => {
                let object = object::decode(&stored, &self.resource);
                let partial = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
                });
                out.extend_from_slice(partial.to_string().as_bytes());
            }
            _ => object::splice(out, &self.head, &stored),
        }
        out.extend_from_slice(b"}\n");
    }

    fn bookmark(&mut self, out: &mut BytesMut, revision: u64, ends_initial: bool) {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match (self.form, &self.columns) {
            (Form::Table, Some(columns)) => {
                let object = json!({
                    "kind": &*self.resource.kind, "apiVersion": &*self.resource.api_version(), "metadata": metadata,
                });
                columns.table_of(&object, std::mem::take(&mut self.first_table))
            }
            (Form::Metadata, _) => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            }),
            _ => json!({
                "kind": &*self.resource.kind, "apiVersion": &*self.resource.api_version(), "metadata": metadata,
            }),
        };
        let line = json!({"type": "BOOKMARK", "object": object});
        out.extend_from_slice(line.to_string().as_bytes());
        out.extend_from_slice(b"\n");
    }
}
