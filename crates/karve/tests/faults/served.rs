//! A `karve api` of its own, and a client of its administrator.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

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
        Served::start_with(data, &[]).await
    }

    /// Starts one with more flags.
    pub async fn start_with(data: &Path, flags: &[&str]) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_karve"))
            .args(["api", "--listen=127.0.0.1:0", "--data"])
            .arg(data)
            .args(flags)
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
        self.connect_by(tls).await.expect("TLS")
    }

    /// A connection of nobody, who has to say who they are.
    pub async fn connect_showing_nothing(
        &self,
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let tls = self.without_identity().rustls_client_config();
        self.connect_by(tls.expect("TLS is set up"))
            .await
            .expect("TLS")
    }

    /// Whether the server agrees to a version of TLS.
    pub async fn speaks(&self, version: &'static rustls::SupportedProtocolVersion) -> bool {
        let pem = self.config.root_cert.clone().expect("an authority");
        let mut roots = rustls::RootCertStore::empty();
        for root in pem {
            roots.add(root.into()).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        self.connect_by(tls).await.is_ok()
    }

    async fn connect_by(
        &self,
        tls: rustls::ClientConfig,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let url = &self.config.cluster_url;
        let (host, port) = (url.host().expect("a host"), url.port_u16().expect("a port"));
        let stream = tokio::net::TcpStream::connect((host, port))
            .await
            .expect("it listens");
        let name = rustls_pki_types::ServerName::try_from(host.to_owned()).expect("an address");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        connector.connect(name, stream).await
    }

    fn without_identity(&self) -> Config {
        let mut config = self.config.clone();
        config.auth_info = kube::config::AuthInfo::default();
        config
    }

    /// A client that shows a certificate and its key (PEM), or nothing.
    pub fn client_showing(&self, shown: Option<(String, String)>) -> Client {
        use base64::Engine as _;
        let mut config = self.without_identity();
        if let Some((certificate, key)) = shown {
            let encode = |text| base64::engine::general_purpose::STANDARD.encode(text);
            config.auth_info.client_certificate_data = Some(encode(certificate));
            config.auth_info.client_key_data = Some(encode(key).into());
        }
        Client::try_from(config).expect("a client")
    }

    /// The head and the body of the answer to a request of the bearer of a token, on a connection of its own.
    pub async fn send_as(&self, token: &str, line: &str, body: &str) -> (String, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = self.connect_showing_nothing().await;
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: karve\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it listens");
        let mut answer = Vec::new();
        // The end of TLS may be missing; what matters has come by then.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head.to_owned(), body.to_owned())
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    }

    /// Waits for the end; answers whether it ended well.
    pub fn ended(mut self) -> bool {
        self.child.wait().expect("it ends").success()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
    }

    /// SIGTERM; answers whether it ended well.
    pub fn stop(self) -> bool {
        self.terminate();
        self.ended()
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
