//! How soon a change of the API is true for a client.
//!
//! Endpoints are addresses that one process answers for, in a namespace behind the node; the client
//! sits in another. The Services and slices are hand-made, so only API, agent and kernel are timed.

use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Ground, row};
use crate::workspace::{self, Profile};

/// Other changes a second, in the second part.
const CHURN: &str = "10";
const CLIENT: &str = "karve-bench-client";
const BACKEND: &str = "karve-bench-backend";

/// Quiet, then with ten other changes a second.
pub fn run(ground: &Ground, services: u32) -> Result<()> {
    let tool = workspace::build("svcbench", Profile::Release)?;
    ground.up("")?;
    let surroundings = Surroundings::make(ground, &tool.display().to_string())?;
    let quiet = measure(ground, &tool, services, &QUIET)?;
    let churn = measure(ground, &tool, services, &under_churn(CHURN))?;
    drop(surroundings);
    println!(
        "endpoint-change: {services} Services; write acknowledged to first answer, p50 / max in ms"
    );
    for (name, result) in [("quiet", &quiet), ("10 other changes a second", &churn)] {
        let figure = &result["change"]["acked_to_first_new_ms"];
        row(
            name,
            &format!("{} / {}", figure["p50"], figure["max"]),
            "5 ms",
        );
    }
    println!(
        "{}",
        serde_json::to_string_pretty(&serde_json::json!({"quiet": quiet, "churn": churn}))?
    );
    Ok(())
}

/// Changes and connections while nothing else happens.
pub(super) const QUIET: [&str; 4] = ["--changes", "50", "--rounds", "10"];

/// Changes among others, so many a second.
pub(super) fn under_churn(per_second: &str) -> [&str; 8] {
    [
        "--changes",
        "50",
        "--rounds",
        "0",
        "--creations",
        "0",
        "--churn",
        per_second,
    ]
}

/// What the tool tells of one run with so many Services.
pub(super) fn measure(ground: &Ground, tool: &Path, services: u32, what: &[&str]) -> Result<Value> {
    let (services, netns) = (services.to_string(), format!("/run/netns/{CLIENT}"));
    let common = [
        "run",
        "--services",
        &services,
        "--client-netns",
        &netns,
        "--gap-ms",
        "200",
    ];
    ground.measure(tool, &[&common[..], what].concat())
}

/// The client's and the endpoints' namespaces; removed when dropped.
pub(super) struct Surroundings {
    backend: Child,
}

impl Surroundings {
    pub(super) fn make(ground: &Ground, tool: &str) -> Result<Self> {
        let node = ground.node_netns();
        let node = node.trim_start_matches("/run/netns/");
        for (netns, link, ours, theirs) in [
            (CLIENT, "client", "10.200.1.1", "10.200.1.2"),
            (BACKEND, "backend", "10.200.2.1", "10.200.2.2"),
        ] {
            for line in [
                format!("ip netns add {netns}"),
                format!("ip -n {netns} link set lo up"),
                format!("ip -n {node} link add {link} type veth peer name eth0 netns {netns}"),
                format!("ip -n {node} address add {ours}/24 dev {link}"),
                format!("ip -n {node} link set {link} up"),
                format!("ip -n {netns} address add {theirs}/24 dev eth0"),
                format!("ip -n {netns} link set eth0 up"),
                format!("ip -n {netns} route add default via {ours}"),
            ] {
                ground.sh(&line)?;
            }
        }
        ground.sh(&format!(
            "ip -n {BACKEND} route add local 10.244.0.0/16 dev lo"
        ))?;
        ground.sh(&format!(
            "ip -n {node} route replace 10.244.0.0/16 via 10.200.2.2"
        ))?;
        let backend = Command::new("ip")
            .args([
                "netns",
                "exec",
                BACKEND,
                tool,
                "--server",
                super::SERVER,
                "backend",
            ])
            .spawn()
            .context("start the endpoints")?;
        Ok(Self { backend })
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        // What is gone already needs no removing.
        let _ = self.backend.kill();
        let _ = self.backend.wait();
        for netns in [CLIENT, BACKEND] {
            let _ = Command::new("ip").args(["netns", "delete", netns]).status();
        }
    }
}
