//! From the command to a cluster that serves: stages as minikube's own benchmark has them.

use anyhow::Result;

use super::{APP, CLUSTER, Ground, row, spread};
use crate::interrupt::Interrupt;
use crate::workspace::{self, Profile};

/// What is timed from the command on, in the order in which it becomes true.
const STAGES: [(&str, &str, &str); 8] = [
    ("api_ready_s", "the API answers", ""),
    (
        "kubernetes_service_s",
        "the kubernetes Service is there",
        "",
    ),
    (
        "namespace_usable_s",
        "Pods may be made in a new namespace",
        "",
    ),
    ("node_ready_s", "the node is Ready", ""),
    ("dns_answers_s", "DNS answers on the node", ""),
    ("pod_running_s", "the first Pod runs", ""),
    (
        "service_answers_s",
        "the app answers through a Service",
        "1 s",
    ),
    (
        "dns_answered_a_pod_s",
        "DNS has answered a Pod (and that one ended)",
        "1 s",
    ),
];

/// A new cluster for each run; images are there already.
pub fn run(ground: &Ground, runs: u32, interrupt: &mut Interrupt) -> Result<()> {
    let tool = workspace::build("podbench", Profile::Release)?;
    let mut results = Vec::new();
    for _ in 0..runs {
        let up = format!("karve up --name {CLUSTER}");
        let netns = ground.node_netns();
        let arguments = [
            "--image",
            "busybox",
            "--shell",
            APP,
            "up",
            "--cmd",
            &up,
            "--netns",
            &netns,
            "--dns",
            "10.96.0.10:53",
        ];
        results.push(ground.measure(&tool, &arguments)?);
        ground.down()?;
        interrupt.check()?;
    }
    println!("time-to-k8s: seconds from the command, median (fastest–slowest) of {runs} runs");
    for (key, what, goal) in STAGES {
        let samples = results
            .iter()
            .filter_map(|result| result[key].as_f64())
            .collect();
        row(what, &spread(samples), goal);
    }
    Ok(())
}
