//! Whether other servers answer: the condition `Available` of APIServices.
//!
//! A server is asked when its APIService, its Service or its endpoints change, and from time to time; who does not answer
//! is asked again soon, and then less and less often. Where there are no such APIServices nothing wakes up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use karve_api::resource::Table;
use karve_store::{Op, Range, Store};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::service::{ApiService, PREFIX};
use crate::server::Server;
use crate::{keys, object, own, write};

const SERVICES: &str = "/core/services/";
const SLICES: &str = "/discovery.k8s.io/endpointslices/";
/// How often who answers is asked.
const PERIOD: Duration = Duration::from_secs(30);
/// The first pause after a failure.
const RETRY_MIN: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A list of resources is not longer.
const LIST_MAX: usize = 4 << 20;

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn unavailable(reason: &'static str, message: String) -> Finding {
    Finding {
        status: "False",
        reason,
        message,
    }
}

/// When an APIService is looked at again.
struct Turn {
    at: Instant,
    pause: Duration,
}

/// Looks after all APIServices of other servers, until the server shuts down.
pub async fn run(server: Arc<Server>) {
    let shutdown = server.options.shutdown.clone();
    let mut turns: HashMap<String, Turn> = HashMap::new();
    while !shutdown.is_cancelled() {
        let revision = server.store.revision();
        let watches: Result<Vec<_>, _> = [PREFIX, SERVICES, SLICES]
            .iter()
            .map(|prefix| server.store.watch(prefix, revision))
            .collect();
        // The history went on meanwhile.
        let Ok(mut watches) = watches else { continue };
        look(&server, &mut turns).await;
        server.aggregation.looked.send_replace(revision);
        let next = turns.values().map(|turn| turn.at).min();
        loop {
            let idle = next.is_none();
            // Without APIServices only those matter.
            let watched = if idle {
                &mut watches[..1]
            } else {
                &mut watches[..]
            };
            let changes = watched.iter_mut().map(|watch| Box::pin(watch.next()));
            tokio::select! {
                () = shutdown.cancelled() => return,
                (change, ..) = futures::future::select_all(changes) => match change {
                    Ok(None) => return,
                    Ok(Some(event)) if !concerns(&server, event.key()) => continue,
                    _ => turns.values_mut().for_each(|turn| turn.at = Instant::now()),
                },
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if !idle => {}
            }
            break;
        }
    }
}

/// Whether a change could matter: that of an APIService, or something in the namespace of a Service that one names.
fn concerns(server: &Server, key: &str) -> bool {
    let services = server.aggregation.services.snapshot();
    let namespace = [SERVICES, SLICES]
        .iter()
        .find_map(|prefix| key.strip_prefix(prefix))
        .and_then(|rest| rest.split('/').next());
    namespace.is_none_or(|namespace| services.iter().any(|s| s.namespace == namespace))
}

/// Asks those whose turn it is, all at once.
async fn look(server: &Arc<Server>, turns: &mut HashMap<String, Turn>) {
    let services = server.aggregation.services.snapshot();
    turns.retain(|name, _| services.iter().any(|service| service.name == *name));
    server
        .aggregation
        .discovered
        .lock()
        .retain(|name, _| services.iter().any(|service| service.name == *name));
    let now = Instant::now();
    let due: Vec<&Arc<ApiService>> = services
        .iter()
        .filter(|service| turns.get(&service.name).is_none_or(|turn| turn.at <= now))
        .collect();
    let findings = join_all(due.iter().map(|service| find(server, service))).await;
    for (service, finding) in due.into_iter().zip(findings) {
        let fails = finding.status != "True";
        note(server, service, &finding).await;
        let last = turns
            .get(&service.name)
            .map_or(RETRY_MIN / 2, |turn| turn.pause);
        let pause = if fails {
            (last * 2).min(PERIOD)
        } else {
            RETRY_MIN / 2
        };
        let wait = if fails { pause } else { PERIOD };
        let at = Instant::now() + wait;
        turns.insert(service.name.clone(), Turn { at, pause });
    }
}

async fn find(server: &Server, service: &ApiService) -> Finding {
    let stored = server.store.get(&keys::core(
        "services",
        &service.namespace,
        &service.service,
    ));
    let stored = stored.and_then(|entry| serde_json::from_slice::<Value>(entry.value()).ok());
    let slices = slices(&server.store, service);
    if let Some(finding) = judge(service, stored.as_ref(), &slices) {
        return finding;
    }
    match discover(server, service).await {
        Ok(list) => {
            server
                .aggregation
                .discovered
                .lock()
                .insert(service.name.clone(), Arc::new(list));
            Finding {
                status: "True",
                reason: "Passed",
                message: "all checks passed".into(),
            }
        }
        Err(why) => unavailable("FailedDiscoveryCheck", why),
    }
}

fn slices(store: &Store, service: &ApiService) -> Vec<Value> {
    let prefix = format!("{SLICES}{}/", service.namespace);
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    let entries = store
        .range(&range)
        .map(|page| page.entries)
        .unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| serde_json::from_slice::<Value>(entry.value()).ok())
        .filter(|slice| {
            slice["metadata"]["labels"]["kubernetes.io/service-name"] == service.service.as_str()
        })
        .collect()
}

/// What is wrong before anybody is asked.
fn judge(service: &ApiService, stored: Option<&Value>, slices: &[Value]) -> Option<Finding> {
    let (name, port) = (&service.service, service.port);
    let place = karve_api::field::quote(&service.namespace);
    let Some(stored) = stored else {
        let why = format!("service/{name} in {place} is not present");
        return Some(unavailable("ServiceNotFound", why));
    };
    if stored["spec"]["type"] != "ClusterIP" {
        return None;
    }
    let mut ports = stored["spec"]["ports"].as_array().into_iter().flatten();
    let Some(found) = ports.find(|p| p["port"] == port) else {
        let why = format!("service/{name} in {place} is not listening on port {port}");
        return Some(unavailable("ServicePortError", why));
    };
    if slices.is_empty() {
        let why = format!("cannot find endpointslices for service/{name} in {place}");
        return Some(unavailable("EndpointsNotFound", why));
    }
    let port_name = found["name"].as_str().unwrap_or_default();
    let ready = slices.iter().any(|slice| {
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
        ports.any(|p| p["name"].as_str().unwrap_or_default() == port_name)
            && endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false)
    });
    if ready {
        return None;
    }
    let port_name = karve_api::field::quote(port_name);
    let why = format!(
        "endpointslices for service/{name} in {place} have no addresses with port name {port_name}"
    );
    Some(unavailable("MissingEndpoints", why))
}

/// Asks for the list of resources, which the server has to have.
async fn discover(server: &Server, service: &ApiService) -> Result<Value, String> {
    let authority = format!(
        "{}.{}.svc:{}",
        service.service, service.namespace, service.port
    );
    let url = format!(
        "https://{authority}/apis/{}/{}",
        service.group, service.version
    );
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let request = Request::get(&url)
        .header("accept", "application/json")
        .header("x-remote-user", "system:kube-aggregator")
        .header("x-remote-group", "system:masters")
        .body(Full::<Bytes>::default())
        .map_err(|err| failed(err.to_string()))?;
    let backend = service.backend(server).map_err(&failed)?;
    let exchange = async {
        let response = backend
            .client
            .request(request)
            .await
            .map_err(|err| format!("Get \"{url}\": {}", crate::webhook::client::cause(&err)))?;
        let code = response.status().as_u16();
        if !(200..300).contains(&code) {
            return Err(format!("bad status from {url}: {code}"));
        }
        let body = Limited::new(response.into_body(), LIST_MAX)
            .collect()
            .await
            .map_err(|err| err.to_string())?;
        // What can't be read is still an answer.
        Ok(serde_json::from_slice(&body.to_bytes()).unwrap_or_default())
    };
    match tokio::time::timeout(ANSWER_MAX, exchange).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed(format!("Get \"{url}\": context deadline exceeded"))),
    }
}

/// Writes the condition, if it changed.
async fn note(server: &Server, service: &ApiService, finding: &Finding) {
    let kind = Table::builtin()
        .by_kind("apiregistration.k8s.io", "v1", "APIService")
        .expect("built in");
    let key = format!("{PREFIX}{}", service.name);
    while let Some(entry) = server.store.get(&key) {
        let old = object::decode(entry.value(), kind);
        let Some(mut new) = with_condition(&old, finding, &write::now()) else {
            return;
        };
        own::record(kind, "status", Some(&old), &mut new);
        let op = Op::update(key.as_str(), entry.revision(), object::encode(&new, kind));
        match server.store.commit(vec![op]).await {
            Ok(_) => return,
            Err(karve_store::Error::Conflict { .. }) => {}
            Err(err) => {
                let err = &err as &dyn std::error::Error;
                tracing::warn!(err, service = service.name, "availability not noted");
                return;
            }
        }
    }
}

/// The object with the condition; `None` when it has it already.
fn with_condition(old: &Value, finding: &Finding, now: &str) -> Option<Value> {
    let mut new = old.clone();
    let status = object::member_mut(&mut new, "status");
    let conditions = status.entry("conditions").or_insert(json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let list = conditions.as_array_mut()?;
    let place = list.iter().position(|c| c["type"] == "Available");
    let before = place.map(|i| list[i].clone()).unwrap_or_default();
    let same = |member: &str, value: &str| before[member] == value;
    if same("status", finding.status)
        && same("reason", finding.reason)
        && same("message", &finding.message)
    {
        return None;
    }
    let since = match same("status", finding.status) {
        true => before["lastTransitionTime"]
            .as_str()
            .unwrap_or(now)
            .to_owned(),
        false => now.to_owned(),
    };
    let condition = json!({
        "type": "Available", "status": finding.status, "lastTransitionTime": since,
        "reason": finding.reason, "message": finding.message,
    });
    match place {
        Some(i) => list[i] = condition,
        None => list.push(condition),
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_change_only_when_something_did() {
        let passed = Finding {
            status: "True",
            reason: "Passed",
            message: "all checks passed".into(),
        };
        let first = with_condition(&json!({"metadata": {}}), &passed, "t1").expect("new");
        assert_eq!(first["status"]["conditions"][0]["lastTransitionTime"], "t1");
        assert_eq!(with_condition(&first, &passed, "t2"), None);
        let worse = unavailable("ServiceNotFound", "gone".into());
        let second = with_condition(&first, &worse, "t2").expect("changed");
        assert_eq!(
            second["status"]["conditions"][0]["lastTransitionTime"],
            "t2"
        );
        let other = unavailable("MissingEndpoints", "gone".into());
        let third = with_condition(&second, &other, "t3").expect("changed");
        assert_eq!(third["status"]["conditions"][0]["lastTransitionTime"], "t2");
        assert_eq!(
            third["status"]["conditions"].as_array().map(Vec::len),
            Some(1)
        );
    }
}
