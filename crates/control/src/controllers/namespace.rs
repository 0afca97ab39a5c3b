//! Namespaces that are being deleted: their content goes first.
//!
//! Pods go before all else (KEP-5080), so that nothing they rely on, such as a
//! NetworkPolicy, ends before they do. The rest is deleted kind by kind, each
//! kind that the server has at that moment; what fails is told in the
//! namespace's conditions and does not hold up the rest. Each object that goes
//! asks for another look, so that only kinds that can't be watched have to be
//! waited for by the clock.

mod conditions;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use k8s_openapi::{api::core::v1::Namespace, jiff::Timestamp};
use kube::{
    Resource as _,
    api::{DeleteParams, ListParams, ObjectList, PostParams, Request},
    core::{DynamicObject, PartialObjectMeta},
};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::conditions::Remaining;
use super::{
    Context,
    inventory::{Inventory, Resource, discover},
};
use crate::{
    queue::{Outcome, Queue},
    watch::Key,
    write::{self, Part, Writer, status_patch},
};

/// Namespaces that are emptied at once.
const PARALLEL: usize = 8;
/// Kinds of one namespace that are emptied at once.
const KINDS_AT_ONCE: usize = 8;
const DEADLINE: Duration = Duration::from_secs(30);
/// Until the next look at what can't be watched, as upstream estimates it.
const UNWATCHED: Duration = Duration::from_secs(8);
const FINALIZER: &str = "kubernetes";

/// Why a namespace could not be emptied.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{action} {path}")]
    Refused {
        action: &'static str,
        path: String,
        #[source]
        source: kube::Error,
    },
    #[error("{action} {path}: no answer within {DEADLINE:?}")]
    Deadline { action: &'static str, path: String },
    #[error("some content of namespace {0} can't be deleted")]
    Incomplete(Arc<str>),
    #[error(transparent)]
    Write(#[from] write::Error),
}

impl Error {
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { source: kube::Error::Api(status), .. } if status.code == 404)
    }

    /// What a condition quotes: the server's own words, if it answered.
    fn message(&self) -> String {
        match self {
            Self::Refused {
                source: kube::Error::Api(status),
                ..
            } => status.message.clone(),
            other => other.to_string(),
        }
    }
}

struct Controller {
    context: Context,
    namespaces: Writer<Namespace>,
    inventory: Arc<Inventory>,
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, inventory: Arc<Inventory>, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let changed = queue.clone();
    context.kinds.namespaces.subscribe(move |change| {
        if let Some(namespace) = change.new.filter(|namespace| is_deleted(namespace)) {
            changed.add(Key::of(&**namespace));
        }
    });
    let (changed, namespaces) = (queue.clone(), Arc::clone(&context.kinds.namespaces));
    inventory.subscribe(move |_, observed| {
        let key = Key::new("", &observed.object.key.namespace);
        let emptied = || {
            namespaces
                .get(&key)
                .is_some_and(|namespace| is_deleted(&namespace))
        };
        if observed.gone && !key.name.is_empty() && emptied() {
            changed.add(key);
        }
    });
    let controller = Arc::new(Controller {
        namespaces: Writer::new(&context.client, &context.kinds.namespaces),
        context,
        inventory,
    });
    let reconcile = move |key: Key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue.run("namespace", PARALLEL, shutdown, reconcile).await;
}

fn is_deleted(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

fn finalizers(namespace: &Namespace) -> Vec<String> {
    let spec = namespace.spec.as_ref();
    spec.and_then(|spec| spec.finalizers.clone())
        .unwrap_or_default()
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, Error> {
        let namespace = self.context.kinds.namespaces.get(&key);
        let Some(namespace) = namespace.filter(|namespace| is_deleted(namespace)) else {
            return Ok(Outcome::Settled);
        };
        if !finalizers(&namespace).iter().any(|one| one == FINALIZER) {
            return Ok(Outcome::Settled);
        }
        let remaining = self.empty(&key.name).await;
        self.write_conditions(&namespace, &remaining).await?;
        if remaining.has_failed() {
            return Err(Error::Incomplete(key.name));
        }
        if !remaining.is_empty() {
            return Ok(remaining
                .next_look()
                .map_or(Outcome::Settled, Outcome::After));
        }
        self.finalize(&key).await?;
        Ok(Outcome::Settled)
    }

    /// Deletes what is in the namespace; tells what is still there.
    async fn empty(&self, namespace: &str) -> Remaining {
        let mut remaining = Remaining::default();
        let found = match discover(&self.context.client).await {
            Ok(found) => found,
            Err(err) => {
                remaining.unknown(err.to_string());
                return remaining;
            }
        };
        remaining.undiscovered(&found.failed);
        let all = found
            .resources
            .into_iter()
            .filter(|resource| resource.namespaced);
        let (pods, others): (Vec<_>, Vec<_>) =
            all.partition(|resource| resource.group.is_empty() && resource.kind == "Pod");
        self.empty_all(&pods, namespace, &mut remaining).await;
        if remaining.is_empty() {
            self.empty_all(&others, namespace, &mut remaining).await;
        } else {
            remaining.keep_quiet();
        }
        remaining
    }

    async fn empty_all(&self, resources: &[Resource], namespace: &str, remaining: &mut Remaining) {
        for some in resources.chunks(KINDS_AT_ONCE) {
            let emptied = some
                .iter()
                .map(|resource| self.empty_of(resource, namespace));
            for (resource, left) in some.iter().zip(join_all(emptied).await) {
                match left {
                    Ok(left) => {
                        if !left.is_empty() && !self.inventory.follows(resource) {
                            remaining.look_again_in(UNWATCHED);
                        }
                        remaining.add(resource, left);
                    }
                    // The kind itself is gone, and its objects with it.
                    Err(err) if err.is_not_found() => {}
                    Err(err) => remaining.fail(err.message()),
                }
            }
        }
    }

    /// Deletes all objects of a kind; the finalizers of each that stays.
    async fn empty_of(
        &self,
        resource: &Resource,
        namespace: &str,
    ) -> Result<Vec<Vec<String>>, Error> {
        let path = resource.path(Some(namespace));
        let before = self.list(&path).await?;
        if before.items.is_empty() {
            return Ok(Vec::new());
        }
        let params = DeleteParams::background();
        if resource.deletes_collection {
            let list = ListParams::default();
            let request = Request::new(path.clone()).delete_collection(&params, &list);
            self.call::<Value>("delete all of", &path, request).await?;
        } else {
            for object in before.items {
                let name = object.metadata.name.unwrap_or_default();
                let request = Request::new(path.clone()).delete(&name, &params);
                match self.call::<Value>("delete one of", &path, request).await {
                    Err(err) if err.is_not_found() => {}
                    deleted => drop(deleted?),
                }
            }
        }
        let after = self.list(&path).await?.items.into_iter();
        Ok(after
            .map(|object| object.metadata.finalizers.unwrap_or_default())
            .collect())
    }

    async fn list(
        &self,
        path: &str,
    ) -> Result<ObjectList<PartialObjectMeta<DynamicObject>>, Error> {
        let request = Request::new(path).list_metadata(&ListParams::default());
        self.call("list", path, request).await
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        action: &'static str,
        path: &str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Error> {
        let path = path.to_owned();
        let answer = async {
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.context.client.request::<T>(request).await
        };
        match timeout(DEADLINE, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(Error::Refused {
                action,
                path,
                source,
            }),
            Err(_) => Err(Error::Deadline { action, path }),
        }
    }

    async fn write_conditions(
        &self,
        namespace: &Namespace,
        remaining: &Remaining,
    ) -> Result<(), Error> {
        let old = namespace.status.clone().unwrap_or_default();
        let new = conditions::status(&old, remaining, Timestamp::now());
        if let Some(patch) = status_patch(namespace, &old, &new) {
            self.namespaces
                .merge(&Key::of(namespace), Part::Status, patch)
                .await?;
        }
        Ok(())
    }

    /// Lets the namespace go, as far as this controller is concerned.
    async fn finalize(&self, key: &Key) -> Result<(), Error> {
        let Some(mut namespace) = self.namespaces.read(key).await? else {
            return Ok(());
        };
        let mut left = finalizers(&namespace);
        left.retain(|one| one != FINALIZER);
        let spec = namespace.spec.get_or_insert_default();
        spec.finalizers = (!left.is_empty()).then_some(left);
        let path = Namespace::url_path(&(), None);
        let body = serde_json::to_vec(&namespace).unwrap_or_default();
        let request = Request::new(path.clone());
        let request =
            request.replace_subresource("finalize", &key.name, &PostParams::default(), body);
        match self.call::<Value>("finalize one of", &path, request).await {
            Err(err) if err.is_not_found() => Ok(()),
            finalized => finalized.map(drop),
        }
    }
}

/// Objects that stay, by what they are and by what holds them.
type Counts = BTreeMap<String, usize>;
