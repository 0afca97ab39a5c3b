//! Which objects the pods of a node refer to.
//!
//! Kept by object: a pod that comes or goes costs what it refers to, a question one look-up.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::refers;
use crate::follow::Index;
use crate::object::Meta;

/// Kinds of objects that nodes are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Pod,
    Secret,
    ConfigMap,
    ServiceAccount,
    Claim,
    ResourceClaim,
    Volume,
    Attachment,
    Slice,
    CertificateRequest,
}

/// An object: kind, namespace, name.
pub type Thing = (Kind, Box<str>, Box<str>);

/// A pod that is bound to a node.
#[derive(Debug)]
struct Pod {
    node: Box<str>,
    refers: HashSet<Thing>,
}

/// A volume that is bound to a claim.
#[derive(Debug)]
struct Volume {
    claim: Thing,
    secrets: Vec<Thing>,
}

/// All references that matter.
#[derive(Debug, Default)]
pub struct Graph {
    pods: HashMap<(Box<str>, Box<str>), Pod>,
    volumes: HashMap<Box<str>, Volume>,
    /// How many pods of a node refer to an object.
    nodes: HashMap<Thing, HashMap<Box<str>, usize>>,
    /// Volumes whose drivers need a secret.
    secret_volumes: HashMap<Thing, HashSet<Box<str>>>,
    /// Objects that say themselves which node's they are.
    placed: HashMap<Thing, Box<str>>,
}

/// Where the objects are that it is made from.
pub const PREFIXES: &[&str] = &[
    "/core/pods/",
    "/core/persistentvolumes/",
    "/storage.k8s.io/volumeattachments/",
    "/resource.k8s.io/resourceslices/",
    "/certificates.k8s.io/podcertificaterequests/",
];

impl Index for Graph {
    fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        let object: Option<Value> = value.and_then(|bytes| serde_json::from_slice(bytes).ok());
        let object = object.as_ref();
        let mut parts = key.trim_start_matches('/').split('/').skip(1);
        let (plural, first, second) =
            (parts.next(), parts.next().unwrap_or_default(), parts.next());
        let (namespace, name) = match second {
            Some(name) => (first, name),
            None => ("", first),
        };
        match plural.unwrap_or_default() {
            "pods" => self.pod(namespace, name, object),
            "persistentvolumes" => self.volume(name, object),
            "volumeattachments" => {
                self.place((Kind::Attachment, namespace.into(), name.into()), object)
            }
            "resourceslices" => self.place((Kind::Slice, namespace.into(), name.into()), object),
            "podcertificaterequests" => {
                self.place(
                    (Kind::CertificateRequest, namespace.into(), name.into()),
                    object,
                );
            }
            _ => {}
        }
    }
}

impl Graph {
    /// Whether the object is a node's, or a pod of the node refers to it.
    pub fn relates(&self, kind: Kind, namespace: &str, name: &str, node: &str) -> bool {
        let thing: Thing = (kind, namespace.into(), name.into());
        match kind {
            Kind::Pod => {
                let (_, namespace, name) = thing;
                self.pods
                    .get(&(namespace, name))
                    .is_some_and(|pod| &*pod.node == node)
            }
            Kind::Attachment | Kind::Slice | Kind::CertificateRequest => self
                .placed
                .get(&thing)
                .is_some_and(|placed| &**placed == node),
            Kind::Volume => self.volume_relates(name, node),
            Kind::Secret => {
                let by_volume = self.secret_volumes.get(&thing).into_iter().flatten();
                self.pods_refer(&thing, node)
                    || by_volume.into_iter().any(|v| self.volume_relates(v, node))
            }
            _ => self.pods_refer(&thing, node),
        }
    }

    fn pods_refer(&self, thing: &Thing, node: &str) -> bool {
        self.nodes
            .get(thing)
            .is_some_and(|nodes| nodes.contains_key(node))
    }

    fn volume_relates(&self, name: &str, node: &str) -> bool {
        self.volumes
            .get(name)
            .is_some_and(|volume| self.pods_refer(&volume.claim, node))
    }

    fn pod(&mut self, namespace: &str, name: &str, object: Option<&Value>) {
        let next = object.and_then(|pod| {
            let node = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty())?;
            Some(Pod {
                node: node.into(),
                refers: refers::of_pod(pod, namespace),
            })
        });
        let key = (namespace.into(), name.into());
        let same = |old: &Pod, new: &Pod| old.node == new.node && old.refers == new.refers;
        if matches!((self.pods.get(&key), &next), (Some(old), Some(new)) if same(old, new)) {
            return;
        }
        if let Some(old) = self.pods.remove(&key) {
            for thing in &old.refers {
                self.forget(thing, &old.node);
            }
        }
        if let Some(pod) = next {
            for thing in &pod.refers {
                let nodes = self.nodes.entry(thing.clone()).or_default();
                *nodes.entry(pod.node.clone()).or_default() += 1;
            }
            self.pods.insert(key, pod);
        }
    }

    fn forget(&mut self, thing: &Thing, node: &str) {
        let Some(nodes) = self.nodes.get_mut(thing) else {
            return;
        };
        if let Some(count) = nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                nodes.remove(node);
            }
        }
        if nodes.is_empty() {
            self.nodes.remove(thing);
        }
    }

    fn volume(&mut self, name: &str, object: Option<&Value>) {
        if let Some(old) = self.volumes.remove(name) {
            for secret in &old.secrets {
                if let Some(volumes) = self.secret_volumes.get_mut(secret) {
                    volumes.remove(name);
                    if volumes.is_empty() {
                        self.secret_volumes.remove(secret);
                    }
                }
            }
        }
        let Some(claim) = object
            .map(|v| &v["spec"]["claimRef"])
            .filter(|c| c.is_object())
        else {
            return;
        };
        let text = |member: &str| claim[member].as_str().unwrap_or_default();
        let volume = Volume {
            claim: (Kind::Claim, text("namespace").into(), text("name").into()),
            secrets: object
                .map(|v| refers::of_volume(v, text("namespace")))
                .unwrap_or_default(),
        };
        for secret in &volume.secrets {
            self.secret_volumes
                .entry(secret.clone())
                .or_default()
                .insert(name.into());
        }
        self.volumes.insert(name.into(), volume);
    }

    fn place(&mut self, thing: Thing, object: Option<&Value>) {
        match object
            .and_then(|o| o["spec"]["nodeName"].as_str())
            .filter(|n| !n.is_empty())
        {
            Some(node) => self.placed.insert(thing, node.into()),
            None => self.placed.remove(&thing),
        };
    }
}

/// Whether a pod stands for one that a node has from a file.
pub(super) fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"]
        .get("kubernetes.io/config.mirror")
        .is_some()
}

/// The name of the claim that an ephemeral volume of a pod has.
pub(super) fn ephemeral_claim(pod: &Value, volume: &str) -> String {
    format!("{}-{volume}", pod.meta("name"))
}
