//! Watches of API objects that survive an API server that goes away.

use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::Api;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;

/// Pauses between attempts: 50 ms, then twice as long up to a second.
#[derive(Debug, Default)]
pub struct Reconnect {
    last: Option<Duration>,
}

impl Reconnect {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);
}

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self
            .last
            .map_or(Self::FIRST, |last| (last * 2).min(Self::LONGEST));
        self.last = Some(delay);
        Some(delay)
    }
}

impl Backoff for Reconnect {
    fn reset(&mut self) {
        self.last = None;
    }
}

/// The events of a watch, without end. Failures are logged here, and each runs `on_failure`.
pub fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    what: &'static str,
    on_failure: impl Fn(),
) -> impl Stream<Item = watcher::Event<K>>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut interrupted = false;
    let stream = watcher(api, config).backoff(Reconnect::default());
    stream.filter_map(move |event| {
        let event = match event {
            Ok(event) => {
                if std::mem::take(&mut interrupted) {
                    tracing::info!(what, "watch resumed");
                }
                Some(event)
            }
            Err(err) => {
                // Once for each interruption: the attempts in between say the same.
                if !std::mem::replace(&mut interrupted, true) {
                    tracing::warn!(
                        what,
                        err = &err as &dyn std::error::Error,
                        "watch interrupted"
                    );
                }
                on_failure();
                None
            }
        };
        std::future::ready(event)
    })
}
