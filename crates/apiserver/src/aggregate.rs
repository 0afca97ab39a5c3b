//! Aggregation: groups and versions of the API that other servers answer for.
//!
//! An APIService with a Service hands one group and version over: requests are authenticated and authorized here and then
//! passed on, with who asks in headers (`proxy`). `availability` asks each such server whether it answers, and notes it in the
//! APIService; what it learned is merged into discovery (`discovery`). What this server answers for itself has APIServices,
//! too (`local`).
//!
//! Invariant: what this server serves itself is never handed over. Deliberately absent: `/openapi/v2` of other servers.

mod authentication;
mod availability;
mod discovery;
mod local;
mod proxy;
mod service;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

pub use authentication::publish as publish_authentication;
pub use availability::run as run_availability;
pub use discovery::{hands_over, merge_aggregated, merge_groups, merge_index, one_group};
pub use local::{keep as keep_local, missing as missing_local};
pub use proxy::proxy;
pub use service::{ApiService, ApiServices};

use crate::follow::Follow;
use crate::path::ResourcePath;
use crate::server::Server;
use karve_store::Store;

/// What is known of all APIServices.
pub struct Aggregation {
    services: Follow<Arc<ApiServices>>,
    /// The resource lists that available servers gave, by the names of their APIServices.
    discovered: Mutex<HashMap<String, Arc<Value>>>,
    /// Up to which revision of the store availability was looked at.
    looked: watch::Sender<u64>,
}

impl Aggregation {
    /// Of the objects of a store.
    pub fn new(store: &Store) -> Aggregation {
        Aggregation {
            services: Follow::new(store.clone(), &[service::PREFIX]),
            discovered: Mutex::default(),
            looked: watch::Sender::new(0),
        }
    }
}

/// Waits a little until what was just written of APIServices was looked at, so that who reads it back sees whether
/// its server is there.
pub async fn settle(server: &Server) {
    const PATIENCE: Duration = Duration::from_millis(50);
    let revision = server.store.revision();
    let mut looked = server.aggregation.looked.subscribe();
    // In vain where the server takes its time.
    let _ = timeout(PATIENCE, looked.wait_for(|looked| *looked >= revision)).await;
}

/// The server that answers for a path of a resource, if another one does.
pub fn of_resource(server: &Server, path: &ResourcePath) -> Option<Arc<ApiService>> {
    remote(server, &path.group, &path.version)
}

/// The server that answers for another path: discovery or a schema of a group and version.
pub fn of_path(server: &Server, path: &str) -> Option<Arc<ApiService>> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments[..] {
        ["apis", group, version] | ["openapi", "v3", "apis", group, version] => {
            remote(server, group, version)
        }
        _ => None,
    }
}

fn remote(server: &Server, group: &str, version: &str) -> Option<Arc<ApiService>> {
    // Most requests are for what is served here, and end here.
    if group.is_empty() || server.served().table.version(group, version).is_some() {
        return None;
    }
    let services = server.aggregation.services.snapshot();
    services.remote(group, version).cloned()
}
