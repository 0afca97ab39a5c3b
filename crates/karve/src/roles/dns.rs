//! `karve dns`: the cluster DNS by itself, in place of CoreDNS, and `karve dns query`, which explains an answer.
//!
//! An ordinary client of a Kubernetes API of any making. Its Corefile is a file, or the ConfigMap that CoreDNS has.
//! Deliberately absent: the flags of CoreDNS that choose ports and plugins; the Corefile says both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use karve_dns::explain::{self, Explanation, Question};
use karve_watch::ObjectName;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::process;
use crate::cli::ClusterArg;
use crate::cli::output::{self, Format};
use crate::cluster::config::{
    CLUSTER_CIDR, CLUSTER_DNS, CLUSTER_DOMAIN, FORWARDER_PORT, SERVICE_CIDR,
};
use crate::cluster::{Cluster, client};

/// Longer help of `karve dns --help`.
const EXAMPLES: &str = "\
Examples:
  karve dns --conf /etc/coredns/Corefile
  karve dns --kubeconfig dns.conf --listen 10.0.0.5 --cluster-cidr 10.244.0.0/16,10.96.0.0/12
  karve dns query redis --from shop/counter-0
  karve dns query example.org --from counter-0 --type AAAA -o json

Without --conf it follows the ConfigMap `coredns` in kube-system; without --kubeconfig it uses the
service account of its Pod.";

/// What `karve dns` is told.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Flags {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Explain, step by step, what a Pod is answered to a name.
    Query(Query),
}

#[derive(Debug, Args)]
struct Serve {
    /// How to reach the API. Default: the service account of the Pod.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The Corefile. Default: the ConfigMap `coredns` in kube-system.
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Addresses to answer on. Default: any.
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    listen: Vec<IpAddr>,
    /// The cluster's domain.
    #[arg(long, value_name = "DOMAIN", default_value = CLUSTER_DOMAIN)]
    cluster_domain: String,
    /// Addresses of Pods and Services, whose names nobody outside is asked for.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// The nodes' own search list, which Pods inherit; `autopath` needs to know it.
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    node_search: Vec<String>,
}

#[derive(Debug, Args)]
struct Query {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The name, as a program in the Pod would give it.
    #[arg(id = "asked", value_name = "NAME")]
    name: String,
    /// The Pod that asks: NAME or NAMESPACE/NAME. Default: nobody, so that only the name itself is asked for.
    #[arg(long, value_name = "POD")]
    from: Option<String>,
    /// The record type.
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    rtype: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Runs until SIGTERM, or explains.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    let done = match &flags.command {
        None => process::block_on(serve(&flags.serve)),
        Some(Command::Query(query)) => process::block_on(explain(query)),
    };
    done.map(|()| ExitCode::SUCCESS)
}

async fn serve(flags: &Serve) -> Result<()> {
    let shutdown = process::stop_on_signal()?;
    let config = match &flags.kubeconfig {
        Some(file) => {
            let read =
                Kubeconfig::read_from(file).with_context(|| format!("read {}", file.display()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("use {}", file.display()))?
        }
        None => Config::incluster().context("use the service account of the Pod")?,
    };
    let client = Client::try_from(config).context("make a client")?;
    let any = match std::path::Path::new("/proc/net/if_inet6").exists() {
        true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let options = karve_dns::Options {
        listen: match flags.listen.is_empty() {
            true => vec![any],
            false => flags.listen.clone(),
        },
        cluster_domain: flags.cluster_domain.clone(),
        source: match &flags.conf {
            Some(file) => karve_dns::Source::File(file.clone()),
            None => karve_dns::Source::ConfigMap,
        },
        upstreams: None,
        node_searches: flags.node_search.clone(),
        node: None,
        private: flags.cluster_cidr.clone(),
        proxy: None,
        lameduck: true,
    };
    tracing::info!("cluster DNS starts");
    karve_dns::run(client, options, shutdown)
        .await
        .context("run the cluster DNS")
}

/// The DNS of a local cluster: as its agents serve it, but for what belongs to one node.
pub(super) fn of_cluster(cluster: &Cluster) -> karve_dns::Options {
    karve_dns::Options {
        listen: vec![IpAddr::V4(CLUSTER_DNS)],
        cluster_domain: CLUSTER_DOMAIN.to_owned(),
        source: karve_dns::Source::ConfigMap,
        // The host's resolvers are reached through the server process.
        upstreams: Some(vec![SocketAddr::from((
            cluster.config.subnet.host(),
            FORWARDER_PORT,
        ))]),
        node_searches: Vec::new(),
        node: None,
        private: vec![CLUSTER_CIDR.into(), SERVICE_CIDR.into()],
        proxy: None,
        lameduck: false,
    }
}

async fn explain(query: &Query) -> Result<()> {
    let cluster = Cluster::load(&query.cluster.name)?;
    let client = client::admin(&cluster)?;
    let options = of_cluster(&cluster);
    let pod = |from: &String| match from.split_once('/') {
        Some((namespace, name)) => ObjectName::new(namespace, name),
        None => ObjectName::new("default", from),
    };
    let question = Question {
        name: query.name.clone(),
        rtype: query.rtype.clone(),
        from: query.from.as_ref().map(pod),
    };
    let explanation = explain::explain(&client, &options, &question)
        .await
        .with_context(|| format!("explain {}", query.name))?;
    match query.output {
        Format::Json => output::json(&explanation),
        Format::Text => tell(&explanation),
    }
}

fn tell(explanation: &Explanation) -> Result<()> {
    if !explanation.searches.is_empty() {
        let searches = explanation.searches.join(" ");
        output::line(&format!(
            "search   {searches} (ndots:{})",
            explanation.ndots
        ))?;
    }
    for asked in &explanation.asked {
        output::line(&format!("\nasks for {}", asked.name))?;
        for step in &asked.steps {
            output::line(&format!("  {step}"))?;
        }
        output::line(&format!("  answer: {}", asked.code))?;
        for record in &asked.answer {
            output::line(&format!("    {record}"))?;
        }
    }
    Ok(())
}
