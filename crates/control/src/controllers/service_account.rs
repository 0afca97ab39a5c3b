//! Every namespace has a ServiceAccount called `default`.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    queue::{Outcome, Queue},
    watch::Key,
    write::{self, Writer},
};

const PARALLEL: usize = 4;
const DEFAULT: &str = "default";

/// Runs the controller until shutdown. Keys are namespaces.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let kinds = context.kinds.clone();
    let changed = queue.clone();
    kinds.namespaces.subscribe(move |change| {
        if let Some(namespace) = change.new {
            changed.add(Key::of(&**namespace));
        }
    });
    let changed = queue.clone();
    kinds.service_accounts.subscribe(move |change| {
        if let (Some(account), None) = (change.old, change.new) {
            let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
            changed.add(Key::new("", namespace));
        }
    });
    let accounts = Writer::new(&context.client, &kinds.service_accounts);
    let reconcile = move |key: Key| {
        let (context, accounts) = (context.clone(), accounts.clone());
        async move { reconcile(&context, &accounts, &key).await }
    };
    queue
        .run("serviceaccount", PARALLEL, shutdown, reconcile)
        .await;
}

/// True for a namespace in which things can still be created.
pub(super) fn is_open(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
}

async fn reconcile(
    context: &Context,
    accounts: &Writer<ServiceAccount>,
    key: &Key,
) -> Result<Outcome, write::Error> {
    let kinds = &context.kinds;
    let open = kinds
        .namespaces
        .get(key)
        .is_some_and(|namespace| is_open(&namespace));
    let there = kinds.service_accounts.get(&Key::new(&key.name, DEFAULT));
    let there: Option<Arc<ServiceAccount>> = there.filter(|account| {
        // One that is being deleted is made again when it is gone.
        account.metadata.finalizers.is_some() || account.metadata.deletion_timestamp.is_none()
    });
    if !open || there.is_some() {
        return Ok(Outcome::Settled);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT.into()),
            namespace: Some(key.name.to_string()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    match accounts.create(&account).await {
        Ok(_) => Ok(Outcome::Settled),
        Err(err) if err.is_already_exists() || err.is_namespace_terminating() => {
            Ok(Outcome::Settled)
        }
        Err(err) => Err(err),
    }
}
