//! The server under test: `karve api` with data of its own, as the README of the recordings says it was started.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// From the start to the first line that it prints.
const START_MAX: Duration = Duration::from_secs(60);
/// Users and their groups. A token is the name with something behind it.
const USERS: &str = "admin-token,admin,admin-uid,system:masters\nalice-token,alice,alice-uid,dev\nbob-token,bob,bob-uid\n";

/// A running server. Dropped, it is killed and its data removed.
pub struct Server {
    pub address: SocketAddr,
    child: Mutex<Child>,
    folder: TempDir,
}

impl Server {
    /// Starts it and waits until it listens.
    pub async fn start(karve: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("karve-recorded-")
            .tempdir()
            .context("make a folder")?;
        let tokens = folder.path().join("tokens.csv");
        std::fs::write(&tokens, USERS).with_context(|| format!("write {}", tokens.display()))?;
        let log =
            std::fs::File::create(folder.path().join("log")).context("make the server's log")?;
        let mut child = Command::new(karve)
            .arg("api")
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--token-auth-file")
            .arg(&tokens)
            .args(["--listen", "127.0.0.1:0"])
            .args([
                "--service-cluster-ip-range",
                "10.96.0.0/16,fd00:10:96::/112",
            ])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--endpoint-reconciler-type", "none"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {} api", karve.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("output is a pipe")?).lines();
        let line = timeout(START_MAX, lines.next_line())
            .await
            .context("wait for the server")?;
        let line = line.context("read the server's output")?;
        let Some(address) = line.as_deref().and_then(address) else {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            bail!("the server does not say where it listens, but {line:?}\n{log}");
        };
        Ok(Self {
            address,
            child: Mutex::new(child),
            folder,
        })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The bearer token of a user. Whoever is unknown is the token itself.
    pub fn token(&self, user: &str) -> Option<String> {
        match user {
            "none" => None,
            "admin" | "alice" | "bob" => Some(format!("{user}-token")),
            token => Some(token.to_owned()),
        }
    }

    /// What it logged, when it has ended by itself.
    pub fn obituary(&self) -> Option<String> {
        let status = self.child.lock().ok()?.try_wait().ok().flatten()?;
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        Some(format!("the server ended ({status})\n{log}"))
    }
}

/// The address in `listening at https://127.0.0.1:6443, kubeconfig …`.
fn address(line: &str) -> Option<SocketAddr> {
    let url = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("https://"))?;
    url.trim_end_matches([',', '/']).parse().ok()
}
