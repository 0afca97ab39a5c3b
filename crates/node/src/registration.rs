//! This node's own Node object and lease.
//!
//! [`object`] says what they should be (pure); [`run`] writes them: the lease first, then the Node, then the Node again
//! whenever the API shows something else than it should (a controller that took the node for lost), or after five
//! minutes. While nothing changes the lease is the only thing written, every ten seconds.

mod lease;
mod machine;
mod object;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerImage, Node};
use k8s_openapi::jiff::Timestamp;
use karve_runtime::images;
use karve_watch::Retry;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::events::{About, Recorder};
use crate::request::{bounded, status_code};

pub use lease::run as keep_lease;
pub use machine::{Error as MachineError, Machine};
pub(crate) use object::KUBELET_PORT;
pub use object::{Allocatable, Identity};

/// How often the Node is written when nothing changes (upstream's `nodeStatusReportFrequency`).
const REPORT: Duration = Duration::from_secs(300);
/// Most images that a Node lists (upstream's `nodeStatusMaxImages`).
const IMAGES_MAX: usize = 50;

/// What registration works with.
pub struct Registration {
    /// The API.
    pub client: Client,
    /// Who the node is.
    pub identity: Identity,
    /// The images to be listed.
    pub images: images::Store,
    /// Where events go.
    pub events: Recorder,
    /// The Node as the watch shows it.
    pub own: watch::Receiver<Option<Arc<Node>>>,
    /// Signalled when the lease should be renewed at once.
    pub renew: Arc<Notify>,
}

impl Registration {
    /// Registers the node and keeps its object right, until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            self.register().await;
            self.announce();
            self.keep().await;
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    fn api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// Creates the Node, or takes over the one that is there.
    async fn register(&self) {
        let mut pauses = Retry::default();
        loop {
            match self.try_register().await {
                Ok(()) => break,
                Err(err) => tracing::debug!(
                    err = &err as &dyn std::error::Error,
                    "node not registered yet"
                ),
            }
            tokio::time::sleep(pauses.pause()).await;
        }
        self.renew.notify_one();
        tracing::info!(node = self.identity.name, "node registered");
    }

    async fn try_register(&self) -> kube::Result<()> {
        let images = self.list_images().await;
        let node = object::node(&self.identity, None, images, Timestamp::now());
        let wanted = node.status.clone().unwrap_or_default();
        let found = match bounded(self.api().create(&PostParams::default(), &node)).await {
            Ok(created) => created,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let found = bounded(self.api().get(&self.identity.name)).await?;
                if let Some(patch) = object::metadata_patch(&node, &found) {
                    bounded(self.api().patch(
                        &self.identity.name,
                        &PatchParams::default(),
                        &Patch::Merge(&patch),
                    ))
                    .await?;
                }
                found
            }
            Err(err) => return Err(err),
        };
        if object::differs(found.status.as_ref(), &wanted) {
            self.write(&found, wanted.images.unwrap_or_default())
                .await?;
        }
        Ok(())
    }

    fn announce(&self) {
        let node = &self.identity.name;
        let about = || About::node(node);
        self.events.normal(about(), "Starting", "Starting kubelet.");
        for reason in [
            "NodeHasSufficientMemory",
            "NodeHasNoDiskPressure",
            "NodeHasSufficientPID",
        ] {
            self.events.normal(
                about(),
                reason,
                format!("Node {node} status is now: {reason}"),
            );
        }
        self.events.normal(
            about(),
            "NodeAllocatableEnforced",
            "Updated Node Allocatable limit across pods",
        );
        self.events.normal(
            about(),
            "NodeReady",
            format!("Node {node} status is now: NodeReady"),
        );
    }

    /// Writes the status again when it is not what it should be, and now and then.
    async fn keep(&mut self) {
        let mut pauses = Retry::default();
        // An API that does not keep what is written is not argued with.
        let mut heeded = true;
        loop {
            let due = tokio::time::Instant::now() + REPORT;
            let heartbeat = loop {
                tokio::select! {
                    changed = self.own.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        if heeded && !self.is_right() {
                            break false;
                        }
                    }
                    () = tokio::time::sleep_until(due) => break true,
                }
            };
            let Some(own) = self.own.borrow().clone() else {
                continue;
            };
            tracing::info!(heartbeat, "writing node status");
            let images = self.list_images().await;
            loop {
                match self.write(&own, images.clone()).await {
                    Ok(kept) => {
                        heeded = kept;
                        break;
                    }
                    // Somebody deleted the Node; as upstream, only a new agent makes it again.
                    Err(err) if status_code(&err) == Some(404) => {
                        tracing::warn!("the Node of this node is gone");
                        break;
                    }
                    Err(err) => tracing::debug!(
                        err = &err as &dyn std::error::Error,
                        "node status not written"
                    ),
                }
                tokio::time::sleep(pauses.pause()).await;
            }
            pauses = Retry::default();
        }
    }

    fn is_right(&self) -> bool {
        let own = self.own.borrow();
        let Some(own) = own.as_ref() else { return true };
        let images = own
            .status
            .as_ref()
            .and_then(|s| s.images.clone())
            .unwrap_or_default();
        let wanted = object::status(
            &self.identity,
            own.status.as_ref(),
            images,
            Timestamp::now(),
        );
        !object::differs(own.status.as_ref(), &wanted)
    }

    /// Writes the status; false when the API answers with another one.
    async fn write(&self, found: &Node, images: Vec<ContainerImage>) -> kube::Result<bool> {
        let status = object::status(
            &self.identity,
            found.status.as_ref(),
            images,
            Timestamp::now(),
        );
        let patch = json!({ "metadata": { "uid": found.metadata.uid }, "status": object::with_all_conditions(found, &status) });
        let params = PatchParams::default();
        let node = bounded(self.api().patch_status(
            &self.identity.name,
            &params,
            &Patch::Merge(&patch),
        ))
        .await?;
        Ok(!object::differs(node.status.as_ref(), &status))
    }

    async fn list_images(&self) -> Vec<ContainerImage> {
        let store = self.images.clone();
        let mut images = match tokio::task::spawn_blocking(move || store.images()).await {
            Ok(Ok(images)) => images,
            Ok(Err(err)) => {
                tracing::warn!(err = &err as &dyn std::error::Error, "images not listed");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        images.sort_by_key(|image| std::cmp::Reverse(image.size));
        images.truncate(IMAGES_MAX);
        images
            .into_iter()
            .map(|image| ContainerImage {
                names: Some(image.repo_digests.into_iter().chain(image.names).collect()),
                size_bytes: i64::try_from(image.size).ok(),
            })
            .collect()
    }
}
