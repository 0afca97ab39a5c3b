//! Noticing that somebody else has changed our tables, such as by `nft flush ruleset` or by hand.

use std::io;

use karve_sys::nft;
use tokio::io::unix::AsyncFd;

use crate::dataplane::Family;
use crate::table::{TABLE, nft_family};

/// Listens to the transactions of others in this network namespace.
#[derive(Debug)]
pub(crate) struct Monitor {
    socket: AsyncFd<nft::Monitor>,
    disturbed: [bool; 2],
}

impl Monitor {
    /// Listens from now on, but not to the sockets with the port numbers `ours`.
    pub(crate) fn open(ours: &[u32]) -> io::Result<Self> {
        let socket = nft::Monitor::of_others(ours)?.register()?;
        let disturbed = [false; 2];
        Ok(Self { socket, disturbed })
    }

    /// Waits for transactions. Nothing is lost when this is cancelled.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Fails only while the runtime shuts down.
            let Ok(mut ready) = self.socket.readable().await else {
                return std::future::pending().await;
            };
            let disturbed = &mut self.disturbed;
            loop {
                match ready.try_io(|socket| socket.get_ref().receive_changes()) {
                    Ok(Ok(changes)) => {
                        for change in changes.iter().filter(|change| change.table == TABLE) {
                            for (disturbed, family) in disturbed.iter_mut().zip(Family::BOTH) {
                                *disturbed |= change.is_of(nft_family(family));
                            }
                        }
                    }
                    // Notices were lost: any table may have changed.
                    Ok(Err(_)) => *disturbed = [true; 2],
                    Err(_would_block) => break,
                }
            }
            if self.disturbed.contains(&true) {
                return;
            }
        }
    }

    /// Whether others have changed the table of `family` since this was last asked.
    pub(crate) fn take_disturbed(&mut self, family: Family) -> bool {
        std::mem::take(&mut self.disturbed[family as usize])
    }
}
