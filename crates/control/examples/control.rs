//! Runs the controllers and the scheduler against the cluster of a kubeconfig.
//!
//! `KUBECONFIG=… cargo run -p karve-control --example control`

use anyhow::Context as _;
use karve_control::{Clients, Options};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::Level;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::registry()
        .with(fmt::layer().with_writer(std::io::stderr))
        .with(Targets::new().with_target("karve_control", Level::DEBUG))
        .init();
    let client = Client::try_default().await.context("read the kubeconfig")?;
    let options = Options {
        cluster_cidr: "10.244.0.0/16"
            .parse()
            .context("parse the cluster's range")?,
        root_ca_pem: "an example of a certificate".into(),
        authority: None,
    };
    let shutdown = CancellationToken::new();
    let ended = shutdown.clone();
    tokio::spawn(async move {
        // An error means that no signal will come; the terminal's end ends all.
        let _ = tokio::signal::ctrl_c().await;
        ended.cancel();
    });
    karve_control::run(Clients::same(client), options, shutdown).await?;
    Ok(())
}
