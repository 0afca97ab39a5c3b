//! Objects that pods of this node refer to: each is watched once, for however many pods, for as long as one needs it.
//!
//! A node may read single objects by their names (upstream's node authorizer), so each ConfigMap and each Secret has a
//! watch of its own.
//!
//! Invariant: a watch begins with the first [`Watched`] of its subject and ends with the last. Nothing is asked for
//! twice, and nothing again that is immutable.

mod all;
mod one;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use karve_watch::Outages;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub use all::All;
pub use one::{One, Seen, Single};

/// What can be watched.
pub trait Subject: Clone + Eq + Hash + Send + Sync + 'static {
    /// What is known of it. The default: nothing yet.
    type State: Default + Send + Sync + 'static;

    /// Keeps `state` as the API has it.
    fn follow(
        self,
        client: Client,
        outages: Outages,
        state: watch::Sender<Self::State>,
    ) -> impl Future<Output = ()> + Send + 'static;
}

type Known<S> = Arc<Mutex<HashMap<S, Weak<Followed<S>>>>>;

/// The watches of one kind of subject. Cheap to clone.
#[derive(Clone)]
pub struct Shared<S: Subject> {
    client: Client,
    outages: Outages,
    known: Known<S>,
}

impl<S: Subject> Shared<S> {
    /// Without any watch.
    pub fn new(client: Client, outages: Outages) -> Self {
        Shared {
            client,
            outages,
            known: Arc::default(),
        }
    }

    /// The subject, watched from now on.
    pub fn watch(&self, subject: &S) -> Watched<S> {
        let mut known = self.known.lock();
        if let Some(followed) = known.get(subject).and_then(Weak::upgrade) {
            return Watched::of(followed);
        }
        let state = watch::Sender::default();
        let following =
            subject
                .clone()
                .follow(self.client.clone(), self.outages.clone(), state.clone());
        let followed = Arc::new(Followed {
            subject: subject.clone(),
            state,
            known: self.known.clone(),
            _task: AbortOnDropHandle::new(tokio::spawn(following)),
        });
        known.insert(subject.clone(), Arc::downgrade(&followed));
        Watched::of(followed)
    }
}

/// A watch that runs.
struct Followed<S: Subject> {
    subject: S,
    /// Kept beside the task's own, which may end when nothing can change any more.
    state: watch::Sender<S::State>,
    known: Known<S>,
    _task: AbortOnDropHandle<()>,
}

impl<S: Subject> Drop for Followed<S> {
    fn drop(&mut self) {
        let mut known = self.known.lock();
        // Meanwhile somebody may have begun anew.
        if known
            .get(&self.subject)
            .is_some_and(|followed| followed.strong_count() == 0)
        {
            known.remove(&self.subject);
        }
    }
}

/// A share in a watch.
pub struct Watched<S: Subject> {
    state: watch::Receiver<S::State>,
    _followed: Arc<Followed<S>>,
}

impl<S: Subject> Watched<S> {
    fn of(followed: Arc<Followed<S>>) -> Self {
        Watched {
            state: followed.state.subscribe(),
            _followed: followed,
        }
    }

    /// What is known now; [`Watched::changed`] tells of what comes later.
    pub fn look(&mut self) -> watch::Ref<'_, S::State> {
        self.state.borrow_and_update()
    }

    /// Waits for something else to be known than at the last look.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            // The sender is in `_followed`.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests;
