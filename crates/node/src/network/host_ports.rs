//! Host ports: ports of the node that lead to a pod.
//!
//! [`plan`] says which (pure), [`run`] keeps one small nf_tables table so. The table is replaced as a whole, in one
//! transaction, when a pod with host ports comes or goes; a node without any has no table.
//!
//! A port without an address answers on all of the node's addresses, loopback included; there, and for a pod that calls
//! itself, the client's address is masqueraded, else it is kept. Absent: IPv6.

mod table;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::error::Error as StdError;
use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodSpec};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::status::is_terminal;

pub use table::{Error, Kernel};

/// A port of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// On this address only.
    pub ip: Option<Ipv4Addr>,
    /// IP protocol number.
    pub protocol: u8,
    /// Its number.
    pub port: u16,
}

/// Ports of the node, and where they lead.
pub type HostPorts = BTreeMap<HostPort, SocketAddrV4>;

impl HostPort {
    /// Reads a container's port; `None` when it is no port of the node.
    fn parse(port: &ContainerPort) -> Option<HostPort> {
        let number = |n: i32| u16::try_from(n).ok().filter(|n| *n != 0);
        let protocol = match port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => 6,
            "UDP" => 17,
            "SCTP" => 132,
            _ => return None,
        };
        let ip = match port.host_ip.as_deref().unwrap_or_default() {
            "" => None,
            text => Some(text.parse::<Ipv4Addr>().ok()?).filter(|ip| !ip.is_unspecified()),
        };
        Some(HostPort {
            ip,
            protocol,
            port: number(port.host_port?)?,
        })
    }

    /// Whether both can't be had.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let overlap = self.ip.is_none() || other.ip.is_none() || self.ip == other.ip;
        overlap && self.protocol == other.protocol && self.port == other.port
    }
}

/// The ports of the node that a pod asks for, with the container's ports behind them.
pub fn of_spec(spec: &PodSpec) -> impl Iterator<Item = (HostPort, u16)> {
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    ports.filter_map(|port| {
        Some((
            HostPort::parse(port)?,
            u16::try_from(port.container_port).ok()?,
        ))
    })
}

/// Which ports lead where. A port that two pods have is the first one's.
pub fn plan<'a>(pods: impl Iterator<Item = &'a Pod>) -> HostPorts {
    let mut ports = HostPorts::new();
    for pod in pods {
        let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else {
            continue;
        };
        let ended = status.phase.as_deref().is_some_and(is_terminal);
        // A pod on the node's own network has the ports already.
        if ended || spec.host_network == Some(true) {
            continue;
        }
        let ip = status
            .pod_ip
            .as_deref()
            .and_then(|ip| ip.parse::<Ipv4Addr>().ok());
        let Some(ip) = ip else { continue };
        for (port, target) in of_spec(spec) {
            if let Entry::Vacant(free) = ports.entry(port) {
                free.insert(SocketAddrV4::new(ip, target));
            }
        }
    }
    ports
}

/// Keeps the ports right until shutdown.
pub async fn run(
    mut kernel: Kernel,
    mut ports: watch::Receiver<Option<HostPorts>>,
    shutdown: CancellationToken,
) {
    let mut failed = false;
    loop {
        // Nothing is touched before the pods are known: those of an earlier agent go on serving.
        let wanted = ports.borrow_and_update().clone();
        if let Some(wanted) = wanted {
            let applied = tokio::task::spawn_blocking(move || {
                let result = kernel.apply(&wanted);
                (kernel, result)
            });
            let Ok((back, result)) = applied.await else {
                return;
            };
            kernel = back;
            failed = result.is_err();
            if let Err(err) = result {
                tracing::error!(err = &err as &dyn StdError, "host ports not set up");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = ports.changed() => if changed.is_err() { return },
            () = kernel.disturbed() => tracing::warn!("host ports were changed by another program"),
            () = tokio::time::sleep(std::time::Duration::from_secs(1)), if failed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ip: Option<&str>, phase: &str, spec: serde_json::Value) -> Pod {
        let status = json!({"phase": phase, "podIP": ip});
        serde_json::from_value(json!({"spec": spec, "status": status})).expect("a pod")
    }

    fn ports(list: serde_json::Value) -> serde_json::Value {
        json!({"containers": [{"name": "c", "ports": list}]})
    }

    #[test]
    fn pods_with_an_address_have_their_ports() {
        let web = json!([
            {"containerPort": 80, "hostPort": 8080},
            {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "127.0.0.1"},
            {"containerPort": 81},
            {"containerPort": 82, "hostPort": 8082, "hostIP": "::1"},
        ]);
        let other = json!([{"containerPort": 80, "hostPort": 8080, "hostIP": "0.0.0.0"}]);
        let sidecar = json!({
            "containers": [],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "ports": [{"containerPort": 1, "hostPort": 1}]},
                {"name": "i", "ports": [{"containerPort": 2, "hostPort": 2}]},
            ],
        });
        let mut on_host = ports(json!([{"containerPort": 9, "hostPort": 9}]));
        on_host["hostNetwork"] = true.into();
        let pods = [
            pod(Some("10.244.1.1"), "Running", ports(web)),
            pod(Some("10.244.1.2"), "Running", ports(other)),
            pod(Some("10.244.1.3"), "Pending", sidecar),
            pod(Some("192.168.64.2"), "Running", on_host),
            pod(
                None,
                "Pending",
                ports(json!([{"containerPort": 3, "hostPort": 3}])),
            ),
            pod(
                Some("10.244.1.4"),
                "Failed",
                ports(json!([{"containerPort": 4, "hostPort": 4}])),
            ),
        ];
        let planned = plan(pods.iter());
        let shown: Vec<String> = planned
            .iter()
            .map(|(port, to)| format!("{:?} {} {} -> {to}", port.ip, port.protocol, port.port))
            .collect();
        assert_eq!(
            shown,
            [
                "None 6 1 -> 10.244.1.3:1",
                "None 6 8080 -> 10.244.1.1:80",
                "Some(127.0.0.1) 17 5353 -> 10.244.1.1:53",
            ]
        );
    }

    #[test]
    fn ports_conflict_by_address_protocol_and_number() {
        let port = |ip: Option<[u8; 4]>, protocol| HostPort {
            ip: ip.map(Into::into),
            protocol,
            port: 80,
        };
        let (any, loopback, node) = (None, Some([127, 0, 0, 1]), Some([192, 168, 64, 2]));
        let rows = [
            (port(any, 6), port(loopback, 6), true),
            (port(node, 6), port(loopback, 6), false),
            (port(node, 6), port(node, 17), false),
            (port(node, 6), port(node, 6), true),
        ];
        for (a, b, conflict) in rows {
            assert_eq!(
                (a.conflicts(&b), b.conflicts(&a)),
                (conflict, conflict),
                "{a:?} {b:?}"
            );
        }
    }
}
