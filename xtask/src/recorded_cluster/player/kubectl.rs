//! kubectl as scenarios use it, and its port-forward.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::Player;
use crate::recorded::kubectl::finish;

/// The version that the recordings were made with, or the nearest that there is.
const VERSION: &str = "1.37";
/// One command may take this long.
const COMMAND_MAX: Duration = Duration::from_secs(120);
/// So long may a forwarded connection take.
const FORWARD_MAX: Duration = Duration::from_secs(20);
/// `timeout_s` of a command that may outlive it: the command is then killed, as in the recordings.
const KILLED: &str = "-9";

impl Player<'_> {
    fn kubectl_command(&self, action: &Value, words: &[&str]) -> Result<Command> {
        let mut command = self.place.command(self.stage.kubectl.program(VERSION)?);
        command.args(self.stage.cluster.kubectl_arguments());
        if action["no_namespace"] != true {
            command.args(["-n", &self.scenario.name]);
        }
        command.args(words);
        Ok(command)
    }

    pub(super) async fn kubectl(&mut self, action: &Value) -> Result<()> {
        let words = words(&action["kubectl"]);
        for (name, text) in action["files"].as_object().into_iter().flatten() {
            let path = self.place.path("work").join(name);
            std::fs::write(&path, text.as_str().unwrap_or_default())
                .with_context(|| format!("write {}", path.display()))?;
        }
        let most = action["timeout_s"]
            .as_u64()
            .map_or(COMMAND_MAX, Duration::from_secs);
        let command = self.kubectl_command(action, &words)?;
        let input = action["stdin"].as_str().unwrap_or_default();
        let printed = match finish(command, input, most).await {
            Ok(output) => json!({
                "args": words,
                "code": output.status.code(),
                "stdout": String::from_utf8_lossy(&output.stdout),
                "stderr": String::from_utf8_lossy(&output.stderr),
            }),
            Err(error) => json!({"args": words, "code": KILLED, "stderr": format!("{error:#}")}),
        };
        self.answers.kubectl.push(printed);
        Ok(())
    }

    /// Sends over one connection, and keeps what comes back.
    pub(super) async fn port_forward(&mut self, action: &Value) -> Result<()> {
        let words = [vec!["port-forward"], words(&action["port_forward"])].concat();
        let mut child = self
            .kubectl_command(action, &words)?
            .spawn()
            .context("start kubectl port-forward")?;
        let mut lines = BufReader::new(child.stdout.take().context("output is a pipe")?).lines();
        let mut said = Vec::new();
        let mut received = Vec::new();
        let talk = async {
            while let Some(line) = lines.next_line().await? {
                let port = line
                    .strip_prefix("Forwarding from 127.0.0.1:")
                    .and_then(|rest| rest.split(' ').next());
                let port: Option<u16> = port.and_then(|port| port.parse().ok());
                said.push(line);
                let Some(port) = port else {
                    continue;
                };
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream
                    .write_all(action["send"].as_str().unwrap_or_default().as_bytes())
                    .await?;
                // A connection that is cut has said what it said.
                stream.read_to_end(&mut received).await.ok();
                said.extend(lines.next_line().await?);
                break;
            }
            anyhow::Ok(())
        };
        timeout(FORWARD_MAX, talk)
            .await
            .context("wait for the forwarded connection")??;
        // It ends by itself only when the connection was lost.
        child.start_kill().ok();
        let output = child.wait_with_output().await.context("wait for kubectl")?;
        let mut printed = json!({
            "args": words,
            "stdout": format!("\n{}", said.join("\n")),
            "stderr": String::from_utf8_lossy(&output.stderr),
        });
        if !received.is_empty() {
            printed["received"] = json!(String::from_utf8_lossy(&received));
        }
        self.answers.kubectl.push(printed);
        Ok(())
    }
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
