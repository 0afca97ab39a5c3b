//! Calling a conversion webhook.
//!
//! A new connection for each call: conversion is rare, and a webhook that restarts with another certificate is met as it
//! is. Time and size of the answer are bounded.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::server::Server;
use crate::webhook::client::Client;

/// Upstream's time for conversion.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How large an answer may be: a list is converted as a whole.
const ANSWER_MAX: usize = 64 << 20;

/// Posts a review and answers what came back; the error is a text for people.
pub async fn call(
    server: &Server,
    definition: &str,
    config: &Value,
    review: &Value,
) -> Result<Value, String> {
    let client = Client::new(config, server.egress.clone())?.answering_up_to(ANSWER_MAX);
    let body = serde_json::to_vec(review).expect("a review is JSON");
    match client.post(Bytes::from(body), TIMEOUT).await {
        Ok(answer) => serde_json::from_slice(&answer).map_err(|err| err.to_string()),
        Err(why) => {
            tracing::warn!(definition, why, "conversion webhook failed");
            Err(why)
        }
    }
}
