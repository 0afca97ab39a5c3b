//! `karve service`, as `minikube service`.

mod describe;

use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::ClusterArg;
use super::output::{self, Format};
use crate::cluster::{Cluster, client};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  karve service list
  curl $(karve service counter-np --url)
  karve service describe web -n shop"
)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    one: One,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the Services of all namespaces, or of one, with their URLs.
    List(List),
    /// Show what each node's kernel does with a Service, beside what the API says.
    Describe(describe::Options),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    cluster: ClusterArg,
    /// Only this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Args)]
struct One {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The Service.
    #[arg(required = true)]
    service: Option<String>,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Print the URL alone, one line for each port.
    #[arg(long)]
    url: bool,
}

/// A port of a Service that is of use from outside the cluster.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    /// `3000`, or `http/3000` when the port has a name.
    target: String,
    url: String,
}

#[derive(Debug, Serialize)]
struct Row {
    namespace: String,
    name: String,
    ports: Vec<Port>,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    match options.command {
        Some(Command::List(list)) => run_list(&list).await?,
        Some(Command::Describe(options)) => return describe::run(&options).await,
        None => run_one(&options.one).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_list(options: &List) -> Result<()> {
    let cluster = Cluster::load(&options.cluster.name)?;
    let client = client::admin(&cluster)?;
    let services = match &options.namespace {
        Some(namespace) => Api::<Service>::namespaced(client, namespace),
        None => Api::all(client),
    };
    let services = services
        .list(&ListParams::default())
        .await
        .context("list Services")?;
    let node = cluster.config.subnet.node(1);
    let rows: Vec<Row> = services
        .items
        .iter()
        .map(|service| row(service, node))
        .collect();
    match options.output {
        Format::Json => output::json(&rows),
        Format::Text => print(&rows),
    }
}

async fn run_one(options: &One) -> Result<()> {
    let cluster = Cluster::load(&options.cluster.name)?;
    let name = options.service.as_deref().context("a Service is named")?;
    let services = Api::<Service>::namespaced(client::admin(&cluster)?, &options.namespace);
    let Some(service) = services
        .get_opt(name)
        .await
        .with_context(|| format!("get Service {name}"))?
    else {
        bail!(
            "there is no Service \"{name}\" in namespace \"{}\": `{}`",
            options.namespace,
            cluster.command("service list")
        );
    };
    let row = row(&service, cluster.config.subnet.node(1));
    if !options.url {
        return print(&[row]);
    }
    if row.ports.is_empty() {
        bail!("Service \"{name}\" has no node port: only type NodePort and LoadBalancer have one");
    }
    row.ports
        .iter()
        .try_for_each(|port| output::line(&port.url))
}

fn print(rows: &[Row]) -> Result<()> {
    let cells: Vec<Vec<String>> = rows.iter().flat_map(cells).collect();
    output::table(&["NAMESPACE", "NAME", "TARGET PORT", "URL"], &cells)
}

/// One line for each port; only the first names the Service.
fn cells(row: &Row) -> Vec<Vec<String>> {
    let line = |namespace: &str, name: &str, target: &str, url: &str| {
        [namespace, name, target, url].map(str::to_owned).to_vec()
    };
    if row.ports.is_empty() {
        return vec![line(&row.namespace, &row.name, "No node port", "")];
    }
    let lines = row
        .ports
        .iter()
        .enumerate()
        .map(|(index, port)| match index {
            0 => line(&row.namespace, &row.name, &port.target, &port.url),
            _ => line("", "", &port.target, &port.url),
        });
    lines.collect()
}

fn row(service: &Service, node: Ipv4Addr) -> Row {
    let ports = service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    let ports = ports.filter_map(|port| {
        let node_port = port.node_port?;
        let target = match &port.name {
            Some(name) => format!("{name}/{}", port.port),
            None => port.port.to_string(),
        };
        Some(Port {
            target,
            url: format!("http://{node}:{node_port}"),
        })
    });
    Row {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
        ports: ports.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_with_a_node_port_have_urls() {
        let service = |spec| {
            let object =
                json!({ "metadata": { "namespace": "default", "name": "web" }, "spec": spec });
            serde_json::from_value::<Service>(object).expect("a Service")
        };
        let node = Ipv4Addr::new(192, 168, 64, 2);
        let two = row(
            &service(json!({ "ports": [
                { "port": 3000, "nodePort": 31000 },
                { "name": "https", "port": 443, "nodePort": 31443 },
            ] })),
            node,
        );
        let expected = [
            ["default", "web", "3000", "http://192.168.64.2:31000"],
            ["", "", "https/443", "http://192.168.64.2:31443"],
        ];
        assert_eq!(
            cells(&two),
            expected.map(|line| line.map(str::to_owned).to_vec())
        );
        let none = row(&service(json!({ "ports": [{ "port": 6379 }] })), node);
        assert_eq!(cells(&none)[0][2], "No node port");
    }
}
