//! One object of a namespace, by its name.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use karve_watch::{Outages, events};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::Subject;

/// A kind whose objects are watched one by one.
pub trait Single:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Debug
    + Send
    + Sync
    + 'static
{
    /// Whether it will never change again.
    fn is_immutable(&self) -> bool;
}

impl Single for ConfigMap {
    fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }
}

impl Single for Secret {
    fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }
}

/// The name of an object of kind `K`.
pub struct One<K> {
    namespace: Arc<str>,
    name: Arc<str>,
    kind: PhantomData<fn() -> K>,
}

impl<K> One<K> {
    /// The object `name` of a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        One {
            namespace: namespace.into(),
            name: name.into(),
            kind: PhantomData,
        }
    }
}

impl<K> Clone for One<K> {
    fn clone(&self) -> Self {
        One {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> PartialEq for One<K> {
    fn eq(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

impl<K> Eq for One<K> {}

impl<K> Hash for One<K> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.namespace, &self.name).hash(hasher);
    }
}

/// What is known of an object.
#[derive(Debug, Default, PartialEq)]
pub enum Seen<K> {
    /// Nothing yet.
    #[default]
    Unknown,
    /// That it does not exist.
    Missing,
    /// All of it.
    There(Arc<K>),
}

impl<K> Clone for Seen<K> {
    fn clone(&self) -> Self {
        match self {
            Seen::Unknown => Seen::Unknown,
            Seen::Missing => Seen::Missing,
            Seen::There(object) => Seen::There(object.clone()),
        }
    }
}

impl<K: Single> Subject for One<K> {
    type State = Seen<K>;

    async fn follow(self, client: Client, outages: Outages, state: watch::Sender<Seen<K>>) {
        let api: Api<K> = Api::namespaced(client, &self.namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut events = std::pin::pin!(events(api, config, &outages));
        // Whether the list under way had it.
        let mut listed = false;
        while let Some(event) = events.next().await {
            match event {
                Event::Init => listed = false,
                Event::InitDone if listed => {}
                Event::InitDone | Event::Delete(_) => drop(state.send_replace(Seen::Missing)),
                Event::InitApply(object) | Event::Apply(object) => {
                    listed = true;
                    let immutable = object.is_immutable();
                    state.send_replace(Seen::There(Arc::new(object)));
                    if immutable {
                        return;
                    }
                }
            }
        }
    }
}
