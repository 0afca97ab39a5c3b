//! Makes a pod's volumes, and keeps those that show what the API has as the API has it.
//!
//! One task per pod. It is woken by changes of the objects and of the pod, by tokens, and by the clock when one is to
//! be renewed or something failed. What failed is tried again with upstream's back-off, and told each time by an event;
//! an object that appears is taken at once.
//!
//! Invariant: a volume that was made stays, whatever becomes of its objects.

mod trouble;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::trouble::Troubles;
use super::content::{self, File, Lack};
use super::owner::Group;
use super::sources::Sources;
use super::token::Tokens;
use super::{Error, Kind, empty_dir, host_path, kind, nested, path, write};
use crate::events::About;
use crate::pod::Node;
use crate::pod::worker::Assignment;

/// How long an object may be unknown before that is told (upstream's wait for its cache).
const SYNC_MAX: SignedDuration = SignedDuration::from_secs(1);

/// How far a pod's volumes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Something is not there, or not known to be.
    #[default]
    Pending,
    /// All that others make is there; what the API makes for this pod alone is asked for.
    Found,
    /// Each volume was made.
    Ready,
}

/// The task, which ends with this.
pub struct Keeper {
    progress: watch::Receiver<Progress>,
    _task: AbortOnDropHandle<()>,
}

impl Keeper {
    /// Begins to keep the volumes of a pod below `dir`, the pod's own directory.
    pub fn start(
        node: Arc<Node>,
        mut assignment: watch::Receiver<Assignment>,
        dir: PathBuf,
    ) -> Keeper {
        let (sender, progress) = watch::channel(Progress::default());
        let pod = assignment.borrow_and_update().pod.clone();
        let spec = Arc::new(pod.spec.clone().unwrap_or_default());
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let keeping = Keeping {
            sources: Sources::of(&node, namespace, &spec),
            tokens: Tokens::of(node.client.clone(), &spec),
            started: Timestamp::now(),
            troubles: Troubles::default(),
            made: BTreeSet::new(),
            progress: sender,
            node,
            assignment,
            pod,
            spec,
            dir,
        };
        Keeper {
            progress,
            _task: AbortOnDropHandle::new(tokio::spawn(keeping.run())),
        }
    }

    /// How far it is.
    pub fn progress(&mut self) -> Progress {
        *self.progress.borrow_and_update()
    }

    /// Waits for progress.
    pub async fn advanced(&mut self) {
        if self.progress.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

struct Keeping {
    node: Arc<Node>,
    assignment: watch::Receiver<Assignment>,
    pod: Arc<Pod>,
    /// Volumes never change.
    spec: Arc<PodSpec>,
    dir: PathBuf,
    sources: Sources,
    tokens: Tokens,
    started: Timestamp,
    troubles: Troubles,
    /// Volumes that were made.
    made: BTreeSet<String>,
    progress: watch::Sender<Progress>,
}

impl Keeping {
    async fn run(mut self) {
        loop {
            let wake = self.pass(Timestamp::now()).await;
            if !self.wait(wake).await {
                return;
            }
        }
    }

    /// Does what can be done now; answers when there may be more without anything having changed.
    async fn pass(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.tokens.ask(&self.pod, &self.spec, now);
        let machine = &self.node.machine;
        let allocatable = (machine.cpu_millis, machine.memory_bytes);
        let (pod, spec) = (self.pod.clone(), self.spec.clone());
        let mut facts = self.sources.facts(&pod, &spec, allocatable);
        facts.tokens = self.tokens.known();
        let volumes: Vec<&Volume> = spec.volumes.iter().flatten().collect();
        let mut found = true;
        let mut wake = self.tokens.due();
        let mut later = |at| wake = Some(wake.map_or(at, |wake: Timestamp| wake.min(at)));
        for volume in &volumes {
            let made = match content(volume, &facts) {
                Ok(files) => self.make(volume, files).await,
                Err(Lack::Awaited) => continue,
                Err(Lack::Unknown(_)) if now < self.started + SYNC_MAX => {
                    found = false;
                    later(self.started + SYNC_MAX);
                    continue;
                }
                Err(lack) => Err(failed(volume, lack)),
            };
            match made {
                Ok(()) => {
                    self.troubles.over(&volume.name);
                    self.made.insert(volume.name.clone());
                }
                Err(err) => {
                    found = false;
                    later(self.tell(volume, &err, now));
                }
            }
        }
        let ready = volumes.iter().all(|v| self.made.contains(&v.name));
        self.advance(found, ready);
        wake
    }

    async fn make(&self, volume: &Volume, files: Option<Vec<File>>) -> Result<(), Error> {
        let group = Group::of(&self.spec);
        let path = path(volume, &self.dir);
        match (kind(volume), &volume.host_path) {
            (Kind::Api(_), _) => {
                let nested = nested::directories(&self.spec, &volume.name);
                let files = files.unwrap_or_default();
                let write = move || write::replace(&path, &files, &nested, group);
                let written = tokio::task::spawn_blocking(write).await;
                let written =
                    written.unwrap_or_else(|err| std::panic::resume_unwind(err.into_panic()));
                written.map_err(|(action, path, source)| Error::Io {
                    volume: volume.name.clone(),
                    action,
                    path,
                    source,
                })
            }
            // What the pod itself fills is made once.
            _ if self.made.contains(&volume.name) => Ok(()),
            (Kind::HostPath, Some(source)) => host_path::set_up(&volume.name, source),
            (Kind::Unsupported(kind), _) => Err(Error::Unsupported {
                volume: volume.name.clone(),
                kind,
            }),
            _ => empty_dir::set_up(volume, &path, group),
        }
    }

    /// Tells of a failure if it is new, or was just tried again; answers when it is tried next.
    fn tell(&mut self, volume: &Volume, err: &Error, now: Timestamp) -> Timestamp {
        let text = err.to_string();
        let last = matches!(err, Error::Unsupported { .. });
        if self.troubles.is_news(&volume.name, &text, last, now) {
            let about = About::pod(&self.pod);
            self.node.events.warning(about, "FailedMount", text);
        }
        self.troubles.retry_at(&volume.name)
    }

    /// Never back from `Ready`.
    fn advance(&self, found: bool, ready: bool) {
        let progress = match () {
            () if ready => Progress::Ready,
            () if found => Progress::Found,
            () => Progress::Pending,
        };
        self.progress.send_if_modified(|known| {
            let changed = *known != progress && *known != Progress::Ready;
            if changed {
                *known = progress;
            }
            changed
        });
    }

    /// Waits for anything that matters; `false` when the pod is no longer looked after.
    async fn wait(&mut self, wake: Option<Timestamp>) -> bool {
        let wake = wake.filter(|at| *at != Timestamp::MAX);
        loop {
            let pause = wake.map(|at| {
                Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
            });
            tokio::select! {
                () = self.sources.changed() => return true,
                () = self.tokens.answered() => return true,
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => return true,
                changed = self.assignment.changed() => match changed {
                    Err(_) => return false,
                    Ok(()) if self.learn() => return true,
                    Ok(()) => {}
                },
            }
        }
    }

    /// Takes over the pod's newest version; whether anything changed that a volume may show.
    fn learn(&mut self) -> bool {
        let pod = self.assignment.borrow_and_update().pod.clone();
        let old = std::mem::replace(&mut self.pod, pod);
        let (old, new) = (&old.metadata, &self.pod.metadata);
        (&old.labels, &old.annotations) != (&new.labels, &new.annotations)
    }
}

/// The files of a volume; `None` for one that the pod itself fills.
fn content(volume: &Volume, facts: &content::Facts<'_>) -> Result<Option<Vec<File>>, Lack> {
    match kind(volume) {
        Kind::Api(_) => content::files(volume, facts).map(Some),
        _ => Ok(None),
    }
}

fn failed(volume: &Volume, lack: Lack) -> Error {
    let message = match lack {
        Lack::Failed(message) => message,
        Lack::Unknown("ClusterTrustBundle") => {
            "ClusterTrustBundle informer has not yet synced".to_owned()
        }
        Lack::Unknown(kind) => {
            format!("failed to sync {kind} cache: timed out waiting for the condition")
        }
        Lack::Awaited => "credential bundle is not issued yet".to_owned(),
    };
    Error::SetUp {
        volume: volume.name.clone(),
        message,
    }
}
