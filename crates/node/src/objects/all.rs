//! All objects of a kind.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use futures::StreamExt;
use karve_watch::{Notice, ObjectName, Outages, notices};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::Subject;

/// Objects of kind `K`.
pub struct All<K> {
    kind: PhantomData<fn() -> K>,
}

impl<K> Default for All<K> {
    fn default() -> Self {
        All { kind: PhantomData }
    }
}

impl<K> Clone for All<K> {
    fn clone(&self) -> Self {
        All::default()
    }
}

impl<K> PartialEq for All<K> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<K> Eq for All<K> {}

impl<K> Hash for All<K> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What is known of the objects of a kind.
#[derive(Debug)]
pub struct Known<K> {
    /// Whether that is all.
    pub complete: bool,
    /// By name.
    pub objects: BTreeMap<ObjectName, Arc<K>>,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Known {
            complete: false,
            objects: BTreeMap::new(),
        }
    }
}

impl<K> Subject for All<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    type State = Known<K>;

    async fn follow(self, client: Client, outages: Outages, state: watch::Sender<Known<K>>) {
        let api: Api<K> = Api::all(client);
        let share = |object: &K| Some(Arc::new(object.clone()));
        let notices = notices(api, watcher::Config::default(), &outages, share);
        let mut notices = std::pin::pin!(notices);
        while let Some(notice) = notices.next().await {
            // Readers are woken when there is something whole to see.
            state.send_if_modified(|known| {
                match notice {
                    Notice::Changed(name, Some(object)) => drop(known.objects.insert(name, object)),
                    Notice::Changed(name, None) => drop(known.objects.remove(&name)),
                    Notice::Complete => known.complete = true,
                }
                known.complete
            });
        }
    }
}
