//! `cluster.json`: what a cluster is made of. Written once by `karve up`, read by everything else.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::file::write_private;
use super::subnet::Subnet;

/// The port of the API on the nodes' network, and on loopback when it is free there.
pub const API_PORT: u16 = 6443;
/// The port of the DNS forwarder on the nodes' network.
pub const FORWARDER_PORT: u16 = 10053;
/// Where pods get their addresses from.
pub const CLUSTER_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
/// Where Services get their addresses from.
pub const SERVICE_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
/// The cluster's resolver.
pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The `kubernetes` Service.
pub const KUBERNETES_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The cluster's domain.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// The version of Kubernetes that the API speaks.
pub const KUBERNETES_VERSION: &str = "v1.37.2";

/// What a cluster is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfig {
    /// The network of the nodes.
    pub subnet: Subnet,
    /// How many nodes: node1, node2, ….
    pub nodes: u8,
    /// The port of the API on loopback.
    pub loopback_port: u16,
    /// The kubeconfig file that has the cluster's context.
    pub kubeconfig: PathBuf,
    /// Sockets of Pods and nodes connect to Services' endpoints themselves, where the kernel can do that.
    #[serde(default = "yes")]
    pub socket_balancer: bool,
}

fn yes() -> bool {
    true
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNode {
    /// Counts from 1.
    pub number: u8,
    /// `node1`.
    pub name: String,
    /// Its address.
    pub ip: Ipv4Addr,
}

impl ClusterConfig {
    /// The nodes in order.
    pub fn local_nodes(&self) -> Vec<LocalNode> {
        (1..=self.nodes)
            .map(|number| LocalNode {
                number,
                name: format!("node{number}"),
                ip: self.subnet.node(number),
            })
            .collect()
    }

    /// Where clients find the API.
    pub fn api_url(&self) -> String {
        format!("https://{}:{API_PORT}", self.subnet.host())
    }

    /// Writes `cluster.json` whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text =
            serde_json::to_string_pretty(self).context("encode the cluster's configuration")?;
        text.push('\n');
        write_private(path, text.as_bytes()).with_context(|| format!("write {}", path.display()))
    }

    /// Reads `cluster.json`; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| format!("decode {}", path.display()))
    }
}
