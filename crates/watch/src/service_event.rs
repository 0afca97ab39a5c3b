//! Events on Services, as the parts that serve them write them: each by itself, without counting equal ones.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::ObjectName;

/// Longest wait for the API server.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Something that users should know about a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEvent {
    /// The Service.
    pub service: ObjectName,
    /// Its UID, so that `kubectl describe` finds the event; empty when it isn't known.
    pub uid: String,
    /// Something is wrong.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

/// Writes an event as `component`, of a node if it is one's. That it can't be written is no reason to do anything else; it is
/// logged.
pub async fn record_service_event(
    client: &Client,
    component: &str,
    node: Option<&str>,
    event: ServiceEvent,
) {
    let api: Api<Event> = Api::namespaced(client.clone(), &event.service.namespace);
    let object = object(component, node, &event, Timestamp::now());
    let params = PostParams::default();
    let result = tokio::time::timeout(REQUEST_MAX, api.create(&params, &object)).await;
    match result {
        Ok(Ok(_)) => {}
        Ok(Err(err)) => {
            tracing::warn!(service = %event.service, err = &err as &dyn std::error::Error, "event not recorded");
        }
        Err(_) => tracing::warn!(service = %event.service, "event not recorded in time"),
    }
}

fn object(component: &str, node: Option<&str>, event: &ServiceEvent, now: Timestamp) -> Event {
    let (namespace, name) = (&*event.service.namespace, &*event.service.name);
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
            uid: Some(event.uid.clone()).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        },
        reason: Some(event.reason.to_owned()),
        message: Some(event.message.clone()),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        source: Some(EventSource {
            component: Some(component.to_owned()),
            host: node.map(ToOwned::to_owned),
        }),
        reporting_component: Some(component.to_owned()),
        reporting_instance: node.map(ToOwned::to_owned),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Event::default()
    }
}
