//! `karve status`.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use tokio::time::timeout;

use super::ClusterArg;
use super::output::{self, Format};
use crate::cluster::config::{CLUSTER_DNS, KUBERNETES_VERSION};
use crate::cluster::process::{self, Role};
use crate::cluster::{Cluster, addresses, client, ready};

/// Longest wait for an answer: what is up answers at once.
const ANSWER_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = "The exit code is 0 when all is well, else 1.")]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    name: String,
    karve: String,
    kubernetes: String,
    kubeconfig: String,
    server: ServerStatus,
    nodes: Vec<NodeStatus>,
    dns: DnsStatus,
    /// Ranges of addresses for LoadBalancer Services.
    load_balancer: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ServerStatus {
    url: String,
    pid: Option<i32>,
    answers: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    name: String,
    ip: String,
    pid: Option<i32>,
    /// `Ready`, `NotReady`, or `Unknown` when the API can't be asked.
    status: &'static str,
    /// Which way its connections to Services take: `bpf`, or `nf_tables: REASON`.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_path: Option<String>,
}

#[derive(Debug, Serialize)]
struct DnsStatus {
    address: String,
    answers: bool,
}

impl Status {
    fn is_well(&self) -> bool {
        self.server.answers
            && self.dns.answers
            && self.nodes.iter().all(|node| node.status == "Ready")
    }
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let cluster = Cluster::load(&options.cluster.name)?;
    let status = gather(&cluster).await?;
    match options.output {
        Format::Json => output::json(&status)?,
        Format::Text => print(&status)?,
    }
    Ok(if status.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn gather(cluster: &Cluster) -> Result<Status> {
    let processes = process::find(&cluster.name)?;
    let pid = |wanted: &Role| {
        processes
            .iter()
            .find(|(role, _)| role == wanted)
            .map(|(_, id)| id.pid)
    };
    let client = client::admin(cluster).ok();
    let listed = async {
        let nodes = Api::<Node>::all(client.clone()?);
        timeout(ANSWER_MAX, nodes.list(&ListParams::default()))
            .await
            .ok()?
            .ok()
    };
    let listed = listed.await;
    let load_balancer = match (&client, &listed) {
        (Some(client), Some(_)) => addresses::ranges(client).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut nodes = Vec::new();
    let mut dns_answers = true;
    for node in cluster.config.local_nodes() {
        let object = listed.as_ref().map(|list| {
            list.items
                .iter()
                .find(|item| item.metadata.name.as_ref() == Some(&node.name))
        });
        let status = match object {
            None => "Unknown",
            Some(Some(object)) if ready::is_ready(object) => "Ready",
            Some(_) => "NotReady",
        };
        let answer = timeout(ANSWER_MAX, ready::ask_dns(cluster, &node.name)).await;
        dns_answers &= matches!(answer, Ok(Ok(true)));
        let pid = pid(&Role::Agent(node.name.clone()));
        let service_path = fs::read_to_string(cluster.layout.service_path(&node.name)).ok();
        nodes.push(NodeStatus {
            service_path: service_path.map(|text| text.trim().to_owned()),
            name: node.name,
            ip: node.ip.to_string(),
            pid,
            status,
        });
    }
    Ok(Status {
        name: cluster.name.to_string(),
        karve: format!("v{}", env!("CARGO_PKG_VERSION")),
        kubernetes: KUBERNETES_VERSION.to_owned(),
        kubeconfig: cluster.config.kubeconfig.display().to_string(),
        server: ServerStatus {
            url: cluster.config.api_url(),
            pid: pid(&Role::Server),
            answers: listed.is_some(),
        },
        nodes,
        dns: DnsStatus {
            address: CLUSTER_DNS.to_string(),
            answers: dns_answers,
        },
        load_balancer,
    })
}

fn print(status: &Status) -> Result<()> {
    let process =
        |pid: Option<i32>| pid.map_or_else(|| "not running".to_owned(), |pid| format!("pid {pid}"));
    let answers = |answers: bool| {
        if answers {
            "answers"
        } else {
            "does not answer"
        }
    };
    output::line(&format!(
        "{} (karve {}, Kubernetes {})",
        status.name, status.karve, status.kubernetes
    ))?;
    let server = &status.server;
    let mut rows = vec![vec![
        "server".to_owned(),
        answers(server.answers).to_owned(),
        server.url.clone(),
        process(server.pid),
    ]];
    for node in &status.nodes {
        rows.push(vec![
            node.name.clone(),
            node.status.to_owned(),
            node.ip.clone(),
            match &node.service_path {
                Some(path) => format!("{}, Services by {path}", process(node.pid)),
                None => process(node.pid),
            },
        ]);
    }
    let dns = &status.dns;
    rows.push(vec![
        "dns".to_owned(),
        answers(dns.answers).to_owned(),
        dns.address.clone(),
        String::new(),
    ]);
    let pool = if status.load_balancer.is_empty() {
        "none".to_owned()
    } else {
        status.load_balancer.join(", ")
    };
    rows.push(vec![
        "load balancer".to_owned(),
        "pool".to_owned(),
        pool,
        String::new(),
    ]);
    rows.push(vec![
        "kubectl".to_owned(),
        "context".to_owned(),
        status.name.clone(),
        status.kubeconfig.clone(),
    ]);
    output::columns(&["PART", "STATUS", "ADDRESS", "DETAIL"], &rows)
}
