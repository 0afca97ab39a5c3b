//! Where demos and benches play: a named network namespace with nothing but loopback, and folders of
//! its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// The surroundings of one cluster.
pub struct Stage {
    karve: PathBuf,
    folder: PathBuf,
    /// The cluster's name.
    pub cluster: &'static str,
    /// The network namespace around it.
    netns: String,
}

impl Stage {
    /// Plays `karve` for a cluster of this name, with its files below the target directory.
    pub fn new(karve: &Path, cluster: &'static str) -> Result<Self> {
        let folder = workspace::target()?.join(cluster);
        Ok(Self {
            karve: karve.to_path_buf(),
            folder,
            cluster,
            netns: format!("karve-{cluster}"),
        })
    }

    /// The cluster's own data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data").join(self.cluster)
    }

    /// The file with which the cluster is reached.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Makes the network namespace.
    pub fn set(&self) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("make directory {}", self.folder.display()))?;
        workspace::run(Command::new("ip").args(["netns", "add", &self.netns]))?;
        let mut loopback = self.inside("ip");
        workspace::run(loopback.args(["link", "set", "lo", "up"]))
    }

    /// Removes the cluster and the network, if they are there.
    pub fn clear(&self) -> Result<()> {
        let netns = Path::new("/run/netns").join(&self.netns);
        if netns.exists() {
            let mut down = self.inside("karve");
            down.args(["down", "--name", self.cluster])
                .stderr(Stdio::null());
            workspace::run(&mut down)?;
            workspace::run(Command::new("ip").args(["netns", "delete", &self.netns]))?;
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// A command in the demo's network and with its settings.
    ///
    /// `nsenter` and not `ip netns exec`: that would hide the cgroups.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.netns))
            .arg(program);
        for (name, value) in self.settings() {
            command.env(name, value);
        }
        command.current_dir(workspace::root().join("examples/tutorial"));
        command
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let programs = self.karve.parent().unwrap_or(Path::new("/"));
        let path = std::env::var("PATH").unwrap_or_default();
        vec![
            ("PATH", format!("{}:{path}", programs.display())),
            (
                "KUBECONFIG",
                self.folder.join("kubeconfig").display().to_string(),
            ),
            (
                "KARVE_DATA_ROOT",
                self.folder.join("data").display().to_string(),
            ),
            (
                "KARVE_RUN_ROOT",
                self.folder.join("run").display().to_string(),
            ),
        ]
    }

    /// Shows a command and runs it as a shell would, with the terminal's output; how long it took.
    pub fn play(&self, line: &str) -> Result<Duration> {
        show(line);
        let begun = Instant::now();
        let status = self
            .shell(line)
            .status()
            .with_context(|| format!("run `{line}`"))?;
        ensure!(status.success(), "`{line}` failed ({status})");
        Ok(begun.elapsed())
    }

    /// Like [`Self::play`], answering the command's questions as a person would type.
    pub fn play_dialogue(&self, line: &str, answers: &[&str]) -> Result<Duration> {
        show(line);
        let begun = Instant::now();
        let mut child = self
            .shell(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("run `{line}`"))?;
        let typed: String = answers.iter().map(|answer| format!("{answer}\n")).collect();
        child
            .stdin
            .take()
            .context("input is a pipe")?
            .write_all(typed.as_bytes())
            .context("type the answers")?;
        let output = child
            .wait_with_output()
            .with_context(|| format!("run `{line}`"))?;
        // What a terminal would show: each answer behind its question.
        let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
        for answer in answers {
            text = text.replacen("IP: ", &format!("IP:\u{a0}{answer}\n"), 1);
        }
        eprint!("{}", text.replace('\u{a0}', " "));
        ensure!(
            output.status.success(),
            "`{line}` failed ({})",
            output.status
        );
        Ok(begun.elapsed())
    }

    /// What a command prints, without showing it.
    pub fn ask(&self, line: &str) -> Result<String> {
        let output = self
            .shell(line)
            .output()
            .with_context(|| format!("run `{line}`"))?;
        ensure!(
            output.status.success(),
            "`{line}` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = self.inside("sh");
        shell.args(["-c", line]);
        shell
    }

    /// Says how to go on by hand.
    pub fn hand_over(&self) -> Result<()> {
        let file = self.folder.join("env");
        let lines: String = self
            .settings()
            .into_iter()
            .map(|(name, value)| format!("export {name}='{value}'\n"))
            .collect();
        fs::write(&file, lines).with_context(|| format!("write {}", file.display()))?;
        println!("\nThe cluster is up. To go on by hand:\n");
        println!("    nsenter --net=/run/netns/{} bash", self.netns);
        println!("    source {}\n", file.display());
        println!("`cargo xtask demo --down` removes it.");
        Ok(())
    }
}

/// A prompt with the command.
fn show(line: &str) {
    println!("\n$ {line}");
    // What the command prints must come after it.
    let _ = std::io::stdout().flush();
}
