//! Equal questions under way: asked once, answered to all.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Unanswered;
use crate::stored::Stored;
use crate::wire::Lookup;

type Outcome = Result<Arc<Stored>, Unanswered>;

/// The questions under way.
#[derive(Debug, Default)]
pub struct Flights {
    flying: Arc<Mutex<HashMap<Lookup, watch::Receiver<Option<Outcome>>>>>,
}

/// Takes a question off the list when its asking ends, however it ends.
struct Landing {
    flying: Arc<Mutex<HashMap<Lookup, watch::Receiver<Option<Outcome>>>>>,
    lookup: Lookup,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flying.lock().remove(&self.lookup);
    }
}

impl Flights {
    /// Waits for the answer to `lookup`; asks by `ask`, in a task of its own, when nobody has yet. `None`: the task
    /// died.
    pub async fn join<F>(&self, lookup: &Lookup, ask: impl FnOnce() -> F) -> Option<Outcome>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut receiver = {
            let mut flying = self.flying.lock();
            match flying.get(lookup) {
                Some(receiver) => receiver.clone(),
                None => {
                    let (sender, receiver) = watch::channel(None);
                    flying.insert(lookup.clone(), receiver.clone());
                    let landing = Landing {
                        flying: self.flying.clone(),
                        lookup: lookup.clone(),
                    };
                    let asking = ask();
                    // The first asker may give up; the others go on waiting.
                    tokio::spawn(async move {
                        let outcome = asking.await;
                        drop(landing);
                        // Nobody may be left to hear it.
                        let _ = sender.send(Some(outcome));
                    });
                    receiver
                }
            }
        };
        let outcome = receiver.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}
