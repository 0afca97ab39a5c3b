//! Cold start: a command, then the API, the node, the first Pod, and an answer through a Service.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benchkit::api::{Conn, Proto, Target};
use benchkit::stats::round;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::objects::Place;
use crate::watch::Pods;

#[derive(clap::Args)]
pub struct Args {
    /// Shell command that starts the cluster; it is left running
    #[arg(long)]
    pub cmd: String,
    /// Write the pid of the command (a process group of its own) to this file
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
}

const PAUSE: Duration = Duration::from_millis(5);

pub async fn run(target: &Target, place: &Place, args: &Args) -> Result<Value> {
    use std::os::unix::process::CommandExt;
    let start = Instant::now();
    let child = Command::new("sh")
        .args(["-c", &args.cmd])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    if let Some(file) = &args.pid_file {
        std::fs::write(file, child.id().to_string())?;
    }
    tokio::time::timeout(place.timeout, follow(target, place, start))
        .await
        .context("not up in time")?
}

async fn follow(target: &Target, place: &Place, start: Instant) -> Result<Value> {
    let since = || round(start.elapsed().as_secs_f64());
    let mut conn = ready(target).await;
    let api = since();
    place.prepare(&mut conn).await?;
    let namespace = since();
    let mut pods = Pods::open(target, place, "app=first").await?;
    conn.post(&place.path("deployments"), &place.deployment("first", 1))
        .await?
        .ok()?;
    let service = conn
        .post(&place.path("services"), &place.service("first"))
        .await?
        .ok()?;
    let ip = service["spec"]["clusterIP"]
        .as_str()
        .context("no clusterIP")?
        .to_owned();
    let answer = tokio::spawn(async move {
        while ask(&ip).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        Instant::now()
    });
    while !node_ready(&mut conn).await? {
        tokio::time::sleep(PAUSE).await;
    }
    let node = since();
    let (mut running, mut pod_ready) = (None, None);
    while pod_ready.is_none() {
        let event = pods.next().await?;
        let at = round((event.at - start).as_secs_f64());
        if event.running {
            running.get_or_insert(at);
        }
        if event.ready {
            pod_ready = Some(at);
        }
    }
    let served = round((answer.await? - start).as_secs_f64());
    Ok(
        json!({"api_ready_s": api, "namespace_usable_s": namespace, "node_ready_s": node,
              "pod_running_s": running, "pod_ready_s": pod_ready, "service_answers_s": served}),
    )
}

async fn ready(target: &Target) -> Conn {
    loop {
        if let Ok(mut conn) = target.connect(Proto::H2).await
            && matches!(conn.get("/readyz").await, Ok(reply) if reply.status == StatusCode::OK)
        {
            return conn;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn node_ready(conn: &mut Conn) -> Result<bool> {
    let nodes = conn.get("/api/v1/nodes").await?.ok()?;
    let node = &nodes["items"][0];
    Ok(node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// One HTTP request to port 80 of the Service, from where this tool runs (the node, or a Pod's network).
async fn ask(ip: &str) -> Result<()> {
    let limit = Duration::from_millis(300);
    let mut stream = tokio::time::timeout(limit, TcpStream::connect((ip, 80))).await??;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut head = [0; 12];
    tokio::time::timeout(limit, stream.read_exact(&mut head)).await??;
    if !head.starts_with(b"HTTP/1.") || &head[9..12] != b"200" {
        bail!("not HTTP 200");
    }
    Ok(())
}
