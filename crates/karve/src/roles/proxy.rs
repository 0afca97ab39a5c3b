//! `karve proxy`: the Service proxy by itself, in place of kube-proxy.
//!
//! An ordinary client of a Kubernetes API of any making, in the network namespace in which it is started. Its
//! flags are kube-proxy's; those whose meaning would be lost are refused. Deliberately absent: configuration
//! files, and other modes than nftables.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::process;
use crate::api::without_effect::{Table, WithoutEffect};

/// Longer help of `karve proxy --help`.
const EXAMPLES: &str = "\
Examples:
  karve proxy --kubeconfig /etc/kubernetes/kube-proxy.conf --cluster-cidr 10.244.0.0/16
  karve proxy --hostname-override node7 --nodeport-addresses 192.0.2.0/24

Without --kubeconfig it uses the service account of its Pod. SIGTERM ends it; the kernel goes on
serving as it was left, and the next one takes over.";

/// What `karve proxy` is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// How to reach the API. Default: the service account of the Pod.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The address of the API, in place of that in the kubeconfig file.
    #[arg(long, value_name = "URL")]
    master: Option<String>,
    /// The name of this node. Default: the host's name.
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<String>,
    /// Addresses of Pods, one net for each family: other clients of a cluster IP are masqueraded.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// Which of the node's addresses node ports answer on: nets, `primary` or `all`.
    #[arg(
        long,
        value_name = "CIDR",
        value_delimiter = ',',
        default_value = "primary"
    )]
    nodeport_addresses: Vec<String>,
    /// Where to serve /healthz and /livez; empty for nowhere.
    #[arg(long, value_name = "ADDR", default_value_t = karve_proxy::HEALTHZ.to_string())]
    healthz_bind_address: String,
    /// Where to serve /metrics and /proxyMode; empty for nowhere.
    #[arg(long, value_name = "ADDR", default_value_t = karve_proxy::METRICS.to_string())]
    metrics_bind_address: String,
    /// The mode: nftables is the only one.
    #[arg(long, value_name = "MODE", default_value = "nftables", value_parser = ["nftables"])]
    proxy_mode: String,
    /// How Pods are told from other clients: by their addresses.
    #[arg(long, value_name = "MODE", default_value = "ClusterCIDR", value_parser = ["ClusterCIDR"])]
    detect_local_mode: String,
    #[command(flatten)]
    without_effect: WithoutEffect<KubeProxy>,
}

/// kube-proxy's flags that mean nothing here: there is no period between syncs, and no packet is ever accepted.
#[derive(Debug, Default)]
pub struct KubeProxy;

impl Table for KubeProxy {
    const FLAGS: &'static [(&'static str, bool)] = &[
        ("bind-address", true),
        ("config-sync-period", true),
        ("feature-gates", true),
        ("iptables-min-sync-period", true),
        ("iptables-sync-period", true),
        ("kube-api-burst", true),
        ("kube-api-content-type", true),
        ("kube-api-qps", true),
        ("log-flush-frequency", true),
        ("logging-format", true),
        ("profiling", false),
        ("v", true),
        ("vmodule", true),
    ];
}

/// Runs until SIGTERM.
pub fn run(flags: &Flags) -> Result<()> {
    process::block_on(serve(flags))
}

async fn serve(flags: &Flags) -> Result<()> {
    let shutdown = process::stop_on_signal()?;
    for name in &flags.without_effect.given {
        tracing::info!(flag = name, "flag has no effect here");
    }
    let client = Client::try_from(config(flags).await?).context("make a client")?;
    let node_name = match &flags.hostname_override {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let options = karve_proxy::Options {
        node_port_addresses: node_port_addresses(flags, &client, &node_name).await?,
        service_cidrs: service_cidrs(&client).await,
        families: karve_proxy::Options::families_of_kernel(),
        cluster_cidrs: flags.cluster_cidr.clone(),
        healthz: address("healthz-bind-address", &flags.healthz_bind_address)?,
        metrics: address("metrics-bind-address", &flags.metrics_bind_address)?,
        programmed: None,
        sockets: None,
        node_name,
    };
    tracing::info!(node = options.node_name, "service proxy starts");
    karve_proxy::run(client, options, shutdown)
        .await
        .context("run the Service proxy")
}

async fn config(flags: &Flags) -> Result<Config> {
    let mut config = match &flags.kubeconfig {
        Some(file) => {
            let read =
                Kubeconfig::read_from(file).with_context(|| format!("read {}", file.display()))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(read, &options)
                .await
                .with_context(|| format!("use {}", file.display()))?
        }
        None => Config::incluster().context("use the service account of the Pod")?,
    };
    if let Some(url) = &flags.master {
        config.cluster_url = url
            .parse()
            .with_context(|| format!("read --master {url}"))?;
    }
    Ok(config)
}

/// As upstream names a node by its host: in small letters, without blanks.
fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("look at the host's name")?;
    let name = name.to_string_lossy().trim().to_lowercase();
    if name.is_empty() {
        bail!("the host has no name: --hostname-override gives one");
    }
    Ok(name)
}

/// The nets that `--nodeport-addresses` means; none for all.
async fn node_port_addresses(flags: &Flags, client: &Client, node: &str) -> Result<Vec<IpNet>> {
    let mut nets = Vec::new();
    for word in &flags.nodeport_addresses {
        match word.as_str() {
            "all" => return Ok(Vec::new()),
            "localhost" => bail!(
                "--nodeport-addresses localhost: node ports don't answer on loopback addresses"
            ),
            "primary" => nets.extend(primary_addresses(client, node).await?),
            net => nets.push(
                net.parse()
                    .with_context(|| format!("read --nodeport-addresses {net}"))?,
            ),
        }
    }
    // A net of a whole family means all of it, as does the want of any.
    nets.retain(|net: &IpNet| net.prefix_len() > 0);
    Ok(nets)
}

/// The first internal address of each family.
async fn primary_addresses(client: &Client, name: &str) -> Result<Vec<IpNet>> {
    let node = Api::<Node>::all(client.clone()).get(name).await;
    let node =
        node.with_context(|| format!("get Node {name}, whose addresses node ports answer on"))?;
    let addresses = node
        .status
        .into_iter()
        .flat_map(|status| status.addresses.unwrap_or_default());
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    let ips: Vec<std::net::IpAddr> = internal
        .filter_map(|address| address.address.parse().ok())
        .collect();
    let first = |v4: bool| {
        ips.iter()
            .find(|ip| ip.is_ipv4() == v4)
            .map(|ip| IpNet::from(*ip))
    };
    Ok([first(true), first(false)].into_iter().flatten().collect())
}

/// The ranges of Services. Without them packets to unallocated addresses go their way, which harms nobody.
async fn service_cidrs(client: &Client) -> Vec<IpNet> {
    let listed = Api::<ServiceCIDR>::all(client.clone())
        .list(&ListParams::default())
        .await;
    match listed {
        Ok(list) => {
            let specs = list.items.into_iter().filter_map(|cidr| cidr.spec);
            let cidrs = specs.flat_map(|spec| spec.cidrs.unwrap_or_default());
            cidrs.filter_map(|cidr| cidr.parse().ok()).collect()
        }
        Err(err) => {
            let err = &err as &dyn std::error::Error;
            tracing::warn!(err, "ranges of services not known");
            Vec::new()
        }
    }
}

fn address(flag: &str, text: &str) -> Result<Option<SocketAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .with_context(|| format!("read --{flag} {text}"))
}
