//! A fresh karve of one node, in a network with no way out, as the recordings ask for.
//!
//! Invariant: this process enters a network namespace of its own, before it has threads; so do all commands that it
//! starts. What the cluster made is removed at the end, also after a failure.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::recorded::client::Client;
use crate::workspace;

/// The user of the recordings, whom the cluster's administrator impersonates.
const USER: &str = "admin";
const GROUP: &str = "system:masters";
/// The only node.
pub const NODE: &str = "node1";

/// A cluster that is up.
pub struct Cluster {
    karve: PathBuf,
    name: String,
    folder: TempDir,
    /// `https://192.168.64.1:6443`
    pub server: String,
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// What the API calls that certificate.
    credential: String,
}

/// Goes into a network namespace that has nothing but loopback.
pub fn enter_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
    workspace::run(Command::new("ip").args(["link", "set", "lo", "up"]))
}

impl Cluster {
    /// Makes it, with the images of these archives on its node.
    pub fn up(karve: &Path, archives: &[PathBuf]) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("karve-recorded-")
            .tempdir()
            .context("make a folder")?;
        let mut cluster = Self {
            karve: karve.to_path_buf(),
            name: format!("rec{}", std::process::id()),
            folder,
            server: String::new(),
            certificate: Vec::new(),
            key: Vec::new(),
            credential: String::new(),
        };
        workspace::run(
            cluster
                .karve()
                .args(["image", "load"])
                .args(archives)
                .stdout(Stdio::null()),
        )?;
        let name = cluster.name.clone();
        workspace::run(
            cluster
                .karve()
                .args(["up", "--no-load-balancer", "--name", &name]),
        )?;
        cluster.read_kubeconfig()?;
        Ok(cluster)
    }

    fn karve(&self) -> Command {
        let mut command = Command::new(&self.karve);
        command
            .env("KARVE_DATA_ROOT", self.folder.path().join("data"))
            .env("KARVE_RUN_ROOT", self.folder.path().join("run"))
            .env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn read_kubeconfig(&mut self) -> Result<()> {
        let output = Command::new("kubectl")
            .args([
                "config",
                "view",
                "--raw",
                "--minify",
                "--output",
                "json",
                "--kubeconfig",
            ])
            .arg(self.kubeconfig())
            .output()
            .context("run kubectl config view")?;
        let config: Value =
            serde_json::from_slice(&output.stdout).context("decode the kubeconfig")?;
        let server = config["clusters"][0]["cluster"]["server"].as_str();
        self.server = server
            .context("the kubeconfig names the server")?
            .to_owned();
        let pem = |name: &str| {
            let data = config["users"][0]["user"][name]
                .as_str()
                .unwrap_or_default();
            BASE64_STANDARD
                .decode(data)
                .with_context(|| format!("decode {name}"))
        };
        self.certificate = pem("client-certificate-data")?;
        self.key = pem("client-key-data")?;
        let der =
            CertificateDer::from_pem_slice(&self.certificate).context("read the certificate")?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &der);
        let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        self.credential = format!("X509SHA256={}", hex.collect::<String>());
        Ok(())
    }

    /// Where the API answers.
    pub fn address(&self) -> Result<SocketAddr> {
        let host = self.server.trim_start_matches("https://");
        host.parse()
            .with_context(|| format!("read the server's address {host}"))
    }

    /// A client of the API.
    pub fn client(&self) -> Result<Client> {
        Client::with_certificate(self.address()?, &self.certificate, &self.key)
    }

    /// A request of the recordings' user.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.server.trim_start_matches("https://"))
            .header("accept", "application/json")
            .header("user-agent", "rec")
            .header("impersonate-user", USER)
            .header("impersonate-group", GROUP)
            .header(
                "impersonate-extra-authentication.kubernetes.io%2fcredential-id",
                &self.credential,
            );
        if !body.is_empty() {
            request = request.header("content-type", kind);
        }
        request
            .body(Full::new(body.into()))
            .with_context(|| format!("make a request for {path}"))
    }

    /// The arguments that make kubectl the recordings' user.
    pub fn kubectl_arguments(&self) -> Vec<String> {
        let kubeconfig = self.kubeconfig().display().to_string();
        [
            "--kubeconfig",
            &kubeconfig,
            "--as",
            USER,
            "--as-group",
            GROUP,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Kills the node's agent: what it started goes on.
    pub fn stop_kubelet(&self) -> Result<()> {
        let file = self
            .folder
            .path()
            .join("run")
            .join(&self.name)
            .join("nodes")
            .join(NODE)
            .join("agent.pid");
        let bytes = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let id: Value = serde_json::from_slice(&bytes).context("decode the agent's pid file")?;
        let pid = id["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        kill(
            Pid::from_raw(pid.context("the agent has a pid")?),
            Signal::SIGKILL,
        )
        .context("kill the agent")
    }

    /// Starts it again.
    pub fn start_kubelet(&self) -> Result<()> {
        workspace::run(
            self.karve()
                .args(["start", "--name", &self.name])
                .stdout(Stdio::null()),
        )
    }

    /// Removes it.
    pub fn down(&self) -> Result<()> {
        let status = self
            .karve()
            .args(["down", "--name", &self.name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("run karve down")?;
        ensure!(status.success(), "karve down failed ({status})");
        Ok(())
    }

    /// The last words of the server and the agent.
    pub fn logs(&self) -> String {
        let log = |arguments: &[&str]| {
            let output = self
                .karve()
                .args(["logs", "--name", &self.name])
                .args(arguments)
                .output();
            output
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                .unwrap_or_default()
        };
        [log(&[]), log(&["--node", NODE])].concat()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("xtask: {error:#}");
        }
    }
}
