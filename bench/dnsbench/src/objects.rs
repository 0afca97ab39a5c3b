//! The Services under test, with hand-made EndpointSlices.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benchkit::api::{Conn, Proto, Target};
use serde_json::{Value, json};

use crate::ask::query;

const SPACE: &str = "dnsbench";
const CALLERS: usize = 32;
/// The longest wait for a name.
const NAME_MAX: Duration = Duration::from_secs(10);

/// The name of Service `i` in DNS.
pub fn full_name(i: usize) -> String {
    format!("{}.{SPACE}.svc.cluster.local", name(i))
}

fn name(i: usize) -> String {
    format!("svc-{i:05}")
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
           "spec": {"ports": [{"name": "web", "port": 80, "protocol": "TCP"}]}})
}

fn slice(name: &str, i: usize, endpoints: usize) -> Value {
    let base = u32::from(Ipv4Addr::new(10, 244, 0, 2)) + (i * endpoints) as u32;
    let endpoints: Vec<Value> = (0..endpoints as u32)
        .map(|k| json!({"addresses": [Ipv4Addr::from(base + k)], "conditions": {"ready": true}}))
        .collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
           "addressType": "IPv4", "endpoints": endpoints,
           "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}]})
}

fn services() -> String {
    format!("/api/v1/namespaces/{SPACE}/services")
}

fn slices() -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices")
}

/// Makes `n` Services with slices; returns seconds.
pub async fn load(target: &Target, n: usize, endpoints: usize) -> Result<f64> {
    let start = Instant::now();
    let mut conn = target.connect(Proto::H2).await?;
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}});
    conn.post("/api/v1/namespaces", &space).await?;
    let mut tasks = Vec::new();
    let callers = target.callers(Proto::H2, CALLERS, CALLERS).await?;
    for (k, mut conn) in callers.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            for i in (k..n).step_by(CALLERS) {
                let name = name(i);
                conn.post(&services(), &service(&name)).await?.ok()?;
                let slice = slice(&name, i, endpoints);
                conn.post(&slices(), &slice).await?.ok()?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Creates Services one by one; from the API's acknowledgement to the first answer, in ms.
pub async fn creations(target: &Target, dns: SocketAddr, count: usize) -> Result<Value> {
    let mut conn = target.connect(Proto::H2).await?;
    let mut samples = Vec::new();
    for i in 0..count {
        let name = format!("new-{i}-{}", std::process::id());
        samples.push(creation(&mut conn, dns, &name).await?);
        conn.delete(&format!("{}/{name}", services())).await?;
    }
    Ok(benchkit::stats::summary(samples))
}

async fn creation(conn: &mut Conn, dns: SocketAddr, name: &str) -> Result<f64> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("bind a socket")?;
    socket.connect(dns)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let query = query(&format!("{name}.{SPACE}.svc.cluster.local"));
    conn.post(&services(), &service(name)).await?.ok()?;
    let acked = Instant::now();
    let mut reply = [0; 2048];
    while acked.elapsed() < NAME_MAX {
        socket.send(&query)?;
        if let Ok(len) = socket.recv(&mut reply)
            && len > 12
            && reply[7] > 0
        {
            return Ok(acked.elapsed().as_secs_f64() * 1e3);
        }
    }
    bail!("{name} is not answered")
}
