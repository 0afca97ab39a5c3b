//! Waiting until a cluster is of use: its nodes are Ready and its DNS answers.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use karve_sys::netns::NetNs;
use karve_watch::Outages;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use tokio::time::{sleep, timeout};

use super::Cluster;
use super::config::{CLUSTER_DNS, CLUSTER_DOMAIN};

/// Longest wait for either.
const READY_MAX: Duration = Duration::from_secs(60);

/// Returns when all of the cluster's nodes are Ready, by watching them.
pub async fn nodes(client: &kube::Client, cluster: &Cluster) -> Result<()> {
    let mut missing: BTreeSet<String> = cluster
        .config
        .local_nodes()
        .into_iter()
        .map(|node| node.name)
        .collect();
    let wait = async {
        let outages = Outages::default();
        let nodes = Api::<Node>::all(client.clone());
        let events = karve_watch::events(nodes, watcher::Config::default(), &outages);
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            if let Event::Apply(node) | Event::InitApply(node) = event
                && is_ready(&node)
            {
                missing.remove(node.metadata.name.as_deref().unwrap_or_default());
            }
            if missing.is_empty() {
                break;
            }
        }
    };
    match timeout(READY_MAX, wait).await {
        Ok(()) => Ok(()),
        Err(_) => bail!(
            "not Ready after {} s: {} (`{}` may say why)",
            READY_MAX.as_secs(),
            missing.into_iter().collect::<Vec<_>>().join(", "),
            cluster.command("logs"),
        ),
    }
}

/// Whether the node's Ready condition is True.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Returns when the cluster's DNS answers on `node`, asked from inside it as a pod would.
///
/// A query over UDP can be lost and an answer can be "not yet", so it is sent again as any resolver does.
pub async fn dns(cluster: &Cluster, node: &str) -> Result<()> {
    const RETRY_FIRST: Duration = Duration::from_millis(5);
    const RETRY_MAX: Duration = Duration::from_millis(250);
    let ask = async {
        let mut retry = RETRY_FIRST;
        while !matches!(
            timeout(RETRY_MAX, ask_dns(cluster, node)).await,
            Ok(Ok(true))
        ) {
            sleep(retry).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    };
    timeout(READY_MAX, ask).await.with_context(|| {
        format!(
            "DNS at {CLUSTER_DNS} does not answer on {node} after {} s",
            READY_MAX.as_secs()
        )
    })
}

/// Asks once for the name of the `kubernetes` Service; true when an address comes back.
pub async fn ask_dns(cluster: &Cluster, node: &str) -> Result<bool> {
    let open = || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(SocketAddr::from((IpAddr::V4(CLUSTER_DNS), 53)))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    // A socket stays in the namespace in which it was opened.
    let socket = NetNs::open(&cluster.name.netns(node))?.run_in(open)??;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    const ID: [u8; 2] = [0x4b, 0x56];
    socket
        .send(&query(
            ID,
            &format!("kubernetes.default.svc.{CLUSTER_DOMAIN}"),
        ))
        .await?;
    let mut reply = [0; 512];
    let length = socket.recv(&mut reply).await?;
    Ok(has_answer(&reply[..length], ID))
}

/// A query for the IPv4 address of `name` (RFC 1035, section 4.1).
fn query(id: [u8; 2], name: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(64);
    message.extend(id);
    // Recursion desired; one question; no other records.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a label has at most 63 bytes"));
        message.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// Whether `reply` answers the query `id` without error and with a record.
fn has_answer(reply: &[u8], id: [u8; 2]) -> bool {
    match reply.first_chunk::<8>() {
        Some([id0, id1, flags, code, _, _, count0, count1]) => {
            let is_response = flags & 0x80 != 0;
            [*id0, *id1] == id && is_response && code & 0x0f == 0 && (*count0, *count1) != (0, 0)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_written_and_answers_read() {
        let message = query([1, 2], "a.bc");
        assert_eq!(message[12..], [1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1]);
        let reply =
            |flags: u8, code: u8, count: u8| [1, 2, flags, code, 0, 1, 0, count, 0, 0, 0, 0];
        assert!(has_answer(&reply(0x84, 0x80, 1), [1, 2]));
        for (case, reply) in [
            ("a query", reply(0x04, 0, 1)),
            ("SERVFAIL", reply(0x84, 2, 0)),
            ("no record", reply(0x84, 0, 0)),
        ] {
            assert!(!has_answer(&reply, [1, 2]), "{case}");
        }
        assert!(!has_answer(&reply(0x84, 0, 1), [9, 9]));
        assert!(!has_answer(&[], [1, 2]));
    }
}
