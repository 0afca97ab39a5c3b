//! LoadBalancer addresses: who gets which ([`allocate`], one in the server) and which node answers for
//! them ([`announce`], one in each agent). The field knows this pair as MetalLB's controller and
//! speaker, whose configuration, annotations and events are understood and written here.
//!
//! Invariants: an address belongs to one Service, or to several that agreed to share it; exactly one
//! live node answers for it, chosen by each agent alone from the same objects. Both sides plan purely
//! and keep nothing outside of the API: a restarted process finds all it needs in `status`.
//!
//! Absent on purpose: BGP, IPv6, and a finalizer on Services, since nothing outside of the cluster
//! has to be given back when a Service goes.

pub mod allocate;
pub mod announce;

mod events;
mod pools;
mod watch;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// `namespace` and `name` of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl ObjectName {
    /// The name of an object in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The name of an API object; its namespace is empty when it is in none.
    pub fn of(metadata: &ObjectMeta) -> Self {
        let text = |part: &Option<String>| part.as_deref().unwrap_or_default().into();
        Self {
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name in the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// `namespace/name`, as events and logs have it.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
