//! The end of a definition: its objects go first.

use std::sync::Arc;

use http::HeaderMap;
use karve_api::crd::conditions;
use karve_api::crd::definition::is_condition_true;
use karve_api::resource::{Resource, Table, Verb};
use karve_store::{Action, Expect, Op, Range};
use serde_json::Value;

use super::keeper::with_status;
use super::{FINALIZER, PREFIX, resource};
use crate::call::Call;
use crate::delete;
use crate::identity::Identity;
use crate::keys;
use crate::object::{self, Meta};
use crate::path::ResourcePath;
use crate::query::Query;
use crate::server::Server;

/// Empties a definition that is being deleted and takes its finalizer away. Answers its name when it is done, or when
/// that is not possible now.
pub async fn run(server: Arc<Server>, name: String) -> String {
    let started = (
        "True",
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress".to_owned(),
    );
    let Some(definition) = write(&server, &name, started, false).await else {
        return name;
    };
    let (group, plural) = (
        definition["spec"]["group"].as_str().unwrap_or_default(),
        definition["spec"]["names"]["plural"]
            .as_str()
            .unwrap_or_default(),
    );
    let builtin = Table::builtin().group(group).is_some_and(|group| {
        let mut resources = group.versions.iter().flat_map(|v| &v.resources);
        resources.any(|r| r.plural == plural)
    });
    let last = if builtin {
        (
            "False",
            "OverlappingBuiltInResource",
            "instances overlap with built-in resources in storage".to_owned(),
        )
    } else if is_condition_true(&definition, "Established") {
        match delete_all(&server, &definition).await {
            Ok(()) => (
                "False",
                "InstanceDeletionCompleted",
                "removed all instances".to_owned(),
            ),
            Err(why) => {
                let message = format!("could not issue all deletes: {why}");
                write(
                    &server,
                    &name,
                    ("True", "InstanceDeletionFailed", message),
                    false,
                )
                .await;
                return name;
            }
        }
    } else {
        (
            "False",
            "NeverEstablished",
            "resource was never established".to_owned(),
        )
    };
    write(&server, &name, last, true).await;
    name
}

/// Sets the condition of a definition that is being deleted, and takes the finalizer when it is the last. Answers the
/// definition, unless it is gone or the store refuses.
async fn write(
    server: &Server,
    name: &str,
    (status_word, reason, message): (&'static str, &'static str, String),
    last: bool,
) -> Option<Value> {
    let key = format!("{PREFIX}{name}");
    loop {
        let entry = server.store.get(&key)?;
        let definition = object::decode(entry.value(), resource());
        if !definition.is_deleting() || !definition.finalizers().contains(&FINALIZER) {
            return None;
        }
        let mut status = definition["status"].clone();
        let now = jiff::Timestamp::now();
        conditions::terminating(&mut status, status_word, reason, message.clone(), now);
        let mut next = with_status(&definition, status);
        let mut action = Action::Delete;
        if last {
            let others = definition.finalizers().into_iter();
            let others: Vec<Value> = others
                .filter(|f| *f != FINALIZER)
                .map(Value::from)
                .collect();
            if !others.is_empty() {
                next.set_meta("finalizers", others);
                action = Action::Put(object::encode(&next, resource()));
            }
        } else {
            action = Action::Put(object::encode(&next, resource()));
        }
        let op = Op {
            key: key.as_str().into(),
            expect: Expect::Revision(entry.revision()),
            action,
        };
        match server.store.commit(vec![op]).await {
            Ok(_) => return Some(next),
            Err(karve_store::Error::Conflict { .. }) => {}
            Err(err) => {
                let err: &dyn std::error::Error = &err;
                tracing::warn!(definition = name, err, "deletion not written");
                return None;
            }
        }
    }
}

/// Deletes all objects, with all that admission and finalizers say, and waits until they are gone.
async fn delete_all(server: &Server, definition: &Value) -> Result<(), String> {
    let Some(resource) = stored_resource(definition) else {
        return Ok(());
    };
    let prefix = keys::prefix(&resource, "");
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    let (page, mut changes) = server
        .store
        .range_and_watch(&range)
        .map_err(|e| e.to_string())?;
    let mut left: std::collections::BTreeSet<String> =
        page.entries.iter().map(|e| e.key().to_string()).collect();
    let mut namespaces: Vec<&str> = left
        .iter()
        .map(|key| match resource.namespaced {
            true => key[prefix.len()..].split('/').next().unwrap_or_default(),
            false => "",
        })
        .collect();
    namespaces.dedup();
    for namespace in namespaces {
        let path = ResourcePath {
            group: resource.group.to_string(),
            version: resource.version.to_string(),
            namespace: namespace.to_owned(),
            resource: resource.plural.to_string(),
            ..ResourcePath::default()
        };
        let identity = Identity::authenticated("system:apiserver", ["system:masters".to_owned()]);
        let mut call = Call::new(
            resource.clone(),
            Verb::DeleteCollection,
            path,
            Query::parse(None),
            identity,
            &HeaderMap::new(),
        )
        .map_err(|refusal| refusal.status().message.clone())?;
        delete::delete_collection(server, &mut call, b"")
            .await
            .map_err(|refusal| refusal.status().message.clone())?;
    }
    while !left.is_empty() {
        match changes.next().await {
            Ok(Some(event)) => match event.current() {
                Some(_) => left.insert(event.key().to_string()),
                None => left.remove(&**event.key()),
            },
            Ok(None) => return Err("the store has ended".to_owned()),
            Err(karve_store::Lagged) => return Err("too many changes".to_owned()),
        };
    }
    Ok(())
}

/// The resource in the version in which its objects are stored, served or not.
fn stored_resource(definition: &Value) -> Option<Arc<Resource>> {
    let mut definition = definition.clone();
    let versions = definition["spec"]["versions"].as_array_mut()?;
    versions.retain(|v| v["storage"] == true);
    versions.iter_mut().for_each(|v| v["served"] = true.into());
    let found = karve_api::crd::definition::resources(&definition, 0);
    found.into_iter().next()
}
