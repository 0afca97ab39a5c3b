//! Renews the tokens of a pod for as long as the pod is looked after.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::set_up;
use crate::pod::Node;
use crate::pod::worker::Assignment;

/// How soon a renewal that failed is tried again; the old token is good for longer.
const RETRY: SignedDuration = SignedDuration::from_secs(30);

/// Renews when `due` says so; `due` is told by whoever makes the volumes first.
pub async fn keep(
    node: Arc<Node>,
    assignment: watch::Receiver<Assignment>,
    mut due: watch::Receiver<Option<Timestamp>>,
    dir: PathBuf,
) {
    let mut at = *due.borrow_and_update();
    loop {
        let pause = at.map(|at| {
            at.duration_since(Timestamp::now())
                .max(SignedDuration::ZERO)
                .unsigned_abs()
        });
        tokio::select! {
            changed = due.changed() => match changed {
                Ok(()) => at = *due.borrow_and_update(),
                Err(_) => return,
            },
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {
                at = renew(&node, &assignment, &dir).await;
            }
        }
    }
}

async fn renew(
    node: &Node,
    assignment: &watch::Receiver<Assignment>,
    dir: &std::path::Path,
) -> Option<Timestamp> {
    let pod = assignment.borrow().pod.clone();
    let spec = pod.spec.as_ref()?;
    match set_up(node, &pod, spec, dir).await {
        Ok(next) => next,
        Err(err) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(
                pod = name,
                err = &err as &dyn std::error::Error,
                "token not renewed"
            );
            Timestamp::now().checked_add(RETRY).ok()
        }
    }
}
