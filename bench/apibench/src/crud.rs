//! Creates, updates and reads of 1 KiB ConfigMaps by a fixed number of closed-loop callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use benchkit::api::{Conn, Proto, Target};
use benchkit::proc::{self, Pid};
use benchkit::stats::{Lcg, round, summary};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::space;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value = "h2")]
    pub proto: Proto,
    /// Closed-loop callers: HTTP/1.1 one connection each, HTTP/2 streams
    #[arg(long, default_value_t = 1)]
    pub callers: usize,
    /// Objects made, then updated once each, then read
    #[arg(long, default_value_t = 1000)]
    pub count: usize,
    /// Callers on one HTTP/2 connection
    #[arg(long, default_value_t = 64)]
    pub per_conn: usize,
}

#[derive(Clone, Copy)]
enum Op {
    Create,
    Update,
    Get,
}

/// A ConfigMap whose request body is 1,024 bytes.
fn body(name: &str, fill: char) -> Bytes {
    let make = |pad: usize| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
               "data": {"value": fill.to_string().repeat(pad)}})
        .to_string()
    };
    Bytes::from(make(1024 - make(0).len()))
}

pub async fn run(target: &Target, pids: &[Pid], args: &Args) -> Result<Value> {
    let mut admin = target.connect(Proto::H2).await?;
    let space = space::make(&mut admin).await?;
    let mut callers = target
        .callers(args.proto, args.callers, args.per_conn)
        .await?;
    let mut out = serde_json::Map::new();
    for (name, op) in [
        ("create", Op::Create),
        ("update", Op::Update),
        ("get", Op::Get),
    ] {
        let (before, own) = (proc::read(pids), proc::own_cpu());
        let start = Instant::now();
        let (back, samples) = phase(callers, op, &space, args.count).await?;
        let elapsed = start.elapsed().as_secs_f64();
        callers = back;
        out.insert(
            name.into(),
            json!({
                "per_s": round(samples.len() as f64 / elapsed),
                "ms": summary(samples),
                "client_cpu_s": round(proc::own_cpu() - own),
                "processes": proc::delta(pids, &before, &proc::read(pids)),
            }),
        );
    }
    space::clear(&mut admin, &space, "configmaps").await?;
    Ok(Value::Object(out))
}

/// Makes objects and leaves them there.
pub async fn fill(target: &Target, count: usize) -> Result<Value> {
    let mut admin = target.connect(Proto::H2).await?;
    let space = space::make(&mut admin).await?;
    let callers = target.callers(Proto::H2, 64, 64).await?;
    let (_, samples) = phase(callers, Op::Create, &space, count).await?;
    Ok(json!({ "made": samples.len() }))
}

/// Hands out indices 0..count to all callers; each waits for its answer before it takes the next.
async fn phase(
    callers: Vec<Conn>,
    op: Op,
    space: &str,
    count: usize,
) -> Result<(Vec<Conn>, Vec<f64>)> {
    let next = Arc::new(AtomicUsize::new(0));
    let base = Arc::new(format!("/api/v1/namespaces/{space}/configmaps"));
    let tasks: Vec<_> = callers
        .into_iter()
        .enumerate()
        .map(|(i, mut conn)| {
            let (next, base) = (next.clone(), base.clone());
            tokio::spawn(async move {
                let mut samples = Vec::with_capacity(count / 8);
                let mut lcg = Lcg(i as u64 + 1);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return Ok::<_, anyhow::Error>((conn, samples));
                    }
                    samples.push(one(&mut conn, op, &base, n, lcg.below(count)).await?);
                }
            })
        })
        .collect();
    let (mut conns, mut all) = (Vec::new(), Vec::new());
    for task in tasks {
        let (conn, samples) = task.await??;
        conns.push(conn);
        all.extend(samples);
    }
    Ok((conns, all))
}

/// One operation; returns its latency in milliseconds.
async fn one(conn: &mut Conn, op: Op, base: &str, n: usize, random: usize) -> Result<f64> {
    let (method, path, body, want) = match op {
        Op::Create => (
            Method::POST,
            base.to_owned(),
            body(&format!("cm-{n:07}"), 'a'),
            StatusCode::CREATED,
        ),
        Op::Update => (
            Method::PUT,
            format!("{base}/cm-{n:07}"),
            body(&format!("cm-{n:07}"), 'b'),
            StatusCode::OK,
        ),
        Op::Get => (
            Method::GET,
            format!("{base}/cm-{random:07}"),
            Bytes::new(),
            StatusCode::OK,
        ),
    };
    let start = Instant::now();
    let reply = conn.call(method, &path, body).await?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    if reply.status != want {
        bail!(
            "{path}: {} {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
    }
    Ok(took)
}
