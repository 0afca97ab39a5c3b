//! Serves the API on a loopback port from a new, temporary store and prints the path of an administrator's kubeconfig.
//!
//! `cargo run -p karve-apiserver --example serve [PORT]`, then `KUBECONFIG=… kubectl get namespaces`.

mod pki;

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;
use karve_apiserver::{ApiServer, Options, server_tls};
use karve_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use pki::Pki;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::args()
        .nth(1)
        .map_or(Ok(0), |p| p.parse())
        .context("read the port")?;
    let directory = tempfile::tempdir()?;
    let pki = Pki::new()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = listener.local_addr()?.port();
    let store = Store::open(directory.path().join("state.db"), Default::default())?;
    let options = Options {
        advertise: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
        ..Options::default()
    };
    let server = ApiServer::new(store, options)?;
    let tls = server_tls(
        pki.server.0.as_bytes(),
        pki.server.1.as_bytes(),
        pki.ca.as_bytes(),
    )?;
    let config = directory.path().join("kubeconfig");
    std::fs::write(&config, pki.kubeconfig("admin", "system:masters", port)?)?;
    println!("{}", config.display());
    let shutdown = CancellationToken::new();
    let ended = shutdown.clone();
    tokio::spawn(async move {
        // An error means that no signal will come; the server then ends with its terminal.
        let _ = tokio::signal::ctrl_c().await;
        ended.cancel();
    });
    server.serve(listener, tls, shutdown).await;
    Ok(())
}
