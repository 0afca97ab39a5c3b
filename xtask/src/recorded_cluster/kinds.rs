//! The kinds whose objects are part of what a scenario shows, and where the API has them.

/// A kind that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `Pod`
    pub name: &'static str,
    /// `/api/v1`
    pub group: &'static str,
    /// `pods`
    pub plural: &'static str,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
}

const fn kind(
    name: &'static str,
    group: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> Kind {
    Kind {
        name,
        group,
        plural,
        namespaced,
    }
}

const CORE: &str = "/api/v1";
const APPS: &str = "/apis/apps/v1";
const BATCH: &str = "/apis/batch/v1";

/// All of them.
pub const KINDS: [Kind; 31] = [
    kind("Namespace", CORE, "namespaces", false),
    kind("Node", CORE, "nodes", false),
    kind("Pod", CORE, "pods", true),
    kind("Service", CORE, "services", true),
    kind("Endpoints", CORE, "endpoints", true),
    kind("ConfigMap", CORE, "configmaps", true),
    kind("Secret", CORE, "secrets", true),
    kind("ServiceAccount", CORE, "serviceaccounts", true),
    kind("ResourceQuota", CORE, "resourcequotas", true),
    kind("LimitRange", CORE, "limitranges", true),
    kind(
        "ReplicationController",
        CORE,
        "replicationcontrollers",
        true,
    ),
    kind("PersistentVolume", CORE, "persistentvolumes", false),
    kind(
        "PersistentVolumeClaim",
        CORE,
        "persistentvolumeclaims",
        true,
    ),
    kind("Event", CORE, "events", true),
    kind("Deployment", APPS, "deployments", true),
    kind("ReplicaSet", APPS, "replicasets", true),
    kind("StatefulSet", APPS, "statefulsets", true),
    kind("DaemonSet", APPS, "daemonsets", true),
    kind("ControllerRevision", APPS, "controllerrevisions", true),
    kind("Job", BATCH, "jobs", true),
    kind("CronJob", BATCH, "cronjobs", true),
    kind(
        "EndpointSlice",
        "/apis/discovery.k8s.io/v1",
        "endpointslices",
        true,
    ),
    kind(
        "HorizontalPodAutoscaler",
        "/apis/autoscaling/v2",
        "horizontalpodautoscalers",
        true,
    ),
    kind(
        "PodDisruptionBudget",
        "/apis/policy/v1",
        "poddisruptionbudgets",
        true,
    ),
    kind(
        "CertificateSigningRequest",
        "/apis/certificates.k8s.io/v1",
        "certificatesigningrequests",
        false,
    ),
    kind(
        "PriorityClass",
        "/apis/scheduling.k8s.io/v1",
        "priorityclasses",
        false,
    ),
    kind(
        "RuntimeClass",
        "/apis/node.k8s.io/v1",
        "runtimeclasses",
        false,
    ),
    kind(
        "StorageClass",
        "/apis/storage.k8s.io/v1",
        "storageclasses",
        false,
    ),
    kind(
        "NetworkPolicy",
        "/apis/networking.k8s.io/v1",
        "networkpolicies",
        true,
    ),
    kind("Ingress", "/apis/networking.k8s.io/v1", "ingresses", true),
    kind("Role", "/apis/rbac.authorization.k8s.io/v1", "roles", true),
];

/// Kinds that scenarios send and that were not watched: what becomes of their objects is not compared.
const UNSEEN: [&str; 3] = ["PriorityClass", "RuntimeClass", "StorageClass"];

impl Kind {
    /// Whether objects of a kind of this name are part of what a scenario shows.
    pub fn is_shown(name: &str) -> bool {
        name != "Event" && !UNSEEN.contains(&name)
    }

    /// The kind of this name.
    pub fn of(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.name == name)
    }

    /// The path of one object, or of all when no name is given.
    pub fn path(self, namespace: &str, name: &str) -> String {
        let within = match self.namespaced && !namespace.is_empty() {
            true => format!("/namespaces/{namespace}"),
            false => String::new(),
        };
        let object = match name {
            "" => String::new(),
            name => format!("/{name}"),
        };
        format!("{}{within}/{}{object}", self.group, self.plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let pod = Kind::of("Pod").unwrap();
        let node = Kind::of("Node").unwrap();
        assert_eq!(pod.path("ns", "a"), "/api/v1/namespaces/ns/pods/a");
        assert_eq!(pod.path("", ""), "/api/v1/pods");
        assert_eq!(node.path("ns", "n"), "/api/v1/nodes/n");
        assert_eq!(
            Kind::of("Job").unwrap().path("ns", ""),
            "/apis/batch/v1/namespaces/ns/jobs"
        );
    }
}
