//! The kubelet role: runs the pods that the API assigns to this node, and tells the API what became of them.
//!
//! - [`registration`]: this node's Node object and lease.
//! - [`pods`] and [`pod`]: a worker for each pod, which plans purely and acts by the runtime.
//! - [`objects`]: watches of what pods' volumes show.
//! - [`status`]: what the API shows of a pod, in upstream's words.
//! - [`network`]: routes to other nodes' pods, masquerade, and host ports.
//! - [`server`]: the kubelet API, for logs.
//!
//! Invariant: the agent holds no state of its own. What runs is in the runtime, what is wanted in the API; an agent that
//! is killed and started again finds both and disturbs nothing. On shutdown pods keep running.
//!
//! Deliberately absent so far: probes, exec, port-forward, claims and volumes of drivers, hooks, eviction, static
//! pods. A pod that needs a volume of another kind is held, not run without it.

mod admission;
mod events;
mod logs;
mod network;
mod nodes;
mod objects;
mod observed;
mod pod;
mod pods;
mod quantity;
mod registration;
mod request;
mod server;
mod status;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use karve_runtime::{Runtime, RuntimeError, images};
use karve_watch::Outages;
use kube::Client;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use server::Pem;

/// What a node is and where its things are.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Node's name.
    pub node_name: String,
    /// Its address, on the link to the other nodes.
    pub node_ip: Ipv4Addr,
    /// The link to the other nodes.
    pub uplink: String,
    /// Volatile state of the node.
    pub run_dir: PathBuf,
    /// Files of the node: layers, volumes, logs.
    pub data_dir: PathBuf,
    /// The machine's content store, for what is here.
    pub images: images::Store,
    /// Where images are pulled.
    pub pulls: images::Client,
    /// The cluster's DNS servers.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The addresses of all pods.
    pub cluster_cidr: Ipv4Net,
    /// The resolver configuration that pods with `dnsPolicy: Default` get.
    pub resolv_conf: PathBuf,
    /// The kubelet API's certificates.
    pub kubelet_tls: Pem,
    /// The executable that becomes a container's shim, and its first arguments.
    pub shim: (PathBuf, Vec<String>),
    /// The cgroup that holds all pods, below the root of each hierarchy.
    pub cgroup_parent: String,
    /// Most pods on the node.
    pub max_pods: u32,
}

/// Why the node could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory could not be made.
    #[error("make directory {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The machine could not be looked at.
    #[error("look at the machine")]
    Machine(#[from] registration::MachineError),
    /// The runtime could not be opened.
    #[error("open runtime")]
    Runtime(#[from] RuntimeError),
    /// The network could not be set up.
    #[error("set up network of the node")]
    Network(#[from] network::Error),
    /// Host ports could not be set up.
    #[error("set up host ports of the node")]
    HostPorts(#[from] network::host_ports::Error),
    /// The kubelet API could not be served.
    #[error("serve kubelet API")]
    Server(#[from] server::Error),
}

/// Runs the node until shutdown; its pods go on after that.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    begin(client, options, &shutdown, &mut tasks).await?;
    // Each task ends at shutdown; the first to end for another reason is a defect that ends the node.
    while let Some(ended) = tasks.join_next().await {
        if let Err(err) = ended {
            tracing::error!(err = &err as &dyn std::error::Error, "task failed");
        }
        if !shutdown.is_cancelled() {
            tracing::error!("a task of the node ended early");
            shutdown.cancel();
        }
    }
    Ok(())
}

/// Opens everything and starts the tasks.
async fn begin(
    client: Client,
    options: Options,
    shutdown: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<(), Error> {
    make_dir(&options.data_dir)?;
    make_dir(&options.run_dir)?;
    let machine = registration::Machine::read(&options.data_dir)?;
    let runtime = open_runtime(&options).await?;
    let kernel_options = network::Options {
        node: options.node_name.clone(),
        uplink: options.uplink.clone(),
        cluster_cidr: options.cluster_cidr,
        node_ip: options.node_ip,
    };
    let kernel = network::Kernel::open(kernel_options.clone())?;
    let notices = network::Notices::open()?;
    let host_ports = network::host_ports::Kernel::open()?;
    let (ports, ports_seen) = tokio::sync::watch::channel(None);
    let renew = Arc::new(Notify::new());
    // A lost connection asks for the lease to be renewed.
    let outages = Outages::waking(renew.clone());
    let (events, writer) = events::recorder(client.clone(), options.node_name.clone());
    let (out, seen) = nodes::channels();
    let identity = registration::Identity {
        name: options.node_name.clone(),
        ips: vec![IpAddr::V4(options.node_ip)],
        machine,
        max_pods: options.max_pods,
    };
    let node = Arc::new(node(
        &client, &options, &identity, runtime, &events, &seen, &outages,
    ));
    let pods = Arc::new(pods::Pods::default());
    let state = server::State {
        runtime: node.runtime.clone(),
        pods: pods.clone(),
        statuses: node.statuses.clone(),
        cluster_cidr: options.cluster_cidr,
    };
    let address = SocketAddr::new(IpAddr::V4(options.node_ip), registration::KUBELET_PORT);
    let server = server::Server::bind(address, &options.kubelet_tls, state).await?;
    let registration = registration::Registration {
        client: client.clone(),
        identity,
        images: options.images,
        events,
        own: seen.own.clone(),
        renew: renew.clone(),
    };
    let name = options.node_name;
    let stop = || shutdown.clone();
    tasks.spawn(registration::keep_lease(
        client.clone(),
        name.clone(),
        seen.own,
        renew,
        stop(),
    ));
    tasks.spawn(registration.run(stop()));
    tasks.spawn(nodes::run(client, name, out, outages.clone(), stop()));
    tasks.spawn(writer.run(stop()));
    tasks.spawn(network::run(
        kernel_options,
        kernel,
        notices,
        seen.peers,
        stop(),
    ));
    tasks.spawn(server.run(stop()));
    tasks.spawn(pods::watch_services(node.clone(), outages.clone(), stop()));
    tasks.spawn(network::host_ports::run(host_ports, ports_seen, stop()));
    tasks.spawn(pods::run(node, pods, ports, outages, stop()));
    Ok(())
}

/// What all pods share.
fn node(
    client: &Client,
    options: &Options,
    identity: &registration::Identity,
    runtime: Runtime,
    events: &events::Recorder,
    seen: &nodes::Seen,
    outages: &Outages,
) -> pod::Node {
    pod::Node {
        client: client.clone(),
        runtime,
        images: pod::Images {
            local: options.images.clone(),
            remote: options.pulls.clone(),
        },
        events: events.clone(),
        name: options.node_name.clone(),
        host_ips: identity.ips.clone(),
        machine: identity.machine.clone(),
        resolver: resolver(options),
        data_dir: options.data_dir.clone(),
        pod_cidr: seen.pod_cidr.clone(),
        own: seen.own.clone(),
        allocatable: identity.allocatable(),
        services: Arc::new(pod::Services::default()),
        config_maps: objects::Shared::new(client.clone(), outages.clone()),
        secrets: objects::Shared::new(client.clone(), outages.clone()),
        bundles: objects::Shared::new(client.clone(), outages.clone()),
        statuses: Arc::new(server::Statuses::default()),
    }
}

async fn open_runtime(options: &Options) -> Result<Runtime, RuntimeError> {
    Runtime::open(karve_runtime::Options {
        run_dir: options.run_dir.clone(),
        data_dir: options.data_dir.clone(),
        images: options.images.clone(),
        exe: options.shim.0.clone(),
        shim_args: options.shim.1.clone(),
        cgroup_parent: options.cgroup_parent.clone(),
    })
    .await
}

fn resolver(options: &Options) -> pod::Resolver {
    pod::Resolver {
        cluster_dns: options.cluster_dns.clone(),
        cluster_domain: options.cluster_domain.clone(),
        resolv_conf: options.resolv_conf.clone(),
    }
}

fn make_dir(path: &std::path::Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| Error::Directory {
        path: path.to_owned(),
        source,
    })
}
