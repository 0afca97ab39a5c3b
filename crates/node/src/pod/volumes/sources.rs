//! The objects that a pod's volumes show, watched.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, FutureExt, pending, select_all};
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Secret};

use super::content::Facts;
use crate::objects::{All, One, Seen, Shared, Watched};
use crate::pod::Node;

/// What the volumes of one pod are made from.
pub struct Sources {
    config_maps: BTreeMap<String, Watched<One<ConfigMap>>>,
    secrets: BTreeMap<String, Watched<One<Secret>>>,
    bundles: Option<Watched<All<ClusterTrustBundle>>>,
}

impl Sources {
    /// The sources of a pod, watched from now on.
    pub fn of(node: &Node, namespace: &str, spec: &PodSpec) -> Sources {
        let names = names(spec);
        Sources {
            config_maps: names
                .config_maps
                .into_iter()
                .map(|name| watched(&node.config_maps, namespace, name))
                .collect(),
            secrets: names
                .secrets
                .into_iter()
                .map(|name| watched(&node.secrets, namespace, name))
                .collect(),
            bundles: names.bundles.then(|| node.bundles.watch(&All::default())),
        }
    }

    /// What is known of them now.
    pub fn facts<'a>(
        &mut self,
        pod: &'a Pod,
        spec: &'a PodSpec,
        allocatable: (i64, i64),
    ) -> Facts<'a> {
        Facts {
            pod,
            spec,
            allocatable,
            config_maps: seen(&mut self.config_maps),
            secrets: seen(&mut self.secrets),
            bundles: self.bundles.as_mut().and_then(|bundles| {
                let known = bundles.look();
                known.complete.then(|| known.objects.clone())
            }),
            tokens: BTreeMap::new(),
        }
    }

    /// Waits for something else to be known.
    pub async fn changed(&mut self) {
        let maps = self.config_maps.values_mut().map(|w| w.changed().boxed());
        let secrets = self.secrets.values_mut().map(|w| w.changed().boxed());
        let bundles = self.bundles.as_mut().map(|w| w.changed().boxed());
        let all: Vec<BoxFuture<'_, ()>> = maps.chain(secrets).chain(bundles).collect();
        if all.is_empty() {
            return pending().await;
        }
        select_all(all).await;
    }
}

fn watched<K: crate::objects::Single>(
    shared: &Shared<One<K>>,
    namespace: &str,
    name: String,
) -> (String, Watched<One<K>>) {
    let watched = shared.watch(&One::new(namespace, &name));
    (name, watched)
}

fn seen<K: crate::objects::Single>(
    watched: &mut BTreeMap<String, Watched<One<K>>>,
) -> BTreeMap<String, Seen<K>> {
    let seen = watched
        .iter_mut()
        .map(|(name, watched)| (name.clone(), watched.look().clone()));
    seen.collect()
}

/// Names of objects of the pod's namespace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    config_maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
    /// Whether they show trust bundles.
    bundles: bool,
}

/// The objects that the volumes of a pod show.
fn names(spec: &PodSpec) -> Names {
    let mut names = Names::default();
    for volume in spec.volumes.iter().flatten() {
        let map = volume.config_map.as_ref().map(|map| &map.name);
        let secret = volume.secret.as_ref().and_then(|s| s.secret_name.as_ref());
        names.config_maps.extend(map.cloned());
        names.secrets.extend(secret.cloned());
        for source in volume.projected.iter().flat_map(|p| &p.sources).flatten() {
            let map = source.config_map.as_ref().map(|map| &map.name);
            let secret = source.secret.as_ref().map(|secret| &secret.name);
            names.config_maps.extend(map.cloned());
            names.secrets.extend(secret.cloned());
            names.bundles |= source.cluster_trust_bundle.is_some();
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_object_is_named_once() {
        let spec = json!({"containers": [], "volumes": [
            {"name": "a", "configMap": {"name": "m"}}, {"name": "b", "secret": {"secretName": "s"}},
            {"name": "c", "emptyDir": {}},
            {"name": "d", "projected": {"sources": [{"configMap": {"name": "m"}}, {"secret": {"name": "t"}},
                {"serviceAccountToken": {"path": "t"}}, {"clusterTrustBundle": {"name": "b", "path": "p"}}]}}]});
        let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let want = Names {
            config_maps: set(&["m"]),
            secrets: set(&["s", "t"]),
            bundles: true,
        };
        assert_eq!(names(&spec), want);
    }
}
