//! The API server by itself, over loopback TLS, with JSON.
//!
//! `bench/apibench` asks, `karve api` answers: a fresh server for each figure that earlier objects would change.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{output, row};
use crate::workspace::{self, Profile};

const TOKEN: &str = "bench";
/// Objects with which memory is measured.
const MANY: &str = "30000";
const IDLE_SECONDS: &str = "30";

/// Measures everything and prints the table of docs/performance.md.
pub fn run(runs: u32) -> Result<()> {
    let bench = Bench {
        karve: workspace::build("karve", Profile::Release)?,
        tool: workspace::build("apibench", Profile::Release)?,
        dir: workspace::target()?.join("bench-api"),
    };
    let result = bench.all(runs);
    let cleared = bench.clear();
    result.and(cleared)
}

struct Bench {
    karve: PathBuf,
    tool: PathBuf,
    dir: PathBuf,
}

/// A server, ended when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // What can't be killed has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bench {
    fn all(&self, runs: u32) -> Result<()> {
        self.boot(runs)?;
        for (proto, name) in [("h1", "HTTP/1.1"), ("h2", "HTTP/2")] {
            self.crud(proto, name)?;
        }
        self.list()?;
        self.fanout()?;
        self.memory()
    }

    fn clear(&self) -> Result<()> {
        match self.dir.exists() {
            true => fs::remove_dir_all(&self.dir)
                .with_context(|| format!("remove {}", self.dir.display())),
            false => Ok(()),
        }
    }

    /// An empty folder with the token file.
    fn fresh(&self) -> Result<PathBuf> {
        self.clear()?;
        fs::create_dir_all(&self.dir)?;
        let users = self.dir.join("users.csv");
        fs::write(&users, format!("{TOKEN},bench,bench-uid,system:masters\n"))?;
        Ok(users)
    }

    fn flags(&self, users: &Path, address: &str) -> Vec<String> {
        let (data, users) = (self.dir.join("data"), users.display());
        vec![
            "api".to_owned(),
            format!("--data={}", data.display()),
            format!("--listen={address}"),
            format!("--token-auth-file={users}"),
        ]
    }

    fn start(&self) -> Result<Server> {
        let users = self.fresh()?;
        let mut child = Command::new(&self.karve)
            .args(self.flags(&users, "127.0.0.1:0"))
            .stdout(Stdio::piped())
            .spawn()
            .context("start karve api")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("read what karve api says")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("https://"))
            .map(|url| url.trim_end_matches(',').to_owned());
        let url = url.with_context(|| format!("karve api said {line:?}"))?;
        Ok(Server { child, url })
    }

    fn measure(&self, url: &str, pid: Option<u32>, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.tool);
        command.args([
            "--json",
            "--insecure-skip-verify",
            "--token",
            TOKEN,
            "--server",
            url,
        ]);
        if let Some(pid) = pid {
            command.arg("--pid").arg(format!("karve={pid}"));
        }
        output(command.args(arguments))
    }

    fn on(&self, server: &Server, arguments: &[&str]) -> Result<Value> {
        self.measure(&server.url, Some(server.child.id()), arguments)
    }

    fn boot(&self, runs: u32) -> Result<()> {
        let users = self.fresh()?;
        // A port that is free now: the tool starts the server itself, again and again.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let command = format!(
            "exec {} {}",
            self.karve.display(),
            self.flags(&users, &address).join(" ")
        );
        let before = format!("rm -rf {}", self.dir.join("data").display());
        let runs = runs.to_string();
        let figures = self.measure(
            &format!("https://{address}"),
            None,
            &[
                "boot", "--cmd", &command, "--before", &before, "--runs", &runs,
            ],
        )?;
        row(
            "start to /readyz",
            &millis(&figures["readyz_ms"]["p50"]),
            "50 ms (upstream 3,100)",
        );
        row(
            "start to the first write",
            &millis(&figures["first_write_ms"]["p50"]),
            "",
        );
        Ok(())
    }

    fn crud(&self, proto: &str, name: &str) -> Result<()> {
        let server = self.start()?;
        let one = self.on(
            &server,
            &[
                "crud",
                "--proto",
                proto,
                "--callers",
                "1",
                "--count",
                "2000",
            ],
        )?;
        let many = self.on(
            &server,
            &[
                "crud",
                "--proto",
                proto,
                "--callers",
                "64",
                "--count",
                "10000",
            ],
        )?;
        let per_second = |of: &Value| format!("{:.0}/s", of["per_s"].as_f64().unwrap_or(f64::NAN));
        let label = |what: &str| format!("{name}: {what}");
        row(
            &label("durable creates, 1 client"),
            &per_second(&one["create"]),
            "3,080/s (upstream 308)",
        );
        row(
            &label("durable creates, 64 clients"),
            &per_second(&many["create"]),
            "14,500/s (upstream 1,450)",
        );
        let cpu = |of: &Value| {
            of["processes"]["karve"]["cpu_s"]
                .as_f64()
                .unwrap_or(f64::NAN)
        };
        let spent = format!("{:.2} s", cpu(&many["create"]));
        row(
            &label("CPU of 10,000 creates"),
            &spent,
            "1.28 s (upstream 12.8)",
        );
        row(
            &label("updates, 64 clients"),
            &per_second(&many["update"]),
            "",
        );
        row(
            &label("GET p50, 1 client"),
            &millis(&one["get"]["ms"]["p50"]),
            "0.14 ms (upstream 1.4)",
        );
        row(
            &label("GETs, 64 clients"),
            &per_second(&many["get"]),
            "31,300/s (upstream 3,130)",
        );
        Ok(())
    }

    fn list(&self) -> Result<()> {
        let server = self.start()?;
        let figures = self.on(&server, &["list", "--pods", "10000", "--runs", "5"])?;
        let p50 = |kind: &str| millis(&figures[kind]["ms"]["p50"]);
        row(
            "list of 10,000 Pods, whole",
            &p50("json_consistent"),
            "73 ms (upstream 730)",
        );
        row(
            "list of 10,000 Pods, pages of 500",
            &p50("json_pages_of_500"),
            "",
        );
        row(
            "list of 10,000 Pods, as Tables",
            &p50("table_pages_of_500"),
            "",
        );
        row(
            "list of 10,000 Pods, as watch-list",
            &p50("watchlist_json"),
            "130 ms (upstream 1,300)",
        );
        Ok(())
    }

    fn fanout(&self) -> Result<()> {
        let server = self.start()?;
        let figures = self.on(
            &server,
            &["fanout", "--watchers", "100", "--updates", "1000"],
        )?;
        let seen = &figures["sent_to_seen_ms"];
        let both = format!("{} / {}", millis(&seen["p50"]), millis(&seen["p99"]));
        row(
            "fan-out to 100 watchers, p50 / p99",
            &both,
            "0.7 / 3.4 ms (upstream 7.1 / 34)",
        );
        ensure!(
            figures["missed"] == 0,
            "events were missed: {}",
            figures["missed"]
        );
        Ok(())
    }

    fn memory(&self) -> Result<()> {
        let server = self.start()?;
        let idle = self.on(&server, &["idle", "--seconds", IDLE_SECONDS])?;
        let megabytes = |of: &Value| format!("{} MB", of["pss_mb"]);
        row("idle: memory", &megabytes(&idle), "30 MB (upstream 307)");
        let cpu = idle["cores"].as_f64().unwrap_or(f64::NAN) * 100.0;
        row(
            "idle: CPU",
            &format!("{cpu:.2} % of a core"),
            "0.1 % (upstream 2.7)",
        );
        self.on(&server, &["fill", "--count", MANY])?;
        let full = self.on(&server, &["idle", "--seconds", "5"])?;
        row(
            "memory with 30,000 objects",
            &megabytes(&full),
            "160 MB (upstream 1,596)",
        );
        Ok(())
    }
}

fn millis(value: &Value) -> String {
    format!("{:.2} ms", value.as_f64().unwrap_or(f64::NAN))
}
