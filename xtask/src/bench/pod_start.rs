//! Pods one after the other, and a Deployment of fifty.

use anyhow::Result;

use super::{APP, Ground, row};
use crate::workspace::{self, Profile};

/// On one node; the image is there already.
pub fn run(ground: &Ground) -> Result<()> {
    let tool = workspace::build("podbench", Profile::Release)?;
    ground.up("")?;
    let common = ["--image", "busybox", "--shell", APP];
    let pods = ground.measure(&tool, &[&common[..], &["pods", "--count", "30"]].concat())?;
    let deployment = ground.measure(
        &tool,
        &[&common[..], &["deployment", "--replicas", "50"]].concat(),
    )?;
    println!("pod-start: 30 Pods one after the other, p50 / max in ms; then a Deployment of 50");
    for (key, what, goal) in [
        ("create_to_running_ms", "create to Running", "100 / 200 ms"),
        ("create_to_ready_ms", "create to Ready", ""),
        ("delete_to_gone_ms", "delete to gone", "100 ms"),
    ] {
        let figure = &pods[key];
        row(
            what,
            &format!("{} / {}", figure["p50"], figure["max"]),
            goal,
        );
    }
    row(
        "50 replicas: all Ready, in s",
        &deployment["all_ready_s"].to_string(),
        "3 s",
    );
    row(
        "50 replicas: all gone, in s",
        &deployment["all_gone_s"].to_string(),
        "",
    );
    Ok(())
}
