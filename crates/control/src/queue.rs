//! Keys that need work, each at most once, never two workers on one key.
//!
//! A key that is added while its worker runs is worked again afterwards. A
//! failed key comes back after a delay that doubles. The queue is bounded by
//! the number of keys there are: adding one that waits already changes nothing.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fmt::Debug,
    future::Future,
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Every so many failures in a row are worth a warning.
const NOTEWORTHY: u32 = 10;

/// How a reconciliation ended when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing to do until something changes.
    Settled,
    /// Look again after this time, for a deadline.
    After(Duration),
}

/// A work queue; clones share it.
#[derive(Clone)]
pub(crate) struct Queue<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Members of `ready`.
    waiting: HashSet<T>,
    running: HashSet<T>,
    /// Running keys that were added again.
    again: HashSet<T>,
    timers: BTreeSet<(Instant, T)>,
    /// The instant of each key in `timers`.
    due: HashMap<T, Instant>,
    failures: HashMap<T, u32>,
}

impl<T: Clone + Debug + Eq + Hash + Ord + Send + 'static> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            waiting: HashSet::new(),
            running: HashSet::new(),
            again: HashSet::new(),
            timers: BTreeSet::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                wake: Notify::new(),
            }),
        }
    }

    pub(crate) fn add(&self, key: T) {
        self.inner.state.lock().add(key);
        self.inner.wake.notify_one();
    }

    pub(crate) fn add_all(&self, keys: impl IntoIterator<Item = T>) {
        keys.into_iter().for_each(|key| self.add(key));
    }

    /// Works on up to `parallel` keys at once, until shutdown.
    ///
    /// Keys that are being worked on at shutdown are abandoned: whatever they
    /// left undone is found by looking at the state, after the next start.
    pub(crate) async fn run<F, Fut, E>(
        self,
        name: &'static str,
        parallel: usize,
        shutdown: CancellationToken,
        reconcile: F,
    ) where
        F: Fn(T) -> Fut,
        Fut: Future<Output = Result<Outcome, E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let mut workers = JoinSet::new();
        loop {
            let next = self.take(parallel, workers.len());
            let timer = match next {
                Next::Work(key) => {
                    let work = reconcile(key.clone());
                    workers.spawn(async move { (key, work.await) });
                    continue;
                }
                Next::Timer(at) => Some(at),
                Next::Nothing => None,
            };
            let alarm = async {
                match timer {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.inner.wake.notified() => {}
                () = alarm => {}
                Some(done) = workers.join_next() => match done {
                    Ok((key, result)) => self.finish(name, key, result),
                    // A panic is a bug: it has been printed; the key would be
                    // marked as running for ever, so give up as a whole.
                    Err(err) => std::panic::resume_unwind(err.into_panic()),
                },
            }
        }
    }

    fn take(&self, parallel: usize, busy: usize) -> Next<T> {
        let mut state = self.inner.state.lock();
        state.fire_timers(Instant::now());
        if busy < parallel
            && let Some(key) = state.ready.pop_front()
        {
            state.waiting.remove(&key);
            state.running.insert(key.clone());
            return Next::Work(key);
        }
        match state.timers.first() {
            Some((at, _)) => Next::Timer(*at),
            None => Next::Nothing,
        }
    }

    fn finish<E: std::error::Error + 'static>(
        &self,
        controller: &'static str,
        key: T,
        result: Result<Outcome, E>,
    ) {
        let mut state = self.inner.state.lock();
        state.running.remove(&key);
        if state.again.remove(&key) {
            state.add(key.clone());
        }
        match result {
            Ok(outcome) => {
                state.failures.remove(&key);
                if let Outcome::After(delay) = outcome {
                    state.set_timer(key, Instant::now() + delay);
                }
            }
            Err(err) => {
                let failures = state.failures.entry(key.clone()).or_default();
                *failures += 1;
                let (failures, delay) = (*failures, backoff(*failures));
                let err = &err as &dyn std::error::Error;
                // Conflicts and the like are over at the next try.
                match failures.is_multiple_of(NOTEWORTHY) {
                    true => tracing::warn!(controller, ?key, failures, err, "it keeps failing"),
                    false => tracing::debug!(controller, ?key, ?delay, err, "it failed"),
                }
                state.set_timer(key, Instant::now() + delay);
            }
        }
    }
}

enum Next<T> {
    Work(T),
    Timer(Instant),
    Nothing,
}

impl<T: Clone + Eq + Hash + Ord> State<T> {
    fn add(&mut self, key: T) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Of several timers of one key only the earliest counts; a later reason
    /// to look is found again when it fires.
    fn set_timer(&mut self, key: T, at: Instant) {
        match self.due.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.timers.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.timers.insert((at, key));
    }

    fn fire_timers(&mut self, now: Instant) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.timers.pop_first() {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }
}

fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_RETRY * 2_u32.pow(doublings)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed")]
    struct Failed;

    #[tokio::test]
    async fn a_key_added_while_it_is_worked_on_is_worked_again_alone() {
        let queue = Queue::new();
        let shutdown = CancellationToken::new();
        let (started, mut starts) = mpsc::channel(8);
        let gate = Arc::new(Notify::new());
        let at_once = Arc::new(AtomicUsize::new(0));
        let worker = {
            let gate = Arc::clone(&gate);
            move |key: u32| {
                let (gate, started, at_once) =
                    (Arc::clone(&gate), started.clone(), Arc::clone(&at_once));
                async move {
                    let others = at_once.fetch_add(1, Ordering::SeqCst);
                    started.send((key, others)).await.unwrap();
                    gate.notified().await;
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, Failed>(Outcome::Settled)
                }
            }
        };
        let running = tokio::spawn(queue.clone().run("test", 4, shutdown.clone(), worker));
        queue.add(1);
        assert_eq!(starts.recv().await, Some((1, 0)));
        queue.add(1);
        queue.add(1);
        gate.notify_one();
        assert_eq!(starts.recv().await, Some((1, 0)));
        gate.notify_one();
        shutdown.cancel();
        running.await.unwrap();
        assert!(starts.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_key_comes_back_and_success_forgets_the_failures() {
        let queue = Queue::new();
        let shutdown = CancellationToken::new();
        let (done, mut results) = mpsc::channel(8);
        let tries = Arc::new(AtomicUsize::new(0));
        let worker = move |key: u32| {
            let (done, tries) = (done.clone(), Arc::clone(&tries));
            async move {
                let count = tries.fetch_add(1, Ordering::SeqCst);
                done.send((key, count)).await.unwrap();
                if count < 3 {
                    Err(Failed)
                } else {
                    Ok(Outcome::Settled)
                }
            }
        };
        let running = tokio::spawn(queue.clone().run("test", 1, shutdown.clone(), worker));
        queue.add(7);
        for count in 0..4 {
            assert_eq!(results.recv().await, Some((7, count)));
        }
        shutdown.cancel();
        running.await.unwrap();
        assert!(queue.inner.state.lock().due.is_empty());
    }

    #[test]
    fn retries_double_up_to_a_limit() {
        assert_eq!(backoff(1), FIRST_RETRY);
        assert_eq!(backoff(2), FIRST_RETRY * 2);
        assert_eq!(backoff(4), FIRST_RETRY * 8);
        assert_eq!(backoff(100), LAST_RETRY);
    }

    #[test]
    fn the_earliest_timer_of_a_key_wins() {
        let queue = Queue::new();
        let mut state = queue.inner.state.lock();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        state.set_timer(1, now + second);
        state.set_timer(1, now + 2 * second);
        state.set_timer(2, now + 3 * second);
        state.set_timer(2, now);
        state.fire_timers(now);
        assert_eq!(state.ready, [2]);
        state.fire_timers(now + second);
        assert_eq!(state.ready, [2, 1]);
        assert!(state.timers.is_empty() && state.due.is_empty());
    }
}
