//! Events end some time (an hour, unless told otherwise) after they were last written, as upstream's leases in etcd have it.
//!
//! One timer for the oldest event: a cluster in which nothing happens is not woken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use karve_store::{Op, Range, Store};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "/core/events/";

/// A version of an event and when it ends.
struct Ending {
    at: Instant,
    key: Arc<str>,
    revision: u64,
}

/// Deletes events that are old, until `shutdown`.
pub async fn run(store: Store, ttl: Duration, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => return,
            ended = follow(&store, ttl) => if ended { return },
        }
    }
}

/// Follows all events; answers whether the store has ended.
async fn follow(store: &Store, ttl: Duration) -> bool {
    let range = Range {
        prefix: PREFIX,
        ..Range::default()
    };
    let (page, mut watch) = store
        .range_and_watch(&range)
        .expect("the present is always readable");
    let mut oldest_first: Vec<Ending> = page
        .entries
        .iter()
        .map(|entry| Ending {
            at: Instant::now() + left(entry.value(), ttl),
            key: entry.key().clone(),
            revision: entry.revision(),
        })
        .collect();
    oldest_first.sort_by_key(|ending| ending.at);
    let mut endings = VecDeque::from(oldest_first);
    loop {
        let next = endings.front().map(|ending| ending.at);
        tokio::select! {
            changed = watch.next() => match changed {
                Ok(Some(event)) => endings.extend(event.current().map(|entry| Ending {
                    at: Instant::now() + ttl,
                    key: entry.key().clone(),
                    revision: entry.revision(),
                })),
                Ok(None) => return true,
                Err(karve_store::Lagged) => return false,
            },
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let Some(ending) = endings.pop_front() else { continue };
                end(store, ending).await;
            }
        }
    }
}

/// How long an event that was stored before this server began has left.
fn left(stored: &[u8], ttl: Duration) -> Duration {
    let event: Value = serde_json::from_slice(stored).unwrap_or_default();
    let last = [
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ]
    .into_iter()
    .find_map(|time| time.as_str()?.parse::<jiff::Timestamp>().ok());
    let age = last.map(|last| jiff::Timestamp::now().duration_since(last));
    let age = age
        .and_then(|age| Duration::try_from(age).ok())
        .unwrap_or_default();
    ttl.saturating_sub(age)
}

async fn end(store: &Store, ending: Ending) {
    match store
        .commit(vec![Op::delete(ending.key.clone(), ending.revision)])
        .await
    {
        // It was written again and ends later, or is gone.
        Ok(_) | Err(karve_store::Error::Conflict { .. }) => {}
        Err(err) => {
            tracing::warn!(
                key = &*ending.key,
                err = &err as &dyn std::error::Error,
                "event not expired"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karve_store::Value as Stored;

    #[tokio::test]
    async fn old_events_end_and_young_ones_stay() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store =
            Store::open(directory.path().join("state.db"), Default::default()).expect("opens");
        let now = jiff::Timestamp::now();
        let event = |minutes: i64| {
            let time = now
                .checked_sub(jiff::SignedDuration::from_mins(minutes))
                .expect("in range");
            Stored::plain(format!(
                "{{\"lastTimestamp\":\"{}\"}}",
                crate::write::timestamp(time)
            ))
        };
        let (old, young) = ("/core/events/a/old", "/core/events/a/young");
        let ops = vec![Op::create(old, event(61)), Op::create(young, event(1))];
        store.commit(ops).await.expect("stored");
        let mut watch = store.watch(PREFIX, store.revision()).expect("now");
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(
            store.clone(),
            Duration::from_secs(3600),
            shutdown.clone(),
        ));
        let event = watch.next().await.expect("keeps up").expect("open");
        assert_eq!((&**event.key(), event.current().is_none()), (old, true));
        assert!(store.get(young).is_some());
        shutdown.cancel();
        task.await.expect("ends");
    }
}
