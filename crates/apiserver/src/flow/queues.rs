//! The queues of one priority level: shuffle sharding and start-time fair queueing. Pure; time comes in as seconds.
//!
//! A flow may use a hand of queues, dealt by its hash, and joins the shortest of them: a flow that floods its hand leaves
//! others at least one queue of their own (KEP-1040). The next request comes from the queue with the least virtual
//! start, which grows by the service that its requests have had (Goyal et al., "Start-time Fair Queueing", 1996).

use std::collections::VecDeque;

use super::config::Queuing;

/// What a request is expected to cost, in seconds of one seat; corrected when it ends.
const EXPECTED_COST: f64 = 0.003;

/// A request that waits. `T` wakes it.
struct Waiting<T> {
    id: u64,
    seats: u64,
    wake: T,
}

struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    /// When the next request of this queue would start, if every queue had its own server.
    start: f64,
}

/// Queues of one level.
pub struct Queues<T> {
    shape: Queuing,
    queues: Vec<Queue<T>>,
    virtual_time: f64,
    waiting: usize,
    last: usize,
}

/// Too many requests wait already.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl<T> Queues<T> {
    /// Empty queues. They are made when they are first used.
    pub fn new(shape: Queuing) -> Queues<T> {
        Queues {
            shape,
            queues: Vec::new(),
            virtual_time: 0.0,
            waiting: 0,
            last: 0,
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The shape.
    pub fn shape(&self) -> Queuing {
        self.shape
    }

    /// Lets a request wait; answers its queue.
    pub fn push(&mut self, flow: u64, id: u64, seats: u64, wake: T) -> Result<usize, Full> {
        let length = |at: usize| self.queues.get(at).map_or(0, |q| q.waiting.len());
        let at = hand(flow, self.shape.queues, self.shape.hand)
            .into_iter()
            .min_by_key(|at| length(*at))
            .unwrap_or(0);
        if length(at) >= self.shape.length {
            return Err(Full);
        }
        while self.queues.len() <= at {
            self.queues.push(Queue {
                waiting: VecDeque::new(),
                start: 0.0,
            });
        }
        let queue = &mut self.queues[at];
        if queue.waiting.is_empty() {
            queue.start = queue.start.max(self.virtual_time);
        }
        queue.waiting.push_back(Waiting { id, seats, wake });
        self.waiting += 1;
        Ok(at)
    }

    /// Takes back a request that waits no longer.
    pub fn remove(&mut self, at: usize, id: u64) -> bool {
        let Some(queue) = self.queues.get_mut(at) else {
            return false;
        };
        let before = queue.waiting.len();
        queue.waiting.retain(|w| w.id != id);
        let removed = before - queue.waiting.len();
        self.waiting -= removed;
        removed > 0
    }

    /// The next request, if `fits` says that there are seats for it. Wide requests are not passed by narrow ones.
    pub fn pop(&mut self, fits: impl FnOnce(u64) -> bool) -> Option<(u64, T)> {
        if self.waiting == 0 {
            return None;
        }
        let count = self.queues.len();
        let (mut best, mut start) = (None, f64::INFINITY);
        for step in 1..=count {
            let at = (self.last + step) % count;
            let queue = &self.queues[at];
            if !queue.waiting.is_empty() && queue.start < start {
                (best, start) = (Some(at), queue.start);
            }
        }
        let at = best?;
        let queue = &mut self.queues[at];
        if !fits(queue.waiting.front()?.seats) {
            return None;
        }
        let next = queue.waiting.pop_front()?;
        self.virtual_time = self.virtual_time.max(start);
        queue.start += next.seats as f64 * EXPECTED_COST;
        self.waiting -= 1;
        self.last = at;
        Some((next.seats, next.wake))
    }

    /// A request of this queue has ended: its queue pays for what it cost.
    pub fn ended(&mut self, at: usize, seats: u64, took: f64) {
        if let Some(queue) = self.queues.get_mut(at) {
            queue.start += seats as f64 * (took - EXPECTED_COST);
        }
    }

    /// All that wait, when the level goes.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.waiting = 0;
        self.queues
            .iter_mut()
            .flat_map(|q| q.waiting.drain(..))
            .map(|w| w.wake)
    }
}

/// `hand` different numbers below `queues`, dealt by `flow`.
fn hand(mut flow: u64, queues: usize, hand: usize) -> Vec<usize> {
    let mut cards: Vec<usize> = Vec::with_capacity(hand);
    for dealt in 0..hand.min(queues) {
        let left = (queues - dealt) as u64;
        let mut card = (flow % left) as usize;
        flow /= left;
        // The card counts among those not dealt yet.
        let mut at = 0;
        while at < cards.len() && cards[at] <= card {
            card += 1;
            at += 1;
        }
        cards.insert(at, card);
    }
    cards
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPE: Queuing = Queuing {
        queues: 8,
        hand: 2,
        length: 100,
    };

    proptest! {
        #[test]
        fn hands_are_of_different_queues(flow: u64, queues in 1usize..200, size in 1usize..20) {
            let cards = hand(flow, queues, size);
            prop_assert_eq!(cards.len(), size.min(queues));
            prop_assert!(cards.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(cards.iter().all(|c| *c < queues));
        }
    }

    #[test]
    fn a_flood_does_not_keep_others_waiting() {
        let mut queues = Queues::new(Queuing { hand: 1, ..SHAPE });
        for id in 0..90 {
            queues.push(0, id, 1, "flood").expect("room");
        }
        queues.push(1, 100, 1, "other").expect("room");
        let first: Vec<&str> = (0..2)
            .filter_map(|_| queues.pop(|_| true))
            .map(|(_, w)| w)
            .collect();
        assert!(first.contains(&"other"), "{first:?}");
    }

    #[test]
    fn who_cost_more_waits_longer() {
        let mut queues = Queues::new(Queuing { hand: 1, ..SHAPE });
        let slow = queues.push(0, 1, 1, "slow").expect("room");
        queues.pop(|_| true);
        queues.ended(slow, 1, 1.0);
        queues.push(0, 2, 1, "slow").expect("room");
        for id in 0..10 {
            queues.push(1, 10 + id, 1, "quick").expect("room");
        }
        let order: Vec<&str> = std::iter::from_fn(|| queues.pop(|_| true))
            .map(|(_, w)| w)
            .collect();
        assert_eq!(order.last(), Some(&"slow"));
    }

    #[test]
    fn a_full_queue_refuses_and_a_wide_request_is_waited_for() {
        let mut queues = Queues::new(Queuing {
            queues: 1,
            hand: 1,
            length: 2,
        });
        queues.push(0, 1, 5, ()).expect("room");
        let at = queues.push(0, 2, 1, ()).expect("room");
        assert_eq!(queues.push(0, 3, 1, ()), Err(Full));
        assert!(queues.pop(|seats| seats < 5).is_none());
        assert!(queues.remove(at, 1));
        assert!(!queues.remove(at, 1));
        assert_eq!(queues.pop(|seats| seats < 5), Some((1, ())));
        assert_eq!(queues.waiting(), 0);
    }
}
