//! The API server by itself, over loopback TLS, with JSON.
//!
//! `bench/apibench` asks, `karve api` answers: a fresh server for each figure that earlier objects would change.
//! Figures go to standard output as they come, what is being done to standard error.

mod figures;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Output, output};
use crate::interrupt::Interrupt;
use crate::workspace::{self, Profile};
use figures::{Figure, above, below};

const TOKEN: &str = "bench";
/// Objects with which memory is measured.
const MANY: &str = "30000";
/// Objects between which the cost of one more write is compared.
const FEW: u32 = 1_000;
const VERY_MANY: u32 = 100_000;
const IDLE_SECONDS: &str = "30";

/// Measures everything and prints the table of docs/performance.md.
pub fn run(runs: u32, format: Output) -> Result<()> {
    let mut bench = Bench {
        karve: workspace::build("karve", Profile::Release)?,
        tool: workspace::build("apibench", Profile::Release)?,
        dir: workspace::target()?.join("bench-api"),
        format,
        told: Vec::new(),
        interrupt: Interrupt::hold()?,
    };
    let result = bench.all(runs);
    let cleared = bench.clear();
    if format == Output::Json && result.is_ok() {
        let figures: Vec<Value> = bench.told.iter().map(Figure::json).collect();
        println!("{:#}", json!({ "figures": figures }));
    }
    result.and(cleared)
}

struct Bench {
    karve: PathBuf,
    tool: PathBuf,
    dir: PathBuf,
    format: Output,
    told: Vec<Figure>,
    interrupt: Interrupt,
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
    fn all(&mut self, runs: u32) -> Result<()> {
        self.boot(runs)?;
        for (proto, name) in [("h1", "HTTP/1.1"), ("h2", "HTTP/2")] {
            self.crud(proto, name)?;
        }
        self.list()?;
        self.fanout()?;
        self.memory()?;
        self.growth()
    }

    /// Says what comes next, unless somebody wants an end.
    fn begin(&mut self, what: &str) -> Result<()> {
        self.interrupt.check()?;
        eprintln!("measuring: {what}");
        Ok(())
    }

    fn tell(&mut self, figure: Figure) {
        if self.format == Output::Human {
            println!("{}", figure.line());
        }
        self.told.push(figure);
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
        let stdout = child.stdout.take();
        // Ended also when it says something else.
        let mut server = Server {
            child,
            url: String::new(),
        };
        let mut line = String::new();
        BufReader::new(stdout.context("read what karve api says")?).read_line(&mut line)?;
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("https://"))
            .map(|url| url.trim_end_matches(',').to_owned());
        server.url = url.with_context(|| format!("karve api said {line:?}"))?;
        Ok(server)
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

    fn on(&self, server: &Server, line: &str) -> Result<Value> {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        self.measure(&server.url, Some(server.child.id()), &arguments)
    }

    fn boot(&mut self, runs: u32) -> Result<()> {
        self.begin("starts")?;
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
        let of = self.measure(
            &format!("https://{address}"),
            None,
            &[
                "boot", "--cmd", &command, "--before", &before, "--runs", &runs,
            ],
        )?;
        let ready = &of["readyz_ms"]["p50"];
        self.tell(Figure::new(
            "start to /readyz",
            ready,
            "ms",
            below(50.0, 3100.0),
        ));
        let written = &of["first_write_ms"]["p50"];
        self.tell(Figure::new("start to the first write", written, "ms", None));
        Ok(())
    }

    fn crud(&mut self, proto: &str, name: &str) -> Result<()> {
        let what = |what: &str| format!("{name}: {what}");
        self.begin(&what("creates, updates and GETs of 1 and 64 clients"))?;
        let server = self.start()?;
        let crud = format!("crud --proto {proto} --callers");
        let one = self.on(&server, &format!("{crud} 1 --count 2000"))?;
        let many = self.on(&server, &format!("{crud} 64 --count 10000"))?;
        let (create, update, get) = (&many["create"], &many["update"], &many["get"]);
        let cpu = |of: &Value| of["processes"]["karve"]["cpu_s"].clone();
        for (label, value, unit, peer) in [
            (
                "durable creates, 1 client",
                &one["create"]["per_s"],
                "/s",
                above(3080.0, 308.0),
            ),
            (
                "the same, p50",
                &one["create"]["ms"]["p50"],
                "ms",
                below(0.32, 3.2),
            ),
            (
                "durable creates, 64 clients",
                &create["per_s"],
                "/s",
                above(14_500.0, 1450.0),
            ),
            (
                "CPU of 10,000 creates",
                &cpu(create),
                "s",
                below(1.28, 12.8),
            ),
            (
                "CPU of the load generator meanwhile",
                &create["client_cpu_s"],
                "s",
                None,
            ),
            ("updates, 64 clients", &update["per_s"], "/s", None),
            (
                "GET p50, 1 client",
                &one["get"]["ms"]["p50"],
                "ms",
                below(0.14, 1.4),
            ),
            (
                "GETs, 64 clients",
                &get["per_s"],
                "/s",
                above(31_300.0, 3130.0),
            ),
            ("CPU of 10,000 GETs", &cpu(get), "s", None),
            (
                "CPU of the load generator meanwhile",
                &get["client_cpu_s"],
                "s",
                None,
            ),
        ] {
            self.tell(Figure::new(what(label), value, unit, peer));
        }
        Ok(())
    }

    fn list(&mut self) -> Result<()> {
        self.begin("lists of 10,000 Pods")?;
        let server = self.start()?;
        let of = self.on(&server, "list --pods 10000 --runs 5")?;
        for (kind, how, peer) in [
            ("json_consistent", "whole", below(73.0, 730.0)),
            ("watchlist_json", "as watch-list", below(130.0, 1300.0)),
            ("json_pages_of_500", "in pages of 500", None),
            ("table_pages_of_500", "as Tables, in pages of 500", None),
            ("protobuf_consistent", "in protobuf", None),
        ] {
            let name = format!("list of 10,000 Pods, {how}");
            self.tell(Figure::new(name, &of[kind]["ms"]["p50"], "ms", peer));
        }
        Ok(())
    }

    fn fanout(&mut self) -> Result<()> {
        self.begin("1,000 updates for 100 watchers")?;
        let server = self.start()?;
        let of = self.on(&server, "fanout --watchers 100 --updates 1000")?;
        let seen = &of["sent_to_seen_ms"];
        let name = |what: &str| format!("fan-out to 100 watchers, {what}");
        self.tell(Figure::new(
            name("p50"),
            &seen["p50"],
            "ms",
            below(0.7, 7.1),
        ));
        self.tell(Figure::new(
            name("p99"),
            &seen["p99"],
            "ms",
            below(3.4, 34.0),
        ));
        // 100,000 events: ten microseconds each is a second.
        let each = |seconds: &Value| json!(seconds.as_f64().map(|s| s * 10.0));
        let cpu = each(&of["updating"]["karve"]["cpu_s"]);
        self.tell(Figure::new(name("CPU an event"), &cpu, "µs", None));
        let client = each(&of["client_cpu_s"]);
        self.tell(Figure::new(name("load generator's"), &client, "µs", None));
        ensure!(of["missed"] == 0, "events were missed: {}", of["missed"]);
        Ok(())
    }

    fn memory(&mut self) -> Result<()> {
        self.begin("rest, and memory with 30,000 objects")?;
        let server = self.start()?;
        let idle = self.on(&server, &format!("idle --seconds {IDLE_SECONDS}"))?;
        self.tell(Figure::new(
            "idle: memory",
            &idle["pss_mb"],
            "MB",
            below(30.0, 307.0),
        ));
        let cpu = json!(idle["cores"].as_f64().map(|cores| cores * 100.0));
        self.tell(Figure::new(
            "idle: CPU",
            &cpu,
            "% of a core",
            below(0.1, 2.7),
        ));
        self.on(&server, &format!("fill --count {MANY}"))?;
        let full = self.on(&server, "idle --seconds 5")?;
        let name = "memory with 30,000 objects";
        self.tell(Figure::new(
            name,
            &full["pss_mb"],
            "MB",
            below(160.0, 1596.0),
        ));
        Ok(())
    }

    /// What a write and an event cost among many objects, as a multiple of what they cost among few: CPU times, which
    /// other load on the machine changes little.
    fn growth(&mut self) -> Result<()> {
        self.begin("costs among 1,000 and among 100,000 objects")?;
        let server = self.start()?;
        self.on(&server, &format!("fill --count {FEW}"))?;
        let few = self.costs(&server)?;
        self.on(&server, &format!("fill --count {}", VERY_MANY - FEW))?;
        let many = self.costs(&server)?;
        let names = ["CPU of a create", "CPU of an event"];
        for ((name, few), many) in names.into_iter().zip(few).zip(many) {
            let name = format!("{name}, among 100,000 objects to 1,000");
            self.tell(Figure::new(name, &json!(many / few), "times", None));
        }
        Ok(())
    }

    /// The server's CPU seconds for as many creates, and events, as are measured.
    fn costs(&self, server: &Server) -> Result<[f64; 2]> {
        let creates = self.on(server, "crud --proto h1 --callers 64 --count 10000")?;
        let events = self.on(server, "fanout --watchers 100 --updates 300 --rate 200")?;
        let seconds = |of: &Value| {
            of["karve"]["cpu_s"]
                .as_f64()
                .context("CPU time of the server")
        };
        Ok([
            seconds(&creates["create"]["processes"])?,
            seconds(&events["updating"])?,
        ])
    }
}
