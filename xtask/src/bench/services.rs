//! What many Services cost: programming all of them, changing one, connecting through one, memory.
//!
//! The surroundings are those of [`super::endpoint_change`]: API, agent and kernel are timed, no Pod is.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::endpoint_change::{QUIET, Surroundings, measure, under_churn};
use super::{CLUSTER, Ground, row};
use crate::workspace::{self, Profile};

/// Without a number given.
const SIZES: [u32; 2] = [10_000, 30_000];
/// Other changes a second, in the second part.
const CHURN: &str = "100";

/// One size after the other, each in a cluster of its own.
pub fn run(ground: &Ground, services: Option<u32>) -> Result<()> {
    let sizes = services.map_or_else(|| SIZES.to_vec(), |services| vec![services]);
    let tool = workspace::build("svcbench", Profile::Release)?;
    let tool_name = tool.display().to_string();
    for services in sizes {
        ground.up("")?;
        let surroundings = Surroundings::make(ground, &tool_name)?;
        let agent = agent(ground)?;
        let idle = resident(agent)?;
        let quiet = measure(ground, &tool, services, &QUIET)?;
        let loaded = resident(agent)?;
        let full = full_program(ground)?;
        let churn = measure(ground, &tool, services, &under_churn(CHURN))?;
        drop(surroundings);
        ground.down()?;
        tell(
            services,
            &quiet,
            &churn,
            full,
            (loaded - idle) / f64::from(services),
        );
        let all = json!({"services": services, "quiet": quiet, "churn": churn, "full_s": full});
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(())
}

fn tell(services: u32, quiet: &Value, churn: &Value, full: f64, kib_each: f64) {
    println!("services: {services} with two endpoints each; ms where nothing else is said");
    row(
        "the whole table, read back and made anew",
        &format!("{:.0}", full * 1e3),
        "100 ms at 10,000",
    );
    for (name, result) in [
        ("change, quiet: p50 / max", quiet),
        ("change, 100 others a second", churn),
    ] {
        let figure = &result["change"]["acked_to_first_new_ms"];
        row(
            name,
            &format!("{} / {}", figure["p50"], figure["max"]),
            "2 / 5 ms",
        );
    }
    let created = &quiet["creation"]["acked_to_first_answer_ms"];
    row(
        "new Service: p50 / max",
        &format!("{} / {}", created["p50"], created["max"]),
        "5 ms",
    );
    row(
        "short connections, against direct ones",
        &quiet["ratio"]["short_p50_ratio"]["p50"].to_string(),
        "1.2",
    );
    row(
        "memory of the agent for each Service, KiB",
        &format!("{kib_each:.1}"),
        "2",
    );
}

/// The process of the first node's agent.
fn agent(ground: &Ground) -> Result<u32> {
    let status = ground.sh(&format!("karve status --name {CLUSTER} -o json"))?;
    let status: Value = serde_json::from_str(&status).context("decode status")?;
    let pid = status["nodes"][0]["pid"]
        .as_u64()
        .context("the agent runs")?;
    Ok(u32::try_from(pid)?)
}

/// Proportional memory of a process in KiB.
fn resident(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .context("a PSS")?;
    Ok(kib.parse()?)
}

/// Somebody deletes the table; how long the proxy's transaction for all Services takes, in seconds.
fn full_program(ground: &Ground) -> Result<f64> {
    let netns = format!("karve-{CLUSTER}-node1");
    let inside = |line: &str| ground.sh(&format!("ip netns exec {netns} {line}"));
    let full = || -> Result<(f64, f64)> {
        let text = inside("curl -s http://127.0.0.1:10249/metrics")?;
        let name = "kubeproxy_sync_full_proxy_rules_duration_seconds";
        let of = |what: &str| {
            let mut lines = text
                .lines()
                .filter(|line| line.starts_with(&format!("{name}_{what}{{")));
            let value = lines.next().and_then(|line| line.split_whitespace().last());
            value
                .and_then(|value| value.parse().ok())
                .context("the proxy's metrics")
        };
        Ok((of("sum")?, of("count")?))
    };
    let before = full()?;
    inside("nft delete table ip karve-proxy")?;
    loop {
        let after = full()?;
        if after.1 > before.1 {
            return Ok((after.0 - before.0) / (after.1 - before.1));
        }
    }
}
