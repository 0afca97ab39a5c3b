//! The Services and EndpointSlices under test. Service i has two endpoints of set A or of set B, inside
//! 10.244.0.0/16, beyond those of the nodes' own Pods. Services that are `APART` numbers from each other share
//! theirs, as Services of the same Pods do.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use anyhow::{Context, Result};
use benchkit::api::{Conn, Proto, Target};
use serde_json::{Value, json};

pub const PORT: u16 = 80;
pub const BACKEND_PORT: u16 = 8080;
pub const MAX: usize = 50_000;
/// So many Services have endpoints of their own.
const APART: usize = 1 << 13;
const SPACE: &str = "svcbench";
const CALLERS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    A,
    B,
}

impl Set {
    pub fn other(self) -> Set {
        if self == Set::A { Set::B } else { Set::A }
    }
}

/// The two endpoint addresses of service `i`.
pub fn endpoints(i: usize, set: Set) -> [Ipv4Addr; 2] {
    let base =
        u32::from(Ipv4Addr::new(10, 244, 64, 2)) + if set == Set::B { 2 * APART as u32 } else { 0 };
    [0, 1].map(|k| Ipv4Addr::from(base + 2 * (i % APART) as u32 + k))
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"bench": "svc"}},
           "spec": {"ports": [{"name": "web", "port": PORT, "targetPort": BACKEND_PORT, "protocol": "TCP"}]}})
}

fn slice(name: &str, i: usize, set: Set) -> Value {
    let endpoints: Vec<Value> = endpoints(i, set)
        .iter()
        .map(|ip| json!({"addresses": [ip], "conditions": {"ready": true, "serving": true, "terminating": false}}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name, "bench": "svc",
                        "endpointslice.kubernetes.io/managed-by": "svcbench"}},
           "addressType": "IPv4", "endpoints": endpoints,
           "ports": [{"name": "web", "port": BACKEND_PORT, "protocol": "TCP"}]})
}

fn services_path() -> String {
    format!("/api/v1/namespaces/{SPACE}/services")
}

fn slices_path() -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices")
}

pub fn name(i: usize) -> String {
    format!("svc-{i:05}")
}

/// Creates one Service and its slice; returns the cluster address and when each write was sent and acknowledged.
pub async fn create(
    conn: &mut Conn,
    name: &str,
    i: usize,
) -> Result<(SocketAddrV4, Instant, Instant)> {
    let sent = Instant::now();
    let made = conn.post(&services_path(), &service(name)).await?.ok()?;
    conn.post(&slices_path(), &slice(name, i, Set::A))
        .await?
        .ok()?;
    let acked = Instant::now();
    Ok((address(&made)?, sent, acked))
}

fn address(service: &Value) -> Result<SocketAddrV4> {
    let ip = service["spec"]["clusterIP"]
        .as_str()
        .context("no clusterIP")?
        .parse()?;
    Ok(SocketAddrV4::new(ip, PORT))
}

/// Replaces the endpoints of service `i`; returns when the write was sent and acknowledged.
pub async fn change(conn: &mut Conn, i: usize, set: Set) -> Result<(Instant, Instant)> {
    let body = slice(&name(i), i, set);
    let sent = Instant::now();
    let reply = conn
        .put(&format!("{}/{}", slices_path(), name(i)), &body)
        .await?;
    let acked = Instant::now();
    reply.ok()?;
    Ok((sent, acked))
}

/// Makes services 0..n that don't exist yet, all at set A, and removes those beyond; returns seconds.
pub async fn load(target: &Target, n: usize) -> Result<f64> {
    anyhow::ensure!(n <= MAX, "at most {MAX} services");
    let start = Instant::now();
    let mut conn = target.connect(Proto::H2).await?;
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}});
    conn.post("/api/v1/namespaces", &space).await?;
    let have = addresses(&mut conn).await?;
    remove_from(target, n, &have).await?;
    let mut tasks = Vec::new();
    for (k, mut conn) in target
        .callers(Proto::H2, CALLERS, CALLERS)
        .await?
        .into_iter()
        .enumerate()
    {
        let missing: Vec<usize> = (k..n)
            .step_by(CALLERS)
            .filter(|i| have.get(*i).is_none_or(Option::is_none))
            .collect();
        tasks.push(tokio::spawn(async move {
            for i in missing {
                create(&mut conn, &name(i), i).await?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// The cluster address of each service by its number.
pub async fn addresses(conn: &mut Conn) -> Result<Vec<Option<SocketAddrV4>>> {
    let list = conn.get(&services_path()).await?.ok()?;
    let mut out = Vec::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let Some(i) = item["metadata"]["name"]
            .as_str()
            .and_then(|n| n.strip_prefix("svc-"))
            .and_then(|n| n.parse::<usize>().ok())
        else {
            continue;
        };
        if out.len() <= i {
            out.resize(i + 1, None);
        }
        out[i] = Some(address(item)?);
    }
    Ok(out)
}

pub async fn remove(conn: &mut Conn, name: &str) -> Result<()> {
    conn.delete(&format!("{}/{name}", services_path())).await?;
    conn.delete(&format!("{}/{name}", slices_path())).await?;
    Ok(())
}

/// Removes every Service and slice of ours.
pub async fn clean(target: &Target) -> Result<()> {
    let have = addresses(&mut target.connect(Proto::H2).await?).await?;
    remove_from(target, 0, &have).await
}

/// Removes services `n` and up, one by one (a collection of Services cannot be deleted everywhere).
async fn remove_from(target: &Target, n: usize, have: &[Option<SocketAddrV4>]) -> Result<()> {
    let mut tasks = Vec::new();
    for (k, mut conn) in target
        .callers(Proto::H2, CALLERS, CALLERS)
        .await?
        .into_iter()
        .enumerate()
    {
        let ours: Vec<usize> = (n + k..have.len())
            .step_by(CALLERS)
            .filter(|i| have[*i].is_some())
            .collect();
        tasks.push(tokio::spawn(async move {
            for i in ours {
                remove(&mut conn, &name(i)).await?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}
