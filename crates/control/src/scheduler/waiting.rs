//! Pods that have no node yet.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;

use super::filter::Wake;
use crate::watch::Key;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Higher priority first, then first come.
type Rank = (Reverse<i32>, u64);

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ready(Rank),
    /// A decision is being carried out.
    InHand,
    /// Nothing helps but one of these, after so many events.
    Until(Wake, u64),
}

/// When something of each kind happened last, in a count of all events.
#[derive(Debug, Default)]
struct Events {
    count: u64,
    node: u64,
    freed: u64,
    placed: u64,
}

impl Events {
    fn note(&mut self, wake: Wake) {
        self.count += 1;
        let kinds = [
            (wake.node, &mut self.node),
            (wake.freed, &mut self.freed),
            (wake.placed, &mut self.placed),
        ];
        for (_, last) in kinds.into_iter().filter(|(happened, _)| *happened) {
            *last = self.count;
        }
    }

    fn happened_since(&self, wake: Wake, count: u64) -> bool {
        (wake.node && self.node > count)
            || (wake.freed && self.freed > count)
            || (wake.placed && self.placed > count)
    }
}

/// Pods to be scheduled.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    states: HashMap<Key, State>,
    /// How often in a row a decision could not be carried out.
    failures: HashMap<Key, u32>,
    ready: BTreeMap<Rank, Key>,
    next: u64,
    events: Events,
    /// Events since waiting pods were looked at.
    news: bool,
}

impl Waiting {
    /// A pod came, or changed so that another try may succeed.
    pub(super) fn add(&mut self, key: &Key, pod: &Pod) {
        match self.states.get(key) {
            Some(State::Ready(_) | State::InHand) => {}
            None | Some(State::Until(..)) => {
                let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
                self.make_ready(key.clone(), priority.unwrap_or(0));
            }
        }
    }

    fn make_ready(&mut self, key: Key, priority: i32) {
        let rank = (Reverse(priority), self.next);
        self.next += 1;
        self.ready.insert(rank, key.clone());
        self.states.insert(key, State::Ready(rank));
    }

    /// A pod needs no node any more.
    pub(super) fn remove(&mut self, key: &Key) {
        self.failures.remove(key);
        if let Some(State::Ready(rank)) = self.states.remove(key) {
            self.ready.remove(&rank);
        }
    }

    /// Something happened that may help waiting pods.
    pub(super) fn wake(&mut self, wake: Wake) {
        self.events.note(wake);
        self.news = true;
    }

    /// The next pod to decide on; `priority` is asked for pods that woke.
    pub(super) fn take(&mut self, priority: impl Fn(&Key) -> i32) -> Option<Key> {
        if self.ready.is_empty() && std::mem::take(&mut self.news) {
            let events = &self.events;
            let due = |(key, state): (&Key, &State)| match state {
                State::Until(wake, since) if events.happened_since(*wake, *since) => {
                    Some(key.clone())
                }
                _ => None,
            };
            let mut due: Vec<Key> = self.states.iter().filter_map(due).collect();
            due.sort();
            for key in due {
                let priority = priority(&key);
                self.make_ready(key, priority);
            }
        }
        let (_, key) = self.ready.pop_first()?;
        self.states.insert(key.clone(), State::InHand);
        Some(key)
    }

    /// A pod found no node.
    pub(super) fn wait(&mut self, key: &Key, wake: Wake) {
        if let Some(state) = self.states.get_mut(key) {
            *state = State::Until(wake, self.events.count);
        }
    }

    /// A decision could not be carried out: how long to wait for the next.
    pub(super) fn failed(&mut self, key: &Key) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        *failures += 1;
        (FIRST_RETRY * 2_u32.pow((*failures - 1).min(10))).min(LAST_RETRY)
    }

    /// A decision could not be carried out: decide again.
    pub(super) fn put_back(&mut self, key: &Key, pod: &Pod) {
        if self.states.get(key) == Some(&State::InHand) {
            self.states.remove(key);
            self.add(key, pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(priority: i32) -> Pod {
        let spec = serde_json::json!({"spec": {"containers": [], "priority": priority}});
        serde_json::from_value(spec).unwrap()
    }

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[test]
    fn priority_comes_first_then_order_of_arrival() {
        let mut waiting = Waiting::default();
        for (name, priority) in [("a", 0), ("b", 5), ("c", 0)] {
            waiting.add(&key(name), &pod(priority));
        }
        let mut take = || waiting.take(|_| 0).map(|key| key.name.to_string());
        assert_eq!(
            [take(), take(), take(), take()].map(Option::unwrap_or_default),
            ["b", "a", "c", ""]
        );
    }

    #[test]
    fn a_waiting_pod_comes_back_only_for_what_may_help_it() {
        let mut waiting = Waiting::default();
        waiting.add(&key("a"), &pod(0));
        waiting.wake(Wake::NODE);
        let taken = waiting.take(|_| 0).unwrap();
        waiting.wait(&taken, Wake::NODE);
        assert_eq!(waiting.take(|_| 0), None, "what was known helps no more");
        waiting.wake(Wake::FREED);
        assert_eq!(waiting.take(|_| 0), None);
        waiting.wake(Wake::NODE);
        assert_eq!(waiting.take(|_| 0), Some(key("a")));
    }

    #[test]
    fn a_pod_in_hand_is_not_taken_twice() {
        let mut waiting = Waiting::default();
        waiting.add(&key("a"), &pod(0));
        let taken = waiting.take(|_| 0).unwrap();
        waiting.add(&taken, &pod(0));
        assert_eq!(waiting.take(|_| 0), None);
        waiting.put_back(&taken, &pod(0));
        assert_eq!(waiting.take(|_| 0), Some(key("a")));
    }
}
