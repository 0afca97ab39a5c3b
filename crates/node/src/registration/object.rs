//! What this node's Node object should say. Pure.
//!
//! DEVIATION (docs/deviations.md): pressure of memory, disk and processes is not measured; the conditions say that there
//! is none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
    NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::Machine;

/// The Kubernetes version that the node speaks.
const KUBELET_VERSION: &str = "v1.37.2";
/// The port of the kubelet API.
pub(crate) const KUBELET_PORT: u16 = 10250;
/// What is kept back from pods, as upstream's default eviction thresholds keep it.
const MEMORY_RESERVED: i64 = 100 * 1024 * 1024;
const DISK_RESERVED_PERCENT: u64 = 10;

/// Who the node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// The machine it runs on.
    pub machine: Machine,
    /// Most pods on it.
    pub max_pods: u32,
}

/// What the node has for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocatable {
    /// CPUs, in thousandths.
    pub cpu_millis: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Pods.
    pub pods: i64,
}

impl Identity {
    /// What the node has for pods.
    pub fn allocatable(&self) -> Allocatable {
        Allocatable {
            cpu_millis: self.machine.cpu_millis,
            memory_bytes: (self.machine.memory_bytes - MEMORY_RESERVED).max(0),
            pods: i64::from(self.max_pods),
        }
    }
}

/// The whole object, as it is created.
pub(super) fn node(
    identity: &Identity,
    old: Option<&NodeStatus>,
    images: Vec<ContainerImage>,
    now: Timestamp,
) -> Node {
    let arch = identity.machine.architecture.as_str();
    let labels = [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", &identity.name),
        ("kubernetes.io/os", "linux"),
    ];
    let map = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    Node {
        metadata: ObjectMeta {
            name: Some(identity.name.clone()),
            labels: Some(map(&labels)),
            annotations: Some(map(&[(
                "volumes.kubernetes.io/controller-managed-attach-detach",
                "true",
            )])),
            ..ObjectMeta::default()
        },
        spec: None,
        status: Some(status(identity, old, images, now)),
    }
}

/// The labels and annotations that a found Node lacks.
pub(super) fn metadata_patch(wanted: &Node, found: &Node) -> Option<Value> {
    let missing = |wanted: &Option<BTreeMap<String, String>>,
                   found: &Option<BTreeMap<String, String>>| {
        let found = found.clone().unwrap_or_default();
        let wanted = wanted
            .iter()
            .flatten()
            .filter(|(k, v)| found.get(*k) != Some(v));
        wanted
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let labels = missing(&wanted.metadata.labels, &found.metadata.labels);
    let annotations = missing(&wanted.metadata.annotations, &found.metadata.annotations);
    (!labels.is_empty() || !annotations.is_empty())
        .then(|| json!({ "metadata": { "labels": labels, "annotations": annotations } }))
}

/// The status.
pub(super) fn status(
    identity: &Identity,
    old: Option<&NodeStatus>,
    images: Vec<ContainerImage>,
    now: Timestamp,
) -> NodeStatus {
    let machine = &identity.machine;
    let mut addresses: Vec<NodeAddress> = identity
        .ips
        .iter()
        .map(|ip| address("InternalIP", &ip.to_string()))
        .collect();
    addresses.push(address("Hostname", &identity.name));
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(resources(
            identity,
            machine.memory_bytes,
            machine.disk_bytes,
        )),
        allocatable: Some(resources(
            identity,
            identity.allocatable().memory_bytes,
            machine.disk_bytes / 100 * (100 - DISK_RESERVED_PERCENT),
        )),
        conditions: Some(conditions(old, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(KUBELET_PORT),
            }),
        }),
        images: (!images.is_empty()).then_some(images),
        node_info: Some(info(machine)),
        ..NodeStatus::default()
    }
}

fn address(type_: &str, address: &str) -> NodeAddress {
    NodeAddress {
        type_: type_.to_owned(),
        address: address.to_owned(),
    }
}

fn resources(identity: &Identity, memory: i64, disk: u64) -> BTreeMap<String, Quantity> {
    let machine = &identity.machine;
    let mut list = BTreeMap::from([
        (
            "cpu".to_owned(),
            Quantity((machine.cpu_millis / 1000).to_string()),
        ),
        (
            "memory".to_owned(),
            Quantity(format!("{}Ki", memory / 1024)),
        ),
        ("ephemeral-storage".to_owned(), Quantity(disk.to_string())),
        ("pods".to_owned(), Quantity(identity.max_pods.to_string())),
    ]);
    for (kib, bytes) in &machine.hugepages {
        let size = if kib % (1 << 20) == 0 {
            format!("{}Gi", kib >> 20)
        } else {
            format!("{}Mi", kib >> 10)
        };
        list.insert(format!("hugepages-{size}"), Quantity(bytes.to_string()));
    }
    list
}

/// The kubelet's conditions: type, status, reason, message.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "False",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "False",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
    (
        "Ready",
        "True",
        "KubeletReady",
        "kubelet is posting ready status",
    ),
];

fn conditions(old: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let old = old
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let one = |(type_, status, reason, message): (&str, &str, &str, &str)| {
        let same = old.iter().find(|c| c.type_ == type_ && c.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: same
                .and_then(|c| c.last_transition_time.clone())
                .or(Some(Time(now))),
        }
    };
    CONDITIONS.into_iter().map(one).collect()
}

fn info(machine: &Machine) -> NodeSystemInfo {
    NodeSystemInfo {
        machine_id: machine.machine_id.clone(),
        system_uuid: machine.system_uuid.clone(),
        boot_id: machine.boot_id.clone(),
        kernel_version: machine.kernel.clone(),
        os_image: machine.os_image.clone(),
        container_runtime_version: concat!("karve://", env!("CARGO_PKG_VERSION")).to_owned(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        kube_proxy_version: String::new(),
        operating_system: "linux".to_owned(),
        architecture: machine.architecture.clone(),
        running_in_user_namespace: Some(false),
        swap: None,
    }
}

/// Whether the recorded status says something else; heartbeats are not compared.
pub(super) fn differs(recorded: Option<&NodeStatus>, wanted: &NodeStatus) -> bool {
    let Some(recorded) = recorded else {
        return true;
    };
    let condition = |c: &NodeCondition| {
        (
            c.type_.clone(),
            c.status.clone(),
            c.reason.clone(),
            c.message.clone(),
        )
    };
    let have = recorded.conditions.as_deref().unwrap_or_default();
    let conditions = wanted
        .conditions
        .iter()
        .flatten()
        .all(|c| have.iter().any(|h| condition(h) == condition(c)));
    !conditions
        || recorded.addresses != wanted.addresses
        || recorded.capacity != wanted.capacity
        || recorded.allocatable != wanted.allocatable
        || recorded.node_info != wanted.node_info
        || recorded.daemon_endpoints != wanted.daemon_endpoints
        || recorded.images != wanted.images
}

/// The status for a merge patch: lists are replaced whole, so conditions of others are carried along.
pub(super) fn with_all_conditions(found: &Node, status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    let own = status.conditions.take().unwrap_or_default();
    let found = found
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    let others = found
        .iter()
        .filter(|c| !own.iter().any(|o| o.type_ == c.type_))
        .cloned();
    status.conditions = Some(others.chain(own.iter().cloned()).collect());
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let machine = Machine {
            cpu_millis: 2000,
            memory_bytes: 24_684_084 * 1024,
            disk_bytes: 270_553_174_016,
            hugepages: BTreeMap::from([(2048, 0), (1_048_576, 0)]),
            architecture: "amd64".to_owned(),
            ..Machine::default()
        };
        Identity {
            name: "node1".to_owned(),
            ips: vec!["192.168.64.2".parse().expect("ip")],
            machine,
            max_pods: 110,
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("small")
    }

    /// The recorded scenario node-object.
    #[test]
    fn a_new_node_looks_like_the_recorded_one() {
        let node = node(&identity(), None, Vec::new(), at(1));
        let value = serde_json::to_value(&node).expect("serializes");
        assert_eq!(
            value["metadata"]["labels"],
            json!({"beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": "node1", "kubernetes.io/os": "linux"})
        );
        assert_eq!(
            value["status"]["capacity"],
            json!({"cpu": "2", "ephemeral-storage": "270553174016", "hugepages-1Gi": "0", "hugepages-2Mi": "0",
                "memory": "24684084Ki", "pods": "110"})
        );
        assert_eq!(value["status"]["allocatable"]["memory"], "24581684Ki");
        assert_eq!(
            value["status"]["daemonEndpoints"],
            json!({"kubeletEndpoint": {"Port": 10250}})
        );
        assert_eq!(
            value["status"]["addresses"][1],
            json!({"type": "Hostname", "address": "node1"})
        );
        assert_eq!(
            value["status"]["conditions"][3]["message"],
            "kubelet is posting ready status"
        );
    }

    #[test]
    fn a_heartbeat_is_no_difference_and_a_lost_node_is_one() {
        let mut recorded = status(&identity(), None, Vec::new(), at(1));
        let wanted = status(&identity(), Some(&recorded), Vec::new(), at(2));
        assert!(!differs(Some(&recorded), &wanted));
        let transition = |s: &NodeStatus| {
            s.conditions.as_ref().expect("set")[3]
                .last_transition_time
                .clone()
        };
        assert_eq!(transition(&wanted), Some(Time(at(1))));
        recorded.conditions.as_mut().expect("set")[3].status = "Unknown".to_owned();
        let wanted = status(&identity(), Some(&recorded), Vec::new(), at(3));
        assert!(differs(Some(&recorded), &wanted));
        assert_eq!(transition(&wanted), Some(Time(at(3))));
    }

    #[test]
    fn conditions_of_others_are_carried_along() {
        let foreign: NodeCondition =
            serde_json::from_value(json!({"type": "NetworkUnavailable", "status": "False"}))
                .expect("a condition");
        let found = Node {
            status: Some(NodeStatus {
                conditions: Some(vec![foreign]),
                ..NodeStatus::default()
            }),
            ..Node::default()
        };
        let status = status(&identity(), None, Vec::new(), at(1));
        let all = with_all_conditions(&found, &status)
            .conditions
            .expect("set");
        assert_eq!(all.len(), 5);
        assert_eq!(all[0].type_, "NetworkUnavailable");
    }
}
