//! Objects of custom resources between the version that is stored and that of the endpoint, where a webhook converts.
//!
//! Where none does, [`crate::convert`] reads an object of one version as one of another without waiting. Here is what
//! has to wait: everything else of the server sees objects that are converted already.

use std::sync::Arc;

use bytes::Bytes;
use karve_api::crd::definition::{Conversion, Family};
use karve_api::crd::{Custom, convert, prune};
use karve_api::resource::Resource;
use karve_api::status::Status;
use serde_json::Value;

use super::webhook;
use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::select::Selection;
use crate::server::Server;
use crate::{list, object, respond};

/// The definition of a resource whose objects a webhook converts.
fn by_webhook(resource: &Resource) -> Option<(&Custom, &Value)> {
    let custom = resource.custom.as_deref()?;
    match &custom.family.conversion {
        Conversion::Webhook(webhook) => Some((custom, webhook)),
        Conversion::None => None,
    }
}

/// Whether stored bytes have another version than the endpoint and only a webhook can convert them.
pub fn is_foreign(resource: &Resource, stored: &[u8]) -> bool {
    by_webhook(resource).is_some() && !object::has_version(stored, &resource.api_version())
}

/// Stored bytes as objects of the endpoint's version, those of other versions converted in one call.
pub async fn shown(
    server: &Server,
    resource: &Arc<Resource>,
    stored: Vec<Bytes>,
) -> Result<Vec<Bytes>, Refusal> {
    let Some((custom, webhook)) = by_webhook(resource) else {
        return Ok(stored);
    };
    let foreign: Vec<usize> = (0..stored.len())
        .filter(|i| is_foreign(resource, &stored[*i]))
        .collect();
    if foreign.is_empty() {
        return Ok(stored);
    }
    let mut shown = stored;
    let objects: Vec<Value> = foreign
        .iter()
        .map(|i| {
            let mut object: Value =
                serde_json::from_slice(&shown[*i]).expect("the store holds what encode wrote");
            convert::stored(&mut object, &custom.family);
            object
        })
        .collect();
    let (single, version) = (objects.len() == 1, &resource.version);
    let converted = ask(server, &custom.family, webhook, objects, version, single).await?;
    for (i, object) in foreign.into_iter().zip(converted) {
        shown[i] = object::encode_unstored(&object, resource);
    }
    Ok(shown)
}

/// [`shown`] for one object.
pub async fn shown_one(
    server: &Server,
    resource: &Arc<Resource>,
    stored: &Bytes,
) -> Result<Bytes, Refusal> {
    if !is_foreign(resource, stored) {
        return Ok(stored.clone());
    }
    let mut all = shown(server, resource, vec![stored.clone()]).await?;
    Ok(all.pop().unwrap_or_default())
}

/// An object of the endpoint's version as one of the version that is stored.
pub async fn to_storage(
    server: &Server,
    resource: &Arc<Resource>,
    object: Value,
) -> Result<Value, Refusal> {
    let Some((custom, webhook)) = by_webhook(resource) else {
        return Ok(object);
    };
    let family = &custom.family;
    if family.storage == resource.version {
        return Ok(object);
    }
    let version = family.storage.clone();
    let mut converted = ask(server, family, webhook, vec![object], &version, true).await?;
    Ok(converted.pop().unwrap_or_default())
}

/// An object of one version of a custom resource as one of another version.
pub async fn between(
    server: &Server,
    from: &Resource,
    to: &Resource,
    object: Value,
) -> Result<Value, Refusal> {
    let Some((custom, webhook)) = by_webhook(from).filter(|_| from.version != to.version) else {
        return Ok(object);
    };
    let mut converted = ask(
        server,
        &custom.family,
        webhook,
        vec![object],
        &to.version,
        true,
    )
    .await?;
    Ok(converted.pop().unwrap_or_default())
}

/// Answers `get`.
pub async fn get(server: &Server, call: &Call) -> Result<HttpResponse, Refusal> {
    if by_webhook(&call.resource).is_none() {
        return list::get(&server.store, call);
    }
    let missing = || call.not_found();
    let entry = server.store.get(&call.key()).ok_or_else(missing)?;
    let shown = shown_one(server, &call.resource, entry.value()).await?;
    let shown = crate::convert::read(&call.resource, &shown);
    Ok(respond::object(call, 200, &shown))
}

/// Answers `list`.
pub async fn list(server: &Server, call: &Call) -> Result<HttpResponse, Refusal> {
    if by_webhook(&call.resource).is_none() {
        return list::list(&server.store, call).await;
    }
    let selection = Selection::parse(call)?;
    let mut listed = list::read(&server.store, call, &selection)?;
    let stored = listed.entries.iter().map(|e| e.value().clone()).collect();
    let shown = shown(server, &call.resource, stored).await?;
    let entries = listed.entries.iter().zip(shown);
    listed.entries = entries
        .map(|(entry, shown)| Arc::new(entry.with_value(shown)))
        .collect();
    list::respond_list(call, listed).await
}

/// A definition that is being deleted takes no new objects.
pub fn check_open(call: &Call) -> Result<(), Refusal> {
    let custom = call.resource.custom.as_deref();
    match custom.is_some_and(|custom| custom.family.terminating) {
        true => {
            let name = call.name();
            let why = "create not allowed while custom resource definition is terminating";
            let resource = &call.resource;
            Err(Status::forbidden(&resource.group, &resource.plural, name, why).into())
        }
        false => Ok(()),
    }
}

async fn ask(
    server: &Server,
    family: &Family,
    webhook: &Value,
    objects: Vec<Value>,
    version: &str,
    single: bool,
) -> Result<Vec<Value>, Refusal> {
    let api_version = format!("{}/{version}", family.group);
    let kind = objects.first().map_or(String::new(), |object| {
        let text = |name: &str| object[name].as_str().unwrap_or_default();
        format!("{}, Kind={}", text("apiVersion"), text("kind"))
    });
    let failed = |text: String| Refusal::from(Status::unclassified(text));
    let uid = uuid::Uuid::new_v4().to_string();
    let request = convert::request(&objects, &api_version, &uid, webhook)
        .ok_or_else(|| failed("no supported conversion review versions".to_owned()))?;
    let review = webhook::call(server, &family.name, &webhook["clientConfig"], &request)
        .await
        .map_err(|why| failed(format!("conversion webhook for {kind} failed: {why}")))?;
    let mut converted = convert::answer(&objects, &api_version, &uid, &review)
        .map_err(|fault| failed(fault.text(&kind, single)))?;
    for object in &mut converted {
        if let Some(schema) = family.schema(version) {
            karve_api::crd::decode::fit(object, Some(schema), family).map_err(failed)?;
            prune::default(object, schema);
        }
    }
    Ok(converted)
}
