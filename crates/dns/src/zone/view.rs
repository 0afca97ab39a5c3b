//! What one server shows of the cluster: its zones and the rules of its `kubernetes` plugin.

use std::net::IpAddr;

use domain::base::Name;

use super::OwnedName;
use crate::corefile::{Kubernetes, Pods};

/// How names are read and which exist.
#[derive(Clone, Debug)]
pub struct View {
    /// The cluster's domain, lowered, without the final dot.
    pub(super) suffix: Box<str>,
    /// The same as a name.
    pub(super) origin: OwnedName,
    /// Names of Pods by address.
    pub(super) pods: Pods,
    /// Endpoints without a hostname are called as their Pods.
    pub(super) endpoint_pod_names: bool,
    /// Only these namespaces; empty: all.
    pub(super) namespaces: Box<[Box<str>]>,
    /// Services without a ready endpoint don't exist.
    pub(super) ignore_empty: bool,
    /// Seconds that answers live.
    pub ttl: u32,
    /// The addresses of the name server.
    pub(super) server: Box<[IpAddr]>,
}

impl View {
    /// The view of a plugin, whose server answers at `server`; `None` when its zone is no name.
    pub fn new(options: &Kubernetes, server: &[IpAddr]) -> Option<View> {
        let primary = options.primary.as_ref()?;
        Some(View {
            suffix: primary.as_str().into(),
            origin: Name::vec_from_str(&format!("{}.", primary.as_str())).ok()?,
            pods: options.pods,
            endpoint_pod_names: options.endpoint_pod_names,
            namespaces: options
                .namespaces
                .iter()
                .map(|name| name.to_ascii_lowercase().into())
                .collect(),
            ignore_empty: options.ignore_empty_service,
            ttl: options.ttl,
            server: server.into(),
        })
    }

    /// The zone's apex.
    pub fn origin(&self) -> &OwnedName {
        &self.origin
    }

    /// The apex as text, lowered.
    pub fn domain(&self) -> &str {
        &self.suffix
    }

    /// The name server that the zone names for itself.
    pub fn name_server(&self) -> OwnedName {
        self.name(&["ns", "dns"])
    }

    /// `labels.origin`; labels come from API objects, whose validation bounds them, so that the
    /// name always fits; if one did not, the apex stands in.
    pub(super) fn name(&self, labels: &[&str]) -> OwnedName {
        let text = format!("{}.{}.", labels.join("."), self.suffix);
        Name::vec_from_str(&text).unwrap_or_else(|_| self.origin.clone())
    }

    /// Whether the plugin shows a namespace at all.
    pub(super) fn shows(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|name| &**name == namespace)
    }
}
