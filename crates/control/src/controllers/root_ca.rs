//! Every namespace has the cluster's CA in the ConfigMap `kube-root-ca.crt`,
//! by which pods know the API server. Changes by others are put back.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Context, ROOT_CA_CONFIG_MAP, service_account::is_open};
use crate::{
    queue::{Outcome, Queue},
    watch::Key,
    write::{self, Part, Writer},
};

const PARALLEL: usize = 4;
const DATA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
/// Upstream's words, which clients show.
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the \
    kube-apiserver when using internal endpoints such as the internal service IP or \
    kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
    clusters.";

/// Runs the controller until shutdown. Keys are namespaces.
pub(super) async fn run(context: Context, root_ca_pem: Arc<str>, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let kinds = context.kinds.clone();
    let changed = queue.clone();
    kinds.namespaces.subscribe(move |change| {
        if let Some(namespace) = change.new {
            changed.add(Key::of(&**namespace));
        }
    });
    let changed = queue.clone();
    kinds.root_certificates.subscribe(move |change| {
        if let Some(map) = change.latest() {
            let namespace = map.metadata.namespace.as_deref().unwrap_or_default();
            changed.add(Key::new("", namespace));
        }
    });
    let maps = Writer::new(&context.client, &kinds.root_certificates);
    let reconcile = move |key: Key| {
        let (context, maps, pem) = (context.clone(), maps.clone(), Arc::clone(&root_ca_pem));
        async move { reconcile(&context, &maps, &pem, &key).await }
    };
    queue.run("root-ca", PARALLEL, shutdown, reconcile).await;
}

async fn reconcile(
    context: &Context,
    maps: &Writer<ConfigMap>,
    pem: &str,
    key: &Key,
) -> Result<Outcome, write::Error> {
    let kinds = &context.kinds;
    if !kinds
        .namespaces
        .get(key)
        .is_some_and(|namespace| is_open(&namespace))
    {
        return Ok(Outcome::Settled);
    }
    let wanted = wanted(&key.name, pem);
    let Some(map) = kinds
        .root_certificates
        .get(&Key::new(&key.name, ROOT_CA_CONFIG_MAP))
    else {
        return match maps.create(&wanted).await {
            Ok(_) => Ok(Outcome::Settled),
            Err(err) if err.is_already_exists() || err.is_namespace_terminating() => {
                Ok(Outcome::Settled)
            }
            Err(err) => Err(err),
        };
    };
    let described = |map: &ConfigMap| map.metadata.annotations.as_ref()?.get(DESCRIPTION).cloned();
    if map.data == wanted.data && described(&map) == described(&wanted) {
        return Ok(Outcome::Settled);
    }
    let mut data: BTreeMap<String, Option<&str>> = BTreeMap::new();
    data.extend(
        map.data
            .iter()
            .flatten()
            .map(|(name, _)| (name.clone(), None)),
    );
    data.insert(DATA_KEY.into(), Some(pem));
    let patch = json!({
        "metadata": {"annotations": {DESCRIPTION: DESCRIPTION_TEXT}},
        "data": data,
    });
    match maps.merge(&Key::of(&*map), Part::Main, patch).await {
        Err(err) if !err.is_not_found() => Err(err),
        _ => Ok(Outcome::Settled),
    }
}

fn wanted(namespace: &str, pem: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(ROOT_CA_CONFIG_MAP.into()),
            namespace: Some(namespace.into()),
            annotations: Some([(DESCRIPTION.into(), DESCRIPTION_TEXT.into())].into()),
            ..ObjectMeta::default()
        },
        data: Some([(DATA_KEY.into(), pem.into())].into()),
        ..ConfigMap::default()
    }
}
