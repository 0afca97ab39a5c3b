//! A server on loopback with certificates of its own.

// Each test file uses a part of it.
#![allow(dead_code)]

#[path = "../../examples/serve/pki.rs"]
mod pki;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use karve_apiserver::{ApiServer, Options, server_tls};
use karve_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use pki::Pki;

/// A running server; it ends with the value.
pub struct Served {
    pub api: ApiServer,
    pub store: Store,
    pub port: u16,
    pki: Pki,
    shutdown: CancellationToken,
    directory: tempfile::TempDir,
}

impl Served {
    /// Starts one.
    pub async fn start() -> Served {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(directory.path().join("state.db"), Default::default())
            .expect("store opens");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        let shutdown = CancellationToken::new();
        let pki = Pki::new().expect("certificates");
        let options = Options {
            kubelet_tls: Some(Arc::new(pki.kubelet_client().expect("TLS is set up"))),
            advertise: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            shutdown: shutdown.clone(),
            ..Options::default()
        };
        let api = ApiServer::new(store.clone(), options).expect("server starts");
        let tls = server_tls(
            pki.server.0.as_bytes(),
            pki.server.1.as_bytes(),
            pki.ca.as_bytes(),
        )
        .expect("TLS is set up");
        let (serving, stop) = (api.clone(), shutdown.clone());
        tokio::spawn(async move { serving.serve(listener, tls, stop).await });
        Served {
            api,
            store,
            port,
            pki,
            shutdown,
            directory,
        }
    }

    /// TLS of a node's kubelet API.
    pub fn node_tls(&self) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = &self.pki.server;
        server_tls(
            certificate.as_bytes(),
            key.as_bytes(),
            self.pki.ca.as_bytes(),
        )
        .expect("TLS is set up")
        .config()
    }

    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, user: &str, group: &str) -> PathBuf {
        let path = self.directory.path().join(user.replace(':', "-"));
        let text = self
            .pki
            .kubeconfig(user, group, self.port)
            .expect("certificate");
        std::fs::write(&path, text).expect("written");
        path
    }

    /// A client of a user, by TLS.
    pub async fn client(&self, user: &str, group: &str) -> kube::Client {
        let config =
            kube::config::Kubeconfig::read_from(self.kubeconfig(user, group)).expect("kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(config, &Default::default())
            .await
            .expect("config");
        kube::Client::try_from(config).expect("client")
    }

    /// A client of an administrator, inside the process.
    pub fn admin(&self) -> kube::Client {
        self.api.client("admin", &["system:masters"])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
