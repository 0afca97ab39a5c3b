//! Makes a pod's sandbox: its directory and volumes, then namespaces, network and name files by the runtime.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec};
use k8s_openapi::api::node::v1::RuntimeClass;
use karve_runtime::{HostAlias, PodNetwork, RuntimeError, SandboxConfig};
use kube::Api;
use tracing::Instrument;

use super::{Node, container, names, paths, volumes};
use crate::events::About;
use crate::request::{bounded, text};

/// The ConfigMap with the cluster's CA that a controller keeps in every namespace.
const ROOT_CA: &str = "kube-root-ca.crt";
/// The longest that fetching it may take.
const FETCH_MAX: Duration = Duration::from_secs(5);

/// Why a pod has no sandbox. Each is told by an event where it happens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A volume is not there.
    #[error(transparent)]
    Volume(#[from] volumes::Error),
    /// The spec asks for what this node can't do.
    #[error("{0}")]
    Unsupported(String),
    /// Its RuntimeClass could not be looked up.
    #[error("get RuntimeClass {name}")]
    Class {
        /// The class.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The pod is being ended instead.
    #[error("pod is being ended")]
    Superseded,
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl Error {
    /// Whether trying again without a change of the pod can help.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Error::Unsupported(_)
                | Error::Volume(volumes::Error::Unsupported { .. } | volumes::Error::Mount(_))
        )
    }
}

/// Makes the sandbox; one that is there is taken as it is. Waits for the node's addresses if it must.
pub async fn create(
    node: &Node,
    pod: &Pod,
    spec: &PodSpec,
    superseded: impl Future<Output = ()>,
) -> Result<(), Error> {
    let result = try_create(node, pod, spec, superseded).await;
    match &result {
        Ok(()) => {
            let ignored = container::ignored(spec);
            if !ignored.is_empty() {
                let message = format!(
                    "not supported by this node and without effect: {}",
                    ignored.join(", ")
                );
                node.events.warning(About::pod(pod), "Unsupported", message);
            }
        }
        Err(Error::Superseded) => {}
        Err(Error::Class { name, source }) => {
            let text = text(source);
            let message = format!("Failed to create pod sandbox: get RuntimeClass {name}: {text}");
            node.events
                .warning(About::pod(pod), "FailedCreatePodSandBox", message);
        }
        Err(Error::Volume(err)) => {
            node.events
                .warning(About::pod(pod), "FailedMount", err.to_string())
        }
        Err(Error::Unsupported(text)) => {
            let message =
                format!("Failed to create pod sandbox: rpc error: code = Unknown desc = {text}");
            node.events
                .warning(About::pod(pod), "FailedCreatePodSandBox", message);
        }
        Err(Error::Runtime(err)) => {
            let message = format!(
                "Failed to create pod sandbox: rpc error: code = Unknown desc = {}",
                err.chain()
            );
            node.events
                .warning(About::pod(pod), "FailedCreatePodSandBox", message);
        }
    }
    result
}

async fn try_create(
    node: &Node,
    pod: &Pod,
    spec: &PodSpec,
    superseded: impl Future<Output = ()>,
) -> Result<(), Error> {
    if let Some(text) = container::unsupported(spec) {
        return Err(Error::Unsupported(text));
    }
    runtime_class(node, spec).await?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let dir = paths::pod_dir(&node.data_dir, &uid);
    let api =
        api_access(node, pod, spec).instrument(tracing::debug_span!("set up volumes", pod = uid));
    volumes::set_up(spec, &dir, &api.await)?;
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    for container in all {
        volumes::mounts(spec, container, &dir)?;
    }
    let (hostname, fqdn) = names::hostname(pod, spec, &node.name, &node.resolver.cluster_domain);
    let network = if spec.host_network == Some(true) {
        PodNetwork::Host
    } else {
        let cidr = tokio::select! {
            cidr = cidr(node) => cidr,
            () = superseded => return Err(Error::Superseded),
        };
        PodNetwork::Pod {
            cidr,
            node_ip: node.host_ips.iter().find_map(|ip| match ip {
                std::net::IpAddr::V4(ip) => Some(*ip),
                std::net::IpAddr::V6(_) => None,
            }),
        }
    };
    let aliases = spec.host_aliases.iter().flatten();
    let config = SandboxConfig {
        uid,
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        hostname,
        fqdn,
        network,
        dns: Some(names::dns(pod, spec, &node.resolver)),
        host_aliases: aliases
            .map(|a| HostAlias {
                ip: a.ip.clone(),
                hostnames: a.hostnames.clone().unwrap_or_default(),
            })
            .collect(),
        annotations: std::collections::BTreeMap::new(),
    };
    let span = tracing::debug_span!("run sandbox", pod = config.uid);
    node.runtime.run_sandbox(config).instrument(span).await?;
    Ok(())
}

/// This node has one way to run a sandbox, which has no name: a class with a handler asks for another.
async fn runtime_class(node: &Node, spec: &PodSpec) -> Result<(), Error> {
    let Some(name) = spec
        .runtime_class_name
        .as_deref()
        .filter(|name| !name.is_empty())
    else {
        return Ok(());
    };
    let api: Api<RuntimeClass> = Api::all(node.client.clone());
    let class = bounded(api.get(name))
        .await
        .map_err(|source| Error::Class {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
    match class.handler.as_str() {
        "" => Ok(()),
        handler => Err(Error::Unsupported(format!(
            "failed to get sandbox runtime: no runtime for {handler:?} is configured"
        ))),
    }
}

/// What the API's own volume is to hold.
async fn api_access(node: &Node, pod: &Pod, spec: &PodSpec) -> volumes::ApiAccess {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    if !volumes::wants_api_access(spec) {
        return volumes::ApiAccess::default();
    }
    let api: Api<ConfigMap> = Api::namespaced(node.client.clone(), &namespace);
    let found = tokio::time::timeout(FETCH_MAX, api.get_opt(ROOT_CA)).await;
    let root_ca = match found {
        Ok(Ok(map)) => map.and_then(|map| map.data?.remove("ca.crt")),
        Ok(Err(err)) => {
            tracing::debug!(
                err = &err as &dyn std::error::Error,
                "root certificate not fetched"
            );
            None
        }
        Err(_) => None,
    };
    volumes::ApiAccess { namespace, root_ca }
}

/// The node's addresses for pods; a pod may come before a controller gave some to a new node.
async fn cidr(node: &Node) -> ipnet::Ipv4Net {
    let mut receiver = node.pod_cidr.clone();
    let known = receiver.wait_for(Option::is_some).await.map(|cidr| *cidr);
    match known {
        Ok(Some(cidr)) => cidr,
        // The agent is stopping; the worker is dropped here.
        _ => std::future::pending().await,
    }
}
