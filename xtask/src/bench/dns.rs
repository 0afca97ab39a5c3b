//! What an answer of the cluster DNS costs, and how much memory its names take.
//!
//! `karve dns` by itself is measured, so that nothing else's memory and CPU time is in the figures. It waits for no
//! proxy, unlike the node's own.

use std::process::{Child, Command};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Ground, row};
use crate::workspace::{self, Profile};

/// Where the server under test answers, inside the bench's network.
const ADDRESS: &str = "127.0.0.54";
const ENDPOINTS: &str = "5";

/// Runs with `services` Services of five endpoints each.
pub fn run(ground: &Ground, services: u32) -> Result<()> {
    let tool = workspace::build("dnsbench", Profile::Release)?;
    ground.up("")?;
    let services = services.to_string();
    let load = ["load", "--services", &services, "--endpoints", ENDPOINTS];
    ground.measure(&tool, &load)?;
    let server = Server::start(ground)?;
    let pid = format!("dns={}", server.0.id());
    let dns = format!("{ADDRESS}:53");
    let run = ["run", "--services", &services, "--dns", &dns, "--pid", &pid];
    let figures = ground.measure(&tool, &run)?;
    drop(server);
    tell(&services, &figures)
}

fn tell(services: &str, figures: &Value) -> Result<()> {
    println!("dns: {services} Services with {ENDPOINTS} endpoints each");
    let full = &figures["128_in_flight"];
    let memory = &figures["processes"]["dns"]["pss_mb_after"];
    let latency = |what: &Value| format!("{} / {}", what["ms"]["p50"], what["ms"]["p99"]);
    row(
        "answers a second, 128 in flight",
        &full["per_second"].to_string(),
        "",
    );
    row(
        "CPU per answer, kernel included, in µs",
        &figures["cpu_us_per_answer"]["dns"].to_string(),
        "5",
    );
    row(
        "one in flight, p50 / p99 in ms",
        &latency(&figures["one_in_flight"]),
        "0.03 / 0.1",
    );
    for (name, what) in [
        ("10,000 a second, p50 / p99 in ms", &figures["open_10000"]),
        ("half load, p50 / p99 in ms", &figures["open_half_load"]),
    ] {
        row(name, &latency(what), "p99 1");
        row("  lost", &what["lost"].to_string(), "0");
    }
    row("memory (PSS), in MB", &memory.to_string(), "20");
    row(
        "Service acknowledged to name answering, p50 / max in ms",
        &format!(
            "{} / {}",
            figures["creation"]["p50"], figures["creation"]["max"]
        ),
        "CoreDNS 0.43 / 2.0",
    );
    println!("{}", serde_json::to_string_pretty(figures)?);
    Ok(())
}

/// The server under test; ended when dropped.
struct Server(Child);

impl Server {
    fn start(ground: &Ground) -> Result<Server> {
        let corefile = ground.stage.data().join("Corefile");
        std::fs::write(
            &corefile,
            "cluster.local in-addr.arpa {\n kubernetes\n loadbalance\n errors\n}\n",
        )
        .context("write the Corefile")?;
        let mut command: Command = ground.stage.inside("karve");
        command
            .args(["dns", "--listen", ADDRESS, "--conf"])
            .arg(corefile)
            .arg("--kubeconfig")
            .arg(ground.stage.kubeconfig());
        command.spawn().context("start the DNS server").map(Server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is gone already needs no ending.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
