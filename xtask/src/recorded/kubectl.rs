//! kubectl of several versions, and what it prints.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::matcher::{self, Bindings};
use super::scenario::entries;
use super::server::Server;

/// The version where a step names none.
const DEFAULT_VERSION: &str = "1.33";
/// One command may take this long.
const COMMAND_MAX: Duration = Duration::from_secs(120);

/// Major and minor.
type Version = (u32, u32);

/// The versions that there are.
pub struct Kubectl {
    programs: BTreeMap<Version, PathBuf>,
    /// Versions that are missing, and were said to be.
    missed: Mutex<Vec<Version>>,
}

impl Kubectl {
    /// Looks for `kubectl.1.33`, `kubectl-1.33` and `kubectl1.33`, and files of such a name in `1.33/` or `v1.33/`, in a
    /// folder, or where the kubectl on PATH really lies.
    pub fn find(folder: Option<&Path>) -> Result<Self> {
        let plain = on_path("kubectl");
        let beside = plain
            .as_ref()
            .and_then(|path| Some(path.canonicalize().ok()?.parent()?.to_path_buf()));
        let mut programs = BTreeMap::new();
        for folder in folder.map(Path::to_path_buf).into_iter().chain(beside) {
            for path in entries(&folder)? {
                if let Some((version, program)) = versioned(&path) {
                    programs.entry(version).or_insert(program);
                }
            }
        }
        if programs.is_empty()
            && let Some(path) = plain
        {
            let version = version_of(&path)?;
            programs.insert(version, path);
        }
        Ok(Self {
            programs,
            missed: Mutex::default(),
        })
    }

    /// The program of a version, or of the nearest one, which is said once.
    pub fn program(&self, wanted: &str) -> Result<&Path> {
        let version = parse(wanted).with_context(|| format!("read kubectl's version {wanted}"))?;
        let near = |have: &&Version| {
            (
                have.0.abs_diff(version.0),
                have.1.abs_diff(version.1),
                have.1,
            )
        };
        let nearest = self.programs.keys().min_by_key(near);
        let nearest = nearest.context("there is no kubectl on PATH, nor in --kubectl-dir")?;
        let mut missed = self.missed.lock().expect("nothing panics with it");
        if *nearest != version && !missed.contains(&version) {
            missed.push(version);
            let (major, minor) = nearest;
            eprintln!(
                "xtask: there is no kubectl {wanted}; its steps are played with {major}.{minor}"
            );
        }
        Ok(&self.programs[nearest])
    }
}

fn parse(version: &str) -> Option<Version> {
    let (major, minor) = version.trim_start_matches('v').split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

fn versioned(path: &Path) -> Option<(Version, PathBuf)> {
    let name = path.file_name().and_then(OsStr::to_str)?;
    if path.is_dir() {
        let program = path.join("kubectl");
        return Some((parse(name)?, program)).filter(|(_, program)| program.is_file());
    }
    let version = name
        .strip_prefix("kubectl")?
        .trim_start_matches(['.', '-', '_']);
    Some((parse(version)?, path.to_path_buf()))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn version_of(program: &Path) -> Result<Version> {
    let output = std::process::Command::new(program)
        .args(["version", "--client", "-o", "json"])
        .output()
        .with_context(|| format!("ask {} for its version", program.display()))?;
    let answer: Value =
        serde_json::from_slice(&output.stdout).context("decode kubectl's version")?;
    let version = answer["clientVersion"]["gitVersion"]
        .as_str()
        .and_then(parse);
    version.context("kubectl says its version")
}

/// Where the commands of one scenario run.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// Makes the folders and writes the scenario's files.
    pub fn new(files: &[(String, String)]) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("karve-recorded-")
            .tempdir()
            .context("make a folder")?;
        let place = Self { folder };
        for name in ["home", "t", "work"] {
            std::fs::create_dir(place.path(name)).with_context(|| format!("make folder {name}"))?;
        }
        for (name, text) in files {
            let path = place.path("work").join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(place)
    }

    /// A path in the folder: `home`, `t` or `work`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program in the folder, with a home of its own, UTC, and no terminal.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path("work"))
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("t"))
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Plays a step and says what differs.
    pub async fn play(
        &self,
        step: &Value,
        kubectl: &Kubectl,
        server: &Server,
        bindings: &mut Bindings,
    ) -> Result<Vec<String>> {
        let have = self.run(step, kubectl, server).await?;
        let want = &step["result"];
        let mut out = Vec::new();
        if want["code"] != have["code"] {
            out.push(format!(
                "exit code: want {}, have {}",
                want["code"], have["code"]
            ));
        }
        for stream in ["stdout", "stderr"] {
            let want = squeeze(want[stream].as_str().unwrap_or_default());
            let have = squeeze(have[stream].as_str().unwrap_or_default());
            if stream == "stdout" && step["sort_lines"] == true {
                let lines = |text: &str| text.lines().map(|line| json!(line)).collect::<Vec<_>>();
                let have: Vec<Value> = lines(&have).into_iter().filter(|line| line != "").collect();
                let want: Vec<Value> = lines(&want).into_iter().filter(|line| line != "").collect();
                matcher::set(&want, &have, stream, bindings, &mut out);
            } else if !matcher::text(&want, &have, bindings) {
                out.push(texts_differ(stream, &want, &have, bindings));
            }
        }
        Ok(out)
    }

    async fn run(&self, step: &Value, kubectl: &Kubectl, server: &Server) -> Result<Value> {
        let program = kubectl.program(step["version"].as_str().unwrap_or(DEFAULT_VERSION))?;
        let words = step["kubectl"]
            .as_array()
            .context("kubectl has arguments")?;
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let (own, behind) = words.split_at(
            words
                .iter()
                .position(|word| *word == "--")
                .unwrap_or(words.len()),
        );
        let mut command = self.command(program);
        command
            .args(own)
            .args(["--server", &server.url(), "--insecure-skip-tls-verify"]);
        if let Some(token) = server.token(step["user"].as_str().unwrap_or("admin")) {
            command.args(["--token", &token]);
        }
        command.args(behind);
        let output = finish(
            command,
            step["stdin"].as_str().unwrap_or_default(),
            COMMAND_MAX,
        )
        .await
        .with_context(|| format!("kubectl {}", words.join(" ")))?;
        let text = |bytes: &[u8]| self.neutral(&String::from_utf8_lossy(bytes), server);
        Ok(json!({
            "code": output.status.code(),
            "stdout": text(&output.stdout),
            "stderr": text(&output.stderr),
        }))
    }

    /// Replaces what we know better than a placeholder's shape: folders, and the server's URL.
    fn neutral(&self, text: &str, server: &Server) -> String {
        let mut text = text.replace(&server.url(), "<server>");
        text = text.replace(&server.address.to_string(), "<server>");
        // The endpoints of the Service `kubernetes`; the recorded server had upstream's port.
        text = text.replace(&format!("{}/TCP", server.address.port()), "6443/TCP");
        for folder in [self.path("work"), self.folder.path().to_path_buf()] {
            text = text.replace(&folder.display().to_string(), "<tmp>");
        }
        // The folders of `kubectl diff`.
        for name in ["LIVE-", "MERGED-"] {
            let mut parts = text.split(name);
            let mut joined = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let digits = part
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(part.len());
                joined.push_str(if digits > 0 {
                    name.trim_end_matches('-')
                } else {
                    name
                });
                joined.push_str(&part[digits..]);
            }
            text = joined;
        }
        text
    }
}

/// Runs a command to its end with this input.
pub async fn finish(mut command: Command, input: &str, most: Duration) -> Result<Output> {
    let mut child = command.spawn().context("start the command")?;
    let mut pipe = child.stdin.take().context("input is a pipe")?;
    // Who doesn't read its input closes it.
    pipe.write_all(input.as_bytes()).await.ok();
    drop(pipe);
    let output = timeout(most, child.wait_with_output())
        .await
        .context("wait for the command")?
        .context("wait for the command")?;
    ensure!(output.status.code().is_some(), "the command was killed");
    Ok(output)
}

/// Turns each run of blanks into one.
fn squeeze(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    for c in text.chars() {
        if c != ' ' || !squeezed.ends_with(' ') {
            squeezed.push(c);
        }
    }
    squeezed
}

/// Shows the first line that differs, or all when it is the number of lines.
fn texts_differ(stream: &str, want: &str, have: &str, bindings: &Bindings) -> String {
    let mut tried = bindings.clone();
    let lines = want.lines().zip(have.lines());
    let first = lines
        .enumerate()
        .find(|(_, (want, have))| !matcher::text(want, have, &mut tried));
    match first {
        Some((i, (want, have))) => format!(
            "{stream}, line {}: want {want:?}\n        have {have:?}",
            i + 1
        ),
        None => format!("{stream}: want {want:?}\n        have {have:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_version_stands_in() {
        let programs =
            [(1, 27), (1, 32), (1, 33)].map(|v| (v, PathBuf::from(format!("/k{}", v.1))));
        let kubectl = Kubectl {
            programs: programs.into_iter().collect(),
            missed: Mutex::default(),
        };
        for (wanted, found) in [
            ("1.33", "/k33"),
            ("1.32", "/k32"),
            ("1.37", "/k33"),
            ("v1.28.1", "/k27"),
        ] {
            assert_eq!(
                kubectl.program(wanted).unwrap(),
                Path::new(found),
                "{wanted}"
            );
        }
        assert_eq!(kubectl.missed.lock().unwrap().len(), 2);
    }

    #[test]
    fn versions_are_in_names() {
        let version = |name: &str| versioned(Path::new(name)).map(|(version, _)| version);
        assert_eq!(version("/x/kubectl.1.33"), Some((1, 33)));
        assert_eq!(version("/x/kubectl-1.32"), Some((1, 32)));
        assert_eq!(version("/x/kubectl"), None);
        assert_eq!(version("/x/kubectl-convert"), None);
    }

    #[test]
    fn blanks_are_squeezed() {
        assert_eq!(squeeze("NAME   AGE\na      1s\n"), "NAME AGE\na 1s\n");
    }
}
