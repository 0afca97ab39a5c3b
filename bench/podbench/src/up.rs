//! Cold start: a command, then the API, the node, the first Pod, and an answer through a Service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benchkit::api::{Conn, Proto, Target};
use benchkit::stats::round;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::inside::{self, Inside};
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
    /// Network namespace from which the Service and the DNS are asked (a node's); may come to be later
    #[arg(long)]
    pub netns: Option<PathBuf>,
    /// The cluster's DNS server, to be timed too, also from a Pod (with an image that has `sh` and `nslookup`)
    #[arg(long)]
    pub dns: Option<SocketAddr>,
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
    tokio::time::timeout(place.timeout, follow(target, place, args, start))
        .await
        .context("not up in time")?
}

async fn follow(target: &Target, place: &Place, args: &Args, start: Instant) -> Result<Value> {
    let at = |instant: Instant| round((instant - start).as_secs_f64());
    let inside = Inside {
        netns: args.netns.clone(),
    };
    let dns = args
        .dns
        .map(|server| inside.until(move || inside::resolve(server)));
    let mut conn = ready(target).await;
    let api = Instant::now();
    while conn
        .get("/api/v1/namespaces/default/services/kubernetes")
        .await?
        .status
        != StatusCode::OK
    {
        tokio::time::sleep(PAUSE).await;
    }
    let kubernetes = Instant::now();
    place.prepare(&mut conn).await?;
    let namespace = Instant::now();
    let mut pods = Pods::open(target, place, "app=first").await?;
    conn.post(&place.path("deployments"), &place.deployment("first", 1))
        .await?
        .ok()?;
    if dns.is_some() {
        conn.post(&place.path("pods"), &place.asker("asker"))
            .await?
            .ok()?;
    }
    let service = conn
        .post(&place.path("services"), &place.service("first"))
        .await?
        .ok()?;
    let ip: std::net::IpAddr = service["spec"]["clusterIP"]
        .as_str()
        .context("no clusterIP")?
        .parse()?;
    let answer = inside.until(move || inside::ask((ip, 80).into()));
    while !node_ready(&mut conn).await? {
        tokio::time::sleep(PAUSE).await;
    }
    let node = Instant::now();
    let (mut running, mut pod_ready, mut asked) = (None, None, None);
    while pod_ready.is_none() || (dns.is_some() && asked.is_none()) {
        let event = pods.next().await?;
        if event.name == "asker" {
            asked = asked.or(event.succeeded.then_some(event.at));
            continue;
        }
        running = running.or(event.running.then_some(event.at));
        pod_ready = pod_ready.or(event.ready.then_some(event.at));
    }
    let dns = match dns {
        Some(dns) => Some(dns.await?),
        None => None,
    };
    Ok(
        json!({"api_ready_s": at(api), "kubernetes_service_s": at(kubernetes), "namespace_usable_s": at(namespace),
              "node_ready_s": at(node), "dns_answers_s": dns.map(at), "pod_running_s": running.map(at),
              "pod_ready_s": pod_ready.map(at), "service_answers_s": at(answer.await?),
              "dns_answered_a_pod_s": asked.map(at)}),
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
