//! LISTs of many Pods, in the ways that real clients ask.

use std::time::Instant;

use anyhow::{Result, bail};
use benchkit::api::{Conn, JSON, Proto, Target};
use benchkit::proc::{self, Pid};
use benchkit::stats::summary;
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::space;

#[derive(clap::Args)]
pub struct Args {
    /// Pods to make
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// LISTs of each kind
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            pods: 10_000,
            runs: 5,
        }
    }
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// A Pod as a Deployment would make it, bound to no node.
fn pod(n: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("web-5d4f8c7b9-{n:05}"), "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"}},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{"name": "web", "image": "registry.example/web:1.2.3",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "REDIS_HOST", "value": "redis"}, {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}}}]}})
}

pub async fn run(target: &Target, pids: &[Pid], args: &Args) -> Result<Value> {
    let mut conn = target.connect(Proto::H2).await?;
    let space = space::make(&mut conn).await?;
    let base = format!("/api/v1/namespaces/{space}/pods");
    fill(target, &base, args.pods).await?;

    let mut out = serde_json::Map::new();
    let kinds = [
        ("json_consistent", format!("{base}?"), JSON, 0),
        ("json_cached", format!("{base}?resourceVersion=0"), JSON, 0),
        ("json_pages_of_500", format!("{base}?"), JSON, 500),
        ("table_pages_of_500", format!("{base}?"), TABLE, 500),
        ("protobuf_consistent", format!("{base}?"), PROTOBUF, 0),
    ];
    for (name, path, accept, limit) in kinds {
        let value = kind(&mut conn, pids, &path, accept, limit, args).await;
        out.insert(
            name.into(),
            value.unwrap_or_else(|e| json!({ "failed": e.to_string() })),
        );
    }
    let value = stream(&mut conn, pids, &base, args).await;
    out.insert(
        "watchlist_json".into(),
        value.unwrap_or_else(|e| json!({ "failed": e.to_string() })),
    );
    space::clear(&mut conn, &space, "pods").await?;
    Ok(Value::Object(out))
}

async fn fill(target: &Target, base: &str, pods: usize) -> Result<()> {
    let mut tasks = Vec::new();
    for (i, mut conn) in target
        .callers(Proto::H2, 32, 32)
        .await?
        .into_iter()
        .enumerate()
    {
        let base = base.to_owned();
        tasks.push(tokio::spawn(async move {
            for n in (i..pods).step_by(32) {
                conn.post(&base, &pod(n)).await?.ok()?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn kind(
    conn: &mut Conn,
    pids: &[Pid],
    path: &str,
    accept: &str,
    limit: usize,
    args: &Args,
) -> Result<Value> {
    let before = proc::read(pids);
    let (mut total, mut first, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..args.runs {
        let start = Instant::now();
        bytes = 0;
        let mut token = String::new();
        loop {
            let paged = if limit > 0 {
                format!("{path}&limit={limit}&continue={token}")
            } else {
                path.to_owned()
            };
            let reply = conn
                .call_as(Method::GET, &paged, accept, JSON, Bytes::new())
                .await?;
            if !reply.status.is_success() {
                bail!("{}", reply.status);
            }
            if token.is_empty() {
                first.push(reply.first.as_secs_f64() * 1e3);
            }
            bytes += reply.body.len();
            token = if limit > 0 {
                next_page(&reply.body)
            } else {
                String::new()
            };
            if token.is_empty() {
                break;
            }
        }
        total.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(
        json!({"bytes": bytes, "ms": summary(total), "headers_ms": summary(first),
              "processes": proc::delta(pids, &before, &proc::read(pids))}),
    )
}

/// The `continue` token, found in the bytes: decoding a page must not be what is timed.
fn next_page(body: &[u8]) -> String {
    let key = b"\"continue\":\"";
    let Some(at) =
        memchr::memmem::find(&body[..body.len().min(2000)], key).map(|at| at + key.len())
    else {
        return String::new();
    };
    let end = memchr::memchr(b'"', &body[at..]).unwrap_or(0);
    String::from_utf8_lossy(&body[at..at + end]).into_owned()
}

/// What an informer of today does: a watch that first sends all objects, until the bookmark.
async fn stream(conn: &mut Conn, pids: &[Pid], base: &str, args: &Args) -> Result<Value> {
    let before = proc::read(pids);
    let path = format!(
        "{base}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&resourceVersion="
    );
    let (mut total, mut bytes) = (Vec::new(), 0);
    for _ in 0..args.runs {
        let start = Instant::now();
        let mut lines = conn.watch(&path).await?;
        let mut objects = 0;
        while let Some(line) = lines.next().await? {
            if memchr::memmem::find(&line[..line.len().min(64)], b"BOOKMARK").is_some() {
                break;
            }
            objects += 1;
        }
        if objects != args.pods {
            bail!("{objects} objects before the bookmark");
        }
        total.push(start.elapsed().as_secs_f64() * 1e3);
        bytes = lines.total;
    }
    Ok(
        json!({"bytes": bytes, "ms": summary(total), "processes": proc::delta(pids, &before, &proc::read(pids))}),
    )
}
