//! EndpointSlices for Endpoints that people write: those of Services without a selector.
//!
//! Proxies read EndpointSlices only. Each set of ports and each family of addresses has one slice; [`plan`] says which.

mod plan;

use std::sync::Arc;

use k8s_openapi::api::{core::v1::Endpoints, discovery::v1::EndpointSlice};
use kube::api::DeleteParams;
use tokio_util::sync::CancellationToken;

use self::plan::Plan;
use super::{Context, SERVICE_NAME_LABEL, endpointslice::MANAGED_BY_LABEL};
use crate::{
    event::{Kind, Recorder},
    queue::{Outcome, Queue},
    watch::{Key, index},
    write::{self, Part, Writer},
};

/// Endpoints that are worked on at once.
const PARALLEL: usize = 4;
const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";

struct Controller {
    context: Context,
    slices: Writer<EndpointSlice>,
    recorder: Recorder,
}

/// Runs the controller until shutdown. Keys are Services, which have the names of their Endpoints.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let kinds = &context.kinds;
    let changed = queue.clone();
    kinds
        .services
        .subscribe(move |change| changed.add_all(change.latest().map(|one| Key::of(&**one))));
    let changed = queue.clone();
    kinds
        .endpoints
        .subscribe(move |change| changed.add_all(change.latest().map(|one| Key::of(&**one))));
    let changed = queue.clone();
    kinds.endpoint_slices.subscribe(move |change| {
        for slice in change.sides().filter(|slice| is_mirrored(slice)) {
            changed.add_all(service_of(slice));
        }
    });
    let controller = Arc::new(Controller {
        slices: Writer::new(&context.client, &context.kinds.endpoint_slices),
        recorder: context
            .recorder
            .component("endpoint-slice-mirroring-controller"),
        context,
    });
    let reconcile = move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue
        .run("endpointslice-mirroring", PARALLEL, shutdown, reconcile)
        .await;
}

fn label<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a String> {
    slice.metadata.labels.as_ref()?.get(name)
}

fn is_mirrored(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY)
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let service = label(slice, SERVICE_NAME_LABEL)?;
    Some(Key::new(
        slice.metadata.namespace.as_deref().unwrap_or_default(),
        service,
    ))
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, write::Error> {
        let existing = self.existing(&key);
        let Some(endpoints) = self.source(&key) else {
            for slice in &existing {
                self.delete(slice).await?;
            }
            return Ok(Outcome::Settled);
        };
        let plan = plan::plan(&endpoints, &existing);
        self.tell(&endpoints, &plan);
        match self.apply(plan).await {
            Err(err) if err.is_namespace_terminating() || err.is_not_found() => {
                Ok(Outcome::Settled)
            }
            applied => applied.map(|()| Outcome::Settled),
        }
    }

    /// The Endpoints to be mirrored, if they are.
    fn source(&self, key: &Key) -> Option<Arc<Endpoints>> {
        let endpoints = self.context.kinds.endpoints.get(key)?;
        let service = self.context.kinds.services.get(key)?;
        let selects = service
            .spec
            .as_ref()
            .is_some_and(|spec| spec.selector.is_some());
        (!selects && plan::is_for_mirroring(&endpoints)).then_some(endpoints)
    }

    fn existing(&self, key: &Key) -> Vec<Arc<EndpointSlice>> {
        let slices = &self.context.kinds.endpoint_slices;
        let mut existing = slices.indexed(index::slices_of(&key.namespace, &key.name));
        existing.retain(|slice| {
            let ours = is_mirrored(slice) && service_of(slice).as_ref() == Some(key);
            ours && slice.metadata.deletion_timestamp.is_none()
        });
        existing
    }

    fn tell(&self, endpoints: &Endpoints, plan: &Plan) {
        if plan.invalid > 0 {
            let message = format!(
                "Skipped {} invalid IP addresses when mirroring to EndpointSlices",
                plan.invalid
            );
            self.recorder
                .record(endpoints, Kind::Warning, "InvalidIPAddress", message);
        }
        if plan.too_many > 0 {
            let message = format!(
                "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                plan::MOST,
                plan.invalid + plan.too_many
            );
            self.recorder.record(
                endpoints,
                Kind::Warning,
                "TooManyAddressesToMirror",
                message,
            );
        }
    }

    async fn apply(&self, plan: Plan) -> Result<(), write::Error> {
        for slice in &plan.create {
            self.slices.create(slice).await?;
        }
        for (slice, patch) in plan.update {
            self.slices
                .merge(&Key::of(&*slice), Part::Main, patch)
                .await?;
        }
        for slice in &plan.delete {
            self.delete(slice).await?;
        }
        Ok(())
    }

    async fn delete(&self, slice: &EndpointSlice) -> Result<(), write::Error> {
        let uid = slice.metadata.uid.as_deref();
        self.slices
            .delete(&Key::of(slice), uid, DeleteParams::default())
            .await
    }
}
