//! A `karve api` of its own, and a client of its administrator.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

/// A running server; it is killed with the value.
pub struct Served {
    child: Child,
    pub client: Client,
    config: Config,
}

impl Drop for Served {
    fn drop(&mut self) {
        // What can't be killed has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Starts one on the objects in `data`.
    pub async fn start(data: &Path) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_karve"))
            .args(["api", "--listen=127.0.0.1:0", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("karve starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it has a standard output");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it says something");
        let (_, file) = line
            .trim()
            .split_once("kubeconfig ")
            .expect("it says where its kubeconfig is");
        let kubeconfig = Kubeconfig::read_from(PathBuf::from(file)).expect("a kubeconfig");
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let config = config.expect("a config");
        let client = Client::try_from(config.clone()).expect("a client");
        Served {
            child,
            client,
            config,
        }
    }

    /// A connection, for what a client would not send.
    pub async fn connect(&self) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let tls = self.config.rustls_client_config().expect("TLS is set up");
        let url = &self.config.cluster_url;
        let (host, port) = (url.host().expect("a host"), url.port_u16().expect("a port"));
        let stream = tokio::net::TcpStream::connect((host, port))
            .await
            .expect("it listens");
        let name = rustls_pki_types::ServerName::try_from(host.to_owned()).expect("an address");
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls));
        connector.connect(name, stream).await.expect("TLS")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
    }

    /// SIGTERM; answers whether it ended well.
    pub fn stop(mut self) -> bool {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        self.child.wait().expect("it ends").success()
    }

    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }
}

/// A ConfigMap with so many bytes in it.
pub fn config_map(name: &str, bytes: usize) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.data = Some([("value".to_owned(), "x".repeat(bytes))].into());
    map
}

pub fn version(map: &ConfigMap) -> u64 {
    let version = map.metadata.resource_version.as_deref().unwrap_or_default();
    version.parse().expect("versions are numbers")
}
