//! Nodes with what is placed on them, kept up to date by changes.
//!
//! A pod that was given to a node counts there at once (it is *assumed*), long
//! before the watch shows it, so that a burst of pods does not overfill a node.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm, PodSpec};

use super::resources::{self, Amounts};
use crate::{ownership::controller_of, pod};

/// A port on the node that a container takes: address, protocol, number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        let any = |address: &str| address.is_empty() || address == "0.0.0.0";
        let overlap = any(&self.address) || any(&other.address) || self.address == other.address;
        overlap && self.protocol == other.protocol && self.port == other.port
    }
}

/// A pod, with what scheduling asks about it again and again.
#[derive(Debug)]
pub(super) struct PodInfo {
    pub(super) pod: Arc<Pod>,
    pub(super) requests: Amounts,
    /// CPU (thousandths) and memory, guessed where nothing is asked for.
    pub(super) likely_use: (i64, i64),
    pub(super) host_ports: Vec<HostPort>,
    pub(super) required_anti_affinity: Vec<PodAffinityTerm>,
}

impl PodInfo {
    pub(super) fn new(pod: &Arc<Pod>) -> Self {
        let none = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&none);
        let anti = spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let required = anti.and_then(|anti| {
            anti.required_during_scheduling_ignored_during_execution
                .clone()
        });
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.iter().chain(sidecars);
        let ports = ports.flat_map(|container| container.ports.iter().flatten());
        let host_ports = ports.filter_map(|port| {
            Some(HostPort {
                address: port.host_ip.clone().unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                port: port.host_port.filter(|port| *port > 0)?,
            })
        });
        Self {
            pod: Arc::clone(pod),
            requests: resources::requests(spec),
            likely_use: resources::likely_use(spec),
            host_ports: host_ports.collect(),
            required_anti_affinity: required.unwrap_or_default(),
        }
    }

    pub(super) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.pod.metadata.labels.as_ref()
    }

    pub(super) fn owner(&self) -> Option<&str> {
        controller_of(&self.pod.metadata).map(|owner| owner.uid.as_str())
    }
}

/// A node and its pods.
#[derive(Debug)]
pub(super) struct NodeInfo {
    pub(super) node: Arc<Node>,
    pub(super) allocatable: Amounts,
    pub(super) requested: Amounts,
    pub(super) likely_use: (i64, i64),
    pub(super) pods: BTreeMap<String, Arc<PodInfo>>,
    /// Pods by the object that controls them.
    pub(super) by_owner: HashMap<String, usize>,
    /// How many of the pods keep others away.
    pub(super) with_anti_affinity: usize,
}

impl NodeInfo {
    pub(super) fn new(node: &Arc<Node>) -> Self {
        Self {
            node: Arc::clone(node),
            allocatable: resources::allocatable(node),
            requested: Amounts::default(),
            likely_use: (0, 0),
            pods: BTreeMap::new(),
            by_owner: HashMap::new(),
            with_anti_affinity: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn label(&self, name: &str) -> Option<&String> {
        self.node.metadata.labels.as_ref()?.get(name)
    }

    pub(super) fn add(&mut self, info: Arc<PodInfo>) {
        self.remove(info.uid());
        self.requested.add(&info.requests);
        self.likely_use.0 += info.likely_use.0;
        self.likely_use.1 += info.likely_use.1;
        self.with_anti_affinity += usize::from(!info.required_anti_affinity.is_empty());
        if let Some(owner) = info.owner().filter(|_| !pod::is_terminating(&info.pod)) {
            *self.by_owner.entry(owner.to_owned()).or_default() += 1;
        }
        self.pods.insert(info.uid().to_owned(), info);
    }

    fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let info = self.pods.remove(uid)?;
        self.requested.subtract(&info.requests);
        self.likely_use.0 -= info.likely_use.0;
        self.likely_use.1 -= info.likely_use.1;
        self.with_anti_affinity -= usize::from(!info.required_anti_affinity.is_empty());
        if let Some(owner) = info.owner().filter(|_| !pod::is_terminating(&info.pod))
            && let Some(count) = self.by_owner.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                self.by_owner.remove(owner);
            }
        }
        Some(info)
    }
}

/// All nodes, and where each pod is.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) nodes: BTreeMap<String, NodeInfo>,
    /// Pods by UID: the node, and the pod itself while the node is unknown.
    placed: HashMap<String, (String, Arc<PodInfo>)>,
}

impl Cache {
    pub(super) fn set_node(&mut self, node: &Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(info) = self.nodes.get_mut(&name) {
            info.allocatable = resources::allocatable(node);
            info.node = Arc::clone(node);
            return;
        }
        let mut info = NodeInfo::new(node);
        let placed = self.placed.values().filter(|(node, _)| *node == name);
        placed.for_each(|(_, pod)| info.add(Arc::clone(pod)));
        self.nodes.insert(name, info);
    }

    pub(super) fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Counts a pod on a node; what it was counted as before is replaced.
    pub(super) fn place(&mut self, node: &str, info: Arc<PodInfo>) {
        self.take_away(info.uid());
        if let Some(node) = self.nodes.get_mut(node) {
            node.add(Arc::clone(&info));
        }
        let uid = info.uid().to_owned();
        self.placed.insert(uid, (node.to_owned(), info));
    }

    /// No longer counts a pod anywhere; true if it was counted.
    pub(super) fn take_away(&mut self, uid: &str) -> bool {
        let Some((node, _)) = self.placed.remove(uid) else {
            return false;
        };
        if let Some(node) = self.nodes.get_mut(&node) {
            node.remove(uid);
        }
        true
    }
}
