//! One audit event, in upstream's form (`audit.k8s.io/v1`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::HeaderMap;
use http::request::Parts;
use serde::Serialize;
use serde_json::{Value, json};

use super::policy::{Level, Stage};
use crate::identity::Identity;
use crate::listen::Peer;
use crate::seen::Seen;
use crate::trail::Trail;

/// What the log writes of a User-Agent at most.
const USER_AGENT_MAX: usize = 1024;

/// An event. The order of members is upstream's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<Value>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

/// What is known when a request comes.
#[derive(Debug, Clone)]
pub struct Head {
    audit_id: String,
    request_uri: String,
    verb: String,
    source_ips: Vec<String>,
    user_agent: String,
    object_ref: Option<ObjectRef>,
    received: String,
}

/// What is known of the answer.
#[derive(Debug, Default)]
pub struct Answered {
    /// As a Status.
    pub status: Option<Value>,
    /// The object.
    pub object: Option<Value>,
}

impl Head {
    /// Looks at the head of a request.
    pub fn of(audit_id: &str, parts: &Parts, seen: &Seen, received: jiff::Timestamp) -> Head {
        let agent = parts.headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let user_agent = match agent.char_indices().nth(USER_AGENT_MAX) {
            Some((end, _)) => format!("{}...TRUNCATED", &agent[..end]),
            None => agent.to_owned(),
        };
        let object_ref = seen.resource().map(|path| ObjectRef {
            resource: path.resource.clone(),
            namespace: seen.namespace().to_owned(),
            name: path.name.clone(),
            uid: String::new(),
            api_group: path.group.clone(),
            api_version: path.version.clone(),
            resource_version: String::new(),
            subresource: path.subresource.clone(),
        });
        let uri = parts.uri.path_and_query();
        Head {
            audit_id: audit_id.to_owned(),
            request_uri: uri.map_or_else(String::new, ToString::to_string),
            verb: seen.verb(),
            source_ips: source_ips(
                &parts.headers,
                parts.extensions.get::<Peer>().map(|p| p.0.ip()),
            ),
            user_agent,
            object_ref,
            received: micros(received),
        }
    }

    /// The event of a stage.
    pub fn event(&self, level: Level, stage: Stage, trail: &Trail, answered: Answered) -> Event {
        let mut object_ref = self.object_ref.clone();
        if let (Some(object_ref), Some(object)) = (&mut object_ref, &trail.request_object) {
            let text = |name: &str| {
                object["metadata"][name]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            let fill = |own: &mut String, name: &str| {
                if own.is_empty() {
                    *own = text(name);
                }
            };
            fill(&mut object_ref.name, "name");
            fill(&mut object_ref.uid, "uid");
            fill(&mut object_ref.resource_version, "resourceVersion");
        }
        Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: level.as_str(),
            audit_id: self.audit_id.clone(),
            stage: stage.as_str(),
            request_uri: self.request_uri.clone(),
            verb: self.verb.clone(),
            user: trail.user.as_ref().map_or_else(|| json!({}), user_info),
            impersonated_user: trail.impersonated.as_ref().map(user_info),
            source_ips: self.source_ips.clone(),
            user_agent: self.user_agent.clone(),
            object_ref,
            response_status: answered.status,
            request_object: trail
                .request_object
                .clone()
                .filter(|_| level >= Level::Request),
            response_object: answered.object,
            request_received_timestamp: self.received.clone(),
            stage_timestamp: micros(jiff::Timestamp::now()),
            annotations: trail.annotations.iter().cloned().collect(),
        }
    }
}

fn user_info(identity: &Identity) -> Value {
    let mut info = json!({"username": *identity.user});
    if !identity.uid.is_empty() {
        info["uid"] = Value::from(&*identity.uid);
    }
    info["groups"] = identity.groups.iter().cloned().collect();
    if !identity.extra.is_empty() {
        info["extra"] = json!(*identity.extra);
    }
    info
}

/// Where the request came from: what proxies say, then the other end of the connection.
fn source_ips(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let mut ips: Vec<IpAddr> = text("x-forwarded-for")
        .split(',')
        .filter_map(parse)
        .collect();
    if let Some(real) =
        parse(text("x-real-ip")).filter(|real| ips.is_empty() || !ips.contains(real))
    {
        ips.push(real);
    }
    if let Some(peer) = peer.filter(|peer| ips.last() != Some(peer)) {
        ips.push(peer);
    }
    ips.iter().map(ToString::to_string).collect()
}

/// Six digits, as upstream's MicroTime.
fn micros(time: jiff::Timestamp) -> String {
    format!("{time:.6}")
}

/// An object without its managed fields, or a list of such.
pub fn without_managed_fields(mut object: Value) -> Value {
    fn clear(object: &mut Value) {
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata {
            metadata.remove("managedFields");
        }
    }
    clear(&mut object);
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(clear);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_look_like_those_of_upstream() {
        let request = http::Request::builder()
            .uri("/api/v1/namespaces/a/pods/b/log?follow=true")
            .header("user-agent", "kubectl/v1")
            .header("x-forwarded-for", "10.0.0.1, 10.0.0.2");
        let (mut parts, ()) = request.body(()).expect("request").into_parts();
        parts
            .extensions
            .insert(Peer("127.0.0.1:5".parse().expect("address")));
        let head = Head::of("id", &parts, &Seen::of(&parts), jiff::Timestamp::UNIX_EPOCH);
        let trail = Trail {
            user: Some(Identity::authenticated("alice", ["dev".to_owned()])),
            annotations: vec![("k".into(), "v".into())],
            ..Trail::default()
        };
        let answered = Answered {
            status: Some(json!({"metadata": {}, "code": 200})),
            object: None,
        };
        let event = head.event(Level::Metadata, Stage::ResponseComplete, &trail, answered);
        let mut text = serde_json::to_value(&event).expect("JSON");
        assert!(
            text["stageTimestamp"]
                .as_str()
                .is_some_and(|t| t.len() == 27)
        );
        text.as_object_mut()
            .expect("an object")
            .remove("stageTimestamp");
        assert_eq!(
            text,
            json!({
                "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "id",
                "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/a/pods/b/log?follow=true", "verb": "get",
                "user": {"username": "alice", "groups": ["dev", "system:authenticated"]},
                "sourceIPs": ["10.0.0.1", "10.0.0.2", "127.0.0.1"], "userAgent": "kubectl/v1",
                "objectRef": {"resource": "pods", "namespace": "a", "name": "b", "apiVersion": "v1", "subresource": "log"},
                "responseStatus": {"metadata": {}, "code": 200},
                "requestReceivedTimestamp": "1970-01-01T00:00:00.000000Z",
                "annotations": {"k": "v"},
            })
        );
    }
}
