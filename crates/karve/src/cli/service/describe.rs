//! `karve service describe`: one Service as the API and as each node's kernel have it.
//!
//! The kernels are read, not the agents' intentions: this enters the nodes' network namespaces.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use karve_proxy::describe::{Description, describe};
use karve_sys::netns::NetNs;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use crate::cli::ClusterArg;
use crate::cli::output::{self, Format};
use crate::cluster::{Cluster, client};

#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is 0 when all nodes do as the API says and an endpoint is ready, else 1."
)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
    /// The Service.
    service: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    namespace: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    addresses: Vec<String>,
    endpoints: Vec<Endpoint>,
    nodes: Vec<OnNode>,
    verdict: Verdict,
}

/// An endpoint as the API has it.
#[derive(Debug, Serialize)]
struct Endpoint {
    address: String,
    ports: Vec<String>,
    node: Option<String>,
    /// `ready`, `terminating` or `not ready`.
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct OnNode {
    node: String,
    families: Vec<Description>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    text: String,
}

pub async fn run(options: &Options) -> Result<ExitCode> {
    let cluster = Cluster::load(&options.cluster.name)?;
    let report = report(&cluster, options).await?;
    match options.output {
        Format::Json => output::json(&report)?,
        Format::Text => print(&report)?,
    }
    Ok(if report.verdict.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn report(cluster: &Cluster, options: &Options) -> Result<Report> {
    let (client, namespace, name) = (
        client::admin(cluster)?,
        &options.namespace,
        &options.service,
    );
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    let found = services
        .get_opt(name)
        .await
        .with_context(|| format!("get Service {name}"))?;
    let Some(service) = found else {
        let list = cluster.command("service list");
        bail!("there is no Service \"{name}\" in namespace \"{namespace}\": `{list}`");
    };
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let slices = slices
        .list(&of_service)
        .await
        .context("list EndpointSlices")?
        .items;
    let nodes = Api::<Node>::all(client)
        .list(&ListParams::default())
        .await
        .context("list Nodes")?;
    let on_nodes: Vec<OnNode> = nodes
        .items
        .iter()
        .map(|node| on_node(cluster, &service, &slices, node))
        .collect();
    let endpoints = endpoints(&slices);
    let spec = service.spec.clone().unwrap_or_default();
    Ok(Report {
        namespace: namespace.clone(),
        name: name.clone(),
        kind: spec.type_.unwrap_or_default(),
        addresses: spec.cluster_ips.unwrap_or_default(),
        verdict: verdict(&endpoints, &on_nodes),
        nodes: on_nodes,
        endpoints,
    })
}

/// Reads a node's kernel.
fn on_node(cluster: &Cluster, service: &Service, slices: &[EndpointSlice], node: &Node) -> OnNode {
    let name = node.metadata.name.clone().unwrap_or_default();
    let netns = cluster.name.netns(&name);
    let described = NetNs::open(&netns)
        .and_then(|netns| netns.run_in(|| describe(service, slices, node)))
        .with_context(|| format!("enter the network namespace of {name}"))
        .and_then(|described| {
            described.with_context(|| format!("read the kernel's tables of {name}"))
        });
    match described {
        Ok(families) => OnNode {
            node: name,
            families,
            error: None,
        },
        Err(error) => OnNode {
            node: name,
            families: Vec::new(),
            error: Some(format!("{error:#}")),
        },
    }
}

fn endpoints(slices: &[EndpointSlice]) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten().map(|port| {
            let number = port
                .port
                .map_or_else(|| "?".to_owned(), |port| port.to_string());
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            format!("{number}/{protocol}")
        });
        let ports: Vec<String> = ports.collect();
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let state = match (
                conditions.ready.unwrap_or(true),
                conditions.terminating.unwrap_or(false),
            ) {
                (true, _) => "ready",
                (false, true) => "terminating",
                (false, false) => "not ready",
            };
            endpoints.push(Endpoint {
                address: endpoint.addresses.first().cloned().unwrap_or_default(),
                ports: ports.clone(),
                node: endpoint.node_name.clone(),
                state,
            });
        }
    }
    endpoints
}

fn verdict(endpoints: &[Endpoint], nodes: &[OnNode]) -> Verdict {
    let unread = nodes
        .iter()
        .find_map(|node| Some((&node.node, node.error.as_ref()?)));
    let different: Vec<&str> = nodes
        .iter()
        .filter(|node| {
            node.families
                .iter()
                .any(|family| !family.differences.is_empty())
        })
        .map(|node| node.node.as_str())
        .collect();
    let ready = endpoints
        .iter()
        .filter(|endpoint| endpoint.state == "ready")
        .count();
    let proxied = nodes.iter().any(|node| !node.families.is_empty());
    let (ok, text) = if let Some((node, error)) = unread {
        (false, format!("{node} can't be read: {error}"))
    } else if !different.is_empty() {
        (
            false,
            format!(
                "the kernel differs from the API on {}",
                different.join(", ")
            ),
        )
    } else if !proxied {
        (
            true,
            "no proxy serves it: it is headless, an ExternalName, or another proxy's".to_owned(),
        )
    } else if ready == 0 {
        (
            false,
            "no endpoint is ready: do the selector and the Pods' readiness fit?".to_owned(),
        )
    } else {
        (
            true,
            format!("every node does as the API says; {ready} endpoints are ready"),
        )
    };
    Verdict { ok, text }
}

fn print(report: &Report) -> Result<()> {
    let Report {
        namespace,
        name,
        kind,
        addresses,
        ..
    } = report;
    output::line(&format!(
        "Service {namespace}/{name}   {kind}   {}",
        addresses.join(", ")
    ))?;
    output::line("")?;
    let rows: Vec<Vec<String>> = report
        .endpoints
        .iter()
        .map(|endpoint| {
            let node = endpoint.node.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                endpoint.address.clone(),
                endpoint.ports.join(", "),
                node,
                endpoint.state.to_owned(),
            ]
        })
        .collect();
    output::line(if rows.is_empty() {
        "The API has no endpoints."
    } else {
        "The API's endpoints:"
    })?;
    if !rows.is_empty() {
        output::columns(&["ENDPOINT", "PORTS", "NODE", "STATE"], &rows)?;
    }
    output::line("")?;
    output::line("What the kernels do:")?;
    output::columns(
        &["NODE", "ADDRESS", "DOES", "ENDPOINTS"],
        &kernel_rows(&report.nodes),
    )?;
    for node in &report.nodes {
        for difference in node.families.iter().flat_map(|family| &family.differences) {
            output::line(&format!("  differs on {}: {difference}", node.node))?;
        }
    }
    output::line("")?;
    let sign = if report.verdict.ok { "✓" } else { "✗" };
    output::line(&format!("{sign} {}", report.verdict.text))
}

fn kernel_rows(nodes: &[OnNode]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for node in nodes {
        let addresses = node.families.iter().flat_map(|family| &family.addresses);
        for address in addresses {
            let endpoints: Vec<String> =
                address.endpoints.iter().map(ToString::to_string).collect();
            rows.push(vec![
                node.node.clone(),
                format!("{} {}", address.kind, address.address)
                    .replace("node port node port", "node port"),
                address.does.clone(),
                if endpoints.is_empty() {
                    "-".to_owned()
                } else {
                    endpoints.join(", ")
                },
            ]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(state: &'static str) -> Endpoint {
        Endpoint {
            address: "10.244.1.1".into(),
            ports: vec![],
            node: None,
            state,
        }
    }

    fn node(differences: &[&str], error: Option<&str>) -> OnNode {
        let family = Description {
            family: "IPv4",
            addresses: vec![],
            differences: differences.iter().map(|&text| text.to_owned()).collect(),
        };
        OnNode {
            node: "node1".into(),
            families: vec![family],
            error: error.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn the_worst_decides() {
        let rows = [
            (vec![endpoint("ready")], vec![node(&[], None)], true),
            (vec![endpoint("terminating")], vec![node(&[], None)], false),
            (vec![], vec![node(&[], None)], false),
            (
                vec![endpoint("ready")],
                vec![node(&[], None), node(&["x"], None)],
                false,
            ),
            (
                vec![endpoint("ready")],
                vec![node(&[], Some("gone"))],
                false,
            ),
            (
                vec![],
                vec![OnNode {
                    node: "node1".into(),
                    families: vec![],
                    error: None,
                }],
                true,
            ),
        ];
        for (endpoints, nodes, ok) in rows {
            let verdict = verdict(&endpoints, &nodes);
            assert_eq!(verdict.ok, ok, "{}", verdict.text);
        }
    }
}
