//! One Deployment of many replicas, up and away.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::Result;
use benchkit::api::{Proto, Target};
use benchkit::stats::round;
use serde_json::{Value, json};

use crate::objects::Place;
use crate::watch::Pods;

pub async fn run(target: &Target, place: &Place, replicas: usize) -> Result<Value> {
    let mut conn = target.connect(Proto::H2).await?;
    place.prepare(&mut conn).await?;
    let mut pods = Pods::open(target, place, "app=many").await?;
    let (mut ready, mut first) = (HashSet::new(), None);
    let start = Instant::now();
    conn.post(
        &place.path("deployments"),
        &place.deployment("many", replicas),
    )
    .await?
    .ok()?;
    while ready.len() < replicas {
        let event = pods.next().await?;
        if event.ready {
            first.get_or_insert(event.at);
            ready.insert(event.name);
        }
    }
    let all = start.elapsed().as_secs_f64();
    let first = first.map(|at| (at - start).as_secs_f64()).unwrap_or(all);

    let start = Instant::now();
    conn.delete(&format!("{}/many", place.path("deployments")))
        .await?
        .ok()?;
    while !ready.is_empty() {
        let event = pods.next().await?;
        if event.deleted {
            ready.remove(&event.name);
        }
    }
    Ok(
        json!({"replicas": replicas, "first_ready_s": round(first), "all_ready_s": round(all),
              "all_gone_s": round(start.elapsed().as_secs_f64())}),
    )
}
