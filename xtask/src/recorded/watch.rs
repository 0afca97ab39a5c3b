//! Watches that scenarios open and close.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// After the last expected event, for one too many.
const AFTERMATH: Duration = Duration::from_millis(250);

/// What came over a watch.
pub struct Seen {
    pub events: Vec<Value>,
    /// Whether the server had closed the stream.
    pub ended: bool,
}

/// How a step closes a watch: after so many events, or so much time.
pub struct Close {
    pub expect: usize,
    pub within: Duration,
}

/// A watch under way. Dropped, it hangs up.
pub struct Watch {
    following: JoinHandle<Seen>,
    close: oneshot::Sender<Close>,
}

impl Watch {
    /// Reads events from now on. `bookmarks`: all of them, too.
    pub fn follow(body: Incoming, bookmarks: bool) -> Self {
        let (close, closed) = oneshot::channel();
        let following = tokio::spawn(follow(body, closed, bookmarks));
        Self { following, close }
    }

    /// Waits for what is expected, and hangs up.
    pub async fn close(self, close: Close) -> anyhow::Result<Seen> {
        // The receiver is gone when the server ended the stream.
        self.close.send(close).ok();
        Ok(self.following.await?)
    }
}

async fn follow(mut body: Incoming, mut closed: oneshot::Receiver<Close>, bookmarks: bool) -> Seen {
    let mut events = Events::new(bookmarks);
    let mut close: Option<(usize, Instant)> = None;
    let mut ended = false;
    while !ended {
        if let Some((expected, deadline)) = &mut close
            && events.seen.len() >= *expected
        {
            *expected = usize::MAX;
            *deadline = (*deadline).min(Instant::now() + AFTERMATH);
        }
        let deadline = close.map(|(_, deadline)| deadline);
        tokio::select! {
            frame = body.frame() => match frame {
                Some(Ok(frame)) => events.take(frame.into_data().unwrap_or_default()),
                _ => ended = true,
            },
            order = &mut closed, if close.is_none() => match order {
                Ok(order) => close = Some((order.expect, Instant::now() + order.within)),
                // Nobody asks any more.
                Err(_) => break,
            },
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break,
        }
    }
    Seen {
        events: events.seen,
        ended,
    }
}

/// Events out of a stream of lines.
struct Events {
    bookmarks: bool,
    text: Vec<u8>,
    seen: Vec<Value>,
}

impl Events {
    fn new(bookmarks: bool) -> Self {
        Self {
            bookmarks,
            text: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn take(&mut self, bytes: Bytes) {
        self.text.extend_from_slice(&bytes);
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            let text = || Value::String(String::from_utf8_lossy(&line).into_owned());
            let event = serde_json::from_slice::<Value>(&line).unwrap_or_else(|_| text());
            let marker = event.pointer("/object/metadata/annotations/k8s.io~1initial-events-end");
            if event["type"] != "BOOKMARK" || self.bookmarks || marker.is_some() {
                self.seen.push(event);
            }
        }
    }
}
