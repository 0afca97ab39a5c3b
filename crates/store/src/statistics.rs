//! What the committer has done since the store was opened.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What has been done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Commits that became durable.
    pub commits: u64,
    /// Syncs; commits that come together share one.
    pub syncs: u64,
    /// How long they took in all.
    pub sync_time: Duration,
    /// The size of the files.
    pub file_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    commits: AtomicU64,
    syncs: AtomicU64,
    nanos: AtomicU64,
}

impl Tally {
    pub(crate) fn synced(&self, commits: usize, took: Duration) {
        self.commits.fetch_add(commits as u64, Relaxed);
        self.syncs.fetch_add(1, Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Relaxed);
    }

    pub(crate) fn read(&self, file_bytes: u64) -> Statistics {
        Statistics {
            commits: self.commits.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_time: Duration::from_nanos(self.nanos.load(Relaxed)),
            file_bytes,
        }
    }
}
