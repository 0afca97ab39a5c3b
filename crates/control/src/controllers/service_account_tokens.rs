//! Secrets of type `kubernetes.io/service-account-token`: each gets a token of the ServiceAccount that it names, and
//! goes with it.
//!
//! DEVIATION: the token is one that the API server issues (bound to the Secret, for as long as tokens can be asked for),
//! not one that we sign: this controller has no key.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Secret, ServiceAccount},
    },
};
use kube::{
    Resource as _,
    api::{DeleteParams, PostParams, Request},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    queue::{Outcome, Queue},
    watch::{Key, index},
    write::{self, Part, Writer},
};

const PARALLEL: usize = 4;
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
const TOKEN: &str = "token";
const CA: &str = "ca.crt";
const NAMESPACE: &str = "namespace";
/// As long as a token can be asked for, in seconds.
const LIFETIME: i64 = 1 << 32;

/// Why a Secret has no token yet.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("ask for a token of ServiceAccount {account}")]
    Token {
        account: Key,
        #[source]
        source: kube::Error,
    },
    #[error(transparent)]
    Write(#[from] write::Error),
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, root_ca_pem: Arc<str>, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let kinds = &context.kinds;
    let changed = queue.clone();
    kinds
        .token_secrets
        .subscribe(move |change| changed.add_all(change.new.map(|secret| Key::of(&**secret))));
    let (changed, secrets) = (queue.clone(), Arc::clone(&kinds.token_secrets));
    kinds.service_accounts.subscribe(move |change| {
        for account in change.sides() {
            let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
            let secrets = secrets.indexed(index::namespace(namespace));
            changed.add_all(secrets.iter().map(|secret| Key::of(&**secret)));
        }
    });
    let controller = Arc::new(Controller {
        secrets: Writer::new(&context.client, &context.kinds.token_secrets),
        context,
        root_ca_pem,
    });
    let reconcile = move |key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue
        .run("serviceaccount-token", PARALLEL, shutdown, reconcile)
        .await;
}

struct Controller {
    context: Context,
    secrets: Writer<Secret>,
    root_ca_pem: Arc<str>,
}

/// What to do about a Secret.
#[derive(Debug, PartialEq)]
enum Action {
    Nothing,
    /// The account is gone, or is another one of the same name.
    Delete,
    /// Write what is missing.
    Fill {
        uid: String,
        needs_token: bool,
        data: BTreeMap<&'static str, ByteString>,
    },
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    secret
        .metadata
        .annotations
        .as_ref()?
        .get(name)
        .map(String::as_str)
}

fn plan(secret: &Secret, account: Option<&ServiceAccount>, ca: &str) -> Action {
    if secret.metadata.deletion_timestamp.is_some() || annotation(secret, NAME).is_none() {
        return Action::Nothing;
    }
    let given = annotation(secret, UID);
    let uid = account.and_then(|account| account.metadata.uid.as_deref());
    let Some(uid) = uid.filter(|uid| given.is_none_or(|given| given == *uid)) else {
        return Action::Delete;
    };
    let have = |name: &str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(name))
            .filter(|bytes| !bytes.0.is_empty())
    };
    let mut data = BTreeMap::new();
    if have(CA).is_none_or(|bytes| bytes.0 != ca.as_bytes()) {
        data.insert(CA, ByteString(ca.as_bytes().to_vec()));
    }
    if have(NAMESPACE).is_none() {
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        data.insert(NAMESPACE, ByteString(namespace.into_bytes()));
    }
    let needs_token = have(TOKEN).is_none();
    if !needs_token && data.is_empty() && given.is_some() {
        return Action::Nothing;
    }
    Action::Fill {
        uid: uid.to_owned(),
        needs_token,
        data,
    }
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, Error> {
        let kinds = &self.context.kinds;
        let Some(secret) = kinds.token_secrets.get(&key) else {
            return Ok(Outcome::Settled);
        };
        let account = Key::new(
            &key.namespace,
            annotation(&secret, NAME).unwrap_or_default(),
        );
        let known = kinds.service_accounts.get(&account);
        match plan(&secret, known.as_deref(), &self.root_ca_pem) {
            Action::Nothing => {}
            Action::Delete => {
                let uid = secret.metadata.uid.as_deref();
                self.secrets
                    .delete(&key, uid, DeleteParams::default())
                    .await?;
            }
            Action::Fill {
                uid,
                needs_token,
                mut data,
            } => {
                if needs_token {
                    data.insert(
                        TOKEN,
                        ByteString(self.token(&account, &secret).await?.into_bytes()),
                    );
                }
                let patch = json!({
                    "metadata": {"resourceVersion": secret.metadata.resource_version, "annotations": {UID: uid}},
                    "data": data,
                });
                match self.secrets.merge(&key, Part::Main, patch).await {
                    Err(err) if !err.is_not_found() => return Err(err.into()),
                    _ => {}
                }
            }
        }
        Ok(Outcome::Settled)
    }

    async fn token(&self, account: &Key, secret: &Secret) -> Result<String, Error> {
        let body = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(LIFETIME),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Secret".into()),
                    name: secret.metadata.name.clone(),
                    uid: secret.metadata.uid.clone(),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = async {
            let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
            let request = Request::new(ServiceAccount::url_path(&(), account.scope()));
            let request = request
                .create_subresource("token", &account.name, &PostParams::default(), body)
                .map_err(kube::Error::BuildRequest)?;
            self.context.client.request::<Value>(request).await
        };
        let answer = answer.await.map_err(|source| Error::Token {
            account: account.clone(),
            source,
        })?;
        Ok(answer["status"]["token"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(annotations: Value, data: Value) -> Secret {
        let object = json!({"metadata": {"name": "s", "namespace": "ns", "annotations": annotations}, "data": data});
        serde_json::from_value(object).unwrap()
    }

    fn account(uid: &str) -> ServiceAccount {
        serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "ns", "uid": uid}}))
            .unwrap()
    }

    #[test]
    fn secret_follows_its_account() {
        let named = json!({NAME: "a"});
        let owned = json!({NAME: "a", UID: "u"});
        let full = json!({"token": "dA==", "ca.crt": "Yw==", "namespace": "bnM="});
        let one = account("u");
        let fill = |needs_token: bool, names: &[&str]| (needs_token, names.join(" "));
        let table = [
            (json!({}), json!({}), Some(&one), Err(Action::Nothing)),
            (named.clone(), json!({}), None, Err(Action::Delete)),
            (
                json!({NAME: "a", UID: "other"}),
                full.clone(),
                Some(&one),
                Err(Action::Delete),
            ),
            (
                owned.clone(),
                full.clone(),
                Some(&one),
                Err(Action::Nothing),
            ),
            (
                named.clone(),
                json!({}),
                Some(&one),
                Ok(fill(true, &["ca.crt", "namespace"])),
            ),
            (named, full, Some(&one), Ok(fill(false, &[]))),
            (
                owned,
                json!({"token": "dA==", "ca.crt": "b2xk", "namespace": "bnM="}),
                Some(&one),
                Ok(fill(false, &["ca.crt"])),
            ),
        ];
        for (annotations, data, account, expected) in table {
            let action = plan(&secret(annotations.clone(), data.clone()), account, "c");
            let have = match action {
                Action::Fill {
                    needs_token, data, ..
                } => Ok(fill(needs_token, &data.into_keys().collect::<Vec<_>>())),
                other => Err(other),
            };
            assert_eq!(have, expected, "{annotations} {data}");
        }
    }
}
