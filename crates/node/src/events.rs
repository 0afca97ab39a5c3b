//! Events about pods and the node, written in order for each object, and for several objects at a time.
//!
//! A repeated event raises the count of the first one; an object that causes many is held to a burst of
//! [`BURST`] and one per [`REFILL`] after it (client-go's `EventCorrelator`). Recording never waits: when the queue is
//! full, the event is dropped and counted in the log. Events are advice, not state.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use karve_watch::Retry;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::request::{bounded, status_code};

/// The reporting component, as upstream names it.
const COMPONENT: &str = "kubelet";
/// How often an event is tried to be written while the API is away (upstream's `maxTriesPerEvent`).
const TRIES_MAX: u32 = 12;
/// Requests at a time; all events of an object go the same way.
const LANES: usize = 8;
/// Events waiting to be written in each lane.
const QUEUE_MAX: usize = 256;
/// Events and objects remembered for counting in each lane.
const REMEMBERED_MAX: usize = 512;
/// Events that one object may cause at once.
const BURST: u32 = 25;
/// Time after which one more is allowed.
const REFILL: SignedDuration = SignedDuration::from_secs(300);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Happening {
    /// The object, with its `fieldPath`.
    pub about: About,
    /// A warning, or normal.
    pub warning: bool,
    /// The reason, in CamelCase.
    pub reason: String,
    /// The text for people.
    pub message: String,
}

/// The object that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    field_path: Option<String>,
}

impl About {
    /// A pod.
    pub fn pod(pod: &Pod) -> About {
        let meta = &pod.metadata;
        About {
            kind: "Pod".to_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            field_path: None,
        }
    }

    /// A container of a pod.
    pub fn container(pod: &Pod, name: &str, init: bool) -> About {
        let list = if init { "initContainers" } else { "containers" };
        About {
            field_path: Some(format!("spec.{list}{{{name}}}")),
            ..About::pod(pod)
        }
    }

    /// A node; upstream uses the name as its UID.
    pub fn node(name: &str) -> About {
        About {
            kind: "Node".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            ..About::default()
        }
    }
}

/// The way to record events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    lanes: Arc<[mpsc::Sender<(Happening, Timestamp)>]>,
}

impl Recorder {
    /// Notes an event that is not a warning.
    pub fn normal(&self, about: About, reason: &str, message: impl Into<String>) {
        self.record(Happening {
            about,
            warning: false,
            reason: reason.to_owned(),
            message: message.into(),
        });
    }

    /// Notes a warning.
    pub fn warning(&self, about: About, reason: &str, message: impl Into<String>) {
        self.record(Happening {
            about,
            warning: true,
            reason: reason.to_owned(),
            message: message.into(),
        });
    }

    fn record(&self, happening: Happening) {
        let mut hasher = DefaultHasher::new();
        happening.about.uid.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).expect("less than LANES");
        if let Err(err) = self.lanes[lane].try_send((happening, Timestamp::now())) {
            tracing::warn!(err = %err, "event dropped");
        }
    }
}

/// What writes events; run it with [`Writer::run`].
pub struct Writer {
    lanes: Vec<Lane>,
}

struct Lane {
    client: Client,
    node: String,
    queue: mpsc::Receiver<(Happening, Timestamp)>,
    seen: Correlator,
}

/// A recorder and its writer.
pub fn recorder(client: Client, node: String) -> (Recorder, Writer) {
    let mut lanes = Vec::new();
    let senders = (0..LANES).map(|_| {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        lanes.push(Lane {
            client: client.clone(),
            node: node.clone(),
            queue,
            seen: Correlator::default(),
        });
        sender
    });
    let senders = senders.collect();
    (Recorder { lanes: senders }, Writer { lanes })
}

impl Writer {
    /// Writes events until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let lanes = self.lanes.into_iter().map(Lane::run);
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = futures::future::join_all(lanes) => {}
        }
    }
}

impl Lane {
    async fn run(mut self) {
        while let Some((happening, at)) = self.queue.recv().await {
            match self.seen.note(&happening, at) {
                Outcome::Create { name } => self.create(&happening, &name, at).await,
                Outcome::Count { name, count } => self.count(&happening, &name, count, at).await,
                Outcome::Drop => {
                    tracing::debug!(reason = happening.reason, "event over its object's share")
                }
            }
        }
    }

    fn api(&self, happening: &Happening) -> Api<Event> {
        Api::namespaced(self.client.clone(), namespace(happening))
    }

    async fn create(&self, happening: &Happening, name: &str, at: Timestamp) {
        let api = self.api(happening);
        let event = event(happening, name, &self.node, at);
        let params = PostParams::default();
        if let Err(err) = persistently(|| api.create(&params, &event)).await {
            tracing::debug!(
                err = &err as &dyn std::error::Error,
                name,
                "event not written"
            );
        }
    }

    async fn count(&mut self, happening: &Happening, name: &str, count: i32, at: Timestamp) {
        let api = self.api(happening);
        let params = PatchParams::default();
        let patch = Patch::Merge(json!({ "count": count, "lastTimestamp": Time(at) }));
        if let Err(err) = persistently(|| api.patch(name, &params, &patch)).await {
            // Expired or deleted: the next one starts anew.
            tracing::debug!(
                err = &err as &dyn std::error::Error,
                name,
                "event not counted"
            );
            let fresh = self.seen.renew(happening, at);
            self.create(happening, &fresh, at).await;
        }
    }
}

/// Tries again while the API does not answer, up to [`TRIES_MAX`] times.
async fn persistently<T, F: Future<Output = kube::Result<T>>>(
    call: impl Fn() -> F,
) -> kube::Result<T> {
    let mut pauses = Retry::default();
    for _ in 1..TRIES_MAX {
        match bounded(call()).await {
            Err(err) if status_code(&err).is_none() => {}
            answered => return answered,
        }
        tokio::time::sleep(pauses.pause()).await;
    }
    bounded(call()).await
}

fn namespace(happening: &Happening) -> &str {
    match happening.about.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    }
}

fn event(happening: &Happening, name: &str, node: &str, at: Timestamp) -> Event {
    let about = &happening.about;
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace(happening).to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: (about.kind != "Node").then(|| "v1".to_owned()),
            kind: Some(about.kind.clone()),
            namespace: Some(about.namespace.clone()).filter(|n| !n.is_empty()),
            name: Some(about.name.clone()),
            uid: Some(about.uid.clone()),
            field_path: about.field_path.clone(),
            resource_version: None,
        },
        reason: Some(happening.reason.clone()),
        message: Some(happening.message.clone()),
        type_: Some(
            if happening.warning {
                "Warning"
            } else {
                "Normal"
            }
            .to_owned(),
        ),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node.to_owned()),
        }),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        count: Some(1),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Event::default()
    }
}

/// What to write for an event.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Create { name: String },
    Count { name: String, count: i32 },
    Drop,
}

/// Which events were seen, bounded: the oldest are forgotten.
#[derive(Debug, Default)]
struct Correlator {
    seen: BTreeMap<Happening, (String, i32)>,
    order: VecDeque<Happening>,
    shares: BTreeMap<String, Share>,
}

#[derive(Debug)]
struct Share {
    left: u32,
    refilled: Timestamp,
}

impl Correlator {
    fn note(&mut self, happening: &Happening, at: Timestamp) -> Outcome {
        if !self.allowed(&happening.about, at) {
            return Outcome::Drop;
        }
        if let Some((name, count)) = self.seen.get_mut(happening) {
            *count = count.saturating_add(1);
            return Outcome::Count {
                name: name.clone(),
                count: *count,
            };
        }
        Outcome::Create {
            name: self.renew(happening, at),
        }
    }

    /// Begins a new series of the event; its name.
    fn renew(&mut self, happening: &Happening, at: Timestamp) -> String {
        let mut name = happening.about.name.clone();
        // Unique enough, as upstream: the time in nanoseconds.
        write!(name, ".{:x}", at.as_nanosecond()).expect("writing to a string");
        if self
            .seen
            .insert(happening.clone(), (name.clone(), 1))
            .is_none()
        {
            self.order.push_back(happening.clone());
        }
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        name
    }

    fn allowed(&mut self, about: &About, at: Timestamp) -> bool {
        if self.shares.len() >= REMEMBERED_MAX {
            // Full shares hold no information.
            self.shares.retain(|_, share| {
                at.duration_since(share.refilled) < REFILL * i32::try_from(BURST).unwrap_or(1)
            });
        }
        let share = self.shares.entry(about.uid.clone()).or_insert(Share {
            left: BURST,
            refilled: at,
        });
        let due = at.duration_since(share.refilled).as_secs() / REFILL.as_secs();
        if due > 0 {
            share.left = share
                .left
                .saturating_add(u32::try_from(due).unwrap_or(BURST))
                .min(BURST);
            share.refilled = at;
        }
        let allowed = share.left > 0;
        share.left = share.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(message: &str) -> Happening {
        let about = About {
            name: "a".to_owned(),
            uid: "u".to_owned(),
            ..About::default()
        };
        Happening {
            about,
            warning: false,
            reason: "Pulled".to_owned(),
            message: message.to_owned(),
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + secs).expect("small")
    }

    #[test]
    fn an_equal_event_is_counted_and_another_is_new() {
        let mut seen = Correlator::default();
        let Outcome::Create { name } = seen.note(&happening("x"), at(0)) else {
            panic!("new")
        };
        assert_eq!(
            seen.note(&happening("x"), at(1)),
            Outcome::Count { name, count: 2 }
        );
        assert!(matches!(
            seen.note(&happening("y"), at(2)),
            Outcome::Create { .. }
        ));
    }

    #[test]
    fn an_object_has_a_burst_and_a_slow_refill() {
        let mut seen = Correlator::default();
        for n in 0..BURST {
            assert_ne!(seen.note(&happening("x"), at(0)), Outcome::Drop, "{n}");
        }
        assert_eq!(seen.note(&happening("x"), at(1)), Outcome::Drop);
        assert_ne!(seen.note(&happening("x"), at(301)), Outcome::Drop);
        assert_eq!(seen.note(&happening("x"), at(302)), Outcome::Drop);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Correlator::default();
        for n in 0..REMEMBERED_MAX + 10 {
            let mut one = happening("x");
            one.about.uid = format!("u{n}");
            seen.note(&one, at(i64::try_from(n).expect("small") * 3600));
        }
        assert!(seen.seen.len() <= REMEMBERED_MAX && seen.shares.len() <= REMEMBERED_MAX);
    }
}
