//! APIServices as the server uses them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::follow::Index;
use crate::server::Server;
use crate::webhook::client::{self, Connector, Destination};

/// Where APIServices are kept.
pub const PREFIX: &str = "/apiregistration.k8s.io/apiservices/";

/// One group and version that another server answers for.
pub struct ApiService {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) group_priority: i64,
    pub(super) version_priority: i64,
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) port: u16,
    pub(super) available: bool,
    ca_bundle: String,
    insecure: bool,
    backend: OnceLock<Result<Backend, String>>,
}

/// Connections to a server.
pub(super) struct Backend {
    pub(super) connector: Connector,
    pub(super) client: legacy::Client<Connector, Full<Bytes>>,
}

impl ApiService {
    fn new(object: &Value) -> Option<ApiService> {
        let spec = &object["spec"];
        let service = spec["service"].as_object()?;
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let conditions = object["status"]["conditions"].as_array();
        let available = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Available" && c["status"] == "True");
        let port = service.get("port").and_then(Value::as_u64);
        Some(ApiService {
            name: text(object["metadata"].get("name")),
            group: text(spec.get("group")),
            version: text(spec.get("version")),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
            namespace: text(service.get("namespace")),
            service: text(service.get("name")),
            port: port
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(443),
            available,
            ca_bundle: text(spec.get("caBundle")),
            insecure: spec["insecureSkipTLSVerify"] == true,
            backend: OnceLock::new(),
        })
    }

    /// The way to the server.
    pub(super) fn backend(&self, server: &Server) -> Result<&Backend, String> {
        let backend = self.backend.get_or_init(|| self.build(server));
        backend.as_ref().map_err(Clone::clone)
    }

    fn build(&self, server: &Server) -> Result<Backend, String> {
        let bundle = BASE64_STANDARD
            .decode(&self.ca_bundle)
            .map_err(|err| err.to_string())?;
        let identity = server.options.proxy_client.as_ref();
        let tls = client::tls_as(&bundle, self.insecure, identity)?;
        let destination = Destination::Service {
            namespace: self.namespace.clone(),
            name: self.service.clone(),
            port: self.port,
        };
        let connector = Connector::new(server.egress.clone(), destination, Arc::new(tls))?;
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector.clone());
        Ok(Backend { connector, client })
    }
}

/// All APIServices of other servers.
#[derive(Clone, Default)]
pub struct ApiServices(BTreeMap<String, Arc<ApiService>>);

impl ApiServices {
    pub(super) fn remote(&self, group: &str, version: &str) -> Option<&Arc<ApiService>> {
        self.0.get(&format!("{PREFIX}{version}.{group}"))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<ApiService>> {
        self.0.values()
    }
}

impl Index for ApiServices {
    fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        let object: Option<Value> = value.map(|v| serde_json::from_slice(v).unwrap_or_default());
        match object.as_ref().and_then(ApiService::new) {
            Some(service) => self.0.insert(key.to_owned(), Arc::new(service)),
            None => self.0.remove(key),
        };
    }
}
