//! Noticing that somebody else has changed the kernel's tables, such as by `nft flush ruleset`.
//!
//! The kernel tells of every transaction, ours too. Those that are not ours are the ones that we have
//! not counted ourselves.

use std::io;

use karve_sys::nft;
use tokio::io::unix::AsyncFd;

/// Counts the transactions in this network namespace.
#[derive(Debug)]
pub(crate) struct Monitor {
    socket: AsyncFd<nft::Monitor>,
    seen: u64,
    foreign: u64,
}

impl Monitor {
    /// Counts from now on.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = nft::Monitor::open()?.register()?;
        Ok(Self {
            socket,
            seen: 0,
            foreign: 0,
        })
    }

    /// Waits for transactions. Nothing is lost when this is cancelled.
    pub(crate) async fn changed(&mut self) {
        // Fails only while the runtime shuts down.
        let Ok(mut ready) = self.socket.readable().await else {
            return std::future::pending().await;
        };
        loop {
            match ready.try_io(|socket| socket.get_ref().receive()) {
                // Where notices were lost there was at least one.
                Ok(_) => self.seen += 1,
                Err(_would_block) => return,
            }
        }
    }

    /// Whether there were transactions besides `ours`, the number of our own so far, since this was
    /// last asked.
    pub(crate) fn is_disturbed(&mut self, ours: u64) -> bool {
        let foreign = self.seen.saturating_sub(ours);
        // Ours are counted before the kernel's notices of them are taken in.
        let disturbed = foreign > self.foreign;
        self.foreign = self.foreign.max(foreign);
        disturbed
    }
}
