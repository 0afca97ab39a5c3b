//! `karve agent`: one node, in its own network namespace from the first instruction.
//!
//! The kubelet role, the kube-proxy role, the cluster's DNS, and the announcing of LoadBalancer
//! addresses: four clients of the API that know nothing of each other. Killed and started again, they
//! find pods and kernel tables as they are, and disturb none.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use ipnet::IpNet;
use karve_runtime::images;
use karve_sys::link::Netlink;

use super::parts::Parts;
use super::process;
use crate::cli::ClusterArg;
use crate::cluster::config::{CLUSTER_CIDR, CLUSTER_DNS, CLUSTER_DOMAIN, LocalNode, SERVICE_CIDR};
use crate::cluster::file::write_private;
use crate::cluster::network::NODE_INTERFACE;
use crate::cluster::pki::KeyPairFiles;
use crate::cluster::{Cluster, cgroup, client};

/// As upstream.
const PODS_MAX: u32 = 110;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The node's name.
    #[arg(long)]
    node: String,
}

/// Runs until SIGTERM; the node's pods go on after that.
pub fn run(options: &Options) -> Result<()> {
    process::detach();
    let cluster = Cluster::load(&options.cluster.name)?;
    let nodes = cluster.config.local_nodes();
    let node = nodes
        .into_iter()
        .find(|node| node.name == options.node)
        .with_context(|| format!("cluster {} has no node {}", cluster.name, options.node))?;
    let sockets = balance_sockets(&cluster, &node)?;
    process::block_on(serve(cluster, node, sockets))
}

async fn serve(
    cluster: Cluster,
    node: LocalNode,
    sockets: Option<karve_proxy::SocketOptions>,
) -> Result<()> {
    let mut parts = Parts::new(process::stop_on_signal()?);
    hold_dns_address().context("give the node the DNS address")?;
    let pki = cluster.pki();
    // Each part has an identity of its own, with the rights that it needs.
    let url = cluster.config.api_url();
    let connect = |files: KeyPairFiles| client::connect(&url, &pki.ca(), &files);

    // A name answers when its Service is in this node's kernel, not before.
    let (programmed, names) = tokio::sync::mpsc::unbounded_channel();
    let dns = karve_dns::Options {
        node: Some(node.name.clone()),
        proxy: Some(names),
        ..super::dns::of_cluster(&cluster)
    };
    parts.start(
        "DNS",
        karve_dns::run(connect(pki.dns())?, dns, parts.shutdown()),
    );
    let proxy = karve_proxy::Options {
        node_name: node.name.clone(),
        families: vec![karve_proxy::Family::V4],
        cluster_cidrs: vec![IpNet::V4(CLUSTER_CIDR)],
        service_cidrs: vec![IpNet::V4(SERVICE_CIDR)],
        node_port_addresses: Vec::new(),
        healthz: Some(karve_proxy::HEALTHZ),
        metrics: Some(karve_proxy::METRICS),
        programmed: Some(programmed),
        sockets,
    };
    parts.start(
        "the Service proxy",
        karve_proxy::run(connect(pki.proxy())?, proxy, parts.shutdown()),
    );
    let announce = karve_edge::announce::Options {
        node_name: node.name.clone(),
        interface: NODE_INTERFACE.to_owned(),
    };
    let announcer =
        karve_edge::announce::run(connect(pki.announcer())?, announce, parts.shutdown());
    parts.start("the announcer of LoadBalancer addresses", announcer);
    let options = node_options(&cluster, &node)?;
    parts.start(
        "the node",
        karve_node::run(
            connect(pki.node_client(&node.name))?,
            options,
            parts.shutdown(),
        ),
    );
    process::say_ready()?;
    tracing::info!(cluster = %cluster.name, node = node.name, ip = %node.ip, "agent is ready");
    parts.join().await
}

/// Where the node's sockets balance by themselves; `None` when they don't, which is written down.
fn balance_sockets(
    cluster: &Cluster,
    node: &LocalNode,
) -> Result<Option<karve_proxy::SocketOptions>> {
    let report = cluster.layout.service_path(&node.name);
    let reason = match cgroup::join(&cluster.name, &node.name) {
        Ok(cgroup) if cluster.config.socket_balancer => {
            return Ok(Some(karve_proxy::SocketOptions { cgroup, report }));
        }
        Ok(_) => "switched off by --no-socket-balancer".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    let text = format!("nf_tables: {reason}\n");
    write_private(&report, text.as_bytes())
        .with_context(|| format!("write {}", report.display()))?;
    Ok(None)
}

/// The node answers at the cluster's DNS address itself: no packet to it ever leaves the node.
fn hold_dns_address() -> Result<()> {
    let mut netlink = Netlink::open()?;
    let loopback = netlink.link_index("lo")?;
    netlink.add_address(loopback, IpNet::from(IpAddr::V4(CLUSTER_DNS)))?;
    Ok(())
}

fn node_options(cluster: &Cluster, node: &LocalNode) -> Result<karve_node::Options> {
    let layout = &cluster.layout;
    let pki = cluster.pki();
    let serving = pki.node_serving(&node.name);
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    // Pods with `dnsPolicy: Default` get the node's resolver, and the node's is the cluster's: nothing
    // else can be reached from here.
    let resolv_conf = layout.node_run(&node.name).join("resolv.conf");
    let text = format!("nameserver {CLUSTER_DNS}\n");
    write_private(&resolv_conf, text.as_bytes())
        .with_context(|| format!("write {}", resolv_conf.display()))?;
    Ok(karve_node::Options {
        node_name: node.name.clone(),
        node_ip: node.ip,
        uplink: NODE_INTERFACE.to_owned(),
        run_dir: layout.node_run(&node.name),
        data_dir: layout.node_data(&node.name),
        images: images::Store::open(&layout.images).context("open the machine's images")?,
        pulls: images::Client::remote(layout.images_socket()),
        cluster_dns: vec![IpAddr::V4(CLUSTER_DNS)],
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        cluster_cidr: CLUSTER_CIDR,
        resolv_conf,
        kubelet_tls: karve_node::Pem {
            certificate: read(&serving.certificate)?,
            key: read(&serving.key)?,
            client_ca: read(&pki.ca())?,
        },
        shim: (
            std::env::current_exe().context("find our own executable")?,
            vec!["shim".to_owned()],
        ),
        cgroup_parent: cluster.name.cgroup().join(&node.name).display().to_string(),
        max_pods: PODS_MAX,
    })
}
