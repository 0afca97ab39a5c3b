//! Where the objects are, as what plays etcd tells it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

/// The path that answers with it.
pub const PATH: &str = "/karve/home";
/// An answer is shorter.
const ANSWER_MAX: usize = 64 << 10;
const ASK_MAX: Duration = Duration::from_secs(5);

/// Where the objects are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The directory.
    pub dir: PathBuf,
    /// Whether a write is on disk before it is acknowledged.
    pub durable: bool,
}

impl Home {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Asks what plays etcd at one of `servers`.
    pub async fn ask(servers: &str) -> Result<Home> {
        let server = servers
            .split(',')
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        let not_ours = || {
            format!(
                "--etcd-servers: {server} is no etcd that `karve envtest` made (karve keeps objects itself: --data DIR)"
            )
        };
        let uri: Uri = format!("{server}{PATH}").parse().with_context(not_ours)?;
        if uri.scheme_str() != Some("http") {
            bail!(not_ours());
        }
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let asked = async {
            let response = client.get(uri).await?;
            let body = Limited::new(response.into_body(), ANSWER_MAX)
                .collect()
                .await;
            let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
            Ok::<Home, anyhow::Error>(serde_json::from_slice(&body)?)
        };
        tokio::time::timeout(ASK_MAX, asked)
            .await
            .with_context(not_ours)?
            .with_context(not_ours)
    }
}
