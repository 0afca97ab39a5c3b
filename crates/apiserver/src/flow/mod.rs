//! API priority and fairness (KEP-1040): under load, each kind of user has its part of the server, and no flow of requests
//! keeps another one waiting for long.
//!
//! FlowSchemas tell to which priority level and to which flow a request belongs ([`config`], [`rules`]); levels have seats
//! ([`seats`]) and queues ([`queues`]); [`levels`] puts them together. Here are the only tasks: the one that waits for a
//! seat, and the one that follows the configuration ([`keep`]). Deliberately absent: the cost of a write for its
//! watchers, which upstream adds to its time; one event here is one encoding, however many watch.

pub mod bootstrap;
mod config;
mod dangling;
pub mod keep;
mod levels;
mod queues;
mod retry_after;
mod rules;
mod seats;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use config::Config;
pub use levels::Reason;
use levels::{Entry, Levels, Place};
use retry_after::RetryAfter;
pub use rules::{Digest, Target};
pub use seats::of_list as seats_of_list;

type Wake = Box<dyn FnOnce() -> bool + Send>;

/// Who may be served now.
pub struct FlowControl {
    config: RwLock<Arc<Config>>,
    levels: Arc<Mutex<Levels<Wake>>>,
    refusals: Mutex<HashMap<Arc<str>, RetryAfter>>,
    since: Instant,
}

/// Where a request belongs; answers show the uids.
#[derive(Debug, Clone)]
pub struct Class {
    pub schema: Arc<str>,
    pub schema_uid: Arc<str>,
    pub level: Arc<str>,
    pub level_uid: Arc<str>,
}

/// The request has to come again later.
#[derive(Debug)]
pub struct TooMany {
    /// Why.
    pub reason: Reason,
    /// Seconds.
    pub retry_after: u64,
}

/// The seats of a request, until it is dropped.
pub struct Seat {
    levels: Arc<Mutex<Levels<Wake>>>,
    place: Place,
    since: Instant,
    /// How long it was waited for.
    pub waited: Duration,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let took = self.since.elapsed().as_secs_f64();
        self.levels.lock().leave(&self.place, took);
    }
}

impl FlowControl {
    /// For a server that serves `total` requests at once.
    pub fn new(total: u64) -> FlowControl {
        let all = bootstrap::all();
        let config = Config::build(&all.schemas, &all.levels);
        let mut levels = Levels::new(total);
        levels.configure(&config);
        FlowControl {
            config: RwLock::new(Arc::new(config)),
            levels: Arc::new(Mutex::new(levels)),
            refusals: Mutex::default(),
            since: Instant::now(),
        }
    }

    fn configure(&self, config: Config) {
        self.levels.lock().configure(&config);
        *self.config.write() = Arc::new(config);
    }

    /// Where a request belongs, and a number for its flow.
    pub fn classify(&self, digest: &Digest<'_>) -> Option<(Class, u64)> {
        let config = self.config.read().clone();
        let (schema, flow) = config.classify(digest)?;
        let class = Class {
            schema: schema.name.clone(),
            schema_uid: schema.uid.clone(),
            level: schema.level.clone(),
            level_uid: config.levels.get(&schema.level)?.uid.clone(),
        };
        Some((class, flow))
    }

    /// Waits at most `patience` for seats. Dropping the future gives the place in the queue away.
    pub async fn enter(
        &self,
        class: &Class,
        flow: u64,
        seats: u64,
        patience: Duration,
    ) -> Result<Seat, TooMany> {
        let came = Instant::now();
        let (sender, woken) = oneshot::channel();
        let entry = {
            let mut levels = self.levels.lock();
            let seats = seats.min(levels.widest(&class.level));
            let wake = || Box::new(move || sender.send(()).is_ok()) as Wake;
            levels.enter(&class.level, flow, seats, wake)
        };
        let seat = |place, since| Seat {
            levels: self.levels.clone(),
            place,
            since,
            waited: since - came,
        };
        match entry {
            Entry::Seated(place) => Ok(seat(place, came)),
            Entry::Refused(reason) => Err(self.refuse(class, reason)),
            Entry::Waiting(place) => {
                let mut waiting = Waiting {
                    levels: &self.levels,
                    place,
                    woken,
                    resolved: false,
                };
                match tokio::time::timeout(patience, &mut waiting.woken).await {
                    Ok(_) => {
                        waiting.resolved = true;
                        Ok(seat(waiting.place.clone(), Instant::now()))
                    }
                    Err(_) => {
                        drop(waiting);
                        Err(self.refuse(class, Reason::TimeOut))
                    }
                }
            }
        }
    }

    fn refuse(&self, class: &Class, reason: Reason) -> TooMany {
        let now = self.since.elapsed().as_secs();
        let mut refusals = self.refusals.lock();
        let retry_after = refusals
            .entry(class.level.clone())
            .or_default()
            .refused(now);
        TooMany {
            reason,
            retry_after,
        }
    }

    /// Calls `each` with what every level uses.
    pub fn usage(&self, mut each: impl FnMut(levels::Usage<'_>)) {
        self.levels.lock().usage().for_each(&mut each);
    }
}

/// A request in a queue. When it goes without having its seats, it leaves the queue; when it goes with them unseen, it
/// gives them back.
struct Waiting<'a> {
    levels: &'a Arc<Mutex<Levels<Wake>>>,
    place: Place,
    woken: oneshot::Receiver<()>,
    resolved: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.resolved {
            return;
        }
        let mut levels = self.levels.lock();
        if !levels.give_up(&self.place) && self.woken.try_recv().is_ok() {
            levels.leave(&self.place, 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn classify(flow: &FlowControl, user: &str) -> (Class, u64) {
        let identity = Identity::authenticated(user, []);
        let digest = Digest {
            identity: &identity,
            verb: "get",
            target: Target::Path("/version"),
        };
        flow.classify(&digest).expect("the last schema takes all")
    }

    #[tokio::test]
    async fn a_request_waits_for_a_seat_or_for_its_time_to_end() {
        let flow = FlowControl::new(1);
        let (alice, number) = classify(&flow, "alice");
        let patience = Duration::from_millis(20);
        let mut seats = Vec::new();
        while let Ok(Ok(seat)) =
            tokio::time::timeout(Duration::ZERO, flow.enter(&alice, number, 1, patience)).await
        {
            seats.push(seat);
        }
        let late = flow.enter(&alice, number, 1, patience).await;
        assert!(late.is_err_and(|e| e.reason == Reason::TimeOut && e.retry_after == 1));
        let next = flow.enter(&alice, number, 1, Duration::from_secs(60));
        let freed = async { drop(seats.pop()) };
        let (seat, ()) = tokio::join!(next, freed);
        assert!(seat.is_ok());
        drop((seat, seats));
        flow.usage(|usage| assert_eq!((usage.seats, usage.waiting), (0, 0), "{}", usage.level));
    }
}
