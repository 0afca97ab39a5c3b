//! Following changes.
//!
//! Watchers are found by their prefix, which must end at a `/` or be a whole key, so a change costs work only for those
//! that want it. A watcher that does not keep up is cut off, never waited for.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::Event;

/// The watcher was too slow: its queue was full. It has to start over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the watcher was too slow")]
pub struct Lagged;

/// The changes below a prefix after a revision, in order, without gaps.
pub struct Watch {
    backlog: VecDeque<Arc<Event>>,
    queue: mpsc::Receiver<Arc<Event>>,
    lagged: Arc<AtomicBool>,
    /// Changes up to here are not wanted: a watch may begin in the future.
    from: u64,
    place: Place,
}

/// Where a watcher is registered, to be found when it goes.
struct Place {
    hub: Weak<Mutex<Hub>>,
    prefix: Arc<str>,
}

impl Drop for Watch {
    /// A watcher leaves nothing behind, even where nothing ever changes.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(hub) = self.place.hub.upgrade() {
            hub.lock().sweep(&self.place.prefix);
        }
    }
}

impl Watch {
    /// The next change; `Ok(None)` when the store is closed. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Arc<Event>>, Lagged> {
        if let Some(event) = self.backlog.pop_front() {
            return Ok(Some(event));
        }
        loop {
            match self.queue.recv().await {
                Some(event) if event.revision <= self.from => {}
                Some(event) => return Ok(Some(event)),
                None if self.lagged.load(Ordering::Acquire) => return Err(Lagged),
                None => return Ok(None),
            }
        }
    }

    /// The next change if it has already happened: whatever another watcher, or a writer, could know of is known here.
    pub fn ready(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.backlog.pop_front() {
            return Some(event);
        }
        self.queued().or_else(|| {
            // Watchers are told one after the other, with the hub locked; somebody may be told just now.
            drop(self.place.hub.upgrade()?.lock());
            self.queued()
        })
    }

    fn queued(&mut self) -> Option<Arc<Event>> {
        // Not `recv`: it may say "not yet" when a task has run for long, though there is something.
        let mut queued = std::iter::from_fn(|| self.queue.try_recv().ok());
        queued.find(|event| event.revision > self.from)
    }

    /// Whether it was cut off, so that changes are missing behind those that are still queued.
    pub fn lagged(&self) -> bool {
        self.lagged.load(Ordering::Acquire)
    }
}

struct Subscriber {
    queue: mpsc::Sender<Arc<Event>>,
    lagged: Arc<AtomicBool>,
}

/// All watchers, by prefix.
#[derive(Default)]
pub(crate) struct Hub {
    by_prefix: HashMap<Arc<str>, Vec<Subscriber>>,
}

impl Hub {
    pub(crate) fn subscribe(
        &mut self,
        own: &Arc<Mutex<Hub>>,
        prefix: &str,
        from: u64,
        backlog: VecDeque<Arc<Event>>,
        queue_max: usize,
    ) -> Watch {
        let (sender, queue) = mpsc::channel(queue_max);
        let lagged = Arc::new(AtomicBool::new(false));
        let prefix: Arc<str> = prefix.into();
        self.by_prefix
            .entry(prefix.clone())
            .or_default()
            .push(Subscriber {
                queue: sender,
                lagged: lagged.clone(),
            });
        let place = Place {
            hub: Arc::downgrade(own),
            prefix,
        };
        Watch {
            backlog,
            queue,
            lagged,
            from,
            place,
        }
    }

    /// Forgets watchers of a prefix that are gone.
    fn sweep(&mut self, prefix: &str) {
        if let Some(subscribers) = self.by_prefix.get_mut(prefix) {
            subscribers.retain(|s| !s.queue.is_closed());
            if subscribers.is_empty() {
                self.by_prefix.remove(prefix);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn watchers(&self) -> usize {
        self.by_prefix.values().map(Vec::len).sum()
    }

    pub(crate) fn publish(&mut self, event: &Arc<Event>) {
        let key = event.key().clone();
        let boundaries = key.match_indices('/').map(|(i, _)| &key[..=i]);
        let whole = (!key.ends_with('/')).then_some(&*key);
        for prefix in boundaries.chain(whole) {
            let Some(subscribers) = self.by_prefix.get_mut(prefix) else {
                continue;
            };
            subscribers.retain(
                |subscriber| match subscriber.queue.try_send(event.clone()) {
                    Ok(()) => true,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        subscriber.lagged.store(true, Ordering::Release);
                        false
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => false,
                },
            );
            if subscribers.is_empty() {
                self.by_prefix.remove(prefix);
            }
        }
    }
}
