//! ServiceCIDRs: ready as soon as they are there, and kept while addresses of theirs would be left without a range.
//!
//! [`plan`] says what one needs. Upstream waits ten more seconds before it lets one go, for allocators that have not
//! heard of its deletion; here allocation reads what the store has committed, and nothing is waited for.

mod plan;

use std::sync::Arc;

use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::plan::Step;
pub(super) use self::plan::containing;
use super::Context;
use crate::{
    queue::{Outcome, Queue},
    watch::Key,
    write::{self, Part, Writer},
};

/// Holds a ServiceCIDR while addresses depend on it.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let (changed, ranges) = (queue.clone(), Arc::clone(&context.kinds.service_cidrs));
    context.kinds.service_cidrs.subscribe(move |change| {
        // One that comes may set free another that is to go.
        changed.add_all(change.latest().map(|one| Key::of(&**one)));
        changed.add_all(ending(&ranges.all()));
    });
    let (changed, ranges) = (queue.clone(), Arc::clone(&context.kinds.service_cidrs));
    context.kinds.ip_addresses.subscribe(move |change| {
        if change.old.is_none() || change.new.is_none() {
            changed.add_all(ending(&ranges.all()));
        }
    });
    let writer = Writer::new(&context.client, &context.kinds.service_cidrs);
    let reconcile = move |key: Key| {
        let (context, writer) = (context.clone(), writer.clone());
        async move { reconcile(&context, &writer, &key).await }
    };
    queue.run("service-cidr", 1, shutdown, reconcile).await;
}

/// Those whose deletion was asked for.
fn ending(ranges: &[Arc<ServiceCIDR>]) -> Vec<Key> {
    let ending = ranges
        .iter()
        .filter(|one| one.metadata.deletion_timestamp.is_some());
    ending.map(|one| Key::of(&**one)).collect()
}

async fn reconcile(
    context: &Context,
    writer: &Writer<ServiceCIDR>,
    key: &Key,
) -> Result<Outcome, write::Error> {
    let Some(range) = context.kinds.service_cidrs.get(key) else {
        return Ok(Outcome::Settled);
    };
    let all = context.kinds.service_cidrs.all();
    let addresses = || context.kinds.ip_addresses.all();
    let Some(step) = plan::step(&range, &all, addresses, Timestamp::now()) else {
        return Ok(Outcome::Settled);
    };
    let version = &range.metadata.resource_version;
    let (part, patch) = match step {
        Step::Finalizers(finalizers) => (
            Part::Main,
            json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}}),
        ),
        Step::Conditions(conditions) => (
            Part::Status,
            json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}}),
        ),
    };
    match writer.merge(key, part, patch).await {
        Err(err) if err.is_not_found() => Ok(Outcome::Settled),
        written => written.map(|_| Outcome::Settled),
    }
}
