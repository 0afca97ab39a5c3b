//! The node's lease in `kube-node-lease`: the sign that the node lives (KEP-589).
//!
//! Renewed every ten seconds, and at once when the agent starts and when a connection to the API was lost: a server
//! that saw the connection end may have released the lease.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use karve_watch::Retry;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: i32 = 40;
const PERIOD: Duration = Duration::from_secs(10);
/// The longest that one request may take: a lost one must leave time for others.
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// Renews the lease until shutdown.
pub async fn run(
    client: Client,
    name: String,
    mut own: watch::Receiver<Option<Arc<Node>>>,
    renew: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let mut pauses = Retry::default();
    loop {
        let uid = own
            .borrow_and_update()
            .as_ref()
            .and_then(|node| node.metadata.uid.clone());
        let pause = match tokio::time::timeout(REQUEST_MAX, hold(&api, &name, uid.as_deref())).await
        {
            Ok(Ok(())) => {
                pauses = Retry::default();
                PERIOD
            }
            Ok(Err(err)) => {
                tracing::debug!(err = &err as &dyn std::error::Error, "lease not renewed");
                pauses.pause()
            }
            Err(_) => {
                tracing::debug!("lease not renewed in time");
                pauses.pause()
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = renew.notified() => {}
            Ok(()) = own.changed(), if uid.is_none() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Renews the lease, or creates it once the Node is there to own it.
async fn hold(api: &Api<Lease>, name: &str, node_uid: Option<&str>) -> kube::Result<()> {
    let now = MicroTime(Timestamp::now());
    let mut patch = json!({
        "spec": { "holderIdentity": name, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": now },
    });
    if let Some(uid) = node_uid {
        patch["metadata"] = json!({ "ownerReferences": [owner(name, uid)] });
    }
    match api
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(err) => return Err(err),
        Ok(_) => return Ok(()),
    }
    // Without a Node there is nobody to own it: the registration asks again.
    let Some(uid) = node_uid else { return Ok(()) };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: Some(vec![owner(name, uid)]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}

fn owner(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    }
}
