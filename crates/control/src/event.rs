//! Events: what controllers tell people.
//!
//! Recording never waits: events go through a bounded queue and are dropped
//! when it is full. Repetitions raise the count of the event that is there, and
//! many like events about one object are combined into one, as upstream does
//! (`client-go/tools/record/events_cache.go`), with the same limits.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Client, Resource,
    api::{Patch, PatchParams, PostParams, Request},
};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

const QUEUE: usize = 4096;
const REMEMBERED: usize = 4096;
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// More like events than this within the interval are combined.
const COMBINE_AFTER: usize = 10;
const COMBINE_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// Good news or bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Normal,
    Warning,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One thing to tell.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) component: &'static str,
    /// Set for components that use the events.k8s.io form.
    pub(crate) action: Option<&'static str>,
    pub(crate) regarding: ObjectReference,
    pub(crate) kind: Kind,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    at: Timestamp,
}

/// Accepts events for one component; clones share the queue.
#[derive(Clone)]
pub(crate) struct Recorder {
    component: &'static str,
    notes: mpsc::Sender<Note>,
}

impl Recorder {
    /// A recorder, and the task that writes its events.
    pub(crate) fn new(
        client: Client,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (notes, queue) = mpsc::channel(QUEUE);
        let recorder = Self {
            component: "",
            notes,
        };
        (recorder, write_all(client, queue, shutdown))
    }

    pub(crate) fn component(&self, component: &'static str) -> Self {
        Self {
            component,
            notes: self.notes.clone(),
        }
    }

    /// Tells something about `object`.
    pub(crate) fn record<K>(&self, object: &K, kind: Kind, reason: &'static str, message: String)
    where
        K: Resource<DynamicType = ()>,
    {
        self.send(reference(object), kind, reason, message, None);
    }

    /// As [`Self::record`], naming the action that was taken or failed.
    pub(crate) fn send(
        &self,
        regarding: ObjectReference,
        kind: Kind,
        reason: &'static str,
        message: String,
        action: Option<&'static str>,
    ) {
        let note = Note {
            component: self.component,
            action,
            regarding,
            kind,
            reason,
            message,
            at: Timestamp::now(),
        };
        if self.notes.try_send(note).is_err() {
            tracing::debug!(component = self.component, reason, "event dropped");
        }
    }
}

/// A reference to an object as events carry it.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

async fn write_all(client: Client, mut notes: mpsc::Receiver<Note>, shutdown: CancellationToken) {
    let mut memory = Memory::default();
    loop {
        let note = tokio::select! {
            () = shutdown.cancelled() => return,
            note = notes.recv() => match note {
                Some(note) => note,
                None => return,
            },
        };
        let write = memory.plan(note);
        match timeout(WRITE_DEADLINE, execute(&client, &write)).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => {
                tracing::debug!(err = &err as &dyn std::error::Error, "event not written");
                memory.forget(&write);
            }
            Err(_) => memory.forget(&write),
        }
    }
}

async fn execute(client: &Client, write: &Write) -> Result<(), kube::Error> {
    match write {
        Write::Create(event) => {
            let request = Request::new(Event::url_path(&(), event.metadata.namespace.as_deref()));
            let body = serde_json::to_vec(event).map_err(kube::Error::SerdeError)?;
            let request = request.create(&PostParams::default(), body);
            let request = request.map_err(kube::Error::BuildRequest)?;
            client.request::<serde_json::Value>(request).await?;
        }
        Write::Count {
            namespace,
            name,
            count,
            message,
            at,
            series,
        } => {
            let request = Request::new(Event::url_path(&(), Some(namespace)));
            let patch = match series {
                true => json!({"series": {"count": count, "lastObservedTime": MicroTime(*at)}}),
                false => json!({"count": count, "message": message, "lastTimestamp": Time(*at)}),
            };
            let patch = Patch::Strategic(patch);
            let request = request.patch(name, &PatchParams::default(), &patch);
            let request = request.map_err(kube::Error::BuildRequest)?;
            client.request::<serde_json::Value>(request).await?;
        }
    }
    Ok(())
}

/// What to do for one note.
#[derive(Debug)]
enum Write {
    Create(Box<Event>),
    /// Raise the count of an event that was written before.
    Count {
        namespace: String,
        name: String,
        count: i32,
        message: String,
        at: Timestamp,
        /// The event has the events.k8s.io form.
        series: bool,
    },
}

/// Notes that are alike but for their text.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Likeness {
    component: &'static str,
    object: Arc<str>,
    kind: Kind,
    reason: &'static str,
}

/// What has been told lately.
#[derive(Default)]
struct Memory {
    /// Distinct texts of like notes since a time.
    texts: HashMap<Likeness, (Timestamp, Vec<String>)>,
    /// Events by likeness and text: name and count.
    written: HashMap<(Likeness, String), (String, i32)>,
}

impl Memory {
    fn plan(&mut self, note: Note) -> Write {
        if self.written.len() >= REMEMBERED {
            // Forgetting costs only a second event where a count would do.
            self.written.clear();
            self.texts.clear();
        }
        let likeness = Likeness {
            component: note.component,
            object: identity(&note.regarding).into(),
            kind: note.kind,
            reason: note.reason,
        };
        let combined = self.combine(&likeness, &note);
        let text = match combined {
            true => String::new(),
            false => note.message.clone(),
        };
        let message = match combined {
            true => format!("(combined from similar events): {}", note.message),
            false => note.message.clone(),
        };
        let namespace = event_namespace(&note.regarding);
        if let Some((name, count)) = self.written.get_mut(&(likeness.clone(), text.clone())) {
            *count += 1;
            return Write::Count {
                namespace,
                name: name.clone(),
                count: *count,
                message,
                at: note.at,
                series: note.action.is_some(),
            };
        }
        let event = event_of(&note, namespace, message);
        let name = event.metadata.name.clone().unwrap_or_default();
        self.written.insert((likeness, text), (name, 1));
        Write::Create(Box::new(event))
    }

    /// True if the note is one of too many like ones.
    fn combine(&mut self, likeness: &Likeness, note: &Note) -> bool {
        let fresh = || (note.at, Vec::new());
        let (since, texts) = self.texts.entry(likeness.clone()).or_insert_with(fresh);
        if note.at.duration_since(*since) > COMBINE_WITHIN {
            (*since, *texts) = fresh();
        }
        if texts.contains(&note.message) {
            return false;
        }
        if texts.len() >= COMBINE_AFTER {
            return true;
        }
        texts.push(note.message.clone());
        false
    }

    fn forget(&mut self, write: &Write) {
        let lost = match write {
            Write::Create(event) => event.metadata.name.as_deref().unwrap_or_default(),
            Write::Count { name, .. } => name,
        };
        self.written.retain(|_, (name, _)| name != lost);
    }
}

fn identity(object: &ObjectReference) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!(
        "{}/{}/{}/{}/{}",
        part(&object.kind),
        part(&object.namespace),
        part(&object.name),
        part(&object.uid),
        part(&object.field_path)
    )
}

/// Events about cluster-scoped objects live in `default`.
fn event_namespace(object: &ObjectReference) -> String {
    object.namespace.clone().unwrap_or_else(|| "default".into())
}

fn event_of(note: &Note, namespace: String, message: String) -> Event {
    let object = note.regarding.name.as_deref().unwrap_or_default();
    let name = format!(
        "{object}.{:x}{:02x}",
        note.at.as_nanosecond(),
        rand::random::<u8>()
    );
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: Some(namespace),
        ..ObjectMeta::default()
    };
    let event = Event {
        metadata,
        involved_object: note.regarding.clone(),
        type_: Some(note.kind.as_str().into()),
        reason: Some(note.reason.into()),
        message: Some(message),
        reporting_component: Some(note.component.into()),
        ..Event::default()
    };
    match note.action {
        Some(action) => Event {
            action: Some(action.into()),
            event_time: Some(MicroTime(note.at)),
            reporting_instance: Some(format!("{}-karve", note.component)),
            ..event
        },
        None => Event {
            count: Some(1),
            first_timestamp: Some(Time(note.at)),
            last_timestamp: Some(Time(note.at)),
            reporting_instance: Some(String::new()),
            source: Some(EventSource {
                component: Some(note.component.into()),
                host: None,
            }),
            ..event
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(message: &str, second: i64) -> Note {
        Note {
            component: "replicaset-controller",
            action: None,
            regarding: ObjectReference {
                kind: Some("ReplicaSet".into()),
                name: Some("r".into()),
                namespace: Some("ns".into()),
                ..ObjectReference::default()
            },
            kind: Kind::Warning,
            reason: "FailedCreate",
            message: message.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn a_repeated_event_is_counted() {
        let mut memory = Memory::default();
        assert!(matches!(memory.plan(note("no", 1)), Write::Create(_)));
        let Write::Count { count, .. } = memory.plan(note("no", 2)) else {
            panic!("a second event for the same text");
        };
        assert_eq!(count, 2);
    }

    #[test]
    fn many_like_events_are_combined_and_a_pause_ends_that() {
        let mut memory = Memory::default();
        for n in 0..COMBINE_AFTER {
            assert!(matches!(
                memory.plan(note(&n.to_string(), 1)),
                Write::Create(_)
            ));
        }
        let Write::Create(event) = memory.plan(note("x", 2)) else {
            panic!("the combined event is new");
        };
        let text = event.message.unwrap();
        assert_eq!(text, "(combined from similar events): x");
        assert!(matches!(
            memory.plan(note("y", 3)),
            Write::Count { count: 2, .. }
        ));
        assert!(matches!(memory.plan(note("z", 1000)), Write::Create(_)));
    }

    #[test]
    fn an_event_that_was_not_written_is_created_the_next_time() {
        let mut memory = Memory::default();
        let write = memory.plan(note("no", 1));
        memory.forget(&write);
        assert!(matches!(memory.plan(note("no", 2)), Write::Create(_)));
    }

    #[test]
    fn events_of_cluster_scoped_objects_go_to_default() {
        let mut about_node = note("x", 1);
        about_node.regarding.namespace = None;
        let Write::Create(event) = Memory::default().plan(about_node) else {
            panic!("an event");
        };
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    }
}
