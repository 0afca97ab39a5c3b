//! Makes a pod's sandbox: namespaces, network and name files by the runtime.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::api::node::v1::RuntimeClass;
use karve_runtime::{DnsConfig, HostAlias, PodNetwork, RuntimeError, SandboxConfig};
use kube::Api;
use tracing::Instrument;

use super::{Node, container, names, paths, resolver, volumes};
use crate::events::About;
use crate::request::{bounded, text};

/// Why a pod has no sandbox. Each is told by an event where it happens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mount that can't be made.
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
    /// Its name does not fit.
    #[error(transparent)]
    Name(#[from] names::TooLong),
    /// The node's resolver configuration can't be read.
    #[error("read {path}")]
    ResolvConf {
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
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
        matches!(self, Error::Unsupported(_) | Error::Volume(_))
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
        Ok(_) => {
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
        Err(err @ (Error::Name(_) | Error::ResolvConf { .. })) => {
            let message = format!("Failed to create pod sandbox: {}", causes(err));
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
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    for container in all {
        volumes::mounts(spec, container, &dir)?;
    }
    let named = names::names(pod, spec, &node.name, &node.resolver.cluster_domain)?;
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
        hostname: named.hostname,
        short_name: named.short,
        fqdn: named.fqdn,
        network,
        dns: Some(dns(node, pod, spec).await?),
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

/// An error with its cause.
fn causes(err: &Error) -> String {
    match std::error::Error::source(err) {
        Some(cause) => format!("{err}: {cause}"),
        None => err.to_string(),
    }
}

/// The pod's resolver configuration, from the node's as it is now. What had to be left out is told.
async fn dns(node: &Node, pod: &Pod, spec: &PodSpec) -> Result<DnsConfig, Error> {
    let path = &node.resolver.resolv_conf;
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| Error::ResolvConf {
        path: path.display().to_string(),
        source,
    })?;
    let own = resolver::parse_resolv_conf(&text);
    let formed = resolver::form(pod, spec, &node.resolver, own);
    for (reason, told) in formed.notes {
        node.events.warning(About::pod(pod), reason, told);
    }
    Ok(formed.config)
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
