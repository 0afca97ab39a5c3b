//! Writes to the API: each with a deadline, each answer fed to the store.

use std::{fmt::Debug, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, Request},
    core::Status,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::watch::{Key, Store};

const DEADLINE: Duration = Duration::from_secs(10);

/// A write that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{action} {kind} {key}")]
    Refused {
        action: &'static str,
        kind: String,
        key: Key,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("{action} {kind} {key}: no answer within {DEADLINE:?}")]
    Deadline {
        action: &'static str,
        kind: String,
        key: Key,
    },
}

impl Error {
    /// The server's own words, if it answered.
    pub(crate) fn status(&self) -> Option<&Status> {
        let Self::Refused { source, .. } = self else {
            return None;
        };
        match &**source {
            kube::Error::Api(status) => Some(status),
            _ => None,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    pub(crate) fn is_already_exists(&self) -> bool {
        self.status()
            .is_some_and(|status| status.reason == "AlreadyExists")
    }

    /// The namespace is going away: nothing can be created in it any more.
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        let causes = self.status().and_then(|status| status.details.as_ref());
        causes.is_some_and(|details| {
            let mut causes = details.causes.iter();
            causes.any(|cause| cause.reason == "NamespaceTerminating")
        })
    }

    /// What an event or condition quotes.
    pub(crate) fn message(&self) -> String {
        match self.status() {
            Some(status) => status.message.clone(),
            None => {
                let source = std::error::Error::source(self);
                source.map_or_else(|| self.to_string(), ToString::to_string)
            }
        }
    }
}

/// Writes objects of one kind.
pub(crate) struct Writer<K> {
    client: Client,
    store: Arc<Store<K>>,
}

impl<K> Clone for Writer<K> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            store: Arc::clone(&self.store),
        }
    }
}

/// Which part of an object a patch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

impl<K> Writer<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    pub(crate) fn new(client: &Client, store: &Arc<Store<K>>) -> Self {
        Self {
            client: client.clone(),
            store: Arc::clone(store),
        }
    }

    fn request(&self, key: &Key) -> Request {
        Request::new(K::url_path(&(), key.scope()))
    }

    /// Creates an object; returns it as stored.
    pub(crate) async fn create(&self, object: &K) -> Result<K, Error> {
        let mut key = Key::of(object);
        if let (true, Some(prefix)) = (key.name.is_empty(), &object.meta().generate_name) {
            key.name = prefix.as_str().into();
        }
        let created = call::<K, K>("create", &key, async {
            let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
            let request = self.request(&key).create(&PostParams::default(), body);
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request(request).await
        });
        let created = created.await?;
        self.store.wrote(created.clone());
        Ok(created)
    }

    /// Patches by JSON merge patch.
    pub(crate) async fn merge(&self, key: &Key, part: Part, patch: Value) -> Result<K, Error> {
        self.patch(key, part, &Patch::Merge(patch)).await
    }

    /// Patches by strategic merge patch.
    pub(crate) async fn strategic(&self, key: &Key, part: Part, patch: Value) -> Result<K, Error> {
        self.patch(key, part, &Patch::Strategic(patch)).await
    }

    /// Patches a subresource by JSON merge patch.
    pub(crate) async fn merge_part(
        &self,
        key: &Key,
        subresource: &str,
        patch: Value,
    ) -> Result<K, Error> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = call::<K, K>("patch", key, async {
            let request = self.request(key);
            let request = request.patch_subresource(subresource, &key.name, &params, &patch);
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request(request).await
        });
        let patched: K = patched.await?;
        self.store.wrote(patched.clone());
        Ok(patched)
    }

    /// Applies on the server, and takes fields from whoever has them.
    pub(crate) async fn apply(&self, key: &Key, manager: &str, applied: Value) -> Result<K, Error> {
        let (params, patch) = (PatchParams::apply(manager).force(), Patch::Apply(applied));
        let patched = call::<K, K>("apply", key, async {
            let request = self.request(key).patch(&key.name, &params, &patch);
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request(request).await
        });
        let patched: K = patched.await?;
        self.store.wrote(patched.clone());
        Ok(patched)
    }

    async fn patch(&self, key: &Key, part: Part, patch: &Patch<Value>) -> Result<K, Error> {
        let params = PatchParams::default();
        let patched = call::<K, K>("patch", key, async {
            let request = self.request(key);
            let request = match part {
                Part::Main => request.patch(&key.name, &params, patch),
                Part::Status => request.patch_subresource("status", &key.name, &params, patch),
            };
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request(request).await
        });
        let patched: K = patched.await?;
        self.store.wrote(patched.clone());
        Ok(patched)
    }

    /// Deletes the object with this UID; one that is gone already is a success.
    pub(crate) async fn delete(
        &self,
        key: &Key,
        uid: Option<&str>,
        params: DeleteParams,
    ) -> Result<(), Error> {
        let preconditions = uid.map(|uid| Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
        let params = DeleteParams {
            preconditions,
            ..params
        };
        let deleted = call::<K, _>("delete", key, async {
            let request = self.request(key).delete(&key.name, &params);
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request::<Value>(request).await
        });
        match deleted.await {
            Ok(_) => self.store.deleting(key, uid, Timestamp::now()),
            Err(err) if err.is_not_found() => {}
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Reads the object from the server, past every cache.
    pub(crate) async fn read(&self, key: &Key) -> Result<Option<K>, Error> {
        let read = call::<K, K>("get", key, async {
            let request = self.request(key).get(&key.name, &Default::default());
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request(request).await
        });
        match read.await {
            Ok(object) => Ok(Some(object)),
            Err(err) if err.is_not_found() => Ok(None),
            Err(err) => Err(err),
        }
    }
}

async fn call<K, T>(
    action: &'static str,
    key: &Key,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error>
where
    K: Resource<DynamicType = ()>,
{
    let kind = || K::kind(&()).into_owned();
    match timeout(DEADLINE, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Refused {
            action,
            kind: kind(),
            key: key.clone(),
            source: Box::new(source),
        }),
        Err(_) => Err(Error::Deadline {
            action,
            kind: kind(),
            key: key.clone(),
        }),
    }
}

/// The JSON merge patch (RFC 7396) that turns `from` into `to`, if they differ.
pub(crate) fn merge_diff(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for name in from.keys().filter(|name| !to.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in to {
        let difference = match from.get(name) {
            Some(old) => merge_diff(old, value),
            None => Some(value.clone()),
        };
        if let Some(difference) = difference {
            patch.insert(name.clone(), difference);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The merge patch of a status, which fails if the object changed meanwhile.
pub(crate) fn status_patch<K, S>(object: &K, old: &S, new: &S) -> Option<Value>
where
    K: Resource,
    S: Serialize,
{
    let value = |status: &S| serde_json::to_value(status).unwrap_or_default();
    let status = merge_diff(&value(old), &value(new))?;
    let version = object.meta().resource_version.clone();
    Some(serde_json::json!({"metadata": {"resourceVersion": version}, "status": status}))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_diff_names_only_what_differs() {
        let table = [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (
                json!({"a": 1, "b": 2}),
                json!({"b": 2}),
                Some(json!({"a": null})),
            ),
            (json!({}), json!({"l": [1]}), Some(json!({"l": [1]}))),
            (
                json!({"a": {"b": 1, "c": 1}}),
                json!({"a": {"b": 1, "d": 0}}),
                Some(json!({"a": {"c": null, "d": 0}})),
            ),
        ];
        for (from, to, expected) in table {
            assert_eq!(merge_diff(&from, &to), expected, "{from} {to}");
        }
    }
}
