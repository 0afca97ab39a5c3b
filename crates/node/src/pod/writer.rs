//! Writes a pod's status to the API, and its removal at the end.
//!
//! One task per pod. It holds what is wanted and what the API is known to have, and writes the difference; while the
//! API is away the newest wanted status waits here and the pod's worker goes on. A write by somebody else (a controller
//! that calls a pod of a lost node not ready) is answered by what is wanted.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use karve_watch::Retry;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::Instrument;

use crate::request::{bounded, status_code};
use crate::status::patch;

/// What the API is to show.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The status; none before the first was computed.
    pub status: Option<PodStatus>,
    /// Once the status is written, let the API forget the pod.
    pub remove: bool,
}

/// Writes until the sender of `wanted` is gone.
pub async fn run(
    client: Client,
    mut wanted: watch::Receiver<Wanted>,
    mut recorded: watch::Receiver<Arc<Pod>>,
) {
    let mut writer = Writer::new(client, recorded.borrow_and_update().clone());
    let mut retry = Retry::default();
    loop {
        let target = wanted.borrow_and_update().clone();
        writer.learn(recorded.borrow_and_update().clone());
        let pause = match writer.write(&target).await {
            Outcome::Done => {
                retry = Retry::default();
                None
            }
            Outcome::Stale => continue,
            Outcome::Unknown => return,
            // The API will say the same of the same status again.
            Outcome::Failed(err)
                if status_code(&err).is_some_and(|code| (400..429).contains(&code)) =>
            {
                tracing::warn!(
                    pod = writer.name,
                    err = &err as &dyn std::error::Error,
                    "status refused"
                );
                None
            }
            Outcome::Failed(err) => {
                tracing::debug!(
                    pod = writer.name,
                    err = &err as &dyn std::error::Error,
                    "status not written"
                );
                retry.next()
            }
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            changed = recorded.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

struct Writer {
    api: Api<Pod>,
    name: String,
    base: Arc<Pod>,
    removed: bool,
}

enum Outcome {
    Done,
    /// The pod changed meanwhile; it was read again.
    Stale,
    /// The API does not know the pod any more.
    Unknown,
    Failed(kube::Error),
}

impl Writer {
    fn new(client: Client, pod: Arc<Pod>) -> Writer {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        Writer {
            api: Api::namespaced(client, &namespace),
            name,
            base: pod,
            removed: false,
        }
    }

    /// Takes over a pod from the watch unless an answer to a write is newer.
    fn learn(&mut self, pod: Arc<Pod>) {
        if version(&pod) > version(&self.base) {
            self.base = pod;
        }
    }

    async fn write(&mut self, wanted: &Wanted) -> Outcome {
        let Some(status) = &wanted.status else {
            return Outcome::Done;
        };
        if let Some(body) = patch::patch(&self.base, status) {
            let params = PatchParams::default();
            let body = Patch::Merge(&body);
            let call = self.api.patch_status(&self.name, &params, &body);
            let span = tracing::debug_span!("write status", pod = self.name);
            match bounded(call).instrument(span).await {
                Ok(pod) => self.base = Arc::new(pod),
                Err(err) => return self.refused(err).await,
            }
        }
        if wanted.remove && !self.removed {
            return self.remove().await;
        }
        Outcome::Done
    }

    async fn remove(&mut self) -> Outcome {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.base.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match bounded(self.api.delete(&self.name, &params)).await {
            Ok(_) => {
                self.removed = true;
                Outcome::Done
            }
            Err(err) => self.refused(err).await,
        }
    }

    /// Gone, another pod of the same name, or changed: only the API can tell.
    async fn refused(&mut self, err: kube::Error) -> Outcome {
        let changed = match status_code(&err) {
            Some(404) => return Outcome::Unknown,
            Some(409) => true,
            // Another UID, which is immutable; or a status that is invalid.
            Some(422) => false,
            _ => return Outcome::Failed(err),
        };
        match bounded(self.api.get_opt(&self.name)).await {
            Ok(Some(pod)) if pod.metadata.uid == self.base.metadata.uid => {
                self.base = Arc::new(pod);
                if changed {
                    Outcome::Stale
                } else {
                    Outcome::Failed(err)
                }
            }
            Ok(_) => Outcome::Unknown,
            Err(err) => Outcome::Failed(err),
        }
    }
}

/// Resource versions are comparable numbers (KEP-5504).
fn version(pod: &Pod) -> u64 {
    pod.metadata
        .resource_version
        .as_deref()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
