//! Events on Services, as kube-proxy writes them.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use karve_watch::ObjectName;
use kube::api::PostParams;
use kube::{Api, Client};

/// Longest wait for the API server.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Writes a warning about `service`, in the background. That it can't be written is no reason to do
/// anything else; it is logged.
pub(crate) fn warn(
    client: &Client,
    node: &str,
    service: &ObjectName,
    reason: &str,
    message: String,
) {
    let api: Api<Event> = Api::namespaced(client.clone(), &service.namespace);
    let event = event(node, service, reason, message, Timestamp::now());
    let service = service.clone();
    tokio::spawn(async move {
        let params = PostParams::default();
        match tokio::time::timeout(REQUEST_MAX, api.create(&params, &event)).await {
            Ok(Ok(_)) => {}
            Ok(Err(err)) => {
                let err = &err as &dyn std::error::Error;
                tracing::warn!(%service, err, "event not recorded");
            }
            Err(_) => tracing::warn!(%service, "event not recorded in time"),
        }
    });
}

fn event(node: &str, service: &ObjectName, reason: &str, message: String, now: Timestamp) -> Event {
    let (namespace, name) = (&*service.namespace, &*service.name);
    Event {
        metadata: ObjectMeta {
            // As client-go names events: the object and the time in hexadecimal nanoseconds.
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        },
        reason: Some(reason.to_owned()),
        message: Some(message),
        type_: Some("Warning".to_owned()),
        source: Some(EventSource {
            component: Some("kube-proxy".to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some("kube-proxy".to_owned()),
        reporting_instance: Some(node.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}
