//! Follows the FlowSchemas and PriorityLevelConfigurations of the store, and writes whether a schema's level exists.

use std::sync::Arc;

use karve_api::resource::{Resource, Table};
use karve_store::{Entry, Error, Op, Range, Store, Watch};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::config::{Config, level_of};
use super::{FlowControl, dangling};
use crate::object::Meta as _;
use crate::{keys, object, own};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

struct Resources {
    schemas: &'static Resource,
    levels: &'static Resource,
}

impl Resources {
    fn find() -> Option<Resources> {
        let table = Table::builtin();
        Some(Resources {
            schemas: table.lookup(GROUP, "v1", "flowschemas")?,
            levels: table.lookup(GROUP, "v1", "prioritylevelconfigurations")?,
        })
    }
}

/// Takes the configuration as it is now.
pub fn load(store: &Store, flow: &FlowControl) {
    if let Some(resources) = Resources::find() {
        let (schemas, levels) = (
            read(store, resources.schemas),
            read(store, resources.levels),
        );
        flow.configure(Config::build(values(&schemas), values(&levels)));
    }
}

/// Follows the configuration until `shutdown`.
pub async fn run(store: Store, flow: Arc<FlowControl>, shutdown: CancellationToken) {
    let Some(resources) = Resources::find() else {
        return;
    };
    while !shutdown.is_cancelled() {
        let revision = store.revision();
        let watch = |resource| store.watch(&keys::prefix(resource, ""), revision);
        // The history may have gone on meanwhile.
        let (Ok(mut schemas), Ok(mut levels)) = (watch(resources.schemas), watch(resources.levels))
        else {
            continue;
        };
        load(&store, &flow);
        correct(&store, &resources).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            closed = changed(&mut schemas) => if closed { return },
            closed = changed(&mut levels) => if closed { return },
        }
    }
}

/// Waits for a change, and takes what else has changed with it; answers whether the store is closed.
async fn changed(watch: &mut Watch) -> bool {
    let closed = matches!(watch.next().await, Ok(None));
    while watch.ready().is_some() {}
    closed
}

/// Stored objects with their revisions.
fn read(store: &Store, resource: &Resource) -> Vec<(Arc<Entry>, Value)> {
    let prefix = keys::prefix(resource, "");
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    let page = store.range(&range).expect("the present is always readable");
    let decoded = |entry: Arc<Entry>| {
        let value = object::decode(entry.value(), resource);
        (entry, value)
    };
    page.entries.into_iter().map(decoded).collect()
}

fn values(objects: &[(Arc<Entry>, Value)]) -> impl Iterator<Item = &Value> {
    objects.iter().map(|(_, value)| value)
}

/// Who upstream's fair queueing is as a writer.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Writes the conditions that are wrong.
async fn correct(store: &Store, resources: &Resources) {
    let levels = read(store, resources.levels);
    for (entry, schema) in read(store, resources.schemas) {
        let exists = values(&levels).any(|level| level.meta("name") == level_of(&schema));
        let Some(configuration) = dangling::configuration(&schema, exists) else {
            continue;
        };
        let applied = own::apply_status(resources.schemas, MANAGER, &schema, &configuration);
        let Some(corrected) = applied else {
            continue;
        };
        let value = object::encode(&corrected, resources.schemas);
        match store
            .commit(vec![Op::update(
                entry.key().clone(),
                entry.revision(),
                value,
            )])
            .await
        {
            // A conflict is a change, which wakes us again.
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(err) => tracing::warn!(
                schema = schema.meta("name"),
                err = &err as &dyn std::error::Error,
                "condition not written"
            ),
        }
    }
}
