//! Health check node ports: load balancers ask each node whether it has endpoints of a Service with
//! externalTrafficPolicy Local.
//!
//! One HTTP server a Service and family, on any path: 200 while there are ready endpoints here and the
//! proxy keeps up, else 503. A port that is taken is told as an event, and tried again with each change.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use jiff::Timestamp;
use karve_watch::ObjectName;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::dataplane::Family;
use crate::health::Health;
use crate::http::{self as server, Answer, Respond};
use crate::plan::HealthCheck;

const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The servers of one family.
#[derive(Debug)]
pub(crate) struct Checks {
    family: Family,
    /// Where node ports answer; everywhere when empty.
    addresses: Vec<IpNet>,
    health: Arc<Health>,
    servers: BTreeMap<ObjectName, Server>,
    /// Ports that could not be had, so that this is told once.
    failed: BTreeMap<ObjectName, u16>,
}

#[derive(Debug)]
struct Server {
    port: u16,
    local: Arc<AtomicUsize>,
    _running: DropGuard,
}

/// A port that could not be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub service: ObjectName,
    pub port: u16,
    pub reason: String,
}

impl Checks {
    pub(crate) fn new(family: Family, addresses: Vec<IpNet>, health: Arc<Health>) -> Self {
        let (servers, failed) = (BTreeMap::new(), BTreeMap::new());
        Self {
            family,
            addresses,
            health,
            servers,
            failed,
        }
    }

    /// Whether these are the servers of `family`.
    pub(crate) fn is_of(&self, family: Family) -> bool {
        self.family == family
    }

    /// Runs a server for each Service in `wanted` and no other; returns what newly failed.
    pub(crate) fn update(&mut self, wanted: &BTreeMap<ObjectName, HealthCheck>) -> Vec<Failure> {
        let is_wanted =
            |name: &ObjectName, port: u16| wanted.get(name).is_some_and(|w| w.port == port);
        self.servers
            .retain(|name, server| is_wanted(name, server.port));
        self.failed.retain(|name, port| is_wanted(name, *port));
        let mut failures = Vec::new();
        for (service, check) in wanted {
            if let Some(server) = self.servers.get(service) {
                server.local.store(check.local, Ordering::Relaxed);
                continue;
            }
            match self.start(service, *check) {
                Ok(server) => {
                    self.failed.remove(service);
                    self.servers.insert(service.clone(), server);
                }
                Err(err) => {
                    let known = self.failed.insert(service.clone(), check.port);
                    if known.is_none() {
                        let (service, port) = (service.clone(), check.port);
                        failures.push(Failure {
                            service,
                            port,
                            reason: err.to_string(),
                        });
                    }
                }
            }
        }
        failures
    }

    fn start(&self, service: &ObjectName, check: HealthCheck) -> std::io::Result<Server> {
        let any = match self.family {
            Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let listener = server::listen(SocketAddr::new(any, check.port))?;
        let local = Arc::new(AtomicUsize::new(check.local));
        let stop = CancellationToken::new();
        let (count, health, service) = (local.clone(), self.health.clone(), service.clone());
        let addresses = self.addresses.clone();
        let respond: Respond = Arc::new(move |_, to| {
            if !addresses.is_empty() && !addresses.iter().any(|net| net.contains(&to.ip())) {
                return server::answer(StatusCode::NOT_FOUND, "text/plain", "");
            }
            respond(
                &service,
                count.load(Ordering::Relaxed),
                health.is_healthy(Timestamp::now()),
            )
        });
        tokio::spawn(server::serve(listener, respond, stop.clone()));
        Ok(Server {
            port: check.port,
            local,
            _running: stop.drop_guard(),
        })
    }
}

/// kube-proxy's answer.
fn respond(service: &ObjectName, local: usize, healthy: bool) -> Answer {
    let ObjectName { namespace, name } = service;
    let status = if local > 0 && healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\
         \t\"localEndpoints\": {local},\n\t\"serviceProxyHealthy\": {healthy}\n}}\n"
    );
    let mut answer = server::answer(status, "application/json", body);
    answer
        .headers_mut()
        .insert(WEIGHT, HeaderValue::from(local));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_endpoints_and_health_decide() {
        let name = ObjectName::new("default", "web");
        let rows = [(2, true, 200), (0, true, 503), (2, false, 503)];
        for (local, healthy, status) in rows {
            let answer = respond(&name, local, healthy);
            assert_eq!(answer.status(), status, "{local} {healthy}");
            assert_eq!(answer.headers()[&WEIGHT], local.to_string().as_str());
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_once_and_tried_again() {
        let taken = server::listen("0.0.0.0:0".parse().expect("address")).expect("listen");
        let port = taken.local_addr().expect("address").port();
        let mut checks = Checks::new(Family::V4, Vec::new(), Arc::default());
        let name = ObjectName::new("default", "web");
        let wanted = BTreeMap::from([(name.clone(), HealthCheck { port, local: 1 })]);
        assert_eq!(checks.update(&wanted).len(), 1);
        assert_eq!(checks.update(&wanted).len(), 0, "told already");
        drop(taken);
        assert_eq!(checks.update(&wanted), []);
        assert!(checks.servers.contains_key(&name));
        checks.update(&BTreeMap::new());
        assert!(checks.servers.is_empty());
    }
}
