//! Endpoints: the older form of EndpointSlices, one object per Service.
//!
//! Deprecated since 1.33, still read by old clients and by conformance tests.

mod plan;

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::Endpoints;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    Context,
    endpointslice::{
        has_endpoints, is_same_address, selected, subscribe_to_services_and_pods,
        trigger::TriggerTime,
    },
};
use crate::{
    event::{Kind, Recorder},
    queue::{Outcome, Queue},
    watch::Key,
    write::{self, Part, Writer},
};

/// Services that are worked on at once.
const PARALLEL: usize = 8;

struct Controller {
    context: Context,
    endpoints: Writer<Endpoints>,
    triggers: Mutex<HashMap<Key, Arc<TriggerTime>>>,
    recorder: Recorder,
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue = Queue::new();
    subscribe_to_services_and_pods(&context, &queue, is_same_address);
    // As upstream: Endpoints that somebody deletes come back at once, those
    // that somebody changes with the next change of the Service or its pods.
    let changed = queue.clone();
    context.kinds.endpoints.subscribe(move |change| {
        if let (Some(endpoints), None) = (change.old, change.new) {
            changed.add(Key::of(&**endpoints));
        }
    });
    queue.add_all(context.kinds.endpoints.keys());
    let controller = Arc::new(Controller {
        endpoints: Writer::new(&context.client, &context.kinds.endpoints),
        triggers: Mutex::default(),
        recorder: context.recorder.component("endpoint-controller"),
        context,
    });
    let reconcile = move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue.run("endpoints", PARALLEL, shutdown, reconcile).await;
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let kinds = &self.context.kinds;
        let existing = kinds.endpoints.get(&key);
        let Some(service) = kinds.services.get(&key) else {
            self.triggers.lock().remove(&key);
            return self.remove(existing.as_deref()).await;
        };
        if !has_endpoints(&service) {
            return Ok(Outcome::Settled);
        }
        let pods = selected(&kinds.pods, &service);
        let known = self.triggers.lock().get(&key).cloned().unwrap_or_default();
        let (seen, triggered) = known.observe(&service, &pods);
        let written = match existing {
            None => {
                let new = plan::new(&service, &pods, triggered);
                self.endpoints.create(&new).await.map(drop)
            }
            Some(existing) => match plan::patch(&service, &pods, &existing, triggered) {
                Some(patch) => self
                    .endpoints
                    .merge(&key, Part::Main, patch)
                    .await
                    .map(drop),
                None => Ok(()),
            },
        };
        match written {
            Ok(()) => {
                self.triggers.lock().insert(key, Arc::new(seen));
                Ok(Outcome::Settled)
            }
            Err(err) if err.is_namespace_terminating() || err.is_not_found() => {
                Ok(Outcome::Settled)
            }
            Err(err) => {
                let conflict = err.status().is_some_and(|status| status.code == 409);
                if !conflict {
                    let message = format!("Failed to update endpoint {key}: {}", err.message());
                    self.recorder.record(
                        &*service,
                        Kind::Warning,
                        "FailedToUpdateEndpoint",
                        message,
                    );
                }
                Err(err)
            }
        }
    }

    /// Endpoints of a Service that is gone; those people made stay.
    async fn remove(&self, existing: Option<&Endpoints>) -> Result<Outcome, write::Error> {
        if let Some(endpoints) = existing.filter(|endpoints| plan::is_managed(endpoints)) {
            let uid = endpoints.metadata.uid.as_deref();
            self.endpoints
                .delete(&Key::of(endpoints), uid, Default::default())
                .await?;
        }
        Ok(Outcome::Settled)
    }
}
