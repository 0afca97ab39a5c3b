//! Bringing a cluster up: from nothing, or from whatever part of it is there.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;

use super::config::{API_PORT, CLUSTER_DNS};
use super::kubeconfig::{self, Entry};
use super::launch::{self, Launched, Log};
use super::process::{self, ProcessId, Role};
use super::{Cluster, client, network, ready};
use crate::cli::progress::Progress;

/// A cluster that is up.
pub struct Up {
    /// A client with the administrator's rights.
    pub client: kube::Client,
    /// What was started for it just now.
    pub started: Vec<Launched>,
}

/// Makes and starts what is missing, and returns when nodes are Ready and DNS answers.
pub async fn bring_up(cluster: &Cluster, log: Log, progress: &Progress) -> Result<Up> {
    launch::keep_inherited_files()?;
    tokio::task::block_in_place(|| make_parts(cluster))?;
    let subnet = cluster.config.subnet;
    progress.done(&format!(
        "Network {} on link {}",
        subnet.net(),
        cluster.name.host_link()
    ));

    let running: BTreeMap<Role, ProcessId> = process::find(&cluster.name)?.into_iter().collect();
    let mut started = Vec::new();
    if !running.contains_key(&Role::Server) {
        let listener = listen(subnet.host())?;
        started.push(launch::server(
            &cluster.name,
            &cluster.layout,
            listener,
            log,
        )?);
    }
    let nodes = cluster.config.local_nodes();
    for node in &nodes {
        if !running.contains_key(&Role::Agent(node.name.clone())) {
            started.push(launch::agent(
                &cluster.name,
                &cluster.layout,
                &node.name,
                log,
            )?);
        }
    }
    let all_ready = try_join_all(started.iter_mut().map(Launched::ready));
    progress
        .during("Starting server and agents", all_ready)
        .await?;
    progress.done(&format!("Server at {}", cluster.config.api_url()));

    let client = client::admin(cluster)?;
    let nodes_ready = launch::while_alive(&mut started, ready::nodes(&client, cluster));
    progress
        .during("Waiting for nodes to be Ready", nodes_ready)
        .await?;
    let names: Vec<String> = nodes
        .iter()
        .map(|node| format!("{} ({})", node.name, node.ip))
        .collect();
    progress.done(&format!("{}: Ready", names.join(", ")));

    let dns = async {
        try_join_all(nodes.iter().map(|node| ready::dns(cluster, &node.name)))
            .await
            .map(drop)
    };
    progress
        .during("Waiting for DNS", launch::while_alive(&mut started, dns))
        .await?;
    progress.done(&format!("DNS answers at {CLUSTER_DNS}"));
    Ok(Up { client, started })
}

/// Makes certificates and network, which don't know each other, at the same time.
///
/// Not by tasks: what is made in the kernel must be complete before Ctrl-C can have it removed.
fn make_parts(cluster: &Cluster) -> Result<()> {
    thread::scope(|scope| {
        let certificates = scope.spawn(|| cluster.pki().issue(&cluster.name, &cluster.config));
        network::ensure(&cluster.name, &cluster.config)?;
        certificates
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Opens the API's socket on the nodes' network.
fn listen(host: Ipv4Addr) -> Result<TcpListener> {
    let address = SocketAddr::from((host, API_PORT));
    match TcpListener::bind(address) {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!(
                "port {API_PORT} is taken: stop what listens there (`ss -ltnp 'sport = :{API_PORT}'`)"
            )
        }
        Err(error) => Err(error).with_context(|| format!("listen on {address}")),
    }
}

/// Picks the port of the API on loopback: the usual one if it is free, which tools expect.
pub fn choose_loopback_port() -> Result<u16> {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(usual)
        .or_else(|_| TcpListener::bind(any))
        .context("listen on loopback")?;
    Ok(listener
        .local_addr()
        .context("ask for the loopback port")?
        .port())
}

/// Puts the cluster's context into the user's kubeconfig.
pub fn add_context(cluster: &Cluster) -> Result<()> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("read {}", path.display()))
    };
    let (pki, admin) = (cluster.pki(), cluster.pki().admin());
    let entry = Entry {
        name: cluster.name.as_str(),
        server: &cluster.config.api_url(),
        ca: &read(&pki.ca())?,
        certificate: &read(&admin.certificate)?,
        key: &read(&admin.key)?,
    };
    kubeconfig::add(&cluster.config.kubeconfig, &entry)
}
