//! Pods one after the other.

use std::time::Instant;

use anyhow::Result;
use benchkit::api::{Proto, Target};
use benchkit::stats::summary;
use serde_json::{Value, json};

use crate::objects::Place;
use crate::watch::Pods;

fn ms(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64() * 1e3
}

pub async fn run(target: &Target, place: &Place, count: usize) -> Result<Value> {
    let mut conn = target.connect(Proto::H2).await?;
    place.prepare(&mut conn).await?;
    let mut pods = Pods::open(target, place, "app=pods").await?;
    let (mut running, mut ready, mut gone) = (vec![], vec![], vec![]);
    for n in 0..count {
        let name = format!("pod-{n}");
        let sent = Instant::now();
        conn.post(&place.path("pods"), &place.pod(&name))
            .await?
            .ok()?;
        let mut was_running = false;
        loop {
            let event = pods.next().await?;
            if event.name == name && event.running && !was_running {
                was_running = true;
                running.push(ms(sent, event.at));
            }
            if event.name == name && event.ready {
                ready.push(ms(sent, event.at));
                break;
            }
        }
        let sent = Instant::now();
        conn.delete(&format!("{}/{name}", place.path("pods")))
            .await?
            .ok()?;
        loop {
            let event = pods.next().await?;
            if event.name == name && event.deleted {
                gone.push(ms(sent, event.at));
                break;
            }
        }
    }
    Ok(
        json!({"create_to_running_ms": summary(running), "create_to_ready_ms": summary(ready), "delete_to_gone_ms": summary(gone)}),
    )
}
