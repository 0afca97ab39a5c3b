//! Waits on a watch of the Pods of a namespace; no polling.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use benchkit::api::{Lines, Proto, Target};
use serde_json::Value;

use crate::objects::Place;

pub struct Pods {
    lines: Lines,
    place_timeout: std::time::Duration,
}

/// One event about one Pod.
pub struct Event {
    pub at: Instant,
    pub name: String,
    pub deleted: bool,
    pub running: bool,
    pub succeeded: bool,
    pub ready: bool,
}

impl Pods {
    pub async fn open(target: &Target, place: &Place, label: &str) -> Result<Pods> {
        let mut conn = target.connect(Proto::H1).await?;
        let lines = conn
            .watch(&format!(
                "{}?watch=true&labelSelector={label}",
                place.path("pods")
            ))
            .await?;
        // The connection lives on in its driver task while the body is read.
        std::mem::forget(conn);
        Ok(Pods {
            lines,
            place_timeout: place.timeout,
        })
    }

    pub async fn next(&mut self) -> Result<Event> {
        let line = tokio::time::timeout(self.place_timeout, self.lines.next())
            .await
            .context("no Pod event in time")??;
        let Some(line) = line else {
            bail!("watch ended")
        };
        let at = Instant::now();
        let event: Value = serde_json::from_slice(&line)?;
        let object = &event["object"];
        let conditions = object["status"]["conditions"].as_array();
        let ready = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        Ok(Event {
            at,
            name: object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            deleted: event["type"] == "DELETED",
            running: object["status"]["phase"] == "Running",
            succeeded: object["status"]["phase"] == "Succeeded",
            ready,
        })
    }
}
